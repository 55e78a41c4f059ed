"""Intervals: as wide as brute force and known distributions say, narrower where pairs agree, and the same every time."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.evals import intervals


@pytest.fixture(scope="module")
def stats() -> Any:
    """SciPy's own, where it is installed: starloom itself does without."""
    return pytest.importorskip("scipy.stats")


def files(count: int, seed: int = 0) -> tuple[list[float], list[float]]:
    """(nats, bytes) of made-up files whose sizes and rates both vary."""
    chance = np.random.default_rng(seed)
    sizes = chance.lognormal(7, 1, count).round() + 1
    return (sizes * chance.normal(1.2, 0.3, count).clip(0.1)).tolist(), sizes.tolist()


def test_a_ratio_interval_is_that_of_scipy(stats: Any) -> None:
    nats, sizes = files(60)
    found = intervals.ratio(nats, sizes, resamples=20_000)
    theirs = stats.bootstrap(
        (nats, sizes), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, vectorized=True, method="percentile",
        n_resamples=20_000, random_state=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found.value == pytest.approx(sum(nats) / sum(sizes))
    width = theirs.high - theirs.low
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=width / 20)


def test_a_difference_interval_is_that_of_brute_force() -> None:
    nats, sizes = files(30)
    other = [one + 0.1 * size for one, size in zip(nats, sizes, strict=True)]
    other[3] *= 1.5
    found = intervals.difference(other, sizes, nats, sizes, resamples=8_000)
    chance = random.Random(2)
    brute = []
    for _ in range(8_000):
        drawn = chance.choices(range(30), k=30)
        of, base, below = (sum(column[i] for i in drawn) for column in (other, nats, sizes))
        brute.append((of - base) / below)
    brute.sort()
    low, high = brute[200], brute[-201]
    assert (found.low, found.high) == pytest.approx((low, high), abs=(high - low) / 15)


def test_the_interval_of_a_mean_is_the_normal_one_when_files_are_many_and_alike() -> None:
    values = np.random.default_rng(3).normal(5, 2, 2_000)
    found = intervals.ratio(values, np.ones(2_000))
    reach = 1.96 * values.std() / math.sqrt(2_000)
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=reach / 8)


@pytest.mark.parametrize("hits", [0, 40])
def test_a_rate_that_every_file_shares_has_no_width(hits: int) -> None:
    assert intervals.ratio([hits] * 12, [40] * 12) == (hits / 40,) * 3


@pytest.mark.parametrize("files", [2, 7, 60])
def test_none_of_many_is_not_taken_for_never(stats: Any, files: int) -> None:
    none = intervals.rate([0] * files, [3] * files)
    theirs = stats.binomtest(0, files).proportion_ci(0.95, method="exact")
    assert none == pytest.approx((0, theirs.low, theirs.high))
    every = intervals.rate([3] * files, [3] * files)
    assert every == pytest.approx((1, 1 - theirs.high, 1))
    some = [1, 0] * files
    assert intervals.rate(some, [3] * 2 * files) == intervals.ratio(some, [3] * 2 * files)


def test_problems_of_one_file_widen_the_interval_where_they_stand_and_fall_together() -> None:
    alone = intervals.ratio([1, 0] * 100, [1] * 200)
    together = intervals.ratio([4, 0] * 25, [4] * 50)
    assert together.value == alone.value
    assert together.high is not None
    assert alone.high is not None
    assert together.high - together.value > 1.5 * (alone.high - alone.value)


def test_the_same_gain_on_every_file_is_certain_whatever_the_files_vary() -> None:
    nats, sizes = files(20)
    better = [one - 0.01 * size for one, size in zip(nats, sizes, strict=True)]
    gain = intervals.difference(better, sizes, nats, sizes)
    assert (gain.value, gain.low, gain.high) == pytest.approx((-0.01,) * 3)
    assert gain.excludes(0)
    alone = intervals.ratio(nats, sizes)
    assert not alone.excludes(sum(better) / sum(sizes))


def test_a_difference_divides_each_model_by_its_own_bytes() -> None:
    nats, sizes = files(20)
    other, _ = files(20, seed=5)
    twice = [[2 * one for one in column] for column in (nats, sizes)]
    assert intervals.difference(other, sizes, *twice) == pytest.approx(intervals.difference(other, sizes, nats, sizes))


def test_one_file_or_seed_tells_nothing_of_how_sure_it_is() -> None:
    assert intervals.ratio([3], [2]) == (1.5, None, None)
    assert intervals.difference([3], [2], [1], [2]) == (1.0, None, None)
    assert intervals.over_seeds([1.5]) == (1.5, None, None)
    assert not intervals.over_seeds([1.5]).excludes(0)


def test_a_resample_depends_on_the_seed_and_its_number_alone() -> None:
    whole = intervals.draws(7, 0, 20, 50)
    assert np.array_equal(whole[13:17], intervals.draws(7, 13, 17, 50))
    assert not np.array_equal(whole, intervals.draws(8, 0, 20, 50))
    assert len({row.tobytes() for row in whole}) == 20


def test_draws_are_even() -> None:
    counts = np.bincount(intervals.draws(1, 0, 1000, 30).ravel(), minlength=30)
    assert len(counts) == 30
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)


def test_pieces_of_the_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nats, sizes = files(40)
    whole = intervals.ratio(nats, sizes, resamples=500)
    monkeypatch.setattr(intervals, "_AT_ONCE", 900)
    assert intervals.ratio(nats, sizes, resamples=500) == pytest.approx(whole)


@given(st.integers(1, 200), st.floats(0.5, 0.9999))
def test_students_quantile_is_that_of_scipy(stats: Any, freedom: int, chance: float) -> None:
    assert intervals.student_quantile(chance, freedom) == pytest.approx(
        stats.t.ppf(chance, freedom), rel=1e-7, abs=1e-9
    )


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042)])
def test_students_quantile_is_that_of_the_printed_tables(freedom: int, expected: float) -> None:
    assert intervals.student_quantile(0.975, freedom) == pytest.approx(expected, abs=5e-4)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9))
def test_an_interval_over_seeds_is_that_of_a_t_test(stats: Any, values: list[float]) -> None:
    found = intervals.over_seeds(values, confidence=0.9)
    spread = statistics.stdev(values) / math.sqrt(len(values))
    if spread > 1e-6:
        theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("above", "below", "why"), [([1, 2], [0, 0], "sum to nothing"), ([1], [1, 2], "one of each a file")]
)
def test_what_has_no_ratio_is_refused(above: list[float], below: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        intervals.ratio(above, below)
    with pytest.raises(ValueError, match="2 files beside 1"):
        intervals.difference([1, 2], [1, 1], [1], [1])


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Files of a known population: 95 % intervals hold its ratio 95 % of the time, less a little for heavy tails."""
    trials = 400
    rate = statistics.fmean(np.random.default_rng(0).normal(1.2, 0.3, 2_000_000).clip(0.1))
    held = {False: 0, True: 0}
    for seed in range(trials):
        nats, sizes = files(150, seed + 1)
        found = intervals.ratio(nats, sizes, seed=seed, resamples=1000)
        held[found.excludes(rate)] += 1
    assert 0.91 <= held[False] / trials <= 0.98
