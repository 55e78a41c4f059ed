"""From logits to the next id: pure NumPy functions, and chance as a function of (seed, sample, position).

The order is that of `transformers`' generate: bias, repetition penalty, forbidden ids, temperature, then top-k, top-p over
what top-k left, min-p over what top-p left. Equal ids are ranked by number, the lower first, so exactly k ids survive
top-k and the result never depends on a sort.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from starloom.errors import GenerationError

Logits = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
Ids = npt.NDArray[np.intp]


# Bounds: our choice, far beyond what is of use (OpenAI's bias ends at 100), so that no float32 logit overflows.
LARGEST_PENALTY = 100
LARGEST_BIAS = 10_000


def is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next id is drawn; the defaults are greedy decoding with everything else off. Raises GenerationError.

    `top_k` is a count (0: all), `top_p` the share that the likeliest must reach (1: all), `min_p` the least chance relative
    to the likeliest id's (0: all). `repetition_penalty` divides a positive logit of every id that the sequence holds, prompt
    included, and multiplies a negative one (Keskar et al. 2019, as in transformers; 1 is off). `logit_bias` is added to the
    logits of (id, bias) pairs. `sample` numbers the samples that are drawn from one seed.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    sample: int = 0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            if not is_number(getattr(self, name)):
                raise GenerationError(f"{name} is a number, not {getattr(self, name)!r}")
        for name in ("top_k", "seed", "sample"):
            if not is_whole(getattr(self, name)):
                raise GenerationError(f"{name} is a whole number, not {getattr(self, name)!r}")
        if not 0 <= self.temperature < math.inf:
            raise GenerationError(f"temperature is a number from 0 (greedy) up, not {self.temperature}")
        if self.top_k < 0:
            raise GenerationError(f"top_k is a count of ids (0: all), not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise GenerationError(f"top_p is a share above 0 and up to 1 (all), not {self.top_p}")
        if not 0 <= self.seed < 2**64:
            raise GenerationError(f"seed is a whole number from 0 to 2**64 - 1, not {self.seed}")
        if not 0 <= self.min_p <= 1:
            raise GenerationError(f"min_p is a share from 0 (all) to 1, not {self.min_p}")
        if not 1 / LARGEST_PENALTY <= self.repetition_penalty <= LARGEST_PENALTY:
            raise GenerationError(
                f"repetition_penalty is a number from {1 / LARGEST_PENALTY} to {LARGEST_PENALTY} (1: off), "
                f"not {self.repetition_penalty}"
            )
        if not 0 <= self.sample < 2**64:
            raise GenerationError(f"sample is a whole number from 0 up, not {self.sample}")
        for token, bias in self.logit_bias:
            if not is_whole(token):
                raise GenerationError(f"logit_bias is about ids, whole numbers, not {token!r}")
            if not (is_number(bias) and abs(bias) <= LARGEST_BIAS):
                raise GenerationError(
                    f"logit_bias of id {token} is a number from {-LARGEST_BIAS} to {LARGEST_BIAS}, not {bias!r}; to ban "
                    "ids, forbid them"
                )
        if len(dict(self.logit_bias)) < len(self.logit_bias):
            raise GenerationError("logit_bias names an id twice; give each id one bias")

    @property
    def adjusts(self) -> bool:
        """Whether logits are changed before any id is drawn from them."""
        return bool(self.logit_bias) or self.repetition_penalty != 1


GREEDY = Sampling()


def uniform(seed: int, position: int, sample: int = 0) -> float:
    """A number in [0, 1) for the id at this position: Philox keyed by (seed, sample), counted by the position."""
    raw = np.random.Philox(key=seed | sample << 64, counter=position).random_raw()
    return float((int(raw) >> 11) / 2**53)


def log_probabilities(logits: Logits) -> Probabilities:
    """Natural logarithms of the softmax over the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def likeliest(logprobs: Probabilities, count: int) -> tuple[tuple[int, float], ...]:
    """The `count` likeliest ids with their log-probabilities, likeliest first, equal ones by id."""
    return tuple((int(token), float(logprobs[token])) for token in ranked(logprobs, count))


