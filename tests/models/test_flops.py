"""The formula counts what transformers' model does: torch counts the operations of its matrix products."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_models import grouped, tiny
from torch.utils.flop_counter import FlopCounterMode

from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.models.presets import PRESETS

transformers = pytest.importorskip("transformers")
TOKENS = 24


def counted(config: ModelConfig) -> tuple[int, int]:
    """Operations of a forward and of a backward pass of transformers' eager model over one sequence."""
    settings = {key: value for key, value in config.to_json().items() if key != "architectures"}
    family = transformers.GPTBigCodeConfig if isinstance(config, GPTBigCodeConfig) else transformers.Starcoder2Config
    model = transformers.AutoModelForCausalLM.from_config(family(**settings, attn_implementation="eager"))
    ids = torch.zeros(1, TOKENS, dtype=torch.long)
    with FlopCounterMode(display=False) as forward:
        logits = model(ids, use_cache=False).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("make", [tiny, grouped])
@pytest.mark.parametrize("seed", range(2))
def test_the_formula_is_what_torch_counts_in_transformers_model(make, seed: int) -> None:
    config = make(seed)
    if not isinstance(config, GPTBigCodeConfig):
        config = dataclasses.replace(config, sliding_window=None)
    forward, backward = counted(config)
    flops = config.flops(TOKENS)
    assert TOKENS * flops.forward == forward
    assert TOKENS * flops.training() == forward + backward


def test_recomputing_activations_is_one_forward_pass_of_the_layers_more() -> None:
    flops = PRESETS["santacoder"].flops()
    assert flops.training(recomputed=True) - flops.training() == flops.forward - flops.head
    assert flops.training() == PRESETS["santacoder"].flops_per_token()
