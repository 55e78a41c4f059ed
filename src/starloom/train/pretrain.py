"""The stage that trains a model from nothing; its directory is a model folder that `transformers` loads as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from starloom.errors import ConfigError
from starloom.models import presets
from starloom.models.config import GPTBigCodeConfig
from starloom.stage import Stage
from starloom.tokens.fim import FIM
from starloom.train.budget import Budget, Minutes
from starloom.train.schedule import Schedule
from starloom.train.settings import AdamW, Heldout, Muon

if TYPE_CHECKING:
    pass

MODEL = "model"  # the unit that holds the finished model


@dataclass(frozen=True, slots=True)
class Pretrain(Stage):
    """Train `model` on packed tokens, with fill-in-the-middle, for a budget in steps, tokens or minutes."""

    version: ClassVar[int] = 1

    packed: Stage
    model: GPTBigCodeConfig = presets.QUICKSTART
    fim: FIM = FIM()  # noqa: RUF009  (frozen)
    budget: Budget = Minutes(3)  # noqa: RUF009
    batch: int = 2  # sequences computed at once
    accumulate: int = 1  # such batches a step
    optimizer: Muon | AdamW = Muon()  # noqa: RUF009
    schedule: Schedule = Schedule()  # noqa: RUF009
    clip: float | None = 1.0  # largest norm of the gradient; None: not clipped
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of matrix products; auto: bf16 where the hardware has it
    patience: int = 8  # steps in a row without a finite gradient before the run ends; our choice
    heldout: Heldout = Heldout()  # noqa: RUF009

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"pretrain.{name} is {getattr(self, name)}; use 1 or more")
        if self.clip is not None and self.clip <= 0:
            raise ConfigError(f"pretrain.clip is {self.clip}; use a positive norm, or none")
