"""Nothing outlives a run, a sandbox or its caller, whoever is killed when."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from starloom.errors import SandboxError
from starloom.sandbox import Command, Limits, Python, Sandbox

WITHIN_S = 10.0  # far more than it takes, for a busy machine
LINGER = (
    "import os, signal, time\n"
    "for s in range(1, 32):\n"
    "    if s not in (9, 19): signal.signal(s, signal.SIG_IGN)\n"
    "for _ in range(3):\n"
    "    if os.fork() == 0:\n"
    "        os.setsid(); os.close(1); os.close(2)\n"
    "        if os.fork() == 0: os.setpgid(0, 0)\n"
    "        break\n"
    "{}\n"
)


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + WITHIN_S
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def below(pid: int) -> set[int]:
    """All descendants of a process."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
        except OSError:
            return False

    return {pid for pid in pids if lives(pid)}


def folders() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("starloom-sandbox-")}


@pytest.fixture(params=["namespaces", "landlock"])
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox of its own for each test, of one worker, with a folder for temporary files that nobody else uses."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    try:
        made = Sandbox(tier=request.param)
    except SandboxError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.mark.parametrize("end", ["pass", "os._exit(0)", "os.kill(os.getpid(), 9)", "time.sleep(60)"])
def test_no_process_outlives_its_run_however_it_hides(own: Sandbox, end: str) -> None:
    assert own.run(Python("")).ok
    before = below(os.getpid())
    for _ in range(3):
        own.run(Python(LINGER.format(end), limits=Limits(wall_s=0.3)))
    assert below(os.getpid()) == before


def test_many_runs_leave_no_process_no_folder_no_descriptor(own: Sandbox) -> None:
    worker = own._all[0]

    def held() -> tuple[object, ...]:
        assert worker.process is not None
        files = len(os.listdir(f"/proc/{worker.process.pid}/fd"))
        return len(os.listdir("/proc/self/fd")), files, below(os.getpid()), folders()

    programs = (
        Python("print(1)", files={"a": b"x"}, stdin=bytes(1 << 18), keep=("a",)),
        Python("import os\nos.makedirs('d' * 200 + '/e'); os.fork()"),
        Command(("no-such-program",)),
        Python("while True: print(1)", limits=Limits(output_bytes=999)),
    )
    for program in programs:
        own.run(program)
    before = held()
    for _ in range(5):
        for program in programs:
            own.run(program)
        with own.talk(programs[0]) as talk:
            talk.send(b"x" * 99)
        with pytest.raises(SandboxError):
            own.run(Python("", files={"\udfff": b""}))
    assert held() == before


def test_a_folder_of_any_depth_and_mode_is_removed(own: Sandbox) -> None:
    source = """
    import os
    for i in range(400):
        os.mkdir('d', 0o700); os.chdir('d')
    os.mkdir('closed', 0); os.symlink('/etc', 'link'); os.mkfifo('pipe')
    """
    assert own.run(Python(textwrap.dedent(source))).ok
    assert own.run(Python("import os; print(os.listdir('.'))")).stdout == b"[]\n"


def test_a_killed_worker_is_a_lost_run_and_the_next_one_works(own: Sandbox) -> None:
    assert own.run(Python("print(1)")).ok
    worker = own._all[0]
    for _ in range(2):
        assert worker.process is not None
        pid, family = worker.process.pid, below(worker.process.pid) | {worker.process.pid}
        killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        killer.start()
        outcome = own.run(Python(LINGER.format("time.sleep(60)")))
        killer.join()
        assert outcome.status == "lost" and "killed" in outcome.detail
        assert own.run(Python("print(1)")).ok
        assert eventually(lambda family=family: not alive(family))  # type: ignore[misc]


def test_a_killed_supervisor_is_a_lost_run_and_takes_it_along(own: Sandbox) -> None:
    def kill() -> None:
        worker = own._all[0].process
        assert worker is not None
        assert eventually(lambda: len(below(worker.pid)) > 6)
        seen.update(below(worker.pid))
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)

    seen: set[int] = set()
    assert own.run(Python("print(1)")).ok
    thread = threading.Thread(target=kill)
    thread.start()
    outcome = own.run(Python(LINGER.format("time.sleep(60)")))
    thread.join()
    assert outcome.status in ("lost", "signaled") and not outcome.ok
    assert seen and eventually(lambda: not alive(seen))
    assert own.run(Python("print(1)")).ok


CALLER = """
import sys, threading
from starloom.sandbox import Python, Sandbox
sandbox = Sandbox(workers=2, tier={tier!r})
for _ in range(2):
    threading.Thread(target=sandbox.run, args=(Python({source!r}),)).start()
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_caller_takes_everything_along(signal_number: int, own: Sandbox) -> None:
    before = folders()
    code = CALLER.format(tier=own.active.tier, source=LINGER.format("time.sleep(60)"))
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert eventually(lambda: len(below(caller.pid)) >= 10)
    family = below(caller.pid)
    caller.send_signal(signal_number)
    if signal_number == signal.SIGINT:
        time.sleep(0.2)
        caller.kill()  # it waits for its threads
    caller.wait()
    assert eventually(lambda: not alive(family))
    assert eventually(lambda: folders() <= before)


def test_an_interrupted_run_ends_and_the_sandbox_goes_on(own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    others = below(os.getpid()) - {
        process for worker in own._all if worker.process for process in (worker.process.pid, *below(worker.process.pid))
    }
    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            own.run(Python(LINGER.format("time.sleep(60)")))
    finally:
        signal.signal(signal.SIGALRM, old)
    assert not alive(below(os.getpid()) - others)
    assert own.run(Python("print(1)")).ok


def test_a_closed_sandbox_and_one_of_another_process_refuse(own: Sandbox) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own.run(Python(""))
        except SandboxError as error:
            code = 0 if "make one in this process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert own.run(Python("print(1)")).ok
    own.close()
    with pytest.raises(SandboxError, match="closed"):
        own.run(Python(""))
