"""Our causal attention against torch's, values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom.models.causal_attention import BLOCK, causal_attention

LENGTHS = st.sampled_from([1, 2, 17, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])


def drawn(seed, batch, tokens, heads, kv_heads, size, dtype):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, tokens, count, size) for count in (heads, kv_heads, kv_heads, heads)]
    q, k, v, dy = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    return [one.requires_grad_() for one in (q, k, v)], dy


def torchs(q, k, v, scale):
    heads_first = [x.transpose(1, 2) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*heads_first, is_causal=True, scale=scale, enable_gqa=True).transpose(1, 2)


def masked(q, k, v, scale, window):
    """Each token sees itself and the `window` - 1 before it."""
    distance = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    mask = (distance >= 0) & (distance < window)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=True).transpose(1, 2)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 3),
    tokens=LENGTHS,
    kv_heads=st.sampled_from([1, 2, 4]),
    size=st.sampled_from([1, 8]),
)
def test_values_and_gradients_are_torchs(seed, batch, tokens, kv_heads, size):
    inputs, dy = drawn(seed, batch, tokens, 4, kv_heads, size, torch.float64)
    theirs, ours = torchs(*inputs, 0.3), causal_attention(*inputs, 0.3)
    assert torch.allclose(ours, theirs, atol=1e-10)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, dy), torch.autograd.grad(theirs, inputs, dy), strict=True
    ):
        assert torch.allclose(found, expected, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    tokens=LENGTHS,
    kv_heads=st.sampled_from([1, 2, 4]),
    window=st.sampled_from([1, 2, 60, 127, 128, 129, 200, 999]),
)
def test_windows_give_the_values_and_gradients_of_a_mask(seed, tokens, kv_heads, window):
    inputs, dy = drawn(seed, 2, tokens, 4, kv_heads, 4, torch.float64)
    theirs, ours = masked(*inputs, 0.3, window), causal_attention(*inputs, 0.3, window)
    assert torch.allclose(ours, theirs, atol=1e-10)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, dy), torch.autograd.grad(theirs, inputs, dy), strict=True
    ):
        assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_no_token_sees_a_later_one(kv_heads):
    (q, k, v), _ = drawn(0, 1, BLOCK + 9, 4, kv_heads, 8, torch.float32)
    before = causal_attention(q, k, v, 1.0)
    with torch.no_grad():
        k[:, BLOCK + 3] += 100
        v[:, BLOCK + 3] += 100
    after = causal_attention(q, k, v, 1.0)
    assert torch.equal(before[:, : BLOCK + 3], after[:, : BLOCK + 3]) and not torch.equal(before, after)


def test_in_bfloat16_it_is_as_near_to_exact_as_torchs():
    inputs, dy = drawn(1, 2, 200, 4, 1, 64, torch.float32)
    exact = torchs(*inputs, 0.125)
    wanted = torch.autograd.grad(exact, inputs, dy)
    halves = [x.detach().bfloat16().requires_grad_() for x in inputs]
    errors = []
    for attention in (causal_attention, torchs):
        y = attention(*halves, 0.125)
        gradients = torch.autograd.grad(y, halves, dy.bfloat16())
        errors.append(
            [(y - exact).norm() / exact.norm()]
            + [(a - b).norm() / b.norm() for a, b in zip(gradients, wanted, strict=True)]
        )
    assert all(ours < 3 * theirs for ours, theirs in zip(*errors, strict=True)), errors
