"""pass@k without bias, robust pass@1, and the exact test of two models on the same problems."""

# n samples of a problem, c of them correct

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

import numpy as np

from starloom.records import uniform

PUBLISHED_K: Final = (1, 10, 100)  # Chen et al. 2021; the BigCode harness gives those with k ≤ n
EXACT_CELLS: Final = (
    20_000_000  # steps of the exact distribution; beyond, signs are drawn by chance. Our choice: under a second
)
DRAWS: Final = 100_000


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n samples hold one of the c correct ones: 1 − C(n−c, k)/C(n, k) (Chen et al. 2021, eq. 1).

    In whole numbers, so that it is the nearest float for any n. Raises ValueError for k above n or c outside 0 … n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {c} correct among {n} samples: give 1 ≤ k ≤ n and 0 ≤ c ≤ n")
    every = math.comb(n, k)
    return (every - math.comb(n - c, k)) / every


def robust_pass_at_1(passed: Mapping[str, Sequence[bool]]) -> dict[str, list[float]]:
    """Change → for each problem the share of its samples that count, from `problem/change/seed` → verdicts of its samples.

    A sample counts when the samples of its number pass for every changed prompt of the problem; robust pass@1 is the mean
    over problems (ReCode, arXiv 2212.10264, definition 1). Raises ValueError where prompts have different numbers of samples.
    """
    groups: dict[str, dict[str, list[Sequence[bool]]]] = defaultdict(lambda: defaultdict(list))
    for name, verdicts in passed.items():
        problem, change, _ = name.rsplit("/", 2)
        groups[change][problem].append(verdicts)
    together = {
        change: [[all(drawn) for drawn in zip(*rows, strict=True)] for rows in problems.values()]
        for change, problems in groups.items()
    }
    return {change: [sum(hits) / len(hits) for hits in problems] for change, problems in together.items()}


def permutation_p(differences: Sequence[Fraction], *, seed: int = 0) -> tuple[float, str]:
    """How likely a difference at least as large is, if on each problem either model might as well have been the other:
    (two-sided p, how it was found).

    Every assignment of signs to the differences counts alike (Fisher 1935). It is found exactly, by the distribution of
    their sum; where each difference is −1, 0 or 1 it is McNemar's exact test. Only where denominators are too many, signs are
    drawn by chance.
    """
    moved = [one for one in differences if one]
    if not moved:
        return 1.0, "exact"
    scale = math.lcm(*(one.denominator for one in moved))
    steps = [abs(int(one * scale)) for one in moved]
    shrink = math.gcd(*steps)
    steps = [one // shrink for one in steps]
    observed = abs(int(sum(moved) * scale)) // shrink
    if len(steps) * sum(steps) > EXACT_CELLS:
        return _drawn(steps, observed, seed), f"{DRAWS:,} draws"
    ways = np.zeros(2 * sum(steps) + 1)  # of each sum, shifted: the share of assignments that have it
    middle = sum(steps)
    ways[middle] = 1.0
    for step in steps:
        ways = (np.roll(ways, step) + np.roll(ways, -step)) / 2
    far = ways[: middle - observed + 1].sum() + ways[middle + observed :].sum()
    return min(1.0, float(far)), "exact"


def _drawn(steps: Sequence[int], observed: int, seed: int) -> float:
    generator = np.random.Generator(np.random.Philox(key=int(uniform(seed, "permutation") * 2**53)))
    sizes = np.array(steps, np.float64)
    extreme = 0
    for first in range(0, DRAWS, 1000):
        signs = generator.integers(0, 2, (min(1000, DRAWS - first), len(sizes))) * 2 - 1
        extreme += int((np.abs(signs @ sizes) >= observed).sum())
    return (extreme + 1) / (DRAWS + 1)  # the observed assignment is one of them (Phipson and Smyth 2010)
