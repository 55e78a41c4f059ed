from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from tiny_models import tiny

from starloom.errors import GenerationError
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.models.presets import QUICKSTART

WIDE = dataclasses.replace(QUICKSTART, vocab_size=300, n_layer=2)


def same(one: GPTBigCode, other: GPTBigCode) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_initial_weights_depend_on_the_seed_alone() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first = GPTBigCode(WIDE, seed=5)
    assert torch.equal(torch.get_rng_state(), state)  # torch's own generator is left alone
    try:
        torch.set_num_threads(2)
        torch.manual_seed(99)
        assert same(GPTBigCode(WIDE, seed=5), first)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    assert not same(GPTBigCode(WIDE, seed=6), first)


def test_initial_weights_of_a_parameter_depend_on_its_name() -> None:
    """A deeper model begins with the same first layers, but for the scale of what joins the residual."""
    shallow = GPTBigCode(WIDE).state_dict()
    deep = GPTBigCode(dataclasses.replace(WIDE, n_layer=8)).state_dict()
    for name, weights in shallow.items():
        scale = math.sqrt(8 / 2) if name.endswith("c_proj.weight") else 1.0
        torch.testing.assert_close(deep[name] * scale, weights)
    assert not torch.equal(shallow["transformer.h.0.mlp.c_fc.weight"], shallow["transformer.h.1.mlp.c_fc.weight"])


def test_initial_spread_is_the_published_one() -> None:
    for name, weights in GPTBigCode(dataclasses.replace(WIDE, initializer_range=0.022)).state_dict().items():
        if weights.ndim == 2:
            std = 0.022 / math.sqrt(2 * 2) if "c_proj" in name else 0.022
            # 256 × 256 draws at the least: a spread off by 2 % is more than seven standard errors away
            assert abs(weights.std().item() / std - 1) < 0.02, name
            assert abs(weights.mean().item()) < 0.02 * std
        else:
            assert (weights == (1.0 if name.endswith("weight") else 0.0)).all()


@pytest.mark.parametrize("number", range(4))
def test_loss_equals_cross_entropy_of_the_logits(number: int) -> None:
    model = GPTBigCode(tiny(number), dtype=torch.float64).eval()
    ids_BT = torch.randint(model.config.vocab_size, (3, 20), generator=torch.Generator().manual_seed(number))
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


def test_later_tokens_do_not_reach_earlier_ones() -> None:
    for multi_query in (True, False):
        model = GPTBigCode(tiny(2, multi_query=multi_query)).eval()
        ids = torch.arange(20)[None] % model.config.vocab_size
        changed = ids.clone()
        changed[0, 12:] = 1
        with torch.inference_mode():
            torch.testing.assert_close(model(ids)[:, :12], model(changed)[:, :12])


def test_dropout_acts_in_training_only() -> None:
    silent = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    for place in silent:
        model = GPTBigCode(tiny(2, **{**silent, place: 0.5}))
        torch.manual_seed(0)
        assert not torch.equal(model.train()(ids), model(ids)), place
        assert torch.equal(model.eval()(ids), model(ids))


def test_sequence_beyond_the_context_is_refused() -> None:
    model = GPTBigCode(tiny(0))
    context = model.config.n_positions
    with pytest.raises(GenerationError, match=f"{context + 1} tokens exceed the model's context of {context}"):
        model(torch.zeros(1, context + 1, dtype=torch.int64))


def test_names_and_shapes_are_those_of_the_config() -> None:
    for number in range(12):
        model = GPTBigCode(tiny(number), device="meta")
        shapes = {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()}
        assert shapes == model.config.shapes()
