"""Figures of models with intervals: over the files of one training seed, or over the seeds of a variant."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starloom.evals import intervals
from starloom.evals.compared_runs import Sums
from starloom.evals.intervals import Interval


@dataclass(frozen=True, slots=True)
class Sure:
    """Figures with intervals: over files where there is one seed, over seeds where there are more."""

    seed: int
    resamples: int
    confidence: float

    def ratio(self, seeds: Sequence[Sums]) -> dict[str, Any]:
        """A sum over files divided by another."""
        return self._figure(intervals.ratio, seeds)

    def rate(self, seeds: Sequence[Sums]) -> dict[str, Any]:
        """A ratio of hits to what was asked."""
        return self._figure(intervals.rate, seeds)

    def difference(self, seeds: Sequence[Sums], base: Sequence[Sums]) -> dict[str, Any]:
        """How much more than the base's it is, seed by seed where both have the same number of them, else file by file."""
        if len(seeds) == len(base) > 1:
            gaps = [quotient(one) - quotient(other) for one, other in zip(seeds, base, strict=True)]
            return said(intervals.over_seeds(gaps, confidence=self.confidence), "seeds")
        return said(self._over_files(intervals.difference, averaged(seeds), averaged(base)), "files")

    def _figure(self, interval: Callable[..., Interval], seeds: Sequence[Sums]) -> dict[str, Any]:
        if len(seeds) > 1:
            return said(intervals.over_seeds(list(map(quotient, seeds)), confidence=self.confidence), "seeds")
        return said(self._over_files(interval, seeds[0]), "files")

    def _over_files(self, interval: Callable[..., Interval], *sums: Sums) -> Interval:
        columns = [[one[file][side] for file in sums[0]] for one in sums for side in (0, 1)]
        return interval(*columns, seed=self.seed, resamples=self.resamples, confidence=self.confidence)


def said(found: Interval, over: str) -> dict[str, Any]:
    """An interval as JSON, and what it is over; null where there is none."""
    return {**found._asdict(), "over": over if found.low is not None else None}


def quotient(sums: Sums) -> float:
    """The ratio of both sums."""
    return math.fsum(above for above, _ in sums.values()) / math.fsum(below for _, below in sums.values())


def averaged(seeds: Sequence[Sums]) -> Sums:
    """The mean over seeds of each file's sums."""
    return {
        file: (statistics.fmean(one[file][0] for one in seeds), statistics.fmean(one[file][1] for one in seeds))
        for file in seeds[0]
    }
