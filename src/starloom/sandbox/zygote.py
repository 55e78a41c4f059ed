"""The process behind one worker: an interpreter with its modules warm, which forks a supervisor for every run.

It is started with an empty environment, knows nothing of the caller but one socket, and ends when the caller ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from starloom.sandbox import kernel, landlock, namespaces, supervisor, wire
from starloom.sandbox.tiers import Tier

CHUNK = 1 << 16


class CallerGone(Exception):
    """The caller has ended, or has closed the connection."""


def main(descriptor: int) -> None:
    """Serve one caller over one socket until it is gone."""
    connection = socket.socket(fileno=descriptor)
    watcher = os.pidfd_open(os.getppid())
    started = wire.receive(connection)
    if started is None:
        return
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(name, signal.SIG_IGN)
    try:
        tier = _prepare(started[0])
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # not before: its own /proc files have to be written
    except Exception as error:
        wire.send(connection, {"problem": f"{type(error).__name__}: {error}"}, [], [])
        return
    wire.send(connection, {"ready": os.getpid()} | tier.facts, [], [])
    try:
        _serve(tier, connection, watcher)
    except (CallerGone, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        tier.end()
        os._exit(0)


def _serve(tier: Tier, connection: socket.socket, watcher: int) -> None:
    """One run after the other. The caller's end is seen by a handle of its process too: others may hold the socket."""
    idle = select.poll()
    idle.register(connection, select.POLLIN)
    idle.register(watcher, select.POLLIN)
    while True:
        if any(descriptor == watcher for descriptor, _ in idle.poll()):
            raise CallerGone
        request = wire.receive(connection, descriptors=1)
        if request is None:
            raise CallerGone
        header, blobs, fds = request
        answer, out = Run(tier, connection, watcher).go(header, blobs, fds[0] if fds else None)
        wire.send(connection, answer, out, [])


def _prepare(config: dict[str, Any]) -> Tier:
    missing = []
    for name in ("linecache", "traceback", "threading", "atexit", "random", *config["warm"]):
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name}: {error}")
    if missing:
        raise ImportError("; ".join(missing))
    if config["tier"] == "namespaces":
        return namespaces.Namespaces(config)
    return landlock.Landlocked(config)


