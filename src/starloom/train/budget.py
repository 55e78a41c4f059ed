"""How long to train: steps, tokens or minutes, and the number of steps that each means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from starloom.errors import ConfigError

_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse(text: str) -> Budget:
    """`steps:60`, `tokens:1M` (also K, B, T) or `minutes:3`. Raises ConfigError for anything else."""
    unit, _, amount = text.strip().partition(":")
    try:
        if unit == "steps":
            return Steps(int(amount.replace("_", "")))
        if unit == "tokens":
            digits = amount.strip().replace("_", "")
            suffix = digits[-1:].upper() if digits[-1:].isalpha() else ""
            return Tokens(round(float(digits.removesuffix(digits[-1:] if suffix else "")) * _FACTORS[suffix]))
        if unit == "minutes":
            return Minutes(float(amount))
    except (ValueError, KeyError, OverflowError):
        pass
    raise ConfigError(f"a budget is steps:60, tokens:1M or minutes:3, not '{text}'")


@dataclass(frozen=True, slots=True)
class Steps:
    """A number of optimizer steps."""

    steps: int
    parse = staticmethod(parse)

    def __post_init__(self) -> None:
        _positive("steps", self.steps)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A number of trained tokens, rounded up to whole steps."""

    tokens: int
    parse = staticmethod(parse)

    def __post_init__(self) -> None:
        _positive("tokens", self.tokens)


@dataclass(frozen=True, slots=True)
class Minutes:
    """Minutes of training on the machine that trains, turned into steps by a short calibration before the first."""

    minutes: float
    parse = staticmethod(parse)

    def __post_init__(self) -> None:
        _positive("minutes", self.minutes)
        object.__setattr__(self, "minutes", float(self.minutes))  # 3 and 3.0 are one setting


Budget = Steps | Tokens | Minutes


def _positive(unit: str, amount: float) -> None:
    if not 0 < amount < math.inf:
        raise ConfigError(f"a budget of {amount} {unit} trains nothing; use a positive number")


# A calibration takes this share of the budget, within limits that leave out the first, unusually slow steps and keep
# it short: our choice.
SHARE, AT_LEAST_S, AT_MOST_S, WARM_UP, FEWEST = 0.02, 1.0, 20.0, 3, 5


def calibration_steps(timed_step: Callable[[], float], seconds: float) -> list[float]:
    """Seconds of each of as many steps as a calibration for a budget of `seconds` takes, the first few left out."""
    limit = min(AT_MOST_S, max(AT_LEAST_S, SHARE * seconds))
    for _ in range(WARM_UP):
        timed_step()
    times: list[float] = []
    while len(times) < FEWEST or sum(times) < limit:
        times.append(timed_step())
    return times


def steps_in(budget: Budget, tokens_a_step: int, times: list[float] | None = None) -> int:
    """How many steps a budget means; minutes need the `times` that calibration steps took."""
    if isinstance(budget, Steps):
        return budget.steps
    if isinstance(budget, Tokens):
        return -(-budget.tokens // tokens_a_step)
    assert times, "minutes are turned into steps by a calibration"
    return max(1, int(60 * budget.minutes / statistics.median(times)))
