"""Hostile programs run on this very machine, to see what the sandbox lets through: what `starloom doctor sandbox` shows.

What is covered: each probe puts something real outside (a secret file and variable, a listening port, a process that waits to
be killed) and looks, from outside, at what became of it; what the hostile program says of itself decides nothing.
What is not covered: five probes are no proof. The attack suite of the repository (tests/sandbox/attacks) is larger.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from starloom.sandbox.programs import Limits, Outcome, Python
from starloom.sandbox.sandbox import Sandbox

_LIMITS = Limits(wall_s=2, cpu_s=2, memory_bytes=256 << 20, processes=16)
_VARIABLE = "STARLOOM_SELF_TEST"
Tier = Literal["auto", "namespaces", "landlock"]

_READS = """
import os, pathlib
for path in [{secret!r}, "/etc/passwd", "/etc/shadow", *pathlib.Path("/proc").glob("*/environ"), "/proc/1/root" + {secret!r}]:
    try:
        os.write(1, open(path, "rb").read(10_000))
    except OSError:
        pass
os.write(1, repr(os.environ).encode())
"""
_CONNECTS = """
import socket
for family, kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET6, socket.SOCK_STREAM)):
    try:
        made = socket.socket(family, kind)
        made.settimeout(1)
        made.connect(("127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1", {port}))
        made.send(b"hello")
    except OSError:
        pass
"""
_KILLS = """
import os, signal
for pid in ({victim}, os.getppid(), 1):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""
_BOMBS = """
import os, time
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        os.fork()
    except OSError:
        pass
"""
_EATS = """
held = []
while True:
    held.append(bytearray(b"x") * (16 << 20))
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One attack: what it tried, whether it was blocked, and what was seen from outside."""

    what: str
    blocked: bool
    seen: str


def probes(tier: Tier = "auto") -> Iterator[Probe]:
    """Run every probe in a sandbox of its own; the last asks whether that still works. Raises SandboxError: no such tier."""
    word = secrets.token_hex(16)
    with _environment(word), Sandbox(tier=tier) as sandbox:  # the workers start while the variable is there
        yield _reads_our_files(sandbox, word)
        for probe in (_opens_a_socket, _kills, _multiplies, _eats_memory):
            yield probe(sandbox)
        after = sandbox.run(Python("print(6 * 7)", limits=_LIMITS))
        works = after.ok and after.stdout == b"42\n"
        yield Probe("ends the sandbox", works, "the next program ran" if works else _ended(after))


@contextlib.contextmanager
def _environment(word: str) -> Iterator[None]:
    os.environ[_VARIABLE] = word
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def _reads_our_files(sandbox: Sandbox, word: str) -> Probe:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        secret = Path(folder) / "secret"
        secret.write_text(word)
        secret.chmod(0o644)  # whoever can see it may read it
        outcome = sandbox.run(Python(_READS.format(secret=str(secret)), limits=_LIMITS))
    lines = Path("/etc/passwd").read_bytes().splitlines() if Path("/etc/passwd").exists() else []
    held = {
        "a secret of ours": word.encode() in outcome.stdout,
        "/etc/passwd": bool(lines) and all(line in outcome.stdout for line in lines),
    }
    got = [what for what, was_read in held.items() if was_read]
    return Probe(
        "reads our files and environment", not got, f"it read {' and '.join(got)}" if got else "it read neither"
    )


def _opens_a_socket(sandbox: Sandbox) -> Probe:
    with socket.socket() as listening, socket.socket(type=socket.SOCK_DGRAM) as hearing:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        hearing.bind(("127.0.0.1", port))
        sandbox.run(Python(_CONNECTS.format(port=port), limits=_LIMITS))
        reached = []
        for name, one, take in (("TCP", listening, listening.accept), ("UDP", hearing, lambda: hearing.recv(16))):
            one.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                took = take()
                reached.append(name)
                if isinstance(took, tuple):
                    took[0].close()
    return Probe("opens a socket", not reached, f"a port of ours was reached by {' and '.join(reached)}" if reached
                 else "a port of ours was not reached")  # fmt: skip


def _kills(sandbox: Sandbox) -> Probe:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as victim:
        sandbox.run(Python(_KILLS.format(victim=victim.pid), limits=_LIMITS))
        alive = victim.poll() is None
        victim.kill()
    return Probe("kills its parent and others", alive, f"a process of ours {'lives' if alive else 'was killed'}")


def _multiplies(sandbox: Sandbox) -> Probe:
    sandbox.run(Python("", limits=_LIMITS))  # a worker that the last probe may have cost has been replaced
    before, most, over = _descendants(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, len(_descendants() - before))

    watching = threading.Thread(target=watch)
    watching.start()
    sandbox.run(Python(_BOMBS, limits=replace(_LIMITS, wall_s=0.5)))
    over.set()
    watching.join()
    more = len(_descendants() - before)
    allowed = _LIMITS.processes + 4  # our choice: what the sandbox itself may add
    return Probe("forks without end", more == 0 and most <= allowed, f"{most} processes at most, {more} outlived it")


def _eats_memory(sandbox: Sandbox) -> Probe:
    outcome = sandbox.run(Python(_EATS, limits=_LIMITS))
    most = _LIMITS.memory_bytes + (64 << 20)  # our choice: what may be taken between two looks
    return Probe("eats memory", not outcome.ok and outcome.peak_bytes <= most, _ended(outcome))


def _ended(outcome: Outcome) -> str:
    return f"it ended: {outcome.status}, peak {outcome.peak_bytes / 2**20:.0f} MiB"


def _descendants() -> set[int]:
    """Living processes below this one."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(path.name)] = int(parent)

    def below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return {pid for pid in parents if below(pid)}
