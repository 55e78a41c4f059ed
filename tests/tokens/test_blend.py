"""A blend gives each pack its share after any number of samples, at random access, and leads back like one pack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_mix import PROSE, file_row, packed, vocabulary

from starloom.errors import ConfigError
from starloom.store import Built
from starloom.tokens.blend import LONGEST_PERIOD, Blend, open_packs, pattern, shares
from starloom.tokens.dataset import Dataset, Place
from starloom.tokens.fim import FIM

some_weights = st.lists(
    st.one_of(st.just(0), st.integers(1, 10**12), st.floats(1e-6, 1e6), st.sampled_from([0.1, 0.25, 1 / 3])),
    min_size=1,
    max_size=7,
).filter(any)


@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any), periods=st.integers(1, 3))
def test_after_any_number_of_samples_each_pack_has_its_share_within_one(counts: list[int], periods: int) -> None:
    dealt = np.tile(pattern(counts), periods)
    for pack, count in enumerate(counts):
        taken = np.cumsum(dealt == pack)
        ideal = [Fraction(number * count, sum(counts)) for number in range(1, len(dealt) + 1)]
        assert all(abs(int(have) - want) < 1 for have, want in zip(taken, ideal, strict=True))


@settings(max_examples=15)
@given(weights=some_weights)
def test_weights_become_shares_of_a_short_period(weights: list[float]) -> None:
    counts = shares(weights)
    period, total = sum(counts), sum(map(Fraction, weights))
    assert period <= LONGEST_PERIOD
    for weight, count in zip(weights, counts, strict=True):
        assert (count > 0) == (weight > 0)
        assert abs(Fraction(count, period) - Fraction(weight) / total) <= Fraction(len(weights), LONGEST_PERIOD)
    taken = np.cumsum(pattern(counts)[:, None] == np.arange(len(counts)), axis=0)
    ideal = np.arange(1, period + 1)[:, None] * np.array(counts) / period
    assert np.abs(taken - ideal).max() < 1


def test_weights_that_have_a_short_period_are_exact() -> None:
    assert shares([0.7, 0.2, 0.1]) == (7, 2, 1)
    assert shares([2, 0, 6]) == (1, 0, 3)
    assert shares([1e-3, 0.999]) == (1, 999)
    assert shares([5]) == (1,)


@contextlib.contextmanager
def packs(sizes: Sequence[int], **changes: Any) -> Iterator[list[Built]]:
    """Packs of so many copies of some text each, no two of the same text."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(packed([[file_row(f"pack {number}\n" + PROSE[number] * size, number)]], 16, **changes))
            for number, size in enumerate(sizes)
        ]


def test_a_blend_of_one_pack_is_that_pack() -> None:
    with packs([9, 4]) as (one, other):
        alone = Dataset(one)
        for blend in (Blend([alone]), Blend([alone], [3]), Blend([alone, Dataset(other)], [1, 0])):
            for step in range(5):
                for fim in (None, FIM()):
                    wanted = alone.batch(seed=2, step=step, size=7, fim=fim)
                    assert np.array_equal(blend.batch(seed=2, step=step, size=7, fim=fim), wanted)
            assert blend.samples == alone.samples
        assert isinstance(open_packs([one]), Dataset)


