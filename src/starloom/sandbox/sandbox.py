"""Runs untrusted programs: see docs/sandbox.md for what is covered and what is not."""

from __future__ import annotations

import json
import os
import queue
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from starloom.errors import SandboxError
from starloom.sandbox import kernel
from starloom.sandbox.conversation import Conversation
from starloom.sandbox.in_order import in_order
from starloom.sandbox.layers import LOOK, Layers, unprotected
from starloom.sandbox.programs import Command, Outcome, Python
from starloom.sandbox.wire import MOST_LENT
from starloom.sandbox.worker import NOTHING, Worker, interpreter_paths

TIERS = ("namespaces", "landlock")  # the stronger first


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
        if not sys.platform.startswith("linux") or kernel.MACHINE not in kernel.SUPPORTED:
            raise SandboxError(
                f"untrusted code can be run on Linux (x86_64, aarch64) only, and this is {sys.platform} on {kernel.MACHINE}; "
                "use a Linux machine, a virtual one or a container"
            )
        if tier not in ("auto", *TIERS):
            raise SandboxError(f"tier of a sandbox must be auto, namespaces or landlock, not {tier!r}")
        for path in read:
            if not Path(path).exists():
                raise SandboxError(f"{path} is to be readable in the sandbox, but does not exist")
        self._process = os.getpid()
        self._closed = False
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        interpreter = Path(python) if python is not None else Path(sys.executable)
        shown = [*interpreter_paths(interpreter), *(str(Path(path).absolute()) for path in read)]
        self._all, self.active = _first_of(TIERS if tier == "auto" else (tier,), interpreter, list(warm), shown)
        self._all += [Worker(self._all[0].config, interpreter) for _ in range(workers - 1)]
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
        if os.getpid() == self._process:
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
        return in_order(len(self._all), self.run, programs)

    def talk(self, program: Python | Command, *, lend: Mapping[str, int] = NOTHING) -> Conversation:
        """Start a program that answers over a socket: descriptor STARLOOM_FD there, `send` and `receive` here.

        `lend`: descriptors of our files, each under the variable of the environment that tells the program its number there. What
        they are open for is all that it can do with them, and of what it writes `file_bytes` is the bound.
        """
        if len(lend) > MOST_LENT:
            raise SandboxError(f"at most {MOST_LENT} descriptors can be lent to a program, not {len(lend)}")
        for name, descriptor in lend.items():
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise SandboxError(f"{name}: a folder cannot be lent, as it leads to all others; lend files")
        worker = self._take()
        try:
            return Conversation(worker, program, self._free.put, lend)
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


def layers(tier: Literal["auto", "namespaces", "landlock"] = "auto") -> Layers:
    """What a sandbox would be made of here, by making one. Raises SandboxError where untrusted code cannot be run."""
    with Sandbox(tier=tier) as sandbox:
        return sandbox.active


def _first_of(tiers: Sequence[str], interpreter: Path, warm: list[str], read: list[str]) -> tuple[list[Worker], Layers]:
    """A worker of the first tier that can be had and that holds from inside."""
    refused: list[str] = []
    for tier in tiers:
        worker = Worker({"tier": tier, "warm": warm, "read": read}, interpreter)
        try:
            facts = worker.start()
            problem = _look(worker)
        except SandboxError as error:
            worker.close()
            if "ModuleNotFoundError" in str(error) or "ImportError" in str(error):
                raise
            refused.append(str(error))
            continue
        except BaseException:
            worker.close()
            raise
        if problem:
            worker.close()
            refused.append(f"{tier} tier: {problem}")
            continue
        spaces = tier == "namespaces"
        return [worker], Layers(tier, spaces, True, facts["landlock"], True, False, facts["user"], tuple(refused))
    raise SandboxError(
        f"untrusted code cannot be run safely here ({'; '.join(refused)}); allow user namespaces (sysctl "
        "kernel.apparmor_restrict_unprivileged_userns=0 or user.max_user_namespaces=10000), or use Linux 5.13 or newer with Landlock"
    )


def _look(worker: Worker) -> str:
    """What a first program finds unprotected; empty: nothing."""
    with tempfile.TemporaryDirectory(prefix="starloom-outside-") as outside:
        Path(outside).chmod(0o777)
        file = Path(outside, "file")
        file.touch()
        file.chmod(0o666)
        worker.begin(Python(LOOK % {"file": str(file), "outside": os.getpid()}))
        outcome = worker.finish()
    if not outcome.ok:
        said = outcome.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return outcome.detail or said or f"a first program ended with {outcome.status}"
    return unprotected(json.loads(outcome.stdout))
