"""Which rows a vocabulary is learned from: the training split, and of a large corpus a sample by seed and id."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_mix import Copied, documents, file_row, row

from starloom.corpus.rendered import Rendered
from starloom.corpus.schemas import MIX, table_of
from starloom.errors import ConfigError
from starloom.records import uniform
from starloom.stage import Runtime, build
from starloom.store import Built, Store, write_table
from starloom.tokens.train_bpe import TrainBPE, _text_bytes, chance_within

TEXTS = [f"word{number % 17} = thing{number % 5}(other{number % 3}) # {'x' * number}\n" for number in range(60)]
ROWS = [file_row(text, number, "heldout" if number % 10 == 0 else "train") for number, text in enumerate(TEXTS)]
TRAINING = {number: len(text.encode()) for number, text in enumerate(TEXTS) if number % 10}


def trained(folder: Path, shards: Sequence[Sequence[dict[str, Any]]], **settings: Any) -> Built:
    folder.mkdir()
    for number, rows in enumerate(shards):
        write_table(folder / f"part-{number:05d}.parquet", table_of(rows, MIX))
    return build(TrainBPE(Copied(str(folder)), 330, **settings), Store(folder.parent / "store"), Runtime())


@given(
    rows=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 50)), min_size=1, unique_by=lambda r: r[0]
    ),
    limit=st.integers(1, 300),
)
def test_a_sample_takes_rows_by_their_chance_while_they_fit(rows: list[tuple[float, int]], limit: int) -> None:
    highest = chance_within(np.array([c for c, _ in rows]), np.array([s for _, s in rows], np.int64), limit)
    chosen = [size for chance, size in sorted(rows) if chance <= highest]
    assert sum(chosen) <= limit or len(chosen) == 1
    assert chosen
    if len(chosen) < len(rows):
        assert sum(chosen) + sorted(rows)[len(chosen)][1] > limit
    else:
        assert highest == 1 or highest == max(chance for chance, _ in rows)


@given(rows=st.lists(documents(), min_size=1, max_size=4))
def test_the_size_of_a_row_is_that_of_its_text(rows: list[tuple[Rendered, Any]]) -> None:
    table = table_of([row(rendered) for rendered, _ in rows], MIX)
    assert _text_bytes(table["parts"]).tolist() == [len(rendered.text.encode()) for rendered, _ in rows]
    assert _text_bytes(table["parts"].slice(1)).tolist() == [len(one.text.encode()) for one, _ in rows[1:]]


def test_a_sample_depends_on_seed_and_ids_and_not_on_order_or_shards(tmp_path: Path) -> None:
    limit = sum(TRAINING.values()) // 2
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    one = trained(tmp_path / "a", [ROWS], sample_bytes=limit)
    other = trained(tmp_path / "b", [shuffled[:7], [], shuffled[7:]], sample_bytes=limit)
    assert one.read_bytes("tokenizer.json") == other.read_bytes("tokenizer.json")
    assert one.counts["rows_in"] == len(ROWS)
    assert one.counts == other.counts
    order = sorted(TRAINING, key=lambda number: uniform(0, "train_bpe", ROWS[number]["id"]))
    fitting = [number for place, number in enumerate(order) if sum(TRAINING[n] for n in order[: place + 1]) <= limit]
    assert one.counts["rows_out"] == len(fitting) < len(TRAINING)
    assert one.counts["bytes"] == sum(TRAINING[number] for number in fitting) <= limit
    alone = trained(tmp_path / "c", [[ROWS[number] for number in fitting]], sample_bytes=None)
    assert one.read_bytes("tokenizer.json") == alone.read_bytes("tokenizer.json")
    assert trained(tmp_path / "d", [ROWS], sample_bytes=limit, seed=1).counts["rows_out"] != 0


def test_a_corpus_within_the_limit_is_learned_from_whole_and_held_out_text_never(tmp_path: Path) -> None:
    total = sum(TRAINING.values())
    whole = [trained(tmp_path / str(limit), [ROWS], sample_bytes=limit) for limit in (None, total, total + 1)]
    assert {one.read_bytes("tokenizer.json") for one in whole} == {whole[0].read_bytes("tokenizer.json")}
    assert [one.counts["bytes"] for one in whole] == [total] * 3
    without = trained(tmp_path / "train", [[one for one in ROWS if one["split"] == "train"]])
    assert without.read_bytes("tokenizer.json") == whole[0].read_bytes("tokenizer.json")
    assert trained(tmp_path / "least", [ROWS], sample_bytes=1).counts["rows_out"] == 1


def test_a_sample_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train_bpe\.sample_bytes is 0"):
        TrainBPE(Copied("."), sample_bytes=0)
