"""Runs untrusted programs: see docs/sandbox.md for what is covered and what is not."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal

from starloom.errors import SandboxError
from starloom.sandbox.conversation import Conversation
from starloom.sandbox.layers import Layers, layers
from starloom.sandbox.programs import Command, Outcome, Python
from starloom.sandbox.worker import Worker, interpreter_paths


class Sandbox:
    """A pool of workers that run untrusted programs, each alone; a context manager, usable from many threads."""

    def __init__(
        self,
        *,
        workers: int = 1,
        warm: tuple[str, ...] = (),
        read: tuple[Path, ...] = (),
        tier: Literal["auto", "namespaces", "landlock"] = "auto",
        python: Path | None = None,
    ) -> None:
        """`warm`: modules that every Python program finds imported. `read`: files and folders of the host that programs
        may read, besides the system's and the interpreter's. Raises SandboxError when the tier, or any, cannot be had.
        """
        if workers < 1:
            raise SandboxError(f"a sandbox needs at least 1 worker, not {workers}")
        self.active: Layers = layers(tier)
        interpreter = python if python is not None else Path(sys.executable)
        config = {
            "tier": self.active.tier,
            "warm": list(warm),
            "read": [*interpreter_paths(interpreter), *(str(Path(path).absolute()) for path in read)],
        }
        for path in read:
            if not Path(path).exists():
                raise SandboxError(f"{path} is to be readable in the sandbox, but does not exist")
        self._process = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._all = [Worker(config, interpreter) for _ in range(workers)]
        try:
            self._all[0].start()
        except BaseException:
            self.close()
            raise
        for worker in reversed(self._all):
            self._free.put(worker)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers and whatever they run."""
        self._closed = True
        if os.getpid() == getattr(self, "_process", os.getpid()):
            for worker in self._all:
                worker.close()

    def run(self, program: Python | Command) -> Outcome:
        """Run one program; waits for a free worker first. A worker that is killed from outside makes the outcome `lost`."""
        worker = self._take()
        try:
            worker.begin(program)
            outcome = worker.finish()
        except BaseException:
            worker.close()  # whatever it runs ends with it; the next program gets a new one
            raise
        finally:
            self._free.put(worker)
        return outcome

    def map(self, programs: Iterable[Python | Command]) -> Iterator[Outcome]:
        """The outcomes of many programs, in order, as many at once as there are workers."""
        waiting: deque[Future[Outcome]] = deque()
        with ThreadPoolExecutor(len(self._all), "sandbox") as threads:
            try:
                for program in programs:
                    waiting.append(threads.submit(self.run, program))
                    if len(waiting) > 2 * len(self._all):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def talk(self, program: Python | Command) -> Conversation:
        """Start a program that answers over a socket: descriptor STARLOOM_FD there, `send` and `receive` here."""
        worker = self._take()
        try:
            return Conversation(worker, program, self._free.put)
        except BaseException:
            worker.close()
            self._free.put(worker)
            raise

    def _take(self) -> Worker:
        if self._closed:
            raise SandboxError("this sandbox is closed; make a new one")
        if os.getpid() != self._process:
            raise SandboxError(f"this sandbox belongs to process {self._process}; make one in this process")
        return self._free.get()
