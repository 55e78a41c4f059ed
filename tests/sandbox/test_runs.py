"""What a run gives back, in both tiers."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom.errors import SandboxError
from starloom.sandbox import Command, Limits, Python, Sandbox

QUICK = Limits(wall_s=0.3, cpu_s=5)


def test_a_program_runs_as_main_in_its_scratch_folder(sandbox: Sandbox) -> None:
    source = (
        "import os, sys\n"
        "assert __name__ == '__main__' and sys.modules['__main__'].__dict__ is globals()\n"
        "assert os.getcwd() == os.environ['HOME'] == os.environ['TMPDIR']\n"
        "print(sys.argv[1:], open('a/b.txt').read(), sys.stdin.read()); print('aside', file=sys.stderr)\n"
        "open('out.bin', 'wb').write(bytes(range(256)))"
    )
    outcome = sandbox.run(Python(source, files={"a/b.txt": b"file"}, stdin=b"in", argv=("x", "ü"), keep=("*.bin",)))
    assert (outcome.ok, outcome.stdout, outcome.stderr) == (True, "['x', 'ü'] file in\n".encode(), b"aside\n")
    assert outcome.files == {"out.bin": bytes(range(256))}


def test_a_command_runs_in_its_scratch_folder_with_the_environment_it_was_given(sandbox: Sandbox) -> None:
    script = b"#!/bin/sh\necho $WORD $1; cat; exit 7"
    command = Command(("./run", "x"), files={"run": script}, executable=("run",), env={"WORD": "hello"}, stdin=b"in")
    outcome = sandbox.run(command)
    assert (outcome.status, outcome.exit_code, outcome.stdout) == ("exited", 7, b"hello x\nin")


@settings(max_examples=10)
@given(data=st.binary(max_size=300_000))
def test_bytes_go_through_unchanged(sandbox: Sandbox, data: bytes) -> None:
    source = "import sys\ndata = sys.stdin.buffer.read()\nsys.stdout.buffer.write(data)\nopen('copy', 'wb').write(data)"
    outcome = sandbox.run(Python(source, stdin=data, keep=("copy",)))
    assert outcome.ok and outcome.stdout == data and outcome.files == {"copy": data}


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("import sys; sys.exit(3)", "exited", 3),
        ("import sys; sys.exit('why')", "exited", 1),
        ("raise ValueError('x')", "exited", 1),
        ("def (", "exited", 1),
        ("x = '\ud800'", "exited", 1),
        ("import os; os._exit(0)", "exited", 0),
        ("import os; os.kill(os.getpid(), 11)", "signaled", None),
        ("import os; os.abort()", "signaled", None),
        ("import ctypes; ctypes.string_at(8)", "signaled", None),
    ],
)
def test_every_way_to_end_is_told_apart(sandbox: Sandbox, source: str, status: str, code: int | None) -> None:
    outcome = sandbox.run(Python(source))
    assert (outcome.status, outcome.exit_code) == (status, code)
    assert (outcome.signal is not None) == (status == "signaled")


@pytest.mark.parametrize(
    ("source", "limits", "status"),
    [
        ("import time; time.sleep(60)", QUICK, "timed_out"),
        ("while True: pass", Limits(cpu_s=0.3), "out_of_cpu"),
        ("import os\nfor _ in range(3): os.fork()\nwhile True: pass", Limits(cpu_s=0.4), "out_of_cpu"),  # of all eight
        ("x = [bytearray(b'x') * (1 << 20) for _ in range(400)]; import time; time.sleep(9)",
         Limits(memory_bytes=1 << 28, address_space=False), "exited"),  # RLIMIT_DATA holds it: a MemoryError
        ("import mmap, time\nm = mmap.mmap(-1, 1 << 29)\nfor i in range(0, 1 << 29, 4096): m[i] = 1\ntime.sleep(9)",
         Limits(memory_bytes=1 << 28, address_space=False), "out_of_memory"),  # shared pages, which RLIMIT_DATA misses
        ("while True: print('x' * 99999)", Limits(output_bytes=1 << 18), "too_much_output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 99999)", Limits(output_bytes=1 << 18), "too_much_output"),
    ],
)  # fmt: skip
def test_every_limit_ends_the_run_and_is_named(sandbox: Sandbox, source: str, limits: Limits, status: str) -> None:
    outcome = sandbox.run(Python(source, limits=limits))
    assert outcome.status == status and not outcome.ok
    assert len(outcome.stdout) <= limits.output_bytes and len(outcome.stderr) <= limits.output_bytes


def test_output_of_exactly_the_limit_is_not_too_much(sandbox: Sandbox) -> None:
    limits = Limits(output_bytes=200_000)
    assert sandbox.run(Python("print('x' * 199999)", limits=limits)).ok
    assert sandbox.run(Python("print('x' * 200000)", limits=limits)).status == "too_much_output"


def test_a_program_that_is_not_there_was_not_started(sandbox: Sandbox) -> None:
    outcome = sandbox.run(Command(("no-such-compiler", "x")))
    assert outcome.status == "not_started" and "no-such-compiler cannot be executed" in outcome.detail


def test_files_of_more_than_the_scratch_folder_holds_are_not_started(sandbox: Sandbox) -> None:
    outcome = sandbox.run(Python("", files={"big": bytes(1 << 20)}, limits=Limits(scratch_bytes=1 << 18)))
    assert outcome.status in ("not_started", "exited")  # Landlock: seen at the first look, if the program lives so long
    assert sandbox.run(Python("print(1)")).ok


def test_the_scratch_folder_is_bounded(sandbox: Sandbox) -> None:
    limits = Limits(scratch_bytes=1 << 20, scratch_files=50, file_bytes=1 << 19)
    fill = "import time\ntry:\n    for i in range(99): open(str(i), 'wb').write(bytes(1 << 18)); time.sleep(.002)\nfinally: time.sleep(.3)"
    many = "import time\nfor i in range(999): open(str(i), 'w'); time.sleep(.001)"
    one = "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 16)); f.flush()"
    for source in (fill, many, one):
        assert not sandbox.run(Python(source, limits=limits)).ok


def test_links_are_not_followed_out_of_what_is_kept(sandbox: Sandbox) -> None:
    source = "import os\nos.symlink('/etc/hostname', 'a'); os.symlink('/', 'b'); os.mkfifo('c'); os.mkdir('d'); open('d/e', 'w').write('x')"
    assert sandbox.run(Python(source, keep=("*",))).files == {"d/e": b"x"}


def test_a_run_finds_nothing_of_the_run_before(sandbox: Sandbox) -> None:
    leave = "import os, builtins, sys\nos.makedirs('deep/er', 0); open('left', 'w'); builtins.left = sys.left = 1; os.environ['LEFT'] = '1'"
    look = "import os, builtins, sys\nprint(os.listdir('.'), hasattr(builtins, 'left'), hasattr(sys, 'left'), 'LEFT' in os.environ)"
    for _ in range(3):
        assert sandbox.run(Python(leave)).ok
        assert sandbox.run(Python(look)).stdout == b"[] False False False\n"


def test_a_file_that_grows_too_large_is_an_error_to_python_and_a_signal_to_others(sandbox: Sandbox) -> None:
    limits = Limits(file_bytes=1 << 16)
    assert (
        b"File too large"
        in sandbox.run(
            Python("open('x', 'wb', 0).write(bytes(1 << 16)); open('x', 'ab', 0).write(b'x')", limits=limits)
        ).stderr
    )
    outcome = sandbox.run(Command(("dd", "if=/dev/zero", "of=x", "bs=64k", "count=9"), limits=limits))
    assert (outcome.status, outcome.signal) == ("signaled", 25)


def test_random_numbers_differ_between_runs(sandbox: Sandbox) -> None:
    drawn = {sandbox.run(Python("import random; print(random.random())")).stdout for _ in range(4)}
    assert len(drawn) == 4


def test_outcomes_come_in_the_order_of_the_programs_from_many_threads(sandbox: Sandbox) -> None:
    found: dict[int, list[bytes]] = {}

    def some(thread: int) -> None:
        programs = (Python(f"print({thread * 100 + i})") for i in range(8))
        found[thread] = [outcome.stdout for outcome in sandbox.map(programs)]

    threads = [threading.Thread(target=some, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [b"%d\n" % (i * 100 + j) for j in range(8)] for i in range(6)}


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "a\0b"])
def test_a_path_out_of_the_scratch_folder_is_refused(name: str) -> None:
    with pytest.raises(SandboxError):
        Python("", files={name: b""})


@pytest.mark.parametrize("limits", [{"wall_s": 0}, {"cpu_s": -1}, {"memory_bytes": float("nan")}, {"processes": "9"}])
def test_a_limit_that_is_none_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(SandboxError, match=next(iter(limits))):
        Limits(**limits)  # type: ignore[arg-type]
