"""Rows become one stream of tokens, and every stretch of it names its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_mix import PROSE, documents, file_row, pack_stage, packed, row, source_id, texts, vocabulary

from starloom.cluster import Local
from starloom.corpus.rendered import Part, Rendered
from starloom.errors import DamagedError, StoreError, TokenizerError
from starloom.stage import Runtime, build
from starloom.store import Built, Store
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.pack import HEADER_BYTES, header, open_tokens, repeats, tokenize, validation_ranges
from starloom.tokens.special import every_spelling

WORDS = vocabulary()


def tokens_of(built: Built, split: str = "train") -> list[int]:
    return [int(token) for token in open_tokens(built.path(f"tokens-{split}.bin"))]


def segments_of(built: Built, split: str = "train") -> list[dict[str, Any]]:
    return built.table(f"segments-{split}.parquet").to_pylist()  # type: ignore[no-any-return]


@given(pieces=st.lists(texts, max_size=4))
def test_text_up_to_the_next_control_is_encoded_as_one_string(pieces: list[str]) -> None:
    parts = [
        Part("file_name", "a.py", source_id(0), "path"),
        *(Part(None, piece, source_id(0), "text") for piece in pieces),
    ]
    ((ids, _),) = tokenize([Rendered((*parts, Part("end_of_document", "")))], WORDS)
    expected = [WORDS.control("file_name"), *WORDS.encode("a.py" + "".join(pieces)), WORDS.end_of_document]
    assert ids.tolist() == expected


@settings(max_examples=60)
@given(given_rows=st.lists(documents(), max_size=3))
def test_segments_cover_a_row_and_each_holds_its_bytes_of_the_rendered_text(given_rows: list[Any]) -> None:
    rows = [rendered for rendered, _ in given_rows]
    for rendered, (ids, segments) in zip(rows, tokenize(rows, WORDS), strict=True):
        text = rendered.with_marks(WORDS.marks_as_text()).text.encode()
        assert WORDS.bytes_of(ids.tolist()) == text
        assert [segments[0].start, *(segment.end for segment in segments)] == [
            *(segment.start for segment in segments),
            len(ids),
        ]
        for segment in segments:
            assert (
                WORDS.bytes_of(ids[segment.start : segment.end].tolist()) == text[segment.byte_start : segment.byte_end]
            )
        sources = [part.source for part in rendered.parts if part.source is not None]
        assert [segment.source for segment in segments] == list(dict.fromkeys(sources))


def test_controls_before_a_file_belong_to_it_and_what_follows_the_last_to_the_last() -> None:
    one, two = source_id(1), source_id(2)
    words = vocabulary("starcoder2")
    rendered = Rendered(
        (
            Part("repository", "a/b", one, "repository"),
            Part("file_separator", "x.py", one, "path"),
            Part(None, "\nx = 1\n", one, "text"),
            Part("file_separator", "y.py", two, "path"),
            Part(None, "\n"),
            Part(None, "y = 2\n", two, "text"),
            Part("end_of_document", ""),
        )
    )
    ((ids, segments),) = tokenize([rendered], words)
    separators = np.flatnonzero(ids == words.control("file_separator")).tolist()
    assert [(segment.source, segment.start, segment.end) for segment in segments] == [
        (one, 0, separators[1]),
        (two, separators[1], len(ids)),
    ]


def test_sentinels_typed_in_a_file_are_text_and_only_the_rows_own_controls_are_controls() -> None:
    text = "\n".join(every_spelling())
    ((ids, _),) = tokenize([Rendered((Part(None, text, source_id(0), "text"), Part("end_of_document", "")))], WORDS)
    assert [place for place, token in enumerate(ids.tolist()) if WORDS.is_control(token)] == [len(ids) - 1]
    assert WORDS.bytes_of(ids.tolist()) == text.encode()


def test_a_pack_holds_the_splits_apart_and_its_vocabulary_beside_them() -> None:
    shards = [[file_row("one\n", 1), file_row("two\n", 2, "heldout"), file_row("three\n", 3)], [], [file_row("4\n", 4)]]
    with packed(shards) as built:
        files = [[*WORDS.encode(text), WORDS.end_of_document] for text in ("one\n", "three\n", "4\n")]
        ends = np.cumsum([len(ids) for ids in files]).tolist()
        assert tokens_of(built) == [token for ids in files for token in ids]
        assert tokens_of(built, "heldout") == [*WORDS.encode("two\n"), WORDS.end_of_document]
        found = [(one["source"], one["shard"], one["row"], one["start"], one["end"]) for one in segments_of(built)]
        assert found == [
            (source_id(1), 0, 0, 0, ends[0]),
            (source_id(3), 0, 2, ends[0], ends[1]),
            (source_id(4), 2, 0, ends[1], ends[2]),
        ]
        assert Vocabulary.load(built).encode("one") == WORDS.encode("one")
        assert built.counts["bytes"] == {"train": 12, "heldout": 4}
        assert built.counts["tokens"] == {"train": ends[2], "heldout": len(tokens_of(built, "heldout"))}
        assert (built.counts["rows_in"], built.counts["rows_out"]) == (4, 4)


def test_the_files_are_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    shards = [
        [
            file_row(
                f"x = {number}\n" * 9, number * 10 + shard, *(("heldout", 1, f"set {number}") if number % 2 else ())
            )
            for number in range(5)
        ]
        for shard in range(3)
    ]
    stage = pack_stage(tmp_path, shards, 32, WORDS)
    alone = build(stage, Store(tmp_path / "alone"), Runtime())
    pool = Local(2)
    try:
        shared = build(stage, Store(tmp_path / "shared"), Runtime(workers=2, cluster=pool))
    finally:
        pool.close()
    assert alone.manifest["files"] == shared.manifest["files"]
    assert alone.counts == shared.counts


TASKS = Path("/proc/self/task")


def _threads_that_encoding_starts(texts: list[str]) -> int:
    before = sum(1 for _ in TASKS.iterdir())  # NumPy's linear algebra may have some of its own
    WORDS.encode_batch(texts)
    return sum(1 for _ in TASKS.iterdir()) - before


@pytest.mark.skipif(not TASKS.is_dir(), reason="counts threads in /proc")
def test_workers_of_a_pool_encode_with_one_thread_each() -> None:
    pool = Local(2)
    try:
        counts = [count for _, count in pool.map(_threads_that_encoding_starts, [["def f():\n"] * 500] * 4)]
        assert max(counts) <= 1
    finally:
        pool.close()


def test_a_control_that_the_family_lacks_names_the_shard(tmp_path: Path) -> None:
    rows = [row(Rendered((Part("repository", "a/b", source_id(0), "repository"),)))]
    stage = pack_stage(tmp_path, [rows], 32, vocabulary("santacoder", 500))
    with pytest.raises(
        TokenizerError, match=r"part-00000.parquet: the santacoder family has no control token 'repository'"
    ):
        build(stage, Store(tmp_path / "store"), Runtime())


SETS = ("language:Python", "language:C", "kind:issue", "größe, 1", None, None)
splits = st.sampled_from([("train", None), *(("heldout", name) for name in SETS)])


@settings(max_examples=30)
@given(shards=st.lists(st.lists(st.tuples(splits, st.sampled_from(PROSE)), max_size=6), min_size=1, max_size=3))
def test_each_named_validation_set_is_one_range_and_the_rest_keeps_its_order(
    shards: list[list[tuple[tuple[str, str | None], str]]],
) -> None:
    rows = [
        [file_row(text, 10 * shard + n, split, validation=name) for n, ((split, name), text) in enumerate(own)]
        for shard, own in enumerate(shards)
    ]
    wanted = [  # by the rows themselves: sets by name, none last, else as they come
        (name, shard, number, text)
        for shard, own in enumerate(shards)
        for number, ((split, name), text) in enumerate(own)
        if split == "heldout"
    ]
    wanted.sort(key=lambda one: (one[0] is None, one[0] or ""))
    with packed(rows) as built:
        assert tokens_of(built, "heldout") == [
            token for *_, text in wanted for token in [*WORDS.encode(text), WORDS.end_of_document]
        ]
        segments = segments_of(built, "heldout")
        assert [(one["source"], one["shard"], one["row"]) for one in segments] == [
            (source_id(10 * shard + number), shard, number) for _, shard, number, _ in wanted
        ]
        ranges = validation_ranges(built)
        assert list(ranges) == sorted({name for name, *_ in wanted if name is not None})
        for name, (start, end) in ranges.items():
            inside = {one["source"] for one in segments if start <= one["start"] and one["end"] <= end}
            assert inside == {source_id(10 * shard + number) for own, shard, number, _ in wanted if own == name}
        said = json.loads(built.read_bytes("validation.json")) if ranges else {}
        for name, entry in said.items():
            texts_ = [text for own, _, _, text in wanted if own == name]
            assert (entry["rows"], entry["bytes"]) == (len(texts_), sum(len(text.encode()) for text in texts_))
        assert ("validation.json" in built.manifest["files"]) == bool(ranges)
        assert [one["source"] for one in segments_of(built)] == [
            source_id(10 * shard + number)
            for shard, own in enumerate(shards)
            for number, ((split, _), _) in enumerate(own)
            if split == "train"
        ]


def test_a_weight_repeats_training_rows_as_often_as_it_says() -> None:
    with packed(
        [[file_row("a", 1, weight=2), file_row("b", 2, weight=0), file_row("c", 3, "heldout", weight=5)]]
    ) as built:
        assert [one["source"] for one in segments_of(built)] == [source_id(1)] * 2
        assert len(segments_of(built, "heldout")) == 1
        assert (built.counts["rows_in"], built.counts["rows_out"]) == (3, 2)
    often = [repeats(1.25, source_id(number)) for number in range(2000)]
    assert set(often) == {1, 2}
    assert abs(np.mean(often) - 1.25) < 0.04  # four standard deviations


def test_a_large_vocabulary_takes_four_bytes_a_token(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(header(4, 2) + np.array([70_000, 1], "<u4").tobytes())
    assert open_tokens(tmp_path / "tokens").tolist() == [70_000, 1]


@pytest.mark.parametrize(
    ("data", "error", "what"),
    [
        (b"", DamagedError, "does not begin"),
        (header(2, 3)[:40], DamagedError, "does not begin"),
        (b"NOTLOOM!" + header(2, 3)[8:] + bytes(6), DamagedError, "does not begin"),
        (header(2, 3) + bytes(5), DamagedError, "promises 3 tokens"),
        (header(2, 3) + bytes(7), DamagedError, "promises 3 tokens"),
        (header(2, 1 << 62), DamagedError, "promises"),
        (header(3, 2) + bytes(6), StoreError, "3-byte tokens"),
        (header(2, 0)[:8] + b"\x09" + header(2, 0)[9:], StoreError, "format 9"),
    ],
)
def test_a_file_of_tokens_that_does_not_fit_its_header_is_refused(
    data: bytes, error: type[Exception], what: str, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_bytes(data)
    with pytest.raises(error, match=what):
        open_tokens(tmp_path / "tokens")


def test_a_split_without_tokens_is_an_empty_array(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(header(2, 0))
    assert HEADER_BYTES == 64
    assert open_tokens(tmp_path / "tokens").tolist() == []
