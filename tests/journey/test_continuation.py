"""Training that goes on from a model: its tokenizer, its shape and its weights, on other text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from starloom.models.checkpoint import read_config
from starloom.recipes.quickstart import quickstart
from starloom.stage import Runtime, build
from starloom.store import Store


def plant(folder: Path, word: str) -> Path:
    for number in range(12):
        path = folder / f"part{number}" / "module.py"
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"def {word}_{number}_{n}(value):\n    return value + {n}\n\n" for n in range(60)))
    return folder


@pytest.mark.slow
def test_quickstart_goes_on_from_a_model_with_its_tokenizer_shape_and_weights(tmp_path: Path) -> None:
    runtime, store = Runtime(), Store(tmp_path / "store")
    settings = {"licenses": "any", "context": 32}
    first = quickstart(f"folder:{plant(tmp_path / 'one', 'left')}", steps=40, vocab_size=300, **settings)
    base = build(first.step("pretrain"), store, runtime)
    again = quickstart(f"folder:{plant(tmp_path / 'two', 'left')}", steps=3, start=str(base.directory), **settings)
    model = build(again.step("pretrain"), store, runtime)
    assert model.read_bytes("tokenizer.json") == base.read_bytes("tokenizer.json")
    assert read_config(model.directory) == read_config(base.directory)
    losses = [json.loads(one.read_bytes("log.jsonl").splitlines()[0])["loss"] for one in (base, model)]
    assert losses[1] < 0.6 * losses[0]  # it knows such text already
