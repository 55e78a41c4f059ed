"""One call to run a function over shards: in this process, on a pool of processes, later on Ray."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from starloom.errors import StarloomError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cluster(Protocol):
    """Runs a module-level function over items whose arguments and results can be sent to another process."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Yield (position of the item, result) as the results come, in any order; the first error ends the rest."""
        ...

    def close(self) -> None: ...


class Local:
    """Worker processes on this machine; with one worker, this process itself.

    Workers are forked from a small server that never ran a thread, so that no lock of this process is copied held.
    The pool lives as long as this object: starting workers costs more than a small stage.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        if self.workers == 1 or len(items) <= 1:
            for position, item in enumerate(items):
                yield position, function(item)
            return
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_one_thread)
        futures: dict[Future[Result], int] = {}
        try:
            for position, item in enumerate(items):
                futures[self._pool.submit(function, item)] = position
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            self._pool = None
            raise StarloomError(
                "a worker process was killed, most likely for want of memory; finished shards are kept: "
                "run again with fewer --workers"
            ) from None
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _one_thread() -> None:
    """Workers are the parallelism: the tokenizers library would start as many threads as there are cores in each."""
    os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
