"""Many pairs judged at once, their verdicts in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Pair = TypeVar("Pair")
Result = TypeVar("Result")


def in_order(workers: int, judge: Callable[[Pair], Result], pairs: Iterable[Pair]) -> Iterator[Result]:
    """`judge` of each, on threads, a few ahead of what was taken."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, "judge") as threads:
        try:
            for pair in pairs:
                waiting.append(threads.submit(judge, pair))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
