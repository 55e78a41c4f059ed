"""One run, seen from the worker: sets up, starts the program, feeds and hears it, watches it, kills all that is left.

In the namespaces tier the worker is process 1 of its pid namespace: when it ends, the kernel kills everything in there. In
the Landlock tier it is a subreaper: orphans become its children, and none can leave the process group that it kills.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import time
from typing import Any, NamedTuple

from starloom.sandbox import payload, scratch, watch
from starloom.sandbox.tiers import Tier

CHUNK = 1 << 16
FIRST_LOOK_S = 0.04  # short programs end before it and pay nothing
LOOK_EVERY_S = 0.03  # a program can fill some hundred megabytes between two looks: our choice
MOST_STRETCH = 10  # times wall_s: a run ends then, however busy the machine


SOON_S = 1.0  # for the kernel to take a process down that maps gigabytes: our choice
ENDED = {"status": "signaled", "signal": signal.SIGKILL, "detail": "ended by the caller"}


class CallerGone(Exception):
    """The caller has ended, or has closed the connection."""


class Job(NamedTuple):
    """One run, as the process gets it that becomes the program."""

    header: dict[str, Any]
    files: dict[str, bytes]
    source: bytes
    tier: Tier
    streams: tuple[int, int, int]
    talk: int | None
    lent: dict[str, int]  # variable of the environment that says where → descriptor of the caller's


class Run:
    """One program, from its request to its answer. When `go` returns, none of its processes is left."""

    def __init__(self, tier: Tier, connection: socket.socket, watchers: tuple[int, int]) -> None:
        self.tier = tier
        self.connection = connection
        self.watchers = watchers
        self.poll = select.poll()
        self.out: dict[int, bytearray] = {}
        self.stdin_w = -1
        self.over: dict[str, Any] = {}  # why we ended it; empty: it ended by itself
        self.too_much = self.told = False

    def go(self, header: dict[str, Any], blobs: list[bytes], fds: list[int]) -> tuple[dict[str, Any], list[bytes]]:
        """Run one program: the header and the blobs of the answer (stdout, stderr, kept files). `fds`: of a conversation."""
        limits = header["limits"]
        self.most = int(limits["output_bytes"])
        self.tier.prepare(limits)
        before = _waited_for()
        program, problem = self._start(header, blobs[1:], fds)
        began = time.monotonic()
        if program < 0:
            self.over = {"status": "lost", "detail": f"the worker could not fork: {problem}"}
        elif problem:
            self.over = {"status": "not_started", "detail": problem[:2000]}
        clock = Clock(self.tier, limits, before, program)
        try:
            if not self.over:
                self._follow(program, blobs[0], clock)
        except BaseException:
            _kill_all(self.tier, program)
            raise
        wall_s = time.monotonic() - began
        status, peak = _kill_all(self.tier, program)
        self._drain()
        facts = self._facts(status, _waited_for() - before, limits) | {"wall_s": wall_s, "peak": max(clock.peak, peak)}
        kept = scratch.kept(self.tier.home, header["keep"], int(limits["scratch_bytes"]), int(limits["scratch_files"]))
        self.tier.after()
        for descriptor in (*self.out, *((self.stdin_w,) if self.stdin_w >= 0 else ())):
            os.close(descriptor)
        if fds and not self.told and not self.connection.recv(1):  # the caller ends every conversation
            raise CallerGone
        return {**facts, "kept": list(kept)}, [*map(bytes, self.out.values()), *kept.values()]

    def _start(self, header: dict[str, Any], blobs: list[bytes], fds: list[int]) -> tuple[int, str]:
        """Fork, and wait until the program is executed or about to be: its process (-1: none), and what went wrong."""
        stdin_r, self.stdin_w = _pipe()
        out_r, out_w = _pipe()
        err_r, err_w = _pipe()
        started_r, started_w = _pipe()
        self.out = {out_r: bytearray(), err_r: bytearray()}
        source = blobs[-1] if header["kind"] == "python" else b""
        files = dict(zip(header["files"], blobs, strict=False))
        lent = dict(zip(header["lent"], fds[1:], strict=True))
        job = Job(header, files, source, self.tier, (stdin_r, out_w, err_w), fds[0] if fds else None, lent)
        try:
            program, problem = os.fork(), b""
        except OSError as error:
            program, problem = -1, str(error).encode()
        if program == 0:
            payload.begin(job, started_w)  # never returns
        for descriptor in (stdin_r, out_w, err_w, started_w, *fds):
            os.close(descriptor)
        while part := os.read(started_r, 4096):
            problem += part
        os.close(started_r)
        return program, problem.decode("utf-8", "replace")

    def _follow(self, program: int, stdin: bytes, clock: Clock) -> None:
        """Move bytes and watch, until the program's first process ends or a limit or the caller ends the run."""
        handle = os.pidfd_open(program)
        for descriptor in (*self.out, self.stdin_w):
            os.set_blocking(descriptor, False)
        rest = self._feed(memoryview(stdin))
        for descriptor in (*self.out, handle, self.connection.fileno(), *self.watchers):
            self.poll.register(descriptor, select.POLLIN)
        if rest is not None:
            self.poll.register(self.stdin_w, select.POLLOUT)
        ready: list[int] = []
        while handle not in ready and not self.over:
            ready = [descriptor for descriptor, _ in self.poll.poll(clock.pause_ms())]
            for descriptor in ready:
                if descriptor in self.watchers:
                    raise CallerGone
                if descriptor == self.connection.fileno():
                    self._told(clock)
                elif descriptor == self.stdin_w:
                    if rest is not None and (rest := self._feed(rest)) is None:
                        self.poll.unregister(descriptor)
                elif descriptor in self.out and not self._read(descriptor):
                    self.poll.unregister(descriptor)
            if handle not in ready and not self.over:
                self.over = clock.look()
        os.close(handle)

    def _told(self, clock: Clock) -> None:
        """The caller ends the run: now, or soon, when the program has closed its side of the conversation and so is ending
        by itself, which the outcome should say."""
        byte = self.connection.recv(1)
        if not byte:
            raise CallerGone
        self.told = True
        if byte == b"s":
            clock.end_at = time.monotonic() + SOON_S
            clock.next = min(clock.next, clock.end_at)
        else:
            self.over = dict(ENDED)

    def _feed(self, rest: memoryview) -> memoryview | None:
        """Write standard input as far as it goes; None when it is all written and closed."""
        with contextlib.suppress(BrokenPipeError):
            while rest:
                try:
                    rest = rest[os.write(self.stdin_w, rest) :]
                except BlockingIOError:
                    return rest
        os.close(self.stdin_w)
        self.stdin_w = -1
        return None

    def _read(self, descriptor: int) -> bool:
        """Whether more may come."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return True
        held = self.out[descriptor]
        room = self.most - len(held)
        held += data[:room]
        if len(data) > room:
            self.too_much, self.over = True, {"status": "too_much_output"}
        return bool(data)

    def _drain(self) -> None:
        """What still lies in the pipes: nobody writes into them any more, so they end."""
        for descriptor in self.out:
            os.set_blocking(descriptor, True)
            while self._read(descriptor):
                pass

    def _facts(self, status: int | None, cpu_s: float, limits: dict[str, Any]) -> dict[str, Any]:
        """How the run ended, and its CPU time."""
        if self.too_much:
            ended: dict[str, Any] = {"status": "too_much_output"}
        elif self.over:
            ended = self.over
        elif status is None:
            ended = {"status": "lost", "detail": "nothing is known of how the program ended"}
        elif os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            over = number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_s >= limits["cpu_s"])
            ended = {"status": "out_of_cpu" if over else "signaled", "signal": number}
        else:
            ended = {"status": "exited", "code": os.WEXITSTATUS(status)}
        return ended | {"cpu_s": cpu_s}


class Clock:
    """When to look at a run, and whether it is over a limit."""

    def __init__(self, tier: Tier, limits: dict[str, Any], before: float, program: int) -> None:
        self.tier, self.limits, self.before, self.program = tier, limits, before, program
        self.began = self.last = time.monotonic()
        self.pause_s: float = min(FIRST_LOOK_S, limits["wall_s"])
        self.next: float = self.began + self.pause_s
        self.charged, self.peak = 0.0, 0
        self.end_at = float("inf")
        self.sight: watch.Watch | None = None

    def pause_ms(self) -> float:
        return max((self.next - time.monotonic()) * 1000, 1.0)

    def look(self) -> dict[str, Any]:
        """What limit the run is over, if any; nothing while it is not yet time."""
        now, limits = time.monotonic(), self.limits
        if now < self.next:
            return {}
        self.sight = self.sight or watch.Watch(int(limits["memory_bytes"]))
        pids = self.tier.processes()
        step_s = min(now - self.last, 2 * self.pause_s + 0.01)  # longer: this process itself was held up
        self.charged = self.sight.charged(pids, step_s)
        self.last = now
        usage = self.sight.look(pids)
        self.peak = max(self.peak, usage.memory_bytes)
        if usage.cpu_s + _waited_for() - self.before >= limits["cpu_s"]:
            return {"status": "out_of_cpu"}
        if usage.memory_bytes > limits["memory_bytes"]:
            return {"status": "out_of_memory"}
        if self.charged >= limits["wall_s"] or now - self.began >= MOST_STRETCH * limits["wall_s"]:
            return {"status": "timed_out"}
        if now >= self.end_at:
            return dict(ENDED)
        if detail := self.tier.exceeded(limits, usage.processes):
            return {"status": "signaled", "signal": signal.SIGKILL, "detail": detail}
        _reap_orphans(self.program)
        self.pause_s = min(LOOK_EVERY_S, max(limits["wall_s"] - self.charged, 0.001))
        self.next = min(time.monotonic() + self.pause_s, self.end_at)
        return {}


def _waited_for() -> float:
    """CPU seconds of all processes that were waited for here, by them or by their parents."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap_orphans(program: int) -> None:
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == program:
            return
        os.waitpid(found.si_pid, 0)


def _kill_all(tier: Tier, program: int) -> tuple[int | None, int]:
    """Kill every process of the run and wait for each: the program's wait status, and the largest peak of one process."""
    status, peak = None, 0
    if program > 0:
        tier.kill(program)
    while True:
        try:
            pid, how, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return status, peak
        peak = max(peak, usage.ru_maxrss << 10)
        if pid == program:
            status = how


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)
