from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
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
    ids = sampling.keep_top_p(probabilities, p).tolist()
    kept = by_rank(probabilities)[: len(ids)]
    assert ids == sorted(kept)
    assert probabilities[kept].sum() >= p - 1e-12
    assert probabilities[kept[:-1]].sum() < p + 1e-12


@given(weights, st.integers(1, 400))
def test_ranking_a_few_equals_sorting_all(probabilities: np.ndarray, count: int) -> None:
    assert sampling.ranked(probabilities, count).tolist() == by_rank(probabilities)[:count]


def slowly(logits: np.ndarray, settings: Sampling, seen: list[int]) -> np.ndarray:
    """The obvious reference: Python floats, one id after another."""
    values = [float(value) for value in logits]
    for token, bias in settings.logit_bias:
        values[token] += bias
    for token in set(seen):
        penalty = settings.repetition_penalty
        values[token] = values[token] * penalty if values[token] < 0 else values[token] / penalty
    if settings.temperature == 0:
        best = max(range(len(values)), key=lambda i: (values[i], -i))
        return np.array([float(i == best) for i in range(len(values))])
    chances = [math.exp((value - max(values)) / settings.temperature) for value in values]
    alive = sorted(range(len(values)), key=lambda i: (-values[i], i))[: settings.top_k or None]
    total = sum(chances[i] for i in alive)
    kept: list[int] = []
    for i in alive:
        if sum(chances[j] for j in kept) < settings.top_p * total or settings.top_p == 1:
            kept.append(i)
    kept = [i for i in kept if chances[i] >= settings.min_p * chances[kept[0]]]
    return np.array([chances[i] if i in kept else 0.0 for i in range(len(values))]) / sum(chances[i] for i in kept)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Sampling, list[int]]:
    size = draw(st.integers(1, 40))
    # whole numbers, shuffled: no ties, and no cut so close that rounding decides
    logits = np.array(draw(st.permutations(range(size))), dtype=np.float32) * np.float32(0.37) - np.float32(5.1)
    ids = st.integers(0, size - 1)
    bias = draw(st.dictionaries(ids, st.sampled_from([-3.7, 1.13, 50.01]), max_size=3))
    settings = Sampling(
        temperature=draw(st.sampled_from([0.0, 0.4, 1.0, 2.5])),
        top_k=draw(st.sampled_from([0, 1, 5, 100])),
        top_p=draw(st.sampled_from([1.0, 0.901, 0.3003])),
        min_p=draw(st.sampled_from([0.0, 0.0507, 0.701, 1.0])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.21, 0.83])),
        logit_bias=tuple(bias.items()),
    )
    return logits, settings, draw(st.lists(ids, max_size=6))


@given(cases())
@settings(max_examples=300, deadline=None)
def test_the_distribution_is_that_of_the_slow_reference(case: tuple[np.ndarray, Sampling, list[int]]) -> None:
    logits, sampling_, seen = case
    ours = sampling.distribution(sampling.adjusted(logits, sampling_, seen), sampling_)
    assert ours == pytest.approx(slowly(logits, sampling_, seen), abs=1e-5)
    assert ours.sum() == pytest.approx(1)


@given(cases())
@settings(max_examples=200, deadline=None)
def test_the_distribution_is_that_of_transformers(case: tuple[np.ndarray, Sampling, list[int]]) -> None:
    import torch
    from transformers.generation import logits_process

    logits, ours, seen = case
    if ours.temperature == 0:
        return
    bias = {(token,): value for token, value in ours.logit_bias}
    chain = [logits_process.SequenceBiasLogitsProcessor(bias)] if bias else []
    chain += [logits_process.RepetitionPenaltyLogitsProcessor(ours.repetition_penalty)]
    chain += [logits_process.TemperatureLogitsWarper(ours.temperature)]
    chain += [logits_process.TopKLogitsWarper(ours.top_k)] if ours.top_k else []
    chain += [logits_process.TopPLogitsWarper(ours.top_p), logits_process.MinPLogitsWarper(ours.min_p)]
    scores, ids = torch.tensor(logits[None]), torch.tensor([seen], dtype=torch.long)
    for process in chain:
        scores = process(ids, scores)
    theirs = scores.double().softmax(-1)[0].numpy()
    assert sampling.distribution(sampling.adjusted(logits, ours, seen), ours) == pytest.approx(theirs, abs=1e-4)


@given(cases(), st.integers(0, 50))
def test_what_is_chosen_is_a_draw_from_the_distribution(
    case: tuple[np.ndarray, Sampling, list[int]], position: int
) -> None:
    logits, ours, seen = case
    chances = sampling.distribution(sampling.adjusted(logits, ours, seen), ours)
    expected = sampling.draw(chances, sampling.uniform(ours.seed, position))
    assert sampling.choose(logits, ours, position, seen=seen) == expected


def test_exactly_k_ids_survive_top_k_and_equals_are_ranked_by_id() -> None:
    ids, _ = sampling.candidates(np.array([1, 3, 3, 3, 2], dtype=np.float32), Sampling(temperature=1, top_k=2))
    assert ids.tolist() == [1, 2]


def test_the_likeliest_alternatives_are_ranked_with_their_logarithms() -> None:
    logits = np.log(np.array([0.1, 0.4, 0.4, 0.1], dtype=np.float32))
    best = sampling.likeliest(sampling.log_probabilities(logits), 3)
    assert [token for token, _ in best] == [1, 2, 0]
    assert [value for _, value in best] == pytest.approx(np.log([0.4, 0.4, 0.1]), abs=1e-6)


def test_draws_follow_the_distribution_by_chi_square() -> None:
    logits = np.array([0.3, -1.0, 2.0, 0.0, 1.2, -0.4], dtype=np.float32)
    for ours in (Sampling(temperature=0.8), Sampling(temperature=1.3, top_k=4), Sampling(temperature=1, top_p=0.8)):
        expected = sampling.distribution(logits, ours)
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


def test_chance_is_a_function_of_seed_position_and_sample_alone() -> None:
    triples = itertools.product((*range(9), 2**64 - 1), range(9), (*range(5), 2**64 - 1))
    table = {triple: sampling.uniform(*triple) for triple in triples}
    assert len(set(table.values())) == len(table) == 540
    assert all(0 <= value < 1 for value in table.values())
    for triple, value in reversed(table.items()):
        assert sampling.uniform(*triple) == value


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
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.01}, {"seed": -1},
     {"min_p": 1.1}, {"min_p": float("nan")}, {"repetition_penalty": 0}, {"repetition_penalty": float("inf")}, {"sample": -1},
     {"logit_bias": ((1, float("nan")),)}, {"logit_bias": ((1, 1.0), (1, 2.0))}],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(GenerationError, match=next(iter(settings))):
        Sampling(**settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"repetition_penalty": 1e-300}, {"repetition_penalty": 1e300}, {"logit_bias": ((5, 1e39),)}, {"top_k": 2.5},
        {"seed": 1.5}, {"logit_bias": ((5.5, 1.0),)}, {"logit_bias": (("5", 1.0),)}, {"temperature": "1"},
{"temperature": True}, {"top_p": float("nan")}, {"min_p": None},
    ],
)  # fmt: skip
def test_settings_that_no_draw_survives_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(GenerationError, match=next(iter(wrong))):
        Sampling(**wrong)