class Run:
    """One run, seen from the worker: moves bytes between the program and memory, and waits until all of it is dead."""

    def __init__(self, tier: Tier, connection: socket.socket, watcher: int) -> None:
        self.tier = tier
        self.connection = connection
        self.watcher = watcher
        self.poll = select.poll()
        self.out: dict[int, bytearray] = {}
        self.too_much = self.ended = False

    def go(self, header: dict[str, Any], blobs: list[bytes], talk: int | None) -> tuple[dict[str, Any], list[bytes]]:
        """Run one program: the header and the blobs of the answer (stdout, stderr, kept files)."""
        stdin_r, self.stdin_w = _pipe()
        out_r, out_w = _pipe()
        err_r, err_w = _pipe()
        report_r, report_w = _pipe()
        commands_r, self.commands_w = _pipe()
        talked = talk is not None
        job = self._job(header, blobs, (stdin_r, out_w, err_w), talk)
        try:
            child = self.tier.fork()
        except OSError as error:
            for descriptor in (
                stdin_r,
                self.stdin_w,
                out_r,
                out_w,
                err_r,
                err_w,
                report_r,
                report_w,
                commands_r,
                self.commands_w,
            ):
                os.close(descriptor)
            if talk is not None:
                os.close(talk)
            return {"status": "lost", "detail": f"the worker could not fork: {error}"}, [b"", b""]
        if child == 0:
            for descriptor in (self.stdin_w, out_r, err_r, report_r, self.commands_w, self.watcher):
                os.close(descriptor)
            self.connection.close()
            supervisor.supervise(job, commands_r, report_w)
        for descriptor in (stdin_r, out_w, err_w, report_w, commands_r, *((talk,) if talk is not None else ())):
            os.close(descriptor)
        self.child = child
        self.out = {out_r: bytearray(), err_r: bytearray(), report_r: bytearray()}
        bounds = {out_r: int(header["limits"]["output_bytes"]), err_r: int(header["limits"]["output_bytes"])}
        try:
            self._pump(job.stdin, report_r, bounds)
        except CallerGone:
            os.close(self.commands_w)  # at which the supervisor kills its run and ends
            os.waitpid(child, 0)
            raise
        os.waitpid(child, 0)  # in the namespaces tier it ends last: the kernel has killed and reaped all others
        self.tier.after()
        self._drain(bounds)
        os.close(self.commands_w)
        for descriptor in self.out:
            os.close(descriptor)
        if talked and not self.ended and not self.connection.recv(1):  # a conversation is always ended by the caller
            raise CallerGone
        return self._answer(out_r, err_r, report_r, bounds)

    def _job(
        self, header: dict[str, Any], blobs: list[bytes], streams: tuple[int, int, int], talk: int | None
    ) -> supervisor.Job:
        stdin, *rest = blobs
        files = dict(zip(header["files"], rest, strict=False))
        source = rest[-1] if header["kind"] == "python" else b""
        ordinary = os.getuid() != 0
        return supervisor.Job(header, stdin, files, source, self.tier, streams, talk)

    def _pump(self, stdin: bytes, report: int, bounds: dict[int, int]) -> None:
        """Move bytes until the supervisor has said everything and is gone."""
        for descriptor in (*self.out, self.stdin_w):
            os.set_blocking(descriptor, False)
        for descriptor in (*self.out, self.connection.fileno(), self.watcher):
            self.poll.register(descriptor, select.POLLIN)
        rest: memoryview | None = self._feed(memoryview(stdin))
        if rest is not None:
            self.poll.register(self.stdin_w, select.POLLOUT)
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.watcher:
                    raise CallerGone
                elif descriptor == self.connection.fileno():
                    self._command()
                elif descriptor == self.stdin_w:
                    if rest is not None and (rest := self._feed(rest)) is None:
                        self.poll.unregister(descriptor)
                elif not self._read(descriptor, bounds):
                    self.poll.unregister(descriptor)
                    if descriptor == report:
                        if rest is not None:
                            os.close(self.stdin_w)
                        return

    def _command(self) -> None:
        """The caller says one byte to end the run."""
        if not self.connection.recv(1):
            raise CallerGone
        self.ended = True
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.commands_w, b"e")

    def _feed(self, rest: memoryview) -> memoryview | None:
        """Write standard input as far as it goes; None when it is all written and closed."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while rest:
                rest = rest[os.write(self.stdin_w, rest) :]
            os.close(self.stdin_w)
            return None
        return rest

    def _read(self, descriptor: int, bounds: dict[int, int]) -> bool:
        """Whether more may come."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(descriptor, CHUNK)
            if not data:
                return False
            held = self.out[descriptor]
            room = bounds.get(descriptor, 1 << 62) - len(held)
            held += data[:room]
            if len(data) > room and not self.too_much:
                self.too_much = True
                self._end()
        return True

    def _drain(self, bounds: dict[int, int]) -> None:
        """What still lies in the pipes, now that nobody writes into them."""
        for descriptor in bounds:
            with contextlib.suppress(BlockingIOError):
                while data := os.read(descriptor, CHUNK):
                    room = bounds[descriptor] - len(self.out[descriptor])
                    self.too_much = self.too_much or len(data) > room
                    self.out[descriptor] += data[:room]

    def _answer(self, out: int, err: int, report: int, bounds: dict[int, int]) -> tuple[dict[str, Any], list[bytes]]:
        line, _, rest = bytes(self.out[report]).partition(b"\n")
        streams = [bytes(self.out[out]), bytes(self.out[err])]
        try:
            facts: dict[str, Any] = json.loads(line)
        except ValueError:
            facts = {"status": "lost", "detail": "the process that watched the run was killed"}
        names, kept = [], []
        for name, size in facts.pop("files", []):
            names.append(name)
            kept.append(rest[:size])
            rest = rest[size:]
        if self.too_much:
            facts |= {"status": "too_much_output", "code": None, "signal": None, "detail": ""}
        return {**facts, "kept": names}, [*streams, *kept]


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)
