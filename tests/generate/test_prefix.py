from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_backend import NumpyBackend
from test_engine import assert_idle, engine_of, finish, recompute

from starloom.generate.engine import Engine
from starloom.generate.prefix import LEAST, MOST_KEPT, Slots, common
from starloom.generate.protocol import Likelihood, Request
from starloom.generate.sampling import Sampling

LONG = tuple(range(16)) * 2


def fed(backend: NumpyBackend) -> int:
    """Rows that the backend computed."""
    return sum(count for batch in backend.batches for _, count in batch)


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), max_size=8))
def test_common_counts_the_ids_before_the_first_that_differs(one: list[int], other: list[int]) -> None:
    length = common(np.array(one, dtype=np.int32), np.array(other, dtype=np.int32))
    assert one[:length] == other[:length]
    assert length in (len(one), len(other)) or one[length] != other[length]


def test_samples_of_one_prompt_compute_it_once() -> None:
    backend = NumpyBackend()
    engine = Engine(backend)
    requests = [Request(LONG, 1, Sampling(temperature=1, sample=sample)) for sample in range(5)]
    assert finish(engine, *map(engine.submit, requests)) == [recompute(backend, request) for request in requests]
    assert fed(backend) == len(LONG) + 4  # the last id of each: its logits are wanted


def test_a_prompt_that_continues_an_ended_request_takes_its_slot_over() -> None:
    backend = NumpyBackend()
    engine = Engine(backend)
    finish(engine, first := engine.submit(Request(LONG, 4)))
    before, backend.share = fed(backend), None  # type: ignore[assignment,method-assign]
    again = Request((*first.ids, 3, 5), 2)
    assert finish(engine, engine.submit(again)) == [recompute(backend, again)]
    assert fed(backend) - before == 1 + 2 + 1  # the last drawn id, two new, and the first of two draws


def test_a_prompt_waits_for_another_that_is_computing_its_beginning_and_for_nothing_else() -> None:
    backend = NumpyBackend()
    engine = Engine(backend, chunk=4)
    first = engine.submit(Request(LONG, 1))
    engine.step()
    same = engine.submit(Request((*LONG, 9), 1))
    other = engine.submit(Request((9,), 1))
    while not other.done:
        engine.step()
    assert not first.done
    assert finish(engine, first, same)[1] == recompute(backend, same.request)
    assert fed(backend) <= len(LONG) + 4 + 1 + 1


def test_who_waits_for_a_request_that_is_cancelled_goes_on_alone() -> None:
    backend = NumpyBackend()
    engine = Engine(backend, chunk=4)
    first, second = (engine.submit(Request(LONG, 3, Sampling(sample=sample))) for sample in range(2))
    for _ in range(3):
        engine.step()
    engine.cancel(first)
    assert finish(engine, second) == [recompute(backend, second.request)]
    assert fed(backend) < 12 + len(LONG) + 4  # what the first had computed was not lost either


def test_continuations_of_one_context_compute_it_once_and_have_the_likelihoods_of_each_alone() -> None:
    backend = NumpyBackend()
    pairs = [(LONG, (last, 5)) for last in range(6)]
    alone = [Engine(backend, kept_tokens=0).loglikelihood([pair])[0] for pair in pairs]
    backend.batches.clear()
    together = Engine(backend).loglikelihood(pairs)
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Likelihood)
        assert isinstance(other, Likelihood)
        assert one.logprobs == pytest.approx(other.logprobs, rel=1e-6)
    assert fed(backend) == len(LONG) - 1 + 6 * 2


def test_a_beginning_shorter_than_it_is_worth_is_computed_anew() -> None:
    backend = NumpyBackend()
    engine = Engine(backend)
    short = LONG[: LEAST - 1]
    finish(engine, engine.submit(Request(short, 1)), engine.submit(Request(short, 1)))
    assert fed(backend) == 2 * len(short)


def test_what_is_kept_is_bounded_in_ids_and_slots_and_the_least_recently_used_goes_first() -> None:
    backend = NumpyBackend(vocabulary_size=1000)
    slots = Slots(backend, kept_tokens=20, least=1)
    for first in range(4):
        slot, _ = slots.open([first, 1, 2, 3, 4], 4, ())
        backend.forward([(slot, [first, 1, 2, 3, 4])])
        slots.close(slot, [first, 1, 2, 3, 4])
        if first == 2:
            slot, length = slots.open([0, 1, 9], 2, ())  # uses the first again
            assert length == 2
            slots.discard(slot)
    assert slots.tokens == 20
    slot, _ = slots.open([7] * 6, 5, ())
    backend.forward([(slot, [7] * 6)])
    slots.close(slot, [7] * 6)
    assert sorted(ids[0] for ids in slots._kept.values()) == [0, 3, 7]  # 1 and 2 made room
    slot, _ = slots.open([8] * 30, 29, ())
    backend.forward([(slot, [8] * 30)])
    slots.close(slot, [8] * 30)  # longer than all that may be kept
    assert sorted(ids[0] for ids in slots._kept.values()) == [0, 3, 7]
    many = Slots(backend, kept_tokens=10**6, least=1)
    for first in range(2 * MOST_KEPT):
        slot, _ = many.open([first], 0, ())
        backend.forward([(slot, [first])])
        many.close(slot, [first])
    assert len(many._kept) == MOST_KEPT


def test_a_sequence_within_a_longer_one_is_not_kept_twice() -> None:
    backend = NumpyBackend()
    engine = engine_of(backend, speculation="off")
    for length in (20, 25, 30):
        finish(engine, engine.submit(Request(LONG[:length], 1)))
    assert engine._slots.tokens == 30


def test_keeping_nothing_frees_at_once() -> None:
    backend = NumpyBackend()
    engine = engine_of(backend, kept_tokens=0)
    finish(engine, engine.submit(Request(LONG, 3)))
    assert not backend.held


def test_a_copy_that_fails_is_an_error_of_its_request_alone() -> None:
    backend = NumpyBackend()
    engine = engine_of(backend)
    finish(engine, engine.submit(Request(LONG, 3)))

    def full(*arguments: Any) -> None:
        raise MemoryError("no room")

    backend.share = full  # type: ignore[method-assign,assignment]
    other = engine.submit(Request((9, 9, 9), 9))
    failed = engine.submit(Request((*LONG[:20], 9), 9))
    assert finish(engine, other, failed) == [recompute(backend, other.request), []]
    assert str(failed.error) == "the backend failed on this request: MemoryError: no room"
    assert_idle(engine, backend)


def test_what_nan_logits_left_behind_is_never_shared() -> None:
    backend = NumpyBackend(poison=16)
    engine = engine_of(backend)
    finish(engine, engine.submit(Request((*LONG, 16), 5)))
    assert engine._slots.tokens == 0
