"""Held-out bits per byte: equal to plain computations, and honest about what was scored."""

from __future__ import annotations

import gzip
import inspect
import json
import lzma
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import untrained
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom.errors import ConfigError
from starloom.evals import HeldOut
from starloom.evals.held_out import gzip_bytes, render, within, xz_bytes
from starloom.evals.held_out_files import held_out_files, in_order_of_chance
from starloom.models.causal_lm import load_model
from starloom.store import Built
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.pack import open_tokens
from starloom.train import heldout


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> untrained.Journey:
    return untrained.journey(untrained.source(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def scored(journey: untrained.Journey, where: Path) -> tuple[Built, Built, Built, Built]:
    """The built mix, pack, model and score."""
    stages = (journey.clean, journey.packed, journey.base, HeldOut(journey.base, journey.packed, journey.clean))
    clean, packed, base, score = untrained.built(stages, where)
    return clean, packed, base, score


def results(built: Built) -> dict[str, Any]:
    return dict(json.loads(built.read_bytes("results.json")))


def held_out_texts(clean: Built) -> list[tuple[str, bytes]]:
    """(source id, text) of the held-out rows, read off the mix by hand."""
    rows = [row for table in clean.tables() for row in table.to_pylist() if row["split"] == "heldout"]
    return [
        (part["source"].hex(), part["text"].encode())
        for row in rows
        for part in row["parts"]
        if part["field"] == "text"
    ]


def test_bits_per_byte_are_those_of_a_plain_computation(scored: tuple[Built, Built, Built, Built]) -> None:
    _, packed, base, score = scored
    model = load_model(base.directory)
    vocabulary = Vocabulary.load(packed)
    stream = torch.from_numpy(open_tokens(packed.path("tokens-heldout.bin")).astype("int64"))
    segments = packed.table("segments-heldout.parquet").to_pylist()
    files = held_out_files(scored[0], {segment["source"] for segment in segments})
    nats = size = 0.0
    for language in {file.language for file in files}:
        own = [file.id for file in files if file.language == language]
        ids = torch.cat([stream[s["start"] : s["end"]] for id_ in own for s in segments if s["source"] == id_])
        for start in range(0, len(ids) - 1, untrained.CONTEXT):
            window = ids[start : start + untrained.CONTEXT + 1]
            with torch.no_grad():
                logits = model(window[None, :-1])
            nats += F.cross_entropy(logits[0].double(), window[1:], reduction="sum").item()
            size += sum(len(vocabulary.bytes_of([token])) for token in window[1:].tolist())
    assert results(score)["bits_per_byte"]["model"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_what_each_file_costs_is_that_of_a_plain_computation(scored: tuple[Built, Built, Built, Built]) -> None:
    _, packed, base, score = scored
    model = load_model(base.directory)
    lengths = Vocabulary.load(packed).byte_lengths
    stream = torch.from_numpy(open_tokens(packed.path("tokens-heldout.bin")).astype("int64"))
    segments = packed.table("segments-heldout.parquet").to_pylist()
    files = held_out_files(scored[0], {segment["source"] for segment in segments})
    expected: dict[bytes, list[float]] = {file.id: [0, 0, 0] for file in files}
    for language in {file.language for file in files}:
        spoken = [
            (s, file.id) for file in files if file.language == language for s in segments if s["source"] == file.id
        ]
        ids = torch.cat([stream[s["start"] : s["end"]] for s, _ in spoken])
        owners = [id_ for s, id_ in spoken for _ in range(s["end"] - s["start"])]
        for start in range(0, len(ids) - 1, untrained.CONTEXT):
            window = ids[start : start + untrained.CONTEXT + 1]
            with torch.no_grad():
                costs = F.cross_entropy(model(window[None, :-1])[0].double(), window[1:], reduction="none")
            for place, (token, cost) in enumerate(zip(window[1:].tolist(), costs.tolist(), strict=True), start + 1):
                sums = expected[owners[place]]
                sums[0] += cost
                sums[1] += 1
                sums[2] += int(lengths[token])
    rows = score.table("files.parquet").to_pylist()
    assert [row["id"] for row in rows] == sorted(expected)
    for row in rows:
        nats, *counts = expected[row["id"]]
        assert row["nats"] == pytest.approx(nats, rel=1e-5)
        assert [row["tokens"], row["model_bytes"]] == counts


def test_the_files_add_up_to_the_whole(scored: tuple[Built, Built, Built, Built]) -> None:
    rows = scored[3].table("files.parquet").to_pylist()
    whole = results(scored[3])
    assert sum(row["nats"] for row in rows) == pytest.approx(whole["model"]["nats"])
    assert sum(row["model_bytes"] for row in rows) == whole["model"]["bytes"]
    assert sum(row["xz"] for row in rows) == whole["compressed_bytes"]["xz"]
    for name, one in whole["languages"].items():
        assert sum(row["tokens"] for row in rows if row["language"] == name) == one["scored"]["tokens"]


@dataclass(frozen=True, slots=True)
class Masked(untrained.Untrained):
    """A model that never looked behind the end of a document."""

    document_mask: bool = True


def test_a_model_that_saw_documents_alone_is_scored_so(journey: untrained.Journey, where: Path) -> None:
    clean, packed, masked, score = untrained.built(
        [journey.clean, journey.packed, base := Masked(journey.packed), HeldOut(base, journey.packed, journey.clean)],
        where,
    )
    words = Vocabulary.load(packed)
    stream = open_tokens(packed.path("tokens-heldout.bin"))
    segments = packed.table("segments-heldout.parquet").to_pylist()
    nats = 0.0
    for language, one in results(score)["languages"].items():
        files = [file for file in held_out_files(clean, {s["source"] for s in segments}) if file.language == language]
        ids = np.concatenate(
            [stream[s["start"] : s["end"]] for file in files for s in segments if s["source"] == file.id]
        )
        alone = heldout.score(
            load_model(masked.directory),
            ids,
            words.byte_lengths,
            untrained.CONTEXT,
            end_of_document=words.end_of_document,
        )
        assert one["model"]["nats"] == pytest.approx(alone.nats)
        nats += heldout.score(load_model(masked.directory), ids, words.byte_lengths, untrained.CONTEXT).nats
    assert results(score)["model"]["nats"] != pytest.approx(nats, rel=1e-6)


def test_gzip_and_xz_are_those_of_the_plain_tools_on_each_file(scored: tuple[Built, Built, Built, Built]) -> None:
    clean, _, _, score = scored
    texts = [text for _, text in held_out_texts(clean)]
    size = sum(map(len, texts))
    rates = results(score)["bits_per_byte"]
    assert rates["gzip"] == 8 * sum(len(gzip.compress(text, 9)) for text in texts) / size
    assert rates["xz"] == 8 * sum(len(lzma.compress(text, preset=9)) for text in texts) / size
    assert results(score)["held_out"] == {"files": len(texts), "bytes": size}


@given(st.one_of(st.binary(max_size=3000), st.text(alphabet="abc \n", max_size=9000).map(str.encode)))
@settings(max_examples=25)
def test_a_small_window_compresses_to_the_size_of_the_full_one(data: bytes) -> None:
    assert xz_bytes(data) == len(lzma.compress(data, preset=9))
    assert gzip_bytes(data) == len(gzip.compress(data, 9))


def test_compressors_work_at_their_best_level_on_real_code() -> None:
    data = inspect.getsource(inspect).encode()  # 120 kB: levels differ in it
    assert gzip_bytes(data) == len(gzip.compress(data, 9)) < len(gzip.compress(data, 6))
    assert xz_bytes(data) == len(lzma.compress(data, preset=9)) != len(lzma.compress(data, preset=0))


def test_languages_add_up_to_the_whole(scored: tuple[Built, Built, Built, Built]) -> None:
    whole = results(scored[3])
    languages = whole["languages"]
    assert set(languages) == {"JavaScript", "Python"}
    for key in ("files", "bytes", "tokens"):
        assert whole["scored"][key] == sum(one["scored"][key] for one in languages.values())
    assert whole["model"]["nats"] == pytest.approx(sum(one["model"]["nats"] for one in languages.values()))


def test_what_was_scored_is_counted_and_said(scored: tuple[Built, Built, Built, Built]) -> None:
    clean, _, _, score = scored
    found = results(score)
    assert found["scored"]["files"] == score.counts["files"] == len(held_out_texts(clean))
    assert f"all {found['scored']['files']} held-out files" in score.manifest["summary"]
    shown = render(score)
    for value in found["bits_per_byte"].values():
        assert f"{value:.3f}" in shown
    assert "Python" in shown


def test_a_limit_takes_whole_files_by_chance_and_says_so(journey: untrained.Journey, where: Path) -> None:
    stage = HeldOut(journey.base, journey.packed, journey.clean, limit_bytes=700)
    (score,) = untrained.built([stage], where)
    found = results(score)
    assert 0 < found["scored"]["bytes"] <= 700 < found["held_out"]["bytes"]
    assert f"{found['scored']['files']} of {found['held_out']['files']} held-out files" in stage.closing(score)


def test_the_order_of_chance_depends_on_the_seed_alone(scored: tuple[Built, Built, Built, Built]) -> None:
    orders = [in_order_of_chance(scored[0], seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 200))
def test_a_limit_is_exceeded_by_a_single_first_file_only(sizes: list[int], limit: int) -> None:
    ordered = [(bytes([n]), size) for n, size in enumerate(sizes)]
    chosen = within(ordered, limit)
    assert chosen == [id_ for id_, _ in ordered][: len(chosen)]
    assert len(chosen) <= 1 or sum(sizes[: len(chosen)]) <= limit
    assert len(chosen) == len(sizes) or sum(sizes[: len(chosen) + 1]) > limit


def test_files_carry_what_was_read_of_them(scored: tuple[Built, Built, Built, Built]) -> None:
    clean = scored[0]
    texts = dict(held_out_texts(clean))
    files = held_out_files(clean, {bytes.fromhex(id_) for id_ in texts})
    assert {file.id.hex(): file.text.encode() for file in files} == texts
    assert {file.path.rpartition(b".")[2]: file.language for file in files} == {b"py": "Python", b"js": "JavaScript"}
    assert {file.repository for file in files} == {"folder:project"}


def test_without_languages_all_is_scored_as_one(tmp_path: Path) -> None:
    journey = untrained.journey(untrained.source(tmp_path, packages=3), with_languages=False)
    (score,) = untrained.built([HeldOut(journey.base, journey.packed, journey.clean)], tmp_path / "store")
    assert set(results(score)["languages"]) == {"unknown"}


def test_nothing_held_out_is_said_and_is_no_failure(tmp_path: Path) -> None:
    journey = untrained.journey(untrained.source(tmp_path, packages=1), heldout=0)
    stage = HeldOut(journey.base, journey.packed, journey.clean)
    (score,) = untrained.built([stage], tmp_path / "store")
    assert score.manifest["summary"] == "nothing was held out"
    assert stage.closing(score).startswith("Nothing was held out")
    assert results(score)["bits_per_byte"] == {}


def test_a_limit_of_nothing_is_refused(journey: untrained.Journey) -> None:
    with pytest.raises(ConfigError, match="limit_bytes is 0"):
        HeldOut(journey.base, journey.packed, journey.clean, limit_bytes=0)
