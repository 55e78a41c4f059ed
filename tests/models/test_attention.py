"""Attention of whole sequences and of their newest tokens, against one product with a mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from starloom.models import attention as attention_module
from starloom.models.attention import attend, attention, blocks

CPU = torch.device("cpu")
WINDOWS = st.none() | st.integers(1, 40)
HEADS = st.sampled_from([(1, 1), (3, 1), (6, 2), (4, 4)])


def drawn(seed: int, tokens: int, heads: int, kv_heads: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, tokens, count, 4, generator=generator, dtype=torch.float64)
        for count in (heads, kv_heads, kv_heads)
    ]


def plain(q_BTNH: Tensor, k_BTKH: Tensor, v_BTKH: Tensor, scale: float, window: int | None) -> Tensor:
    """The definition, head by head of the queries, every score computed."""
    shared = q_BTNH.shape[2] // k_BTKH.shape[2]
    k, v = (x.repeat_interleave(shared, 2) for x in (k_BTKH, v_BTKH))
    scores = torch.einsum("btnh,bsnh->bnts", q_BTNH, k) * scale
    distance = torch.arange(scores.shape[2])[:, None] - torch.arange(scores.shape[3])
    hidden = (distance < 0) | (distance >= (window or 10**9))
    return torch.einsum("bnts,bsnh->btnh", scores.masked_fill(hidden, -torch.inf).softmax(-1), v)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99), tokens=st.integers(1, 40), heads=HEADS, window=WINDOWS, block=st.sampled_from([1, 8, 512])
)
def test_whole_sequences_and_newest_tokens_are_the_definition(
    seed: int, tokens: int, heads: tuple[int, int], window: int | None, block: int
) -> None:
    q, k, v = drawn(seed, tokens, *heads)
    expected = plain(q, k, v, 0.4, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_module, "BLOCK", block)
        assert torch.allclose(attention(q, k, v, 0.4, window), expected, atol=1e-12)
        assert torch.allclose(attention(q.requires_grad_(), k, v, 0.4, window), expected, atol=1e-12)
        q, k, v = (x.detach().transpose(1, 2) for x in (q, k, v))
        for newest in {1, tokens, 1 + seed % tokens}:
            seen = attend(q[:, :, -newest:], k, v, 0.4, blocks(newest, tokens, window, CPU))
            assert torch.allclose(seen.transpose(1, 2), expected[:, -newest:], atol=1e-12)


@given(queries=st.integers(1, 3000), before=st.integers(0, 3000), window=st.integers(1, 5000))
def test_blocks_cover_the_queries_once_and_hold_few_keys(queries: int, before: int, window: int) -> None:
    parts = blocks(queries, before + queries, window, torch.device("meta"))
    covered = [(part.queries.start, part.queries.stop) for part in parts]
    assert [0, *(stop for _, stop in covered)] == [*(start for start, _ in covered), queries]
    assert all(part.keys.stop == before + part.queries.stop for part in parts)
    most = max(window, attention_module.BLOCK) + window
    assert all(part.keys.stop - part.keys.start <= most for part in parts)


def test_dropout_is_applied_to_what_is_attended_to() -> None:
    q, k, v = drawn(0, 20, 4, 2)
    torch.manual_seed(0)
    assert not torch.allclose(attention(q, k, v, 0.4, None, dropout=0.5), attention(q, k, v, 0.4, None))
