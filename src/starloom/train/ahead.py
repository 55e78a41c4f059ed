"""Batches drawn by another thread while the one before is trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


class Ahead:
    """Batches by their number; while one is used, the next is drawn."""

    def __init__(self, draw: Callable[[int], Ids]) -> None:
        self._draw = draw
        self._pool = ThreadPoolExecutor(1, "batches")
        self._coming: tuple[int, Future[Ids]] | None = None

    def take(self, number: int, more: bool = True) -> tuple[Ids, float]:
        """A batch, and for how many seconds it was waited for; the one behind it is begun where there is `more`."""
        began = time.perf_counter()
        if self._coming is None or self._coming[0] != number:  # the first, or a run that went back
            self._coming = number, self._pool.submit(self._draw, number)
        ids = self._coming[1].result()
        waited = time.perf_counter() - began
        self._coming = (number + 1, self._pool.submit(self._draw, number + 1)) if more else None
        return ids, waited

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
