"""multiprocessing's locks for the Landlock tier, where the files in /dev/shm that sem_open needs may not be made.

What is covered: Lock, RLock, Semaphore, Queue, Pool and whatever else is built of them, between processes that were forked.
What is not covered: the spawn and forkserver methods, which find a semaphore by its name.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import mmap
import os
import threading
import time
from types import TracebackType
from typing import Any

RECURSIVE = 0  # multiprocessing.synchronize: RECURSIVE_MUTEX, SEMAPHORE = 0, 1
ROOM = 64  # bytes for a sem_t: 32 in glibc, 16 or 32 in musl
CALLS = ctypes.CDLL(None, use_errno=True)  # lets the interpreter go on in other threads while it waits


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class SemLock:
    """What `_multiprocessing.SemLock` is, over a nameless semaphore in memory that forked processes share."""

    SEM_VALUE_MAX = (1 << 31) - 1

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        self.kind, self.maxvalue = kind, maxvalue
        self.name = None  # nothing to be unlinked
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._semaphore = ctypes.c_char.from_buffer(self._memory)
        self.handle = ctypes.addressof(self._semaphore)
        self._owner, self._depth = 0, 0
        if CALLS.sem_init(ctypes.c_void_p(self.handle), 1, ctypes.c_uint(value)):
            raise OSError(ctypes.get_errno(), "sem_init")

    @classmethod
    def _rebuild(cls, *described: Any) -> SemLock:
        raise OSError(errno.ENOSYS, "a semaphore without a name cannot be handed to a process that was not forked")

    def _call(self, name: str, *more: Any) -> int:
        return 0 if getattr(CALLS, name)(ctypes.c_void_p(self.handle), *more) == 0 else ctypes.get_errno()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if self.kind == RECURSIVE and self._is_mine():
            self._depth += 1
            return True
        until = None if timeout is None else time.time() + max(timeout, 0)
        while True:
            if not block:
                code = self._call("sem_trywait")
            elif until is None:
                code = self._call("sem_wait")
            else:
                whole = int(until)
                code = self._call("sem_timedwait", ctypes.byref(Timespec(whole, int((until - whole) * 1e9))))
            if code == 0:
                self._owner, self._depth = threading.get_ident(), self._depth + 1
                return True
            if code in (errno.EAGAIN, errno.ETIMEDOUT):
                return False
            if code != errno.EINTR:  # a signal: its handler has run when the interpreter comes back here
                raise OSError(code, os.strerror(code))

    def release(self) -> None:
        if self.kind == RECURSIVE:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self._depth > 1:
                self._depth -= 1
                return
        elif self._get_value() >= self.maxvalue:
            raise ValueError("semaphore or lock released too many times")
        self._depth -= 1
        if code := self._call("sem_post"):
            raise OSError(code, os.strerror(code))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _count(self) -> int:
        return self._depth

    def _is_mine(self) -> bool:
        return self._depth > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        value = ctypes.c_int()
        if code := self._call("sem_getvalue", ctypes.byref(value)):
            raise OSError(code, os.strerror(code))
        return max(value.value, 0)

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def _after_fork(self) -> None:
        self._depth = 0


def install() -> None:
    """From here on this interpreter and its forks make such semaphores."""
    vars(importlib.import_module("_multiprocessing"))["SemLock"] = SemLock
