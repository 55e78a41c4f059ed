from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import grouped, tiny
from torch import Tensor

from starloom.cli import dispatch
from starloom.errors import CheckpointError, ConfigError
from starloom.models import checkpoint
from starloom.models.causal_lm import new_model, save_model
from starloom.models.config import ModelConfig
from starloom.models.convert import convert
from starloom.tokens import bpe

IDS = torch.tensor([5, 1, 30, 7, 0, 2, 19, 36, 4])


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return set(one) == set(other) and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


# --- pickles of whole models


def test_shards_of_pickles_become_safetensors_with_the_same_tensors(tmp_path: Path) -> None:
    model = new_model(grouped(1))
    folder = tmp_path / "old"
    save_model(model, folder)
    (folder / "model.safetensors").unlink()
    names = list(model.state_dict())
    weight_map = {name: f"pytorch_model-0000{1 + number % 2}-of-00002.bin" for number, name in enumerate(names)}
    for shard in set(weight_map.values()):
        held = {name: tensor for name, tensor in model.state_dict().items() if weight_map[name] == shard}
        torch.save(held, folder / shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    done = convert(folder, tmp_path / "new", dtype="float16")
    assert done.layout == "pytorch"
    tensors = checkpoint.load_tensors(tmp_path / "new")
    assert same(tensors, {name: tensor.half() for name, tensor in model.state_dict().items()})


class Running:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_pickled_model_that_would_run_code_is_refused_whole(tmp_path: Path) -> None:
    model = new_model(tiny(0))
    save_model(model, tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save({**model.state_dict(), "x": Running(tmp_path / "ran")}, tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"asks for posix\.mkdir.*nothing of it was run"):
        convert(tmp_path / "old", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


@pytest.mark.parametrize("shard", ["../x.bin", "/etc/passwd", "", "x.py", 7])
def test_index_of_pickles_that_leads_out_of_the_folder_is_refused(shard: object, tmp_path: Path) -> None:
    save_model(new_model(tiny(0)), tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    (tmp_path / "old" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(CheckpointError, match="a shard is a file in the same folder"):
        convert(tmp_path / "old", tmp_path / "new")


# --- what is written, and where


@pytest.mark.parametrize("config", [tiny(0), tiny(7), grouped(0), grouped(7)], ids=lambda config: config.model_type)
def test_shards_with_an_index_load_in_transformers_with_the_same_logits(config: ModelConfig, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = new_model(config)
    save_model(model, tmp_path / "model")
    done = convert(tmp_path / "model", tmp_path / "new", shard_bytes=4000)
    assert "model.safetensors.index.json" in done.files
    assert len([name for name in done.files if name.startswith("model-")]) > 2
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "new", dtype=torch.float32).eval()
    with torch.no_grad():
        assert (theirs(IDS[None] % 33).logits[0] - model.eval()(IDS[None] % 33)[0]).abs().max() < 1e-4


def test_tokenizer_goes_with_the_model_and_loads_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = bpe.train(["def add(one, other):\n    return one + other\n"] * 3, vocab_size=310, family="starcoder2")
    save_model(new_model(grouped(0, vocab_size=vocabulary.rows, eos_token_id=None)), tmp_path / "model")
    (tmp_path / "tokenizer").mkdir()
    vocabulary.save(tmp_path / "tokenizer")
    described = json.loads((tmp_path / "tokenizer" / "tokenizer_config.json").read_text())
    described |= {"chat_template": "{{ messages }}", "tokenizer_class": "GPT2TokenizerFast"}
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(described))
    convert(tmp_path / "model", tmp_path / "new", tokenizer=tmp_path / "tokenizer")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    text = "def f(x):\n  return 1234 + é  1"
    assert theirs(text)["input_ids"] == vocabulary.encode(text)
    assert theirs.chat_template == "{{ messages }}"
    assert checkpoint.read_config(tmp_path / "new").eos_token_id == vocabulary.end_of_document


def test_tokenizer_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    save_model(new_model(tiny(0)), tmp_path / "model")
    vocabulary = bpe.train(["def add(one, other):\n"] * 3, vocab_size=290, family="starcoder")
    vocabulary.save(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"the tokenizer has 290 tokens, the embedding 97 rows"):
        convert(tmp_path / "model", tmp_path / "new")


def test_target_that_exists_is_kept_unless_forced_and_strangers_are_kept_always(tmp_path: Path) -> None:
    save_model(new_model(tiny(0)), tmp_path / "model")
    save_model(new_model(tiny(2)), tmp_path / "new")
    before = (tmp_path / "new" / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="exists; give another TARGET, or --force"):
        convert(tmp_path / "model", tmp_path / "new")
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == before
    convert(tmp_path / "model", tmp_path / "new", force=True)
    assert checkpoint.read_config(tmp_path / "new") == tiny(0)
    (tmp_path / "new" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"holds thesis\.tex"):
        convert(tmp_path / "model", tmp_path / "new", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]


@pytest.mark.parametrize("target", ["model", "model/inside", "."])
def test_target_in_the_source_is_refused(target: str, tmp_path: Path) -> None:
    save_model(new_model(tiny(0)), tmp_path / "model")
    with pytest.raises(ConfigError, match="lie in one another"):
        convert(tmp_path / "model", tmp_path / target, force=True)


def test_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        convert(tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"neither config\.json nor mp_rank_"):
        convert(tmp_path / "empty", tmp_path / "new")


def test_command_converts_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataclasses.replace(tiny(0), eos_token_id=0)
    save_model(new_model(config), tmp_path / "model")
    argv = ["convert", str(tmp_path / "model"), str(tmp_path / "new"), "--to", "mha", "--json"]
    assert dispatch(argv) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["layout"], said["to"], said["notes"]) == ("safetensors", "mha", [])
    assert said["parameters"] == checkpoint.read_config(tmp_path / "new").parameter_count()
    assert "model.safetensors" in said["files"]
    assert dispatch([*argv[:2], str(tmp_path / "again")]) == 0
    assert "safetensors → safetensors" in capsys.readouterr().out