def test_each_pack_is_visited_epoch_by_epoch_in_an_order_of_its_own() -> None:
    with packs([12, 3, 5]) as built:
        blend = Blend([Dataset(one) for one in built], [1, 3, 2])
        steps = 40
        places = [place for step in range(steps) for place in blend.places(seed=1, step=step, size=6)]
        for number, weight in enumerate((1, 3, 2)):
            own = [place for place in places if place.pack == number]
            assert len(own) == steps * weight
            count = blend.packs[number].samples
            assert [place.epoch for place in own] == [position // count for position in range(len(own))]
            for epoch in range(len(own) // count):
                assert sorted(place.sample for place in own if place.epoch == epoch) == list(range(count))
        assert any(place.epoch > 1 for place in places if place.pack == 1)  # the small one repeats


def test_packs_have_cuts_of_their_own() -> None:
    with packs([9]) as (built,):
        blend = Blend([Dataset(built), Dataset(built)], [1, 1])
        lines = [[blend.line(Place(0, sample, pack), 0, FIM(1)).ids.tolist() for sample in range(9)] for pack in (0, 1)]
        assert lines[0] != lines[1]


def test_batches_depend_on_seed_and_step_alone_and_splitting_one_keeps_its_lines() -> None:
    with packs([9, 9, 2]) as built:
        blend, again = (open_packs(built, (0.5, 0.3, 0.2)) for _ in range(2))
        forward = [blend.batch(seed=5, step=step, size=4, fim=FIM()) for step in range(9)]
        for step in reversed(range(9)):
            assert np.array_equal(again.batch(seed=5, step=step, size=4, fim=FIM()), forward[step])
            halves = [again.batch(seed=5, step=2 * step + half, size=2, fim=FIM()) for half in range(2)]
            assert np.array_equal(np.concatenate(halves), forward[step])
        assert not np.array_equal(blend.batch(seed=6, step=0, size=4), blend.batch(seed=5, step=0, size=4))


def test_every_token_leads_to_a_file_of_the_pack_that_its_line_names() -> None:
    with packs([9, 7, 5]) as built:
        blend = Blend([Dataset(one) for one in built], [1, 2, 2])
        texts = [f"pack {number}\n" + PROSE[number] * size for number, size in enumerate([9, 7, 5])]
        for step in range(6):
            replay = blend.replay(seed=0, step=step, size=5, fim=FIM(0.8, 0.5))
            assert np.array_equal(replay.ids, blend.batch(seed=0, step=step, size=5, fim=FIM(0.8, 0.5)))
            for line, place in enumerate(replay.places):
                for token, number in enumerate(replay.ids[line].tolist()):
                    origin = replay.origin(line, token)
                    if origin is None:
                        continue
                    text = texts[place.pack].encode()
                    assert origin.source == blend.packs[place.pack].segments.source[0]
                    assert text[origin.byte_start : origin.byte_end] == blend.vocabulary.bytes_of([number])


@settings(max_examples=15)
@given(weights=st.lists(st.integers(0, 5), min_size=2, max_size=2).filter(any), before=st.integers(0, 200))
def test_the_positions_of_samples_are_where_they_are_met(weights: list[int], before: int) -> None:
    with packs([4, 7]) as built:
        blend = Blend([Dataset(one) for one in built], weights)
        places = blend.places(seed=3, step=0, size=before)
        for pack in range(2):
            for first, last in ((0, 0), (1, 3), (0, 99)):
                met = [n for n, one in enumerate(places) if one.pack == pack and first <= one.sample <= last]
                assert blend.positions(first, last, seed=3, before=before, pack=pack).tolist() == met


def test_without_weights_packs_have_their_shares_of_the_tokens() -> None:
    with packs([30, 10, 0]) as built:
        blend = open_packs(built)
        assert isinstance(blend, Blend)
        tokens = [len(pack.tokens) if pack.samples else 0 for pack in blend.packs]
        assert tokens[2] == 0
        assert np.allclose(np.array(blend.shares) / sum(blend.shares), np.array(tokens) / sum(tokens), atol=1e-4)


def test_what_cannot_be_blended_is_refused_with_the_reason() -> None:
    with packs([9, 9, 0]) as built, packs([9], words=vocabulary(size=600)) as foreign:
        data = [Dataset(one) for one in built]
        with pytest.raises(ConfigError, match="different vocabularies"):
            Blend([data[0], Dataset(foreign[0])])
        longer = packed([[file_row(PROSE[0] * 9)]], context=20)
        with longer as other, pytest.raises(ConfigError, match="contexts of 16 and 20 tokens"):
            Blend([data[0], Dataset(other)])
        for weights, reason in (
            ([1], "1 weights"),
            ([1, -1, 1], "no shares"),
            ([0, 0, 0], "no shares"),
            ([1, float("nan"), 1], "no shares"),
            ([1, float("inf"), 1], "no shares"),
        ):
            with pytest.raises(ConfigError, match=reason):
                Blend(data, weights)
        with pytest.raises(ConfigError, match="too few for a sample"):
            Blend(data, [1, 1, 1]).places(seed=0, step=0, size=3)
        with pytest.raises(ConfigError, match="too few for a sample"):
            Blend([data[2], data[2]])
