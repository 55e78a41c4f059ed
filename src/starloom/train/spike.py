"""Whether the loss has risen out of what was usual: a function of the log alone, so that a resumed run finds the same."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Sequence

from starloom.train.checkpoint import State
from starloom.train.log import Row
from starloom.train.settings import Spike

NORMAL = 1.4826  # standard deviations in a median absolute deviation of normal draws


def risen(before: Sequence[float], losses: Sequence[float], spike: Spike) -> bool:
    """Whether all of `losses` lie further above the median of those before than their scatter explains."""
    median = statistics.median(before)
    scatter = NORMAL * statistics.median(abs(loss - median) for loss in before)
    return min(losses) > median + max(spike.least, spike.deviations * scatter)


class Guard:
    """Which steps are left out, and when a run must go back or end: from the losses of the newest steps that counted."""

    def __init__(self, spike: Spike | None, patience: int, log: Iterable[Row] = ()) -> None:
        self._spike = spike
        self._patience = patience
        self._losses: deque[float] = deque(maxlen=0 if spike is None else spike.window + spike.steps)
        skipped = 0
        for row in log if spike is not None else ():
            if row["skipped"] == skipped:
                self.add(row["loss"])
            skipped = row["skipped"]

    def add(self, loss: float) -> None:
        """Take in the loss of a step that changed the weights."""
        self._losses.append(loss)

    def leaves_out(self, loss: float) -> bool:
        """Whether a step is skipped for its loss."""
        spike = self._spike
        if spike is None or spike.action != "skip":
            return False
        window = list(self._losses)[-spike.window :]
        return len(window) == spike.window and risen(window, [loss], spike)

    def has_risen(self) -> bool:
        """Whether the newest losses are out of the usual, as many in a row as it takes."""
        spike, losses = self._spike, list(self._losses)
        if spike is None or spike.action != "rollback" or len(losses) < spike.window + spike.steps:
            return False
        return risen(losses[: -spike.steps], losses[-spike.steps :], spike)

    def wrong(self, state: State) -> str | None:
        """Why the run cannot just go on after a step; None: it can."""
        if state.skipped_in_a_row >= self._patience:
            return f"{self._patience} steps in a row without a gradient to use (pretrain.patience)"
        return "the loss rose far above the usual (pretrain.spike)" if self.has_risen() else None

    def back_from(self, state: State) -> int | None:
        """The step to go back to when something is wrong; None: there is none, or enough was tried."""
        spike = self._spike
        if spike is None or spike.action != "rollback" or state.rollbacks == spike.most:
            return None
        return good(state.step, spike.steps if self.has_risen() else self._patience, spike.every)

    def keeps(self, step: int) -> bool:
        """Whether the resume point after a step is one that may be gone back to."""
        return self._spike is not None and step % self._spike.every == 0

    def held(self, step: int) -> set[int]:
        """Those of them that are still needed."""
        return set() if self._spike is None else held(step, self._spike.every)


def held(step: int, every: int) -> set[int]:
    """Steps whose resume points stay, so that a run at `step` can go back before a rise that it has not noticed yet."""
    newest = step - step % every
    return {newest, max(0, newest - every)}


def good(step: int, last: int, every: int) -> int:
    """The newest of those steps that lies before the `last` steps up to `step`."""
    return (step - last) // every * every
