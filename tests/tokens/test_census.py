"""A census says of every file how many tokens it has, whatever is kept of it later."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom import corpus
from starloom.cluster import Local
from starloom.stage import Runtime, build
from starloom.store import Built, Store
from starloom.tokens import Census, TrainBPE, Vocabulary, census
from starloom.tokens.bpe import train

VOCABULARY = train(["def area(width, height):\n    return width * height\n"] * 9, vocab_size=400)


@given(st.lists(st.none() | st.text(max_size=60), max_size=20))
def test_a_text_has_as_many_tokens_as_it_is_encoded_to(texts: list[str | None]) -> None:
    table = census.counted(shard(texts), VOCABULARY)
    assert table.schema == census.CENSUS
    for text, row in zip(texts, table.to_pylist(), strict=True):
        figures = row["tokens"], row["characters"], row["bytes"]
        if text is None:
            assert figures == (None, None, None)
        else:
            assert figures == (len(VOCABULARY.encode(text)), len(text), len(text.encode()))


def test_texts_of_many_batches_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [None if n % 7 == 0 else "def " * (n % 23) for n in range(90)]
    whole = census.counted(shard(texts), VOCABULARY)
    monkeypatch.setattr(census, "_BATCH", 4)
    monkeypatch.setattr(census, "_BATCH_BYTES", 100)
    assert census.counted(shard(texts), VOCABULARY).equals(whole)


@given(st.lists(st.integers(0, 9 << 20), max_size=30), st.integers(1, 8))
def test_batches_cover_all_rows_once_and_only_one_large_row_exceeds_them(sizes: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(census, "_BATCH", most)
        found = list(census.batches(sizes))
    assert [row for start, end in found for row in range(start, end)] == list(range(len(sizes)))
    for start, end in found:
        assert 1 <= end - start <= most
        assert end - start == 1 or sum(sizes[start:end]) <= census._BATCH_BYTES


def shard(texts: list[str | None]) -> pa.Table:
    ids = [bytes([n]) * 16 for n in range(len(texts))]
    return pa.table({"id": pa.array(ids, pa.binary(16)), "text": pa.array(texts, pa.string())})


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[corpus.Read, Census]:
    folder = tmp_path_factory.mktemp("source") / "project"
    folder.mkdir()
    for n in range(9):
        (folder / f"area{n}.py").write_text(f"def area_{n}(width, naïve):\n    return width * naïve * {n}\n" * (n + 1))
    (folder / "binary.py").write_bytes(b"\x00\x01" * 50)
    (folder / "empty.py").write_text("")
    files = corpus.Read(str(folder), shard_bytes=400)
    clean = corpus.Mix(files, layout="starcoder", heldout=0)
    return files, Census(files, TrainBPE(clean, vocab_size=400))


def built(stages: tuple[corpus.Read, Census], where: Path, workers: int = 1) -> tuple[Built, Built, Built]:
    known: dict[int, Built] = {}
    pool = Local(workers)
    build(stages[1], Store(where), Runtime(workers=workers, cluster=pool), built=known)
    pool.close()
    return known[id(stages[0])], known[id(stages[1].vocab)], known[id(stages[1])]


def test_the_stage_lies_beside_the_files_and_its_totals_are_in_its_manifest(
    stages: tuple[corpus.Read, Census], tmp_path: Path
) -> None:
    files, vocab, found = built(stages, tmp_path)
    vocabulary = Vocabulary.load(vocab)
    assert found.parts() == files.parts()
    assert len(files.parts()) > 1
    tokens = 0
    for read, said in zip(files.tables(), found.tables(), strict=True):
        assert said["id"].equals(read["id"])
        expected = [None if text is None else len(vocabulary.encode(text)) for text in read["text"].to_pylist()]
        assert said["tokens"].to_pylist() == expected
        tokens += sum(filter(None, expected))
    assert found.counts["tokens"] == tokens > 0
    assert (found.counts["rows_in"], found.counts["rows_out"]) == (11, 10)
    assert found.counts["bytes"] > found.counts["characters"]


def test_two_workers_write_the_same_bytes_as_one(stages: tuple[corpus.Read, Census], tmp_path: Path) -> None:
    one, two = (built(stages, tmp_path / str(workers), workers)[2] for workers in (1, 2))
    assert one.manifest["files"] == two.manifest["files"]