def ranked(weights: npt.NDArray[np.floating], count: int) -> Ids:
    """The `count` ids of the largest weights, largest first, equal ones by id."""
    if count < len(weights):
        least = np.partition(weights, len(weights) - count)[len(weights) - count]
        candidates = np.flatnonzero(weights >= least)  # every tie with the last one, so that the id decides
    else:
        candidates = np.arange(len(weights))
    return candidates[np.argsort(-weights[candidates], kind="stable")][:count]


def adjusted(logits: Logits, sampling: Sampling, seen: Sequence[int] = (), *forbidden: Ids) -> Logits:
    """Logits with bias, the repetition penalty over the ids `seen`, and minus infinity for forbidden ids; a copy if changed."""
    if not sampling.adjusts and not any(len(ids) for ids in forbidden):
        return logits
    logits = logits.copy()
    for token, bias in sampling.logit_bias:
        logits[token] += bias
    if sampling.repetition_penalty != 1 and len(seen):
        ids = np.unique(np.asarray(seen, dtype=np.intp))
        old = logits[ids]
        logits[ids] = np.where(old < 0, old * sampling.repetition_penalty, old / sampling.repetition_penalty)
    for mask in forbidden:
        logits[mask] = -np.inf
    return logits


def keep_top_p(probabilities: Probabilities, p: float) -> Ids:
    """The fewest of the most likely ids whose probabilities sum to at least p, ascending; they sum to 1 in all."""
    likely = np.flatnonzero(
        probabilities >= (1 - p) / len(probabilities)
    )  # all the others together have less than 1 - p
    weights = probabilities[likely]
    falling = np.sort(weights)[::-1]
    count = int(np.searchsorted(np.cumsum(falling), p)) + 1
    if count >= len(likely):
        return likely
    kept = weights > falling[count - 1]
    kept[np.flatnonzero(weights == falling[count - 1])[: count - int(kept.sum())]] = True
    result: Ids = likely[kept]
    return result


def candidates(logits: Logits, sampling: Sampling) -> tuple[Ids, Probabilities]:
    """The ids that may be drawn, ascending, and their chances, float64, sum 1. Greedy leaves the largest logit's, the
    lowest among equals."""
    if sampling.temperature == 0:
        return np.array([logits.argmax()]), np.ones(1)
    ids: Ids | None = None  # all
    if 0 < sampling.top_k < len(logits):
        ids = np.sort(ranked(logits, sampling.top_k))
        logits = logits[ids]
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # towards temperature 0, minus infinity is the right quotient
        chances = np.exp((wide - wide.max()) / sampling.temperature)
    chances /= chances.sum()
    if sampling.top_p < 1:
        kept = keep_top_p(chances, sampling.top_p)
        ids, chances = kept if ids is None else ids[kept], chances[kept]
    if sampling.min_p > 0:
        kept = np.flatnonzero(chances >= sampling.min_p * chances.max())
        ids, chances = kept if ids is None else ids[kept], chances[kept]
    return np.arange(len(logits)) if ids is None else ids, chances / chances.sum()


def distribution(logits: Logits, sampling: Sampling) -> Probabilities:
    """Chances of each id of the vocabulary, float64, sum 1."""
    ids, chances = candidates(logits, sampling)
    result = np.zeros(len(logits))
    result[ids] = chances
    return result


def draw(probabilities: Probabilities, chance: float) -> int:
    """The place at which the running sum first exceeds `chance` (in [0, 1)) of the total."""
    running = np.cumsum(probabilities)
    found = int(np.searchsorted(running, chance * running[-1], side="right"))
    if found == len(probabilities):  # the product was rounded up to the total
        return int(np.flatnonzero(probabilities)[-1])
    return found


def choose(logits: Logits, sampling: Sampling, position: int, *forbidden: Ids, seen: Sequence[int] = ()) -> int:
    """The id for a position, among those not forbidden. Raises GenerationError when every id is forbidden."""
    logits = adjusted(logits, sampling, seen, *forbidden)
    best = int(logits.argmax())
    if logits[best] == -np.inf:
        raise GenerationError(f"every id is forbidden at position {position}: leave at least one")
    if sampling.temperature == 0:
        return best
    ids, chances = candidates(logits, sampling)
    return int(ids[draw(chances, uniform(sampling.seed, position, sampling.sample))])
