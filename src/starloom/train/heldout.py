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


def score(
    model: CausalLM,
    tokens: npt.NDArray[np.generic],
    byte_lengths: npt.NDArray[np.int32],
    context: int,
    bound: int | None = None,
    advance: Callable[[int], object] = lambda tokens: None,
    end_of_document: int | None = None,
) -> Score:
    """Score a split with windows of `context` tokens, no token seen from outside its window, nor with an end of document
    one from behind it."""
    starts = window_starts(len(tokens), context, bound)
    nats, predicted, in_bytes = 0.0, 0, 0
    for _, targets, losses_BT in _losses(model, tokens, byte_lengths, context, starts, end_of_document):
        nats += losses_BT.double().sum().item()
        predicted += targets.size
        in_bytes += int(byte_lengths[targets].sum(dtype=np.int64))
        advance(targets.size)
    return Score(nats, predicted, in_bytes, len(starts), len(window_starts(len(tokens), context, None)))


def nats_of_each(
    model: CausalLM,
    tokens: npt.NDArray[np.generic],
    byte_lengths: npt.NDArray[np.int32],
    context: int,
    advance: Callable[[int], object] = lambda tokens: None,
    end_of_document: int | None = None,
) -> npt.NDArray[np.float64]:
    """What every token of a split costs, in the windows of `score`; the first, which nothing predicts, costs 0."""
    nats = np.zeros(len(tokens))
    starts = window_starts(len(tokens), context, None)
    for first, targets, losses_BT in _losses(model, tokens, byte_lengths, context, starts, end_of_document):
        nats[first + 1 : first + 1 + targets.size] = losses_BT.double().cpu().numpy().ravel()
        advance(targets.size)
    return nats


@torch.no_grad()
def _losses(
    model: CausalLM,
    tokens: npt.NDArray[np.generic],
    byte_lengths: npt.NDArray[np.int32],
    context: int,
    starts: list[int],
    end_of_document: int | None = None,
) -> Iterator[tuple[int, npt.NDArray[np.int64], torch.Tensor]]:
    """(first token of the windows, the ids that they predict, what each of these costs in nats), some windows at once."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    for first, ids in _batches(tokens, starts, context):
        ids_BT = torch.from_numpy(ids).to(device)
        if ids.max() >= len(byte_lengths):
            raise DamagedError(
                f"the held-out tokens hold {ids.max()}, which a vocabulary of {len(byte_lengths):,} has not; "
                "`starloom verify` finds the damaged file"
            )
        yield first, ids[:, 1:], model.token_losses(ids_BT[:, :-1], ids_BT[:, 1:], end_of_document)
    model.train(was_training)


def _batches(
    tokens: npt.NDArray[np.generic], starts: list[int], context: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The first start, and windows of context + 1 tokens, several of one length together; the last may be shorter."""
    whole = [start for start in starts if start + context < len(tokens)]
    for first in range(0, len(whole), WINDOWS_AT_ONCE):
        chosen = whole[first : first + WINDOWS_AT_ONCE]
        yield chosen[0], np.stack([tokens[start : start + context + 1] for start in chosen]).astype(np.int64)
    for start in starts[len(whole) :]:
        yield start, np.asarray(tokens[start:], np.int64)[None]
