"""What a tree of processes uses, read from /proc: CPU, memory, processes, and how much of the time it was really run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)  # ended between two looks


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at all living processes of a run."""

    cpu_s: float  # of them and of the children that they have waited for
    memory_bytes: int  # anonymous and shared pages, shared ones counted once where it matters, and what is swapped out
    processes: int


class Watch:
    """Looks at a tree of processes and keeps the clock of its run."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self.cores = len(os.sched_getaffinity(0))
        self.seen: dict[str, tuple[int, int]] = {}  # thread → nanoseconds run, nanoseconds waited for a core

    def look(self, pids: Iterable[int]) -> Usage:
        """What the processes use now. Pages shared by forks are told apart only when the plain sum is over the limit."""
        cpu, memory, count = 0.0, 0, 0
        alive = []
        for pid in pids:
            try:
                fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
                memory += _resident(Path(f"/proc/{pid}/status").read_bytes())
            except GONE:
                continue
            cpu += sum(int(field) for field in fields[11:15]) / TICKS  # utime stime cutime cstime
            count += 1
            alive.append(pid)
        if memory > self.memory_bytes:
            memory = sum(_proportional(pid) for pid in alive)
        return Usage(cpu, memory, count)

    def charged(self, pids: Iterable[int], step_s: float) -> float:
        """How much of `step_s` counts against the wall limit: time in which the tree wanted cores and other processes
        had them does not. Without schedstat in the kernel all of it counts."""
        ran = waited = 0
        seen: dict[str, tuple[int, int]] = {}
        for pid in pids:
            with contextlib.suppress(*GONE, OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    run, wait = map(int, Path(f"/proc/{pid}/task/{thread}/schedstat").read_bytes().split()[:2])
                    seen[thread] = run, wait
                    before = self.seen.get(thread, (run, wait))
                    ran += run - before[0]
                    waited += wait - before[1]
        self.seen = seen
        run_s, demand_s = max(ran, 0) / 1e9, max(ran + waited, 0) / 1e9
        if demand_s <= step_s:
            return max(step_s - (demand_s - run_s), 0.0)
        return step_s * min(run_s / min(demand_s, self.cores * step_s), 1.0)


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
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except GONE:
        return 0
    for key in (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:"):
        _, found, after = rollup.partition(key)
        if found:
            total += int(after.split(None, 1)[0]) << 10
    return total


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
                    children = [int(c) for c in Path(f"/proc/{parent}/task/{thread}/children").read_bytes().split()]
                    found += children
                    open_ += children
    return found
