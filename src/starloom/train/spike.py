"""Whether the loss has risen out of what was usual: a function of the log alone, so that a resumed run finds the same."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Sequence

from starloom.train.log import Row
from starloom.train.settings import Spike

NORMAL = 1.4826  # standard deviations in a median absolute deviation of normal draws


def risen(before: Sequence[float], losses: Sequence[float], spike: Spike) -> bool:
    """Whether all of `losses` lie further above the median of those before than their scatter explains."""
    median = statistics.median(before)
    scatter = NORMAL * statistics.median(abs(loss - median) for loss in before)
    return min(losses) > median + max(spike.least, spike.deviations * scatter)


class Recent:
    """The losses of the newest steps that changed weights."""

    def __init__(self, spike: Spike, log: Iterable[Row] = ()) -> None:
        self._spike = spike
        self._losses: deque[float] = deque(maxlen=spike.window + spike.steps)
        skipped = 0
        for row in log:
            if row["skipped"] == skipped:
                self.add(row["loss"])
            skipped = row["skipped"]

    def add(self, loss: float) -> None:
        """Take in the loss of the step that was just made."""
        self._losses.append(loss)

    def would_rise(self, loss: float) -> bool:
        """Whether one more loss would be out of the usual by itself."""
        window = list(self._losses)[-self._spike.window :]
        return len(window) == self._spike.window and risen(window, [loss], self._spike)

    def has_risen(self) -> bool:
        """Whether the newest losses are, in a row, as many as it takes."""
        losses, steps = list(self._losses), self._spike.steps
        return len(losses) == self._spike.window + steps and risen(losses[:-steps], losses[-steps:], self._spike)


def held(step: int, every: int) -> set[int]:
    """Steps whose resume points stay, so that a run at `step` can go back before a rise that it has not noticed yet."""
    newest = step - step % every
    return {newest, max(0, newest - every)}


def good(step: int, last: int, every: int) -> int:
    """The newest of those steps that lies before the `last` steps up to `step`."""
    return (step - last) // every * every
