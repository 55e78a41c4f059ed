"""Batches are functions of their arguments, and every token of one leads back to the bytes that it holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_mix import PROSE, ByteOrigin, corpora, file_row, origin_of_each_byte, packed, row, vocabulary

from starloom.corpus.rendered import Rendered
from starloom.errors import ConfigError, DamagedError
from starloom.tokens.dataset import Dataset, Origin, permuted
from starloom.tokens.fim import FIM

Fields = dict[tuple[bytes, str], bytes]
WORDS = vocabulary()
SENTINELS = {WORDS.control(f"fim_{name}") for name in ("prefix", "middle", "suffix", "pad")}


@given(count=st.integers(1, 3000), seed=st.integers(0, 2**63), epoch=st.integers(0, 1000))
def test_the_order_of_an_epoch_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(permuted(range(count), count, seed=seed, epoch=epoch).tolist()) == list(range(count))


def test_orders_of_epochs_and_seeds_have_nothing_in_common() -> None:
    count = 5000
    orders = [permuted(range(count), count, seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)]
    for one in range(len(orders)):
        assert abs(np.corrcoef(orders[one], np.arange(count))[0, 1]) < 0.06  # four standard deviations
        assert abs(np.corrcoef(orders[one][:-1], orders[one][1:])[0, 1]) < 0.06
        for other in range(one):
            assert abs(np.corrcoef(orders[one], orders[other])[0, 1]) < 0.06
            assert (orders[one] == orders[other]).sum() < 12  # one is expected


def test_an_epoch_visits_every_sample_once_whatever_the_batch() -> None:
    with packed([[file_row(text * 4, number) for number, text in enumerate(PROSE)]], context=16) as built:
        data = Dataset(built)
        for size in (1, 3, data.samples + 2):
            steps = -(-2 * data.samples // size)
            places = [place for step in range(steps) for place in data.places(seed=1, step=step, size=size)]
            for epoch in range(2):
                visited = places[epoch * data.samples : (epoch + 1) * data.samples]
                assert {place.epoch for place in visited} == {epoch}
                assert sorted(place.sample for place in visited) == list(range(data.samples))


def test_samples_overlap_by_one_token_and_cover_the_stream() -> None:
    with packed([[file_row(text * 4, number) for number, text in enumerate(PROSE)]], context=16) as built:
        data = Dataset(built)
        stream = data.tokens.tolist()
        assert data.samples == (len(stream) - 1) // 16
        for index in range(data.samples):
            assert data.sample(index).tolist() == stream[16 * index : 16 * index + 17]
        with pytest.raises(IndexError):
            data.sample(data.samples)


def test_a_batch_is_a_function_of_its_arguments() -> None:
    with packed([[file_row(text * 9, number) for number, text in enumerate(PROSE)]], context=64) as built:
        data, again = Dataset(built), Dataset(built)
        forward = [data.batch(seed=5, step=step, size=4, fim=FIM()) for step in range(6)]
        for step in reversed(range(6)):
            assert np.array_equal(again.batch(seed=5, step=step, size=4, fim=FIM()), forward[step])
            halves = [again.batch(seed=5, step=2 * step + half, size=2, fim=FIM()) for half in range(2)]
            assert np.array_equal(np.concatenate(halves), forward[step])  # accumulation sees the same samples
        assert forward[0].shape == (4, 65)
        assert forward[0].dtype == np.int64
        assert not np.array_equal(data.batch(seed=6, step=0, size=4, fim=FIM()), forward[0])


@settings(max_examples=20)
@given(corpus=corpora(), context=st.integers(8, 60), seed=st.integers(0, 2**32))
def test_every_token_leads_through_fim_and_redaction_to_its_original_bytes(
    corpus: tuple[list[Rendered], Fields], context: int, seed: int
) -> None:
    rows, fields = corpus
    half = len(rows) // 2
    shards = [[row(one) for one in rows[:half]], [], [row(one) for one in rows[half:]]]
    rendered = {(0, n): one for n, one in enumerate(rows[:half])} | {(2, n): one for n, one in enumerate(rows[half:])}
    rendered = {place: one.with_marks(WORDS.marks_as_text()) for place, one in rendered.items()}
    known = {place: origin_of_each_byte(one) for place, one in rendered.items()}
    with packed(shards, context) as built:
        data = Dataset(built)
        if data.samples == 0:
            return
        for fim in (None, FIM(0.5, 0.5), FIM(1, 0), FIM(1, 1)):
            replay = data.replay(seed=seed, step=1, size=3, fim=fim)
            assert np.array_equal(replay.ids, data.batch(seed=seed, step=1, size=3, fim=fim))
            for line in range(3):
                for place, token in enumerate(replay.ids[line].tolist()):
                    origin = replay.origin(line, place)
                    if origin is None:
                        assert token in SENTINELS
                    else:
                        mix = origin.shard, origin.row
                        leads_back(token, origin, rendered[mix], known[mix], fields)


def leads_back(token: int, origin: Origin, mixed: Rendered, known: list[ByteOrigin], fields: Fields) -> None:
    own = WORDS.bytes_of([token])
    assert mixed.text.encode()[origin.byte_start : origin.byte_end] == own
    spans = mixed.to_original(origin.byte_start, origin.byte_end)
    origins = known[origin.byte_start : origin.byte_end]
    if all(one is not None and one[4] for one in origins):  # no edit, no insertion
        assert b"".join(fields[one.source, one.field][one.start : one.end] for one in spans) == own
    regions = {one[:4] for one in origins if one is not None and not one[4]}
    assert {(one.source, one.field, one.start, one.end) for one in spans if not one.copied} == regions
    sources = {one and one[0] for one in origins}
    assert {one.source for one in spans} == sources - {None}
    if len(sources) == 1 and sources != {None} and not files_touch(mixed):
        assert {origin.source} == sources


def files_touch(mixed: Rendered) -> bool:
    """Whether two files follow each other without a control: a token may hold bytes of both, and names the first."""
    return any(len({mixed.parts[part].source for part in run.parts} - {None}) > 1 for run in mixed.runs())


def test_copied_and_inserted_bytes_are_all_that_a_token_holds() -> None:
    """The spans of tokens without edits, laid end to end, are the file: nothing is lost on the way back."""
    with packed([[file_row(text * 4, number) for number, text in enumerate(PROSE)]], context=32) as built:
        data = Dataset(built)
        covered: dict[tuple[int, int], set[int]] = {}
        for step in range(data.samples):
            replay = data.replay(seed=0, step=step, size=1)
            for place in range(32):
                origin = replay.origin(0, place)
                assert origin is not None
                seen = covered.setdefault((origin.shard, origin.row), set())
                seen.update(range(origin.byte_start, origin.byte_end))
        sizes = {(0, number): len((text * 4).encode()) for number, text in enumerate(PROSE)}
        for key in [(0, 0), (0, 1), (0, 2)]:  # the last file's end is behind the last sample
            assert covered[key] == set(range(sizes[key]))


def test_a_named_validation_set_is_a_dataset_of_its_own_and_leads_back_to_its_own_files() -> None:
    names = ("b", None, "a", "b")
    shards = [
        [file_row(text * 5, 10 * shard + n, "heldout", 1, names[n]) for n, text in enumerate(PROSE)]
        for shard in range(2)
    ]
    with packed(shards, context=16) as built:
        for name in ("a", "b"):
            data = Dataset(built, "heldout", validation=name)
            members = [(shard, row) for shard in range(2) for row in range(4) if names[row] == name]
            ids = [[*WORDS.encode(PROSE[row] * 5), WORDS.end_of_document] for _, row in members]
            stream = [token for one in ids for token in one]
            assert data.tokens.tolist() == stream
            assert data.samples == (len(stream) - 1) // 16
            assert [data.sample(n).tolist() for n in range(data.samples)] == [
                stream[16 * n : 16 * n + 17] for n in range(data.samples)
            ]
            owners = [member for member, one in zip(members, ids, strict=True) for _ in one]
            offsets = np.concatenate([np.cumsum([0, *WORDS.byte_lengths[one[:-1]]]) for one in ids])
            replay = data.replay(seed=3, step=0, size=data.samples)
            for line, place in enumerate(replay.places):
                for token in range(17):
                    at = 16 * place.sample + token
                    origin = replay.origin(line, token)
                    assert origin is not None
                    assert (origin.shard, origin.row, origin.byte_start) == (*owners[at], offsets[at])
        with pytest.raises(ConfigError, match=r"no validation set 'c'; it has a, b"):
            Dataset(built, "heldout", validation="c")
        with pytest.raises(ConfigError, match="lies in the heldout split, not in train"):
            Dataset(built, "train", validation="a")
    with packed([[file_row("x", 0, "heldout")]]) as built, pytest.raises(ConfigError, match="names none"):
        Dataset(built, "heldout", validation="a")


def test_a_split_shorter_than_a_sample_says_what_to_do() -> None:
    with packed([[file_row("x = 1\n")]], context=4096) as built:
        assert Dataset(built).samples == 0
        with pytest.raises(ConfigError, match=r"too few for a sample of 4097; read more, or set pack.context lower"):
            Dataset(built).batch(seed=0, step=0, size=1)
        with pytest.raises(ConfigError, match="no split 'test'"):
            Dataset(built, "test")


def test_a_token_outside_the_vocabulary_is_damage() -> None:
    with packed([[file_row(PROSE[0] * 9)]], context=16) as built:
        path = built.path("tokens-train.bin")
        data = bytearray(path.read_bytes())
        data[64 + 2 * 5 + 1] = 0xFF
        path.write_bytes(data)
        with pytest.raises(DamagedError, match="holds the token"):
            Dataset(built).sample(0)
