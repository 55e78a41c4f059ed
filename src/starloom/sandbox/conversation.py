"""A program that is talked to while it runs: the judge asks, the program answers, and never sees what is expected."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from types import TracebackType

from starloom.sandbox.programs import Command, Outcome, Python
from starloom.sandbox.worker import Worker

LENGTH = struct.Struct(">I")


class Conversation:
    """Frames of bytes, each behind its length (4 bytes, big-endian), with one running program; a context manager."""

    def __init__(
        self, worker: Worker, program: Python | Command, give_back: Callable[[Worker], None], lend: Mapping[str, int]
    ) -> None:
        self._worker = worker
        self._give_back = give_back
        self._most = program.limits.output_bytes
        self._outcome: Outcome | None = None
        self._closed = False  # by the program, which is ending by itself then
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                worker.begin(program, theirs, lend)
            except BaseException:
                self._socket.close()
                raise
        self._buffer = bytearray()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def send(self, frame: bytes) -> None:
        """Send one frame. A program that is gone or does not read is found out by `receive`, not here."""
        try:
            self._socket.settimeout(None)
            self._socket.sendall(LENGTH.pack(len(frame)) + frame)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self, timeout_s: float | None = None) -> bytes | None:
        """The program's next frame; None when it ended, closed its side, or announced more than `output_bytes`.

        Raises TimeoutError when `timeout_s` pass without a whole frame; the frame can still be received later.
        """
        self._socket.settimeout(timeout_s)
        try:
            while True:
                if len(self._buffer) >= LENGTH.size:
                    (size,) = LENGTH.unpack_from(self._buffer)
                    if size > self._most:
                        self._socket.close()
                        return None
                    end = LENGTH.size + size
                    if len(self._buffer) >= end:
                        frame = bytes(self._buffer[LENGTH.size : end])
                        del self._buffer[:end]
                        return frame
                data = self._socket.recv(1 << 16)
                if not data:
                    self._closed = True
                    return None
                self._buffer += data
        except (ConnectionResetError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            return None

    def end(self) -> Outcome:
        """End what is left of the program and give its worker back: how the run ended. Again: the same outcome."""
        if self._outcome is None:
            self._socket.close()
            try:
                self._worker.end(soon=self._closed)
                self._outcome = self._worker.finish()
            except BaseException:
                self._worker.close()
                raise
            finally:
                self._give_back(self._worker)
        return self._outcome
