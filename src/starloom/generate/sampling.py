"""From logits to the next id: pure NumPy functions, and chance as a function of (seed, position).

The order is temperature, then top-k, then top-p over what top-k left, as in `transformers`' generate. Equal
probabilities are ranked by id, the lower first, so exactly k ids survive top-k and the result never depends on a sort.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from starloom.errors import GenerationError

Logits = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
Ids = npt.NDArray[np.intp]

FIRST_LOOK = 64  # candidates of the first, cheap search for the top-p set; four times as many at each further one


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next id is drawn. Temperature 0 is greedy; top_k 0 and top_p 1 are off. Raises GenerationError."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise GenerationError(f"temperature is a number from 0 (greedy) up, not {self.temperature}")
        if self.top_k < 0:
            raise GenerationError(f"top_k is a count of ids (0: all), not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise GenerationError(f"top_p is a share above 0 and up to 1 (all), not {self.top_p}")
        if not 0 <= self.seed < 2**64:
            raise GenerationError(f"seed is a whole number from 0 to 2**64 - 1, not {self.seed}")


GREEDY = Sampling()


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) for the id at this position of a sequence: Philox keyed by the seed, counted by the position."""
    raw = np.random.Philox(key=seed, counter=position).random_raw()
    return float((int(raw) >> 11) / 2**53)


def log_probabilities(logits: Logits) -> Probabilities:
    """Natural logarithms of the softmax over the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def ranked(weights: Probabilities, count: int) -> Ids:
    """The `count` ids of the largest weights, largest first, equal ones by id."""
    if count < len(weights):
        least = np.partition(weights, len(weights) - count)[len(weights) - count]
        candidates = np.flatnonzero(weights >= least)  # every tie with the last one, so that the id decides
    else:
        candidates = np.arange(len(weights))
    return candidates[np.argsort(-weights[candidates], kind="stable")][:count]


def keep_top_k(probabilities: Probabilities, k: int) -> Probabilities:
    """The k most likely ids, rescaled to sum 1; k of 0 keeps all."""
    if k == 0 or k >= len(probabilities):
        return probabilities
    return _only(probabilities, ranked(probabilities, k))


def keep_top_p(probabilities: Probabilities, p: float) -> Probabilities:
    """The fewest of the most likely ids whose probabilities sum to at least p, rescaled to sum 1; p of 1 keeps all."""
    if p >= 1:
        return probabilities
    look = FIRST_LOOK
    while True:
        best = ranked(probabilities, look)
        reached = np.cumsum(probabilities[best])
        if reached[-1] >= p or look >= len(probabilities):
            return _only(probabilities, best[: int(np.searchsorted(reached, p)) + 1])
        look *= 4


def _only(probabilities: Probabilities, kept: Ids) -> Probabilities:
    result = np.zeros_like(probabilities)
    result[kept] = probabilities[kept] / probabilities[kept].sum()
    return result


def distribution(logits: Logits, sampling: Sampling) -> Probabilities:
    """Chances of each id, float64, sum 1. Greedy puts all on the largest logit, the lowest id among equals."""
    if sampling.temperature == 0:
        result = np.zeros(len(logits))
        result[int(logits.argmax())] = 1.0
        return result
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # towards temperature 0, minus infinity is the right quotient
        wide = np.exp((wide - wide.max()) / sampling.temperature)
    wide /= wide.sum()
    return keep_top_p(keep_top_k(wide, sampling.top_k), sampling.top_p)


def draw(probabilities: Probabilities, chance: float) -> int:
    """The id at which the running sum, in order of ids, first exceeds `chance` (in [0, 1)) of the total."""
    running = np.cumsum(probabilities)
    found = int(np.searchsorted(running, chance * running[-1], side="right"))
    return min(found, int(np.flatnonzero(probabilities)[-1]))  # the product may round up to the total


def choose(logits: Logits, sampling: Sampling, position: int, *forbidden: Ids) -> int:
    """The id for a position, among those not forbidden. Raises GenerationError when every id is forbidden."""
    if any(len(ids) for ids in forbidden):
        logits = logits.copy()
        for ids in forbidden:
            logits[ids] = -np.inf
        if not (logits > -np.inf).any():
            raise GenerationError(f"every id is forbidden at position {position}: leave at least one")
    if sampling.temperature == 0:
        return int(logits.argmax())
    return draw(distribution(logits, sampling), uniform(sampling.seed, position))
