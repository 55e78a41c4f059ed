"""The other family through the whole stage: trained, scored, exported, completing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_stages as small
import torch

import starloom
from starloom.errors import ConfigError
from starloom.models import presets
from starloom.models.causal_lm import load_model, new_model
from starloom.models.config import Starcoder2Config
from starloom.store import Built
from starloom.train import AdamW, Muon, Steps
from starloom.train.optimizer import Optimizer

TINY = replace(
    presets.STARCODER2_3B, vocab_size=320, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
    num_attention_heads=6, max_position_embeddings=32, sliding_window=12,
)  # fmt: skip


def trained(folder: Path, **changes: Any) -> Built:
    return small.built(folder, small.pretrain(model=TINY, budget=Steps(3), **changes))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return trained(tmp_path_factory.mktemp("store"))


def test_loads_in_transformers_with_the_same_logits_and_greedy_tokens(model: Built) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model.directory, dtype=torch.float64).eval()
    ours = load_model(model.directory, dtype=torch.float64)
    assert type(theirs).__name__ == "Starcoder2ForCausalLM"
    ids = torch.arange(32)[None] * 7 % 320
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, ours(ids), atol=1e-10)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.directory)
    assert len(tokenizer) == theirs.config.vocab_size and tokenizer.model_max_length == 32
    prompt = tokenizer("def left_right(", return_tensors="pt")
    prompt.pop("token_type_ids", None)
    expected = theirs.generate(**prompt, max_new_tokens=16, do_sample=False, pad_token_id=0)[0]
    new = expected[prompt["input_ids"].shape[1] :]
    completion = starloom.load(model.directory, dtype="float64", threads=1).complete("def left_right(", max_tokens=16)
    ids_until_the_end = [token for token in new.tolist() if token != theirs.config.eos_token_id]
    assert list(completion.tokens) == ids_until_the_end


def test_learns_with_either_optimizer(tmp_path: Path) -> None:
    for optimizer in (Muon(rest=AdamW(lr=5e-3)), AdamW(lr=5e-3)):
        before, after = (
            small.built(tmp_path, small.pretrain(model=TINY, budget=Steps(steps), optimizer=optimizer)).counts
            for steps in (1, 20)
        )
        assert after["heldout_bits_per_byte"] < 0.9 * before["heldout_bits_per_byte"]


def test_muon_takes_the_matrices_of_the_layers_and_nothing_else() -> None:
    model = new_model(TINY)
    state = Optimizer(dict(model.named_parameters()), Muon()).tensors()
    taken = {name.removeprefix("muon.momentum.") for name in state if name.startswith("muon.")}
    linears = ("q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj")
    assert taken == {name for name in TINY.shapes() if name.endswith(tuple(f"{one}.weight" for one in linears))}


def test_context_longer_than_the_model_is_refused_with_its_own_field(tmp_path: Path) -> None:
    config: Starcoder2Config = replace(TINY, max_position_embeddings=16)
    with pytest.raises(ConfigError, match=r"pretrain\.model\.max_position_embeddings=32 or pack\.context=16"):
        small.built(tmp_path, small.pretrain(model=config))
