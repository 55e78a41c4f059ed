"""The learning rate's course: pure functions of the step, so that a resumed run needs no state for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from starloom.errors import ConfigError

Shape = Literal["constant", "linear", "cosine", "trapezoid"]


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def linear(progress: float) -> float:
    """A straight line from 1 to 0."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Half a cosine wave from 1 to 0 (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def trapezoid(progress: float, decay: float) -> float:
    """1, then a straight line to 0 over the last `decay` share: warm-up–stable–decay (Hu et al. 2024, MiniCPM)."""
    return min(1.0, (1.0 - progress) / decay) if decay > 0 else 1.0


_SHAPES: Final = {"constant": constant, "linear": linear, "cosine": cosine}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up from 0, then a shape that falls from 1 to `floor`; multiplies the optimizer's learning rates."""

    shape: Shape = "trapezoid"
    warmup: float = 0.0  # share of all steps
    warmup_steps: int = 0  # at least so many steps
    decay: float = 0.4  # share of the steps after the warm-up in which a trapezoid falls
    floor: float = 0.0  # what the shape falls to
    length: int = 0  # steps that the course is made for, where the run may end before; 0: the run's own

    def __post_init__(self) -> None:
        for name, value in (("warmup", self.warmup), ("decay", self.decay), ("floor", self.floor)):
            if not 0 <= value <= 1:
                raise ConfigError(f"schedule.{name} is a share between 0 and 1, not {value}")
        if self.warmup_steps < 0:
            raise ConfigError(f"schedule.warmup_steps is {self.warmup_steps}; use 0 for none")
        if self.length < 0:
            raise ConfigError(f"schedule.length is {self.length} steps; use 0 for those of the run")

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """`cosine` and the like, with the other settings as they are by default."""
        if text not in get_args(Shape):
            raise ConfigError(f"a schedule is {', '.join(get_args(Shape))}, not '{text}'")
        return cls(shape=text)  # type: ignore[arg-type]

    def factor(self, step: int, steps: int) -> float:
        """What to multiply the learning rates by at `step`, counted from 0, of a run of `steps`."""
        steps = max(steps, self.length)
        warmup = min(steps, max(self.warmup_steps, round(self.warmup * steps)))
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, steps - warmup)
        height = trapezoid(progress, self.decay) if self.shape == "trapezoid" else _SHAPES[self.shape](progress)
        return self.floor + (1.0 - self.floor) * height
