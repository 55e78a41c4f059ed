"""Many things done at once, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # times the workers: how many others one slow item holds up before a worker idles; results wait in memory. Our choice


def in_order(workers: int, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each, on threads, a few ahead of what was taken."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, "in-order") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
