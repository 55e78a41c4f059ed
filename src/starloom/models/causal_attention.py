"""Causal attention for training on a CPU: large products instead of one small one for each head.

All query heads of a key/value head are rows of one matrix product, so multi-query attention is two products a block of
queries; keys behind a block are never touched, which leaves out nearly half the work. torch's own kernel for the CPU does
neither (`benchmarks/train_attention.py` measures both). Its price is memory for the probabilities, T²·N/2 a sequence: so
it is used up to `LONGEST` tokens only.
"""

# B batch, T tokens, N query heads, K key/value heads, G = N/K queries for each, H head size, R = rows of a block (t·G)

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

# Queries at once. Measured on Zen 4 cores: half as many take 0.92 of the time where six heads share a key (float32; as long in
# bfloat16), 1.02 where each has its own; twice as many 1.15 of it.
BLOCK: Final = 128
SHARED: Final = 4  # queries of one key from which on blocks are half as long
LONGEST: Final = 2048  # tokens: beyond, the probabilities of a layer outgrow what a small machine can spare


def causal_attention(
    q_BTNH: Tensor,
    k_BTKH: Tensor,
    v_BTKH: Tensor,
    scale: float,
    window: int | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """softmax(scale · q·kᵀ) · v over the tokens up to each query's own, [B, T, N, H], in the type of q; at most the last
    `window` of them, and only those of its own document where documents are numbered.

    Scores are rounded to that type; the softmax works in at least float32 inside.
    """
    attended: Tensor = _CausalAttention.apply(q_BTNH, k_BTKH, v_BTKH, scale, window, documents_BT)  # type: ignore[no-untyped-call]
    return attended


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_BTNH: Tensor,
        k_BTKH: Tensor,
        v_BTKH: Tensor,
        scale: float,
        window: int | None,
        documents_BT: Tensor | None,
    ) -> Tensor:
        heads = k_BTKH.shape[2]
        q, k, v = _by_head(q_BTNH * scale, heads), _by_head(k_BTKH, heads), _by_head(v_BTKH, heads)
        y = torch.empty_like(q)
        block = BLOCK // 2 if q.shape[2] >= SHARED else BLOCK
        later = torch.full((block, block), -torch.inf, dtype=q.dtype, device=q.device).triu(1)[:, None]
        tokens = q.shape[1]
        window = tokens if window is None else window
        blocks = []
        for start, end, oldest in _blocks(tokens, window, block):
            scores = torch.bmm(_rows(q, start, end), k[:, oldest:end, 0].mT)
            by_query, queries = _by_query(scores, end - start), end - start
            by_query[..., start - oldest :] += later[:queries, :, :queries]  # the future is hidden
            if oldest < end - window:  # and so is what has left the window of some of these queries
                hidden = torch.ones(queries, end - oldest, dtype=torch.bool, device=q.device)
                by_query.masked_fill_(hidden.tril(start - oldest - window)[:, None], -torch.inf)
            if documents_BT is not None:
                others_BtS = documents_BT[:, start:end, None] != documents_BT[:, None, oldest:end]
                by_query.masked_fill_(others_BtS.repeat_interleave(heads, 0)[:, :, None], -torch.inf)
            p = torch.softmax(scores, -1)
            y[:, start:end] = _by_query(torch.bmm(p, v[:, oldest:end, 0]), end - start)
            blocks.append(p)
        ctx.save_for_backward(q, k, v, *blocks)
        ctx.scale, ctx.heads, ctx.blocks = scale, heads, _blocks(tokens, window, block)
        return _back(y, heads)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy_BTNH: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, *blocks = ctx.saved_tensors
        dy = _by_head(dy_BTNH, ctx.heads)
        wide = torch.promote_types(q.dtype, torch.float32)  # what several blocks add to
        dq, dk, dv = (
            torch.empty_like(q),
            torch.zeros_like(k[:, :, 0], dtype=wide),
            torch.zeros_like(v[:, :, 0], dtype=wide),
        )
        for (start, end, oldest), p in zip(ctx.blocks, blocks, strict=True):
            q_rows, dy_rows = _rows(q, start, end), _rows(dy, start, end)
            dp = torch.bmm(dy_rows, v[:, oldest:end, 0].mT)
            ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
            dq[:, start:end] = _by_query(torch.bmm(ds, k[:, oldest:end, 0]).mul_(ctx.scale), end - start)
            dk[:, oldest:end] += torch.bmm(ds.mT, q_rows)
            dv[:, oldest:end] += torch.bmm(p.mT, dy_rows)
        dk, dv = dk.to(k.dtype)[:, :, None], dv.to(v.dtype)[:, :, None]
        return _back(dq, ctx.heads), _back(dk, ctx.heads), _back(dv, ctx.heads), None, None, None


def _by_head(x_BTNH: Tensor, heads: int) -> Tensor:
    """[B, T, N, H] → [B·K, T, G, H]; with one head a view, where the input is contiguous."""
    batch, tokens, queries, size = x_BTNH.shape
    split = x_BTNH.reshape(batch, tokens, heads, queries // heads, size)
    return split.transpose(1, 2).reshape(batch * heads, tokens, queries // heads, size).contiguous()


def _back(x: Tensor, heads: int) -> Tensor:
    """[B·K, T, G, H] → [B, T, N, H]."""
    sequences, tokens, queries, size = x.shape
    split = x.view(sequences // heads, heads, tokens, queries, size)
    return split.transpose(1, 2).reshape(sequences // heads, tokens, heads * queries, size)


def _rows(x: Tensor, start: int, end: int) -> Tensor:
    """A block of queries as rows, [B·K, R, H]."""
    return x[:, start:end].flatten(1, 2)


def _by_query(x: Tensor, queries: int) -> Tensor:
    """[B·K, R, X] → [B·K, t, G, X], a view."""
    return x.view(len(x), queries, -1, x.shape[-1])


def _blocks(tokens: int, window: int, block: int) -> list[tuple[int, int, int]]:
    """First query, end, and the oldest token that one of them sees, of each block."""
    return [(start, min(tokens, start + block), max(0, start - window + 1)) for start in range(0, tokens, block)]
