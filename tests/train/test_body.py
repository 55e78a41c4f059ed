"""Layers that are computed again on the way back, or compiled; and what is said where memory runs out."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import small_job as small
import small_stages as stages
import torch

from starloom.errors import ConfigError, TrainingError
from starloom.models.causal_lm import new_model
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.models.presets import STARCODER2_3B
from starloom.train import body, out_of_memory, step
from starloom.train.log import rows
from starloom.train.ranks import alone

DROPPING = replace(small.CONFIG, n_layer=3, eos_token_id=5, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
STARCODER2 = replace(
    STARCODER2_3B, vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6,
    max_position_embeddings=16, sliding_window=9,
)  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("config", [DROPPING, STARCODER2], ids=["gpt_bigcode", "starcoder2"])
def test_computing_layers_again_gives_the_same_gradients_bit_for_bit(config, precision):
    found = []
    for again in (False, True):
        model = new_model(config, seed=0)
        if again:
            body.recompute(model)
        step.seed_dropout(0, 7)
        job = small.job(config=config, precision=precision, document_mask=True)
        step.gradients(model, small.batch(0), job, alone())
        found.append([tensor.grad for tensor in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def kept_bytes(model):
    """What a forward pass keeps for the way back."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.from_numpy(small.batch(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(ids[:, :-1], ids[:, 1:])
    return sum(kept.values())


def test_computing_layers_again_keeps_less():
    plain, again = (new_model(replace(DROPPING, n_layer=8), seed=0) for _ in range(2))
    body.recompute(again)
    assert kept_bytes(again) < 0.5 * kept_bytes(plain)


def test_without_a_compiler_the_setting_is_refused_with_what_is_missing(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler .*pretrain.compile=false"):
        body.compile_layers(new_model(small.CONFIG), "cpu")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch about itself, many
@pytest.mark.skipif(body.compiler_lacks("cpu") is not None, reason="torch could not compile here")
@pytest.mark.parametrize("again", [False, True])
def test_compiled_layers_learn_as_they_are_written(tmp_path, again):
    losses = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        small.trained(folder, 8, config=replace(small.CONFIG, n_layer=2), compile=compiled, recompute=again)
        losses.append([(row["loss"], row.get("heldout_bits_per_byte", 0.0)) for row in rows(folder / "log.jsonl")])
    assert torch.allclose(*map(torch.tensor, losses), rtol=1e-4)


def too_much(self, ids, targets, end=None):
    """What torch's allocator says, said by itself."""
    return torch.empty(2**50, dtype=torch.uint8)


def test_running_out_of_memory_names_the_settings_that_lower_it(tmp_path, monkeypatch):
    monkeypatch.setattr(GPTBigCode, "loss", too_much)
    with pytest.raises(TrainingError) as told:
        stages.built(tmp_path, stages.pretrain())
    said = str(told.value)
    assert "2 sequences of 32 tokens" in said and "pretrain.batch=1 --set pretrain.accumulate=4" in said
    assert "pretrain.recompute=true" in said and "pack.context" in said


def test_only_a_want_of_memory_is_called_so():
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("std::bad_alloc")):
        with pytest.raises(TrainingError, match="out of memory"), out_of_memory.explained(1, 1, 16, False):
            raise error
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory.explained(1, 1, 16, False):
        raise RuntimeError("shapes differ")


def test_smaller_parts_make_the_same_step():
    """What the message advises: the gradient of six sequences at once, or of two and three times as many parts."""
    assert "pretrain.batch=3 --set pretrain.accumulate=4" in out_of_memory.remedy(6, 2, 16, False)
    assert "pretrain.batch" not in out_of_memory.remedy(1, 8, 16, True)
