"""How sure a figure is: bootstrap intervals over files, differences of two models on the same files, t-intervals over seeds.

What is drawn again is the file, not the token or the problem: those of one file resemble each other, and an interval that
took them for independent would be too narrow (Efron and Tibshirani 1993, chapters 8 and 13).
"""

# R resamples, F files

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.generic]

CONFIDENCE = 0.95
RESAMPLES = 2000  # percentiles of a 95 % interval want 1,000 or more (Efron and Tibshirani 1993)
_AT_ONCE = 1 << 22  # draws in memory together: 32 MB


class Interval(NamedTuple):
    """A figure and what it may as well be; the bounds are None where one file or seed leaves nothing to tell them from."""

    value: float
    low: float | None
    high: float | None

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def ratio(
    numerators: Values,
    denominators: Values,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Sum of numerators over sum of denominators, one of each a file: bits per byte, or hits among problems.

    The percentile bootstrap: files are drawn again with replacement, as often as there are, and both sums taken anew.
    Raises ValueError where the denominators sum to nothing.
    """
    above, below = _columns(numerators, denominators)
    whole = _whole(above, below)
    if len(above) < 2:
        return Interval(whole, None, None)
    sums = _resampled(np.stack([above, below], axis=1), seed, resamples)
    sums = sums[sums[:, 1] > 0]
    return Interval(whole, *percentiles(sums[:, 0] / sums[:, 1], confidence))


def rate(
    hits: Values,
    asked: Values,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """A ratio of hits to what was asked, one of each a file.

    Where every file has none, or all, drawing them again says nothing: the bounds are then those of a binomial that takes
    each file for one trial (Clopper and Pearson 1934).
    """
    found = ratio(hits, asked, seed=seed, resamples=resamples, confidence=confidence)
    if found.low is None or 0 < found.value < 1:
        return found
    reach = ((1 - confidence) / 2) ** (1 / len(hits))
    return found._replace(high=1 - reach) if found.value == 0 else found._replace(low=reach)


def difference(
    numerators: Values,
    denominators: Values,
    base_numerators: Values,
    base_denominators: Values,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """How much larger one model's ratio is than the base's on the same files, row by row the same file.

    Both are taken on the same draws, so that what makes a file hard for both cancels.
    """
    above, below = _columns(numerators, denominators)
    base_above, base_below = _columns(base_numerators, base_denominators)
    if len(above) != len(base_above):
        raise ValueError(f"{len(above)} files beside {len(base_above)}: a paired difference needs the same ones")
    whole = _whole(above, below) - _whole(base_above, base_below)
    if len(above) < 2:
        return Interval(whole, None, None)
    sums = _resampled(np.stack([above, below, base_above, base_below], axis=1), seed, resamples)
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    return Interval(whole, *percentiles(sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3], confidence))


def over_seeds(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The mean of a figure over training seeds, and Student's interval of it."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    reach = student_quantile((1 + confidence) / 2, len(values) - 1) * spread
    return Interval(mean, mean - reach, mean + reach)


def percentiles(values: Numbers, confidence: float) -> tuple[float, float]:
    """Between what the middle `confidence` of the values lies."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def draws(seed: int, first: int, last: int, files: int) -> npt.NDArray[np.int64]:
    """The files of resamples `first` to `last`, [R, F]: each resample a function of (seed, its number)."""
    found = np.empty((last - first, files), np.int64)
    for row, number in enumerate(range(first, last)):
        raw = np.random.Philox(key=seed % 2**64, counter=[0, 0, 0, number]).random_raw(files)
        found[row] = ((raw >> np.uint64(32)) * np.uint64(files)) >> np.uint64(32)
    return found


def _resampled(columns: Numbers, seed: int, resamples: int) -> Numbers:
    """The columns' sums over the files of each resample, [R, columns]."""
    files = len(columns)
    at_once = max(1, _AT_ONCE // files)
    return np.concatenate(
        [
            _counts(draws(seed, first, min(first + at_once, resamples), files)) @ columns
            for first in range(0, resamples, at_once)
        ]
    )


def _counts(drawn: npt.NDArray[np.int64]) -> Numbers:
    """How often each file was drawn, [R, F]."""
    rows, files = drawn.shape
    flat = drawn + np.arange(rows)[:, None] * files
    return np.bincount(flat.ravel(), minlength=rows * files).reshape(rows, files).astype(np.float64)


def _columns(numerators: Values, denominators: Values) -> tuple[Numbers, Numbers]:
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if above.shape != below.shape or above.ndim != 1:
        raise ValueError(f"numerators are {above.shape} and denominators {below.shape}: one of each a file")
    return above, below


def _whole(above: Numbers, below: Numbers) -> float:
    if not below.sum() > 0:
        raise ValueError("the denominators sum to nothing: there is no ratio")
    return math.fsum(above) / math.fsum(below)


def student_quantile(chance: float, freedom: int) -> float:
    """What Student's t with so many degrees of freedom stays below with this chance, 0.5 to below 1.

    By bisection of its distribution, a finite sum for whole degrees (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    if not 0.5 <= chance < 1 or freedom < 1:
        raise ValueError(f"chance {chance} and {freedom} degrees of freedom: use 0.5 to below 1, and 1 or more")
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / √freedom
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within_angle(middle, freedom) < 2 * chance - 1 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _within_angle(angle: float, freedom: int) -> float:
    """The chance that |t| stays below √freedom × tan(angle)."""
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
