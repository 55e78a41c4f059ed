"""What a tree of processes uses, read from /proc: CPU, memory, processes, and how much of the time it was really run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from starloom.sandbox import kernel

TICKS = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)  # ended between two looks


class Usage(NamedTuple):
    """One look at all living processes of a run."""

    cpu_s: float  # of them and of the children that they have waited for
    memory_bytes: int  # anonymous and shared pages, shared ones counted once where it matters, and what is swapped out
    processes: int  # and threads


class Watch:
    """Looks at a tree of processes and keeps the clock of its run."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self.cores = len(os.sched_getaffinity(0))
        self.elapsed_s, self.ran, self.waited = 0.0, 0, 0  # nanoseconds of all threads, also of those that ended
        self.seen: dict[str, tuple[int, int]] = {}  # thread → nanoseconds run, nanoseconds waited for a core
        self.pending: dict[str, int] = {}  # thread → nanoseconds of a wait that is not over

    def look(self, pids: Iterable[int]) -> Usage:
        """What the processes use now. Pages shared by forks are told apart only when the plain sum is over the limit."""
        cpu, memory, count = 0.0, 0, 0
        alive = []
        for pid in pids:
            try:
                fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
                memory += _resident(_read(f"/proc/{pid}/status"))
            except GONE:
                continue
            cpu += sum(int(field) for field in fields[11:15]) / TICKS  # utime stime cutime cstime
            count += int(fields[17])  # num_threads: RLIMIT_NPROC, where it can be used, counts threads too
            alive.append(pid)
        if memory > self.memory_bytes:
            memory = sum(_proportional(pid) for pid in alive)
        return Usage(cpu, memory, count)

    def charged(self, pids: Iterable[int], step_s: float) -> float:
        """How much of the time so far, `step_s` more than before, counts against the wall limit: time in which the tree
        wanted cores and other processes had them does not. Without schedstat in the kernel all of it counts."""
        self.elapsed_s += step_s
        pending = 0  # the kernel adds a wait when it is over
        seen: dict[str, tuple[int, int]] = {}
        for pid in pids:
            with contextlib.suppress(*GONE, OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    run, wait = map(int, _read(f"/proc/{pid}/task/{thread}/schedstat").split()[:2])
                    seen[thread] = run, wait
                    before = self.seen.get(thread)
                    if before is None:
                        continue
                    self.ran += run - before[0]
                    self.waited += wait - before[1]
                    if (run, wait) == before and _state(f"/proc/{pid}/task/{thread}/stat") == b"R":
                        self.pending[thread] = self.pending.get(thread, 0) + int(step_s * 1e9)
                        pending += self.pending[thread]
                    else:
                        self.pending.pop(thread, None)
        self.seen = seen
        run_s, demand_s = self.ran / 1e9, (self.ran + self.waited + pending) / 1e9
        if demand_s <= self.elapsed_s:
            return self.elapsed_s - (demand_s - run_s)
        return self.elapsed_s * min(run_s / min(demand_s, self.cores * self.elapsed_s), 1.0)


def _state(path: str) -> bytes:
    return _read(path).rpartition(b")")[2].split(None, 1)[0]


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _resident(status: bytes) -> int:
    total = 0
    for key in (b"RssAnon:", b"RssShmem:", b"VmSwap:"):
        _, found, after = status.partition(key)
        if found:
            total += int(after.split(None, 1)[0]) << 10
    return total


def _proportional(pid: int) -> int:
    """Pages that n processes share count 1/n for each."""
    total = 0
    try:
        with owner_of(pid):
            rollup = _read(f"/proc/{pid}/smaps_rollup")
    except PermissionError:
        return _resident(_read(f"/proc/{pid}/status"))  # too much rather than nothing
    except GONE:
        return 0
    for key in (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:"):
        _, found, after = rollup.partition(key)
        if found:
            total += int(after.split(None, 1)[0]) << 10
    return total


@contextlib.contextmanager
def owner_of(pid: int) -> Iterator[None]:
    """Look at a process as its own user: root without CAP_SYS_PTRACE, as in a container, may not look into another's."""
    facts = os.stat(f"/proc/{pid}")
    if facts.st_uid in (os.geteuid(), 0):
        yield
        return
    header, held = struct.pack("<Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    kernel.libc.capget(header, held)
    group, user = kernel.libc.setfsgid(facts.st_gid), kernel.libc.setfsuid(facts.st_uid)
    kernel.libc.capset(header, held)  # the change of user took those over files, which the program may have
    try:
        yield
    finally:
        kernel.libc.setfsuid(user)
        kernel.libc.setfsgid(group)


def nameless(pids: Iterable[int], device: int) -> int:
    """Bytes on one file system in files that have no name any more, but are held open or mapped by these processes."""
    sizes: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(*GONE, OSError), owner_of(pid):
            for line in _read(f"/proc/{pid}/maps").splitlines():
                fields = line.split(None, 5)
                if len(fields) == 6 and fields[5].endswith(b"(deleted)") and _device(fields[3]) == device:
                    start, end = (int(part, 16) for part in fields[0].split(b"-"))
                    sizes[int(fields[4])] = max(sizes.get(int(fields[4]), 0), int(fields[2], 16) + end - start)
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(*GONE):
                    facts = os.stat(f"/proc/{pid}/fd/{name}")
                    if facts.st_nlink == 0 and facts.st_dev == device:
                        sizes[facts.st_ino] = facts.st_blocks * 512
    return sum(sizes.values())


def _device(text: bytes) -> int:
    major, minor = (int(part, 16) for part in text.split(b":"))
    return os.makedev(major, minor)


def tasks_of(user: int) -> int:
    """All processes and threads of a user, which RLIMIT_NPROC counts."""
    count = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(*GONE):
            if entry.name.isdigit() and entry.stat().st_uid == user:
                count += len(os.listdir(f"{entry.path}/task"))
    return count


def inside() -> list[int]:
    """All processes of this pid namespace but its first."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def below(pid: int) -> list[int]:
    """All descendants of a process, by the kernel's lists of children."""
    found: list[int] = []
    open_ = [pid]
    while open_:
        parent = open_.pop()
        with contextlib.suppress(*GONE):
            for thread in os.listdir(f"/proc/{parent}/task"):
                with contextlib.suppress(*GONE):
                    children = [int(c) for c in _read(f"/proc/{parent}/task/{thread}/children").split()]
                    found += children
                    open_ += children
    return found
