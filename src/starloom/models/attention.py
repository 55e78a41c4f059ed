"""Causal attention of both families: multi-query, grouped, or a key for each query; all tokens before one, or a window of them.

One entry for whole sequences, in training and out of it, and one for the newest tokens of a sequence whose keys are kept.
"""

# B batch, T tokens with queries, S tokens with keys (the queries are those of the last T), N query heads, K key/value heads,
# G = N/K queries for each, H head size

from __future__ import annotations

from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from starloom.models.causal_attention import LONGEST, causal_attention

BLOCK: Final = 512  # queries at once where a window is shorter than the text, at least; our choice


class Block(NamedTuple):
    """Queries that look at the same keys."""

    queries: slice
    keys: slice
    mask_TS: (
        Tensor | None
    )  # which keys each query sees, also as [B, 1, T, S]; None: all, or if `causal` those up to its own
    causal: bool


def attention(
    q_BTNH: Tensor,
    k_BTKH: Tensor,
    v_BTKH: Tensor,
    scale: float,
    window: int | None = None,
    dropout: float = 0.0,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """softmax(scale · q·kᵀ) · v over the tokens up to each query's own, at most `window` of them, [B, T, N, H].

    Where `documents_BT` numbers the documents of a sequence, no query sees a token of another document.
    """
    tokens = q_BTNH.shape[1]
    if q_BTNH.requires_grad and q_BTNH.device.type == "cpu" and not dropout and tokens <= LONGEST:
        # faster than torch's on a CPU, gradients included (benchmarks/train_attention.py)
        return causal_attention(q_BTNH, k_BTKH, v_BTKH, scale, window, documents_BT)
    q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTKH, v_BTKH))
    parts = blocks(tokens, tokens, window, q.device)
    if documents_BT is not None:
        parts = [_apart(part, window, documents_BT) for part in parts]
    return attend(q, k, v, scale, parts, dropout).transpose(1, 2)


def attend(
    q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, scale: float, parts: list[Block], dropout: float = 0.0
) -> Tensor:
    """What the queries of the last T of S tokens see, [B, N, T, H]; `parts` are their `blocks`."""
    seen = [
        _seen(q_BNTH[:, :, part.queries], k_BKSH[:, :, part.keys], v_BKSH[:, :, part.keys], scale, part, dropout)
        for part in parts
    ]
    return seen[0] if len(seen) == 1 else torch.cat(seen, 2)


def blocks(queries: int, tokens: int, window: int | None, device: torch.device) -> list[Block]:
    """How the last `queries` of `tokens` tokens are computed: all at once, or where a window hides keys from some of them,
    in blocks whose keys are no more than the block's and a window before it.
    """
    first = tokens - queries
    if window is None or tokens <= window:
        mask = _visible(first, tokens, 0, None, device) if 1 < queries < tokens else None
        return [Block(slice(0, queries), slice(0, tokens), mask, causal=1 < queries == tokens)]
    parts = []
    for start in range(first, tokens, max(window, BLOCK)):
        end = min(tokens, start + max(window, BLOCK))
        oldest = max(0, start - window + 1)
        mask = None if end - start == 1 else _visible(start, end, oldest, window, device)
        parts.append(Block(slice(start - first, end - first), slice(oldest, end), mask, causal=False))
    return parts


def _seen(q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, scale: float, part: Block, dropout: float) -> Tensor:
    batch, heads, queries, size = q_BNTH.shape
    kv_heads = k_BKSH.shape[1]
    # the queries of one key head are the rows of one product: no mask, no copies of the keys
    if queries == 1 and part.mask_TS is None:
        q_BKGH = q_BNTH.view(batch, kv_heads, heads // kv_heads, size)
        y_BKGH = F.scaled_dot_product_attention(q_BKGH, k_BKSH, v_BKSH, dropout_p=dropout, scale=scale)
        return y_BKGH.reshape(batch, heads, 1, size)
    return F.scaled_dot_product_attention(
        q_BNTH, k_BKSH, v_BKSH, attn_mask=part.mask_TS, dropout_p=dropout, is_causal=part.causal, scale=scale,
        enable_gqa=kv_heads < heads,
    )  # fmt: skip


def _apart(part: Block, window: int | None, documents_BT: Tensor) -> Block:
    """A block of a whole sequence whose queries see their own document only."""
    queries, keys = part.queries, part.keys
    seen_TS = _visible(queries.start, queries.stop, keys.start, window, documents_BT.device)
    same_BTS = documents_BT[:, queries, None] == documents_BT[:, None, keys]
    return Block(queries, keys, (seen_TS & same_BTS)[:, None], causal=False)


def _visible(start: int, end: int, oldest: int, window: int | None, device: torch.device) -> Tensor:
    """[start … end, oldest … end]: which tokens each token sees."""
    query = torch.arange(start, end, device=device)[:, None]
    key = torch.arange(oldest, end, device=device)[None]
    return key <= query if window is None else (key <= query) & (key > query - window)
