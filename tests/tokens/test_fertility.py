"""Fertility: characters for each token, against encoding one text after the other; limits and languages as published."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom import corpus
from starloom.cluster import Local
from starloom.corpus.schemas import VERDICT
from starloom.errors import ConfigError
from starloom.stage import Runtime, build
from starloom.store import Store
from starloom.tokens import TrainBPE, fertility
from starloom.tokens.bpe import train
from starloom.tokens.fertility import THRESHOLDS, Fertility, characters_per_token, fertility_verdicts

VOCABULARY = train(["def area(width, height):\n    return width * height\n"] * 9, vocab_size=400)
TEXTS = st.sampled_from(["", "def area(width, height):\n", "0x1f, 0x2e, ", "größe", "é" * 9, "x"]) | st.text(
    max_size=40
)


def shard(texts: list[str | None]) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([number.to_bytes(16, "big") for number in range(len(texts))], pa.binary(16)),
            "text": pa.array(texts, pa.string()),
            "unread": pa.array([None if text is not None else "binary" for text in texts], pa.string()),
        }
    )


@given(st.lists(TEXTS, max_size=12))
def test_each_text_has_its_own_ratio_whatever_stands_beside_it(texts: list[str]) -> None:
    expected = [len(text) / len(VOCABULARY.encode(text)) if text else math.inf for text in texts]
    assert characters_per_token(texts, VOCABULARY) == expected


def test_texts_of_many_batches_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["def " * (number % 13) + "0x" * (number % 7) for number in range(50)]
    whole = characters_per_token(texts, VOCABULARY)
    monkeypatch.setattr(fertility, "_BATCH", 3)
    assert characters_per_token(texts, VOCABULARY) == whole


@given(st.lists(st.tuples(st.none() | TEXTS, st.sampled_from(["Python", "C", None])), max_size=10), st.floats(0.5, 9))
def test_only_languages_with_a_limit_are_judged_and_a_text_at_it_stays(
    files: list[tuple[str | None, str | None]], least: float
) -> None:
    texts = [text for text, _ in files]
    languages = pa.table({"value": pa.array([language for _, language in files], pa.string())})
    found = fertility_verdicts(shard(texts), languages, VOCABULARY, {"Python": least})
    assert found.schema == VERDICT
    for row, (text, language) in zip(found.to_pylist(), files, strict=True):
        low = bool(text) and language == "Python" and len(text) / len(VOCABULARY.encode(text)) < least
        expected = ["binary"] if text is None else ["few_characters_per_token"] if low else []
        assert row["reasons"] == expected and row["keep"] == (not expected)


def test_the_limits_are_the_published_ones() -> None:
    assert dict(THRESHOLDS) == {"Python": 2.5, "Java": 2.9, "JavaScript": 2.6}


def test_limits_that_cannot_be_are_refused() -> None:
    files = corpus.Read("x")
    language = corpus.Language(files)
    vocab = TrainBPE(corpus.Mix(files), vocab_size=400)
    with pytest.raises(ConfigError, match="did you mean 'Python'"):
        Fertility(files, language, vocab, thresholds=(("python", 2.5),))
    with pytest.raises(ConfigError, match="characters for a token"):
        Fertility(files, language, vocab, thresholds=(("Python", 0.0),))


def test_data_is_dropped_and_code_stays(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "code.py").write_text("def area(width, height):\n    return width * height\n" * 90)
    (code / "data.py").write_text("".join(f"q{number * 7919 % 9973}," for number in range(60)))
    (code / "data.c").write_text((code / "data.py").read_text())
    files = corpus.Read(f"folder:{code}")
    language = corpus.Language(files)
    stage = Fertility(files, language, TrainBPE(corpus.Mix(files), vocab_size=360))
    cluster = Local(1)
    try:
        runtime = Runtime(workers=1, cluster=cluster)
        store = Store(tmp_path / "store")
        verdicts = [row["reasons"] for table in build(stage, store, runtime).tables() for row in table.to_pylist()]
        paths = [row["path"] for table in build(files, store, runtime).tables() for row in table.to_pylist()]
    finally:
        cluster.close()
    dropped = {path for path, reasons in zip(paths, verdicts, strict=True) if reasons == ["few_characters_per_token"]}
    assert dropped == {b"data.py"}
