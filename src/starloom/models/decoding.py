"""One decoding step of any model: ragged new tokens of many sequences in, logits out, keys and values kept."""

# V vocabulary, D width, R rows: the new tokens of all sequences of a step, one sequence after another

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from starloom.errors import GenerationError
from starloom.models.cache import Cache, Past
from starloom.models.linear import Matrix, linear

Ids = Sequence[int] | np.ndarray


@torch.inference_mode()
def step(
    body: Callable[[Tensor, Tensor, Past], Tensor],
    head_VD: Matrix,
    batch: Sequence[tuple[int, Ids]],
    cache: Cache,
    every: bool | Sequence[bool] = False,
) -> list[Tensor]:
    """Append each sequence's new ids to its slot. For each: logits [1, V] after its last id, or [ids, V] where `every`.

    A prompt, one more token and the check of a draft are the same call, mixed as one likes; lengths may differ, and no
    sequence sees another. Logits are at least float32. `body` gives what the head reads, from ids, positions and what they
    attend to. Raises GenerationError, with the cache as it was, for an id outside the vocabulary, a slot named twice, no
    ids, or a sequence beyond the context.
    """
    if not batch:
        return []
    rows = [_checked(ids, len(head_VD)) for _, ids in batch]
    past = cache.extend((slot, len(ids)) for (slot, _), ids in zip(batch, rows, strict=True))
    ids_R = torch.from_numpy(np.concatenate(rows)).to(cache.device)
    x_RD = body(ids_R, past.positions_R, past)
    wanted = [every] * len(batch) if isinstance(every, bool) else list(every)
    counts = [len(ids) if all_ids else 1 for ids, all_ids in zip(rows, wanted, strict=True)]
    if sum(counts) < len(x_RD):
        ends = np.cumsum([len(ids) for ids in rows]).tolist()
        x_RD = torch.cat([x_RD[end - count : end] for end, count in zip(ends, counts, strict=True)])
    logits_RV = linear(x_RD, head_VD)
    past.finish()
    return list(torch.split(logits_RV if logits_RV.dtype == torch.float64 else logits_RV.float(), counts))


def _checked(ids: Ids, vocab_size: int) -> np.ndarray:
    """Ids as int64, all of them in the vocabulary (outside it a GPU would stop the whole process)."""
    array = np.asarray(ids, dtype=np.int64)
    if array.ndim != 1:
        raise GenerationError(f"ids of shape {array.shape}; a step takes a flat list of ids for each slot")
    if len(array) and (array.min() < 0 or array.max() >= vocab_size):
        bad = int(array[(array < 0) | (array >= vocab_size)][0])
        raise GenerationError(f"token id {bad} is outside the model's vocabulary of {vocab_size}; "
                              "is it another model's tokenizer?")  # fmt: skip
    return array
