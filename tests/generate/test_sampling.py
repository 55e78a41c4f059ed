from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import GenerationError
from starloom.generate import sampling
from starloom.generate.sampling import Sampling

# few distinct values, so that ties are common
weights = (
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5, 8.0]), min_size=1, max_size=300)
    .filter(any)
    .map(lambda values: np.array(values) / np.sum(values))
)
shares = st.floats(0.01, 1.0)


def by_rank(probabilities: np.ndarray) -> list[int]:
    return sorted(range(len(probabilities)), key=lambda i: (-probabilities[i], i))


@given(weights, shares)
def test_top_p_keeps_the_smallest_set_of_the_likeliest_that_reaches_p(probabilities: np.ndarray, p: float) -> None:
    kept = set(np.flatnonzero(sampling.keep_top_p(probabilities, p)).tolist())
    order = [i for i in by_rank(probabilities) if probabilities[i] > 0]
    assert kept == set(order[: len(kept)])
    assert probabilities[order[: len(kept)]].sum() >= p - 1e-12
    assert p >= 1 or probabilities[order[: len(kept) - 1]].sum() < p + 1e-12


@given(weights, st.integers(1, 300))
def test_top_k_keeps_exactly_k_and_ranks_equals_by_id(probabilities: np.ndarray, k: int) -> None:
    kept = np.flatnonzero(sampling.keep_top_k(probabilities, k)).tolist()
    assert kept == sorted(i for i in by_rank(probabilities)[:k] if probabilities[i] > 0)


@given(weights, st.integers(1, 400))
def test_ranking_a_few_equals_sorting_all(probabilities: np.ndarray, count: int) -> None:
    assert sampling.ranked(probabilities, count).tolist() == by_rank(probabilities)[:count]


@given(weights, shares, st.integers(0, 20))
def test_what_is_kept_sums_to_one_in_the_old_proportions(probabilities: np.ndarray, p: float, k: int) -> None:
    kept = sampling.keep_top_p(sampling.keep_top_k(probabilities, k), p)
    assert kept.sum() == pytest.approx(1)
    alive = kept > 0
    ratios = kept[alive] / probabilities[alive]
    assert np.allclose(ratios, ratios[0])


def test_draws_follow_the_distribution_by_chi_square() -> None:
    logits = np.array([0.3, -1.0, 2.0, 0.0, 1.2, -0.4], dtype=np.float32)
    for settings in (Sampling(temperature=0.8), Sampling(temperature=1.3, top_k=4), Sampling(temperature=1, top_p=0.8)):
        expected = sampling.distribution(logits, settings)
        count = 4000
        drawn = [sampling.draw(expected, sampling.uniform(11, position)) for position in range(count)]
        observed = np.bincount(drawn, minlength=len(logits))
        alive = expected > 0
        assert observed[~alive].sum() == 0
        chi2 = (((observed - count * expected) ** 2)[alive] / (count * expected[alive])).sum()
        assert chi2 < 20.5  # the 0.999 quantile of chi-square with 5 degrees of freedom


@given(weights, st.floats(0, 1, exclude_max=True))
def test_a_draw_is_the_inverse_of_the_running_sum(probabilities: np.ndarray, chance: float) -> None:
    token = sampling.draw(probabilities, chance)
    assert probabilities[token] > 0
    assert probabilities[:token].sum() <= chance + 1e-12
    assert probabilities[: token + 1].sum() >= chance - 1e-12


def test_chance_is_a_function_of_seed_and_position_alone() -> None:
    table = {(seed, position): sampling.uniform(seed, position) for seed in range(20) for position in range(20)}
    assert len(set(table.values())) == 400
    assert all(0 <= value < 1 for value in table.values())
    for (seed, position), value in reversed(table.items()):
        assert sampling.uniform(seed, position) == value


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    assert sampling.choose(np.array([1, 3, 3, 2], dtype=np.float32), Sampling(), 0) == 1


def test_temperature_matches_the_softmax_of_scaled_logits() -> None:
    logits = np.array([0.5, -2, 3, 1], dtype=np.float32)
    plain = np.exp(logits.astype(float) / 0.7)
    assert sampling.distribution(logits, Sampling(temperature=0.7)) == pytest.approx(plain / plain.sum())


def test_top_p_counts_what_top_k_left() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    chances = sampling.distribution(logits, Sampling(temperature=1, top_k=2, top_p=0.57))
    assert chances == pytest.approx([1, 0, 0, 0])  # 0.4 of 0.7 is more than 0.57; of the whole it would take both


def test_a_vanishing_temperature_is_greedy_and_does_not_overflow() -> None:
    logits = np.array([-1e30, 5, 4.999], dtype=np.float32)
    assert sampling.distribution(logits, Sampling(temperature=1e-300)).tolist() == [0, 1, 0]


@given(st.sets(st.integers(0, 7), max_size=7), st.integers(0, 200), st.floats(0, 2))
def test_a_forbidden_id_is_never_chosen(forbidden: set[int], position: int, temperature: float) -> None:
    logits = np.linspace(2, -2, 8).astype(np.float32)
    mask = np.array(sorted(forbidden), dtype=np.intp)
    assert sampling.choose(logits, Sampling(temperature=temperature), position, mask) not in forbidden
    assert np.isfinite(logits).all()  # the caller's logits are untouched


def test_forbidding_every_id_is_an_error() -> None:
    with pytest.raises(GenerationError, match="every id is forbidden at position 4"):
        sampling.choose(np.zeros(3, dtype=np.float32), Sampling(), 4, np.array([0, 1, 2]))


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.01}, {"seed": -1}],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, float]) -> None:
    with pytest.raises(GenerationError, match=next(iter(settings))):
        Sampling(**settings)  # type: ignore[arg-type]
