from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_backend import NumpyBackend
from test_engine import PROMPT, engine_of, finish, recompute

from starloom.errors import GenerationError
from starloom.generate import sampling
from starloom.generate.drafts import FIRST, LONGEST, Drafter, share_needed
from starloom.generate.engine import Engine
from starloom.generate.protocol import Request
from starloom.generate.sampling import Sampling


def looked_up(surroundings: list[int], ids: list[int], most: int) -> list[int]:
    """The obvious reference: go back through the text for its last three ids, then for its last two."""
    text = surroundings + ids
    for size in (3, 2):
        for place in range(len(text) - 1, size - 1, -1):
            if text[place - size : place] == text[-size:] and len(text) >= size:
                guess = text[place:]
                while len(guess) < most:
                    guess = guess + guess  # a text that repeats itself goes on repeating itself
                return guess[:most]
    return []


@given(st.lists(st.integers(0, 2), max_size=9), st.lists(st.integers(0, 2), min_size=1, max_size=30), st.data())
def test_a_guess_is_what_followed_the_last_time(surroundings: list[int], ids: list[int], data: st.DataObject) -> None:
    drafter, most = Drafter(surroundings), data.draw(st.integers(1, FIRST))
    for _ in range(data.draw(st.integers(0, 3))):  # whatever was asked before
        drafter.propose(ids[: data.draw(st.integers(1, len(ids)))], most)
        drafter.rollback(1)
    drafter = Drafter(surroundings)
    for length in sorted(data.draw(st.sets(st.integers(1, len(ids))))):
        drafter.propose(ids[:length], most)
    assert drafter.propose(ids, most) == looked_up(surroundings, ids, most)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.lists(st.integers(0, 2), max_size=20), st.data())
def test_after_a_rollback_nothing_is_guessed_that_was_taken_back(
    first: list[int], second: list[int], data: st.DataObject
) -> None:
    drafter = Drafter()
    drafter.propose(first, 4)
    kept = data.draw(st.integers(1, len(first)))
    drafter.rollback(kept)
    ids = first[:kept] + second
    guess = drafter.propose(ids, 4)
    assert not guess or any(
        (ids + guess)[place : place + len(guess)] == guess and ids[place - 2 : place] == ids[-2:]
        for place in range(2, len(ids))
    )


def test_guesses_stop_where_they_are_wrong_and_are_tried_again() -> None:
    drafter, ids, tried = Drafter(), [1, 2, 3] * 4, []
    for step in range(400):
        guess = drafter.propose(ids, LONGEST)
        tried.append(bool(guess))
        ids += [1, 2, 3] if step % 3 == 0 else [step + 9]  # keeps repeating its beginning, and never what follows
        if guess:
            drafter.learn(len(guess), 0, len(ids), needed=0.1)
    assert 0 < sum(tried) < 60
    assert any(tried[200:])


def test_guesses_that_are_right_grow_longer_and_never_stop() -> None:
    drafter, ids = Drafter(), [1, 2, 3] * 4
    for _ in range(100):
        guess = drafter.propose(ids, 100)
        assert guess
        ids += guess
        drafter.learn(len(guess), len(guess), len(ids), needed=1.0)
    assert len(guess) == LONGEST


@given(st.integers(1, 32), st.floats(0.001, 1))
def test_a_guess_pays_if_its_rows_cost_less_than_the_ids_they_give(running: int, row_cost: float) -> None:
    share = share_needed(running, row_cost)
    plain = running / (1 + (running - 1) * row_cost)  # ids per one-row forward
    guessing = (running + share) / (1 + running * row_cost)
    assert guessing == pytest.approx(plain)


