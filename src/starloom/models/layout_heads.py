"""How the queries, keys and values of all heads lie in GPTBigCode's c_attn, and one key/value head as many.

Three orders of rows: with one key/value head [all queries, k, v]; with one for each query by head (q, k, v of the first
head, then of the next), as GPTBigCode and Megatron have them; or by kind (all q, all k, all v), as GPT-2 and llama.cpp do.
"""

# N query heads, H head size, D width; the last dimensions of a weight are […, D], a bias has none

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from starloom.errors import CheckpointError
from starloom.models.gpt_bigcode_config import GPTBigCodeConfig

C_ATTN: Final = re.compile(r"transformer\.h\.(\d+)\.attn\.c_attn\.(weight|bias)")


def by_kind(rows: Tensor, heads: int) -> Tensor:
    """[(N, 3, H), …] by head → [(3, N, H), …] by kind."""
    return rows.reshape(heads, 3, -1, *rows.shape[1:]).transpose(0, 1).flatten(0, 2)


def by_head(rows: Tensor, heads: int) -> Tensor:
    """[(3, N, H), …] by kind → [(N, 3, H), …] by head."""
    return rows.reshape(3, heads, -1, *rows.shape[1:]).transpose(0, 1).flatten(0, 2)


def expand(config: GPTBigCodeConfig, tensors: Mapping[str, Tensor]) -> tuple[GPTBigCodeConfig, dict[str, Tensor]]:
    """Multi-query → multi-head attention with the same logits: every query head gets a copy of the key/value head."""
    if not config.multi_query:
        raise CheckpointError("the model has a key/value head for each query head already (multi_query is false)")

    def expanded(rows: Tensor) -> Tensor:
        q, k, v = torch.split(rows.reshape(-1, config.head_size, *rows.shape[1:]), [config.n_head, 1, 1])
        return torch.stack((q, k.expand_as(q), v.expand_as(q)), 1).flatten(0, 2)

    changed = {name: expanded(tensor) if C_ATTN.fullmatch(name) else tensor for name, tensor in tensors.items()}
    return dataclasses.replace(config, multi_query=False), changed


def merge(config: GPTBigCodeConfig, tensors: Mapping[str, Tensor]) -> tuple[GPTBigCodeConfig, dict[str, Tensor]]:
    """Multi-head → multi-query attention, where all key/value heads of a layer are equal bit for bit. Raises
    CheckpointError where they are not: no multi-query model has the same logits then."""
    if config.multi_query:
        raise CheckpointError("the model has one key/value head already (multi_query is true)")

    def merged(name: str, rows: Tensor) -> Tensor:
        q, k, v = rows.reshape(config.n_head, 3, config.head_size, *rows.shape[1:]).unbind(1)
        if not (torch.equal(k, k[:1].expand_as(k)) and torch.equal(v, v[:1].expand_as(v))):
            raise CheckpointError(f"{name}: the key/value heads differ, so one cannot take the place of all; "
                                  "a model that was trained with many keeps them")  # fmt: skip
        return torch.cat((q.flatten(0, 1), k[0], v[0]))

    changed = {name: merged(name, tensor) if C_ATTN.fullmatch(name) else tensor for name, tensor in tensors.items()}
    return dataclasses.replace(config, multi_query=True), changed
