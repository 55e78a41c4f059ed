"""Held-out bits per byte: what coding the held-out text with the model would cost, exactly."""

# B windows, T tokens (the context)

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from starloom.errors import DamagedError
from starloom.models.causal_lm import CausalLM

WINDOWS_AT_ONCE = 8  # our choice: large enough for full speed on two cores


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over the predicted tokens; the cost of control tokens counts, their bytes are none."""

    nats: float
    tokens: int
    bytes: int
    windows: int
    windows_in_all: int

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


def window_starts(tokens: int, context: int, bound: int | None) -> list[int]:
    """Where the windows begin that score a split of `tokens`: side by side, each token but the first predicted once.

    A bound in tokens keeps windows spread evenly over the split, at least one.
    """
    starts = list(range(0, max(0, tokens - 1), context))
    wanted = len(starts) if bound is None else max(1, bound // context)
    return starts if wanted >= len(starts) else [starts[i * len(starts) // wanted] for i in range(wanted)]


@torch.no_grad()
def score(
    model: CausalLM,
    tokens: npt.NDArray[np.generic],
    byte_lengths: npt.NDArray[np.int32],
    context: int,
    bound: int | None = None,
    advance: Callable[[int], object] = lambda tokens: None,
) -> Score:
    """Score a split with windows of `context` tokens, no token seen from outside its window."""
    starts = window_starts(len(tokens), context, bound)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    nats, predicted, in_bytes = 0.0, 0, 0
    for ids in _batches(tokens, starts, context):
        ids_BT = torch.from_numpy(ids).to(device)
        targets = ids[:, 1:]
        if ids.max() >= len(byte_lengths):
            raise DamagedError(
                f"the held-out tokens hold {ids.max()}, which a vocabulary of {len(byte_lengths):,} has not; "
                "`starloom verify` finds the damaged file"
            )
        nats += model.token_losses(ids_BT[:, :-1], ids_BT[:, 1:]).double().sum().item()
        predicted += targets.size
        in_bytes += int(byte_lengths[targets].sum(dtype=np.int64))
        advance(targets.size)
    model.train(was_training)
    return Score(nats, predicted, in_bytes, len(starts), len(window_starts(len(tokens), context, None)))


def _batches(tokens: npt.NDArray[np.generic], starts: list[int], context: int) -> Iterator[npt.NDArray[np.int64]]:
    """Windows of context + 1 tokens, several of one length together; the last of a split may be shorter."""
    whole = [start for start in starts if start + context < len(tokens)]
    for first in range(0, len(whole), WINDOWS_AT_ONCE):
        chosen = whole[first : first + WINDOWS_AT_ONCE]
        yield np.stack([tokens[start : start + context + 1] for start in chosen]).astype(np.int64)
    for start in starts[len(whole) :]:
        yield np.asarray(tokens[start:], np.int64)[None]
