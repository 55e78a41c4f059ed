"""Processes that were started together, by torchrun: the first builds what one process builds, the others wait for it.

They wait by looking at files and never inside a collective, which would time out under hours of reading a corpus. That
the first is alive they see by its lock, which the kernel frees when it ends; which stages they compute with it, it
writes into that file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starloom.errors import ConfigError, StarloomError

LOOK_EVERY_S: Final = 0.05  # a glance at two files: our choice
START_WITHIN_S: Final = 300.0  # from the start of one process to that of the first, imports on a slow disk included


@dataclass(frozen=True, slots=True)
class Launch:
    """Which process of how many this is."""

    rank: int = 0
    ranks: int = 1
    here: int = 1  # how many of them this machine runs
    name: str = ""  # of the launch, on all its machines

    @property
    def first(self) -> bool:
        """Whether this process builds; the others wait, or compute with it."""
        return self.rank == 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Launch:
        """What torchrun says in the environment; one process where it says nothing. Raises ConfigError for half of it."""
        if "WORLD_SIZE" not in environment or "RANK" not in environment:
            return cls()
        try:
            rank, ranks = int(environment["RANK"]), int(environment["WORLD_SIZE"])
            here = int(environment.get("LOCAL_WORLD_SIZE", ranks))
        except ValueError as error:
            raise ConfigError(f"RANK and WORLD_SIZE are numbers that torchrun sets: {error}") from None
        if not (0 <= rank < ranks and here >= 1):
            raise ConfigError(f"RANK is {rank} of a WORLD_SIZE of {ranks}; start the processes with torchrun")
        if ranks == 1:
            return cls()
        if "MASTER_ADDR" not in environment or "MASTER_PORT" not in environment:
            raise ConfigError(
                "WORLD_SIZE is set, but MASTER_ADDR or MASTER_PORT is not; start the processes with torchrun"
            )
        said = [environment.get(f"{key}") or "" for key in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
                                                            "TORCHELASTIC_RESTART_COUNT")]  # fmt: skip
        return cls(rank, ranks, here, hashlib.sha256("\0".join(said).encode()).hexdigest()[:16])


class Crew:
    """This process among those of its launch, over one store."""

    def __init__(self, launch: Launch, locks: Path) -> None:
        self.launch = launch
        self._path = locks / f"launch-{launch.name}"
        self._descriptor = -1
        self._began = time.monotonic()
        self._seen = False

    def __enter__(self) -> Crew:
        if self.launch.first:
            fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            self._descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            fresh.replace(self._path)  # it appears locked and empty, whatever an earlier launch of this name left
        return self

    def __exit__(self, *_: object) -> None:
        if self.launch.first:
            os.close(self._descriptor)

    def invite(self, fingerprint: str) -> None:
        """Say that the stage of this fingerprint begins, to those that wait in `joins`."""
        os.write(self._descriptor, f"{fingerprint}\n".encode())

    def joins(self, manifest: Path, fingerprint: str | None) -> bool:
        """Wait until a stage is complete, False, or until its fingerprint is called out, True.

        Raises StarloomError when the first process ended before.
        """
        while True:
            invited, alive = self._look()
            if manifest.is_file():
                return False
            if fingerprint is not None and fingerprint in invited:
                return True
            if not alive:
                raise StarloomError(
                    f"process 0 ended, or did not start within {START_WITHIN_S:.0f} s on this store, before "
                    f"{manifest.parent} was complete; its own message says why (all processes must see one store)"
                )
            time.sleep(LOOK_EVERY_S)

    def _look(self) -> tuple[list[str], bool]:
        """The fingerprints that were called out, and whether the first process is there or may still come."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                self._seen = True
                return file.read().decode().split(), True
        return [], not self._seen and time.monotonic() - self._began < START_WITHIN_S


@contextlib.contextmanager
def joined(launch: Launch, locks: Path) -> Iterator[Crew | None]:
    """The crew of a launch while it builds in a store; None for a process that was started alone."""
    if launch.ranks == 1:
        yield None
        return
    locks.mkdir(parents=True, exist_ok=True)
    with Crew(launch, locks) as crew:
        yield crew
