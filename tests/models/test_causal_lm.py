"""What holds for the models of both families."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_models import grouped, tiny

from starloom.errors import GenerationError
from starloom.models.causal_lm import CausalLM, new_model
from starloom.models.config import ModelConfig, Starcoder2Config
from starloom.models.presets import QUICKSTART

WIDE = dataclasses.replace(QUICKSTART, vocab_size=300, n_layer=2)
WIDE_GROUPED = Starcoder2Config(
    vocab_size=300, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2,
)  # fmt: skip
both_wide = pytest.mark.parametrize("config", [WIDE, WIDE_GROUPED], ids=["gpt_bigcode", "starcoder2"])


def same(one: CausalLM, other: CausalLM) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@both_wide
def test_initial_weights_depend_on_the_seed_alone(config: ModelConfig) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first = new_model(config, seed=5)
    assert torch.equal(torch.get_rng_state(), state)  # torch's own generator is left alone
    try:
        torch.set_num_threads(2)
        torch.manual_seed(99)
        assert same(new_model(config, seed=5), first)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    assert not same(new_model(config, seed=6), first)


def test_initial_weights_of_a_parameter_depend_on_its_name() -> None:
    """A deeper model begins with the same first layers, but for the scale of what joins GPTBigCode's residual."""
    deeper = [dataclasses.replace(WIDE, n_layer=8), dataclasses.replace(WIDE_GROUPED, num_hidden_layers=8)]
    for config, deep_config in zip([WIDE, WIDE_GROUPED], deeper, strict=True):
        shallow, deep = new_model(config).state_dict(), new_model(deep_config).state_dict()
        for name, weights in shallow.items():
            joins = config is WIDE and name.endswith("c_proj.weight")
            torch.testing.assert_close(deep[name] * (math.sqrt(8 / 2) if joins else 1.0), weights)
        layers = "transformer.h.{}.mlp.c_fc.weight" if config is WIDE else "model.layers.{}.mlp.c_fc.weight"
        assert not torch.equal(shallow[layers.format(0)], shallow[layers.format(1)])


@both_wide
def test_initial_spread_is_the_published_one(config: ModelConfig) -> None:
    for name, weights in new_model(dataclasses.replace(config, initializer_range=0.022)).state_dict().items():
        if weights.ndim == 2:
            std = 0.022 / math.sqrt(2 * 2) if config is WIDE and "c_proj" in name else 0.022
            # 128 × 256 draws at the least: a spread off by 2 % is more than five standard errors away
            assert abs(weights.std().item() / std - 1) < 0.02, name
            assert abs(weights.mean().item()) < 0.02 * std
        else:
            assert (weights == (1.0 if name.endswith("weight") else 0.0)).all()


@pytest.mark.parametrize(
    "config", [*map(tiny, range(4)), *map(grouped, range(4))], ids=lambda config: config.model_type
)
def test_loss_equals_cross_entropy_of_the_logits(config: ModelConfig) -> None:
    model = new_model(config, dtype=torch.float64).eval()
    ids_BT = torch.randint(config.vocab_size, (3, 20), generator=torch.Generator().manual_seed(config.vocab_size))
    targets_BT = ids_BT.roll(-1, 1)
    targets_BT[:, -1] = -100
    whole = F.cross_entropy(model(ids_BT).flatten(0, 1), targets_BT.flatten())
    whole.backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    model.loss(ids_BT, targets_BT).backward()
    for (name, parameter), gradient in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-13, msg=name)
    losses_BT = model.token_losses(ids_BT, targets_BT)
    assert losses_BT.shape == targets_BT.shape
    torch.testing.assert_close(losses_BT.sum() / (targets_BT != -100).sum(), whole.detach())


@pytest.mark.parametrize("config", [tiny(2), tiny(3), grouped(2), grouped(4)], ids=lambda config: config.model_type)
def test_later_tokens_do_not_reach_earlier_ones(config: ModelConfig) -> None:
    model = new_model(config).eval()
    ids = torch.arange(20)[None] % config.vocab_size
    changed = ids.clone()
    changed[0, 12:] = 1
    with torch.inference_mode():
        torch.testing.assert_close(model(ids)[:, :12], model(changed)[:, :12])


def test_token_reaches_no_further_than_the_windows_of_all_layers() -> None:
    """Each layer looks `window` - 1 tokens back."""
    model = new_model(grouped(0, sliding_window=4, num_hidden_layers=3)).eval()
    ids = torch.arange(24)[None] % model.config.vocab_size
    changed = ids.clone()
    changed[0, 2] += 1
    with torch.inference_mode():
        differs = (model(ids) != model(changed)).any(-1)[0]
    assert differs[2 : 2 + 3 * 3 + 1].all()
    assert not differs[2 + 3 * 3 + 1 :].any()


@pytest.mark.parametrize(
    ("make", "places"),
    [(tiny, ("resid_pdrop", "embd_pdrop", "attn_pdrop")),
     (grouped, ("residual_dropout", "embedding_dropout", "attention_dropout"))],
    ids=["gpt_bigcode", "starcoder2"],
)  # fmt: skip
def test_dropout_acts_in_training_only(make: Any, places: tuple[str, ...]) -> None:
    silent = dict.fromkeys(places, 0.0)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    for place in places:
        model = new_model(make(2, **{**silent, place: 0.5}))
        torch.manual_seed(0)
        assert not torch.equal(model.train()(ids), model(ids)), place
        assert torch.equal(model.eval()(ids), model(ids))


def test_sequence_beyond_the_context_is_refused() -> None:
    for config in (tiny(0), grouped(0)):
        context = config.context
        with pytest.raises(GenerationError, match=f"{context + 1} tokens exceed the model's context of {context}"):
            new_model(config)(torch.zeros(1, context + 1, dtype=torch.int64))


def test_names_and_shapes_are_those_of_the_config() -> None:
    for config in (*map(tiny, range(12)), *map(grouped, range(12))):
        model = new_model(config, device="meta")
        shapes = {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()}
        assert shapes == config.shapes()