def speak(backend: NumpyBackend, request: Request) -> tuple[list[int], list[int]]:
    engine = engine_of(backend)
    handle = engine.submit(request)
    [tokens] = finish(engine, handle)
    return tokens, [handle.guessed, handle.guessed_right]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_tokens_with_guesses_are_those_without_in_fewer_steps(temperature: float) -> None:
    backend = NumpyBackend(context=200)
    repeats = Sampling(temperature, repetition_penalty=0.6, seed=3)
    request = Request(PROMPT * 2, 150, repeats, logprobs=True, top_logprobs=2)
    engine, plain = engine_of(backend), Engine(NumpyBackend(context=200))
    handle, other = engine.submit(request), plain.submit(request)
    steps = 0
    while not handle.done:
        engine.step()
        steps += 1
    finish(plain, other)
    assert handle.tokens == other.tokens == recompute(backend, request)
    assert handle.logprobs == pytest.approx(other.logprobs)
    assert [[token for token, _ in best] for best in handle.top_logprobs] == [
        [token for token, _ in best] for best in other.top_logprobs
    ]
    assert 0 < handle.guessed_right <= handle.guessed
    assert steps == 150 - handle.guessed_right


def test_surroundings_are_guessed_from() -> None:
    backend = NumpyBackend()
    request = Request(PROMPT, 30)
    expected = recompute(backend, request)
    tokens, [_, right] = speak(backend, Request(PROMPT, 30, surroundings=(*PROMPT, *expected)))
    assert tokens == expected
    assert right > speak(backend, request)[1][1]
    assert right >= 20


def test_surroundings_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(GenerationError, match="id 17 in surroundings is not in the model's vocabulary of 17"):
        Engine(NumpyBackend()).submit(Request(PROMPT, 3, surroundings=(17,)))


def test_draws_with_guesses_follow_the_distribution_by_chi_square() -> None:
    """Over seeds, the first three ids have the chances that the model gives them, guessed or not."""
    backend = NumpyBackend(vocabulary_size=3, context=16, seed=5)
    ours = Sampling(temperature=2.5, repetition_penalty=0.9)
    engine = engine_of(backend, kept_tokens=0)
    prompt = (0, 1, 2, 0, 1, 2, 0, 1)
    count, length = 1000, 3
    handles = [engine.submit(Request(prompt, length + 1, replace(ours, seed=seed))) for seed in range(count)]
    finish(engine, *handles)
    assert sum(handle.guessed_right for handle in handles) > count / 10
    expected: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(length):
        expected = {
            (*head, token): chance * share
            for head, chance in expected.items()
            for token, share in enumerate(
                sampling.distribution(
                    sampling.adjusted(backend.logits([*prompt, *head])[-1], ours, [*prompt, *head]), ours
                )
            )
        }
    observed = dict.fromkeys(expected, 0)
    for handle in handles:
        observed[tuple(handle.tokens[:length])] += 1
    chi2 = sum((observed[ids] - count * chance) ** 2 / (count * chance) for ids, chance in expected.items())
    assert min(expected.values()) * count > 5
    assert chi2 < 54.1  # the 0.999 quantile of chi-square with 26 degrees of freedom


def test_a_wrong_guess_leaves_nothing_behind_in_the_backend() -> None:
    backend = NumpyBackend(context=200)
    chance = random.Random(0)
    engine = engine_of(backend, kept_tokens=0)
    handle = engine.submit(Request(PROMPT * 3, 60, surroundings=tuple(chance.randrange(17) for _ in range(400))))
    while not handle.done:
        engine.step()
        if backend.held:
            assert backend.held[0] == handle.ids[:-1]
    assert handle.guessed > handle.guessed_right


def test_nan_beyond_the_first_wrong_guess_is_no_error() -> None:
    backend = NumpyBackend(poison=16)
    good = recompute(backend, Request(PROMPT, 8, forbid=frozenset({16})))
    request = Request(PROMPT, 8, forbid=frozenset({16}), surroundings=(*PROMPT, good[0], 16, 16))
    tokens, [guessed, _] = speak(backend, request)
    assert tokens == good
    assert guessed
    assert np.isnan(backend.logits([*PROMPT, 16])[-1]).all()


def test_an_unknown_kind_of_speculation_is_named() -> None:
    with pytest.raises(GenerationError, match="speculation is one of off, auto, not 'on'"):
        Engine(NumpyBackend(), speculation="on")  # type: ignore[arg-type]
