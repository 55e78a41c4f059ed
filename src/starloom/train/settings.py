"""Settings of the optimizers and of the held-out evaluation, as plain data: no torch, so that a plan needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starloom.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]  # of matrix products


def parse_optimizer(text: str) -> AnyOptimizer:
    """`adamw`, `muon` or `adafactor`, with their default settings."""
    known: dict[str, type[AnyOptimizer]] = {"adamw": AdamW, "muon": Muon, "adafactor": Adafactor}
    if text.lower() not in known:
        raise ConfigError(f"an optimizer is adamw, muon or adafactor, not '{text}'")
    return known[text.lower()]()


def _rates(lr: float, weight_decay: float) -> None:
    if lr <= 0:
        raise ConfigError(f"a learning rate is positive, not {lr}")
    if weight_decay < 0:
        raise ConfigError(f"a weight decay is 0 or more, not {weight_decay}")


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); betas and decay as BigCode trained."""

    lr: float = 2e-3  # facts of the baseline at this size; the published models took 2e-4 to 5e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1  # on matrices only; biases and norms are left alone, as in Megatron-LM
    parse = staticmethod(parse_optimizer)

    def __post_init__(self) -> None:
        _rates(self.lr, self.weight_decay)
        for name, value in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not 0 <= value < 1:
                raise ConfigError(f"{name} of AdamW lies in [0, 1), not {value}")


@dataclass(frozen=True, slots=True)
class Muon:
    """Momentum made orthogonal, for the hidden matrices (Jordan et al. 2024); `rest` trains everything else."""

    lr: float = 0.015  # docs/log.md has what was tried
    momentum: float = 0.95
    nesterov: bool = True
    iterations: int = 4  # of Newton–Schulz; one fewer than published, as they start nearer (`orthogonalised`)
    weight_decay: float = 0.0
    split_qkv: bool = True  # make the query, key and value blocks of c_attn orthogonal each for itself
    rest: AdamW = AdamW(lr=5e-3, weight_decay=0.0)
    parse = staticmethod(parse_optimizer)

    def __post_init__(self) -> None:
        _rates(self.lr, self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum of Muon lies in [0, 1), not {self.momentum}")
        if self.iterations < 1:
            raise ConfigError(f"iterations of Muon is {self.iterations}; 5 is usual")


@dataclass(frozen=True, slots=True)
class Adafactor:
    """Adafactor with transformers' semantics, as its Trainer sets it: the step is the scheduled learning rate, not scaled
    by the parameter's size, and there is no first moment."""

    lr: float | None = 1e-3  # none with relative_step only; the published fine-tunes took 1e-5
    eps1: float = 1e-30  # added to each squared gradient
    eps2: float = 1e-3  # least size of a parameter, with scale_parameter
    clip_threshold: float = 1.0  # root of the mean square of an update, at most
    decay_rate: float = -0.8  # β₂ of step t is 1 − t to this power
    beta1: float | None = None  # of a first moment; none: none is kept
    weight_decay: float = 0.0  # on matrices only
    scale_parameter: bool = False  # multiply the step by the root of the mean square of the parameter
    relative_step: bool = False  # the step is min(0.01, 1/√t) instead of lr
    warmup_init: bool = False  # with relative_step: min(10⁻⁶·t, 1/√t)
    parse = staticmethod(parse_optimizer)

    def __post_init__(self) -> None:
        if (self.lr is None) != self.relative_step:
            raise ConfigError(
                f"adafactor takes its step from lr or from relative_step, not both or neither: lr is {self.lr}, "
                f"relative_step is {str(self.relative_step).lower()}"
            )
        if self.warmup_init and not self.relative_step:
            raise ConfigError("warmup_init of adafactor needs relative_step; use schedule.warmup to warm lr up")
        _rates(1.0 if self.lr is None else self.lr, self.weight_decay)
        if self.beta1 is not None and not 0 <= self.beta1 < 1:
            raise ConfigError(f"beta1 of adafactor lies in [0, 1), or is none, not {self.beta1}")
        if self.clip_threshold <= 0 or self.decay_rate >= 0 or self.eps1 < 0 or self.eps2 < 0:
            raise ConfigError(
                f"adafactor's clip_threshold is positive, decay_rate negative, eps1 and eps2 0 or more, not "
                f"{self.clip_threshold}, {self.decay_rate}, {self.eps1} and {self.eps2}"
            )


AnyOptimizer = AdamW | Muon | Adafactor


@dataclass(frozen=True, slots=True)
class LossScale:
    """What the loss is multiplied by in fp16, so that small gradients are not rounded to zero: as large as it can be
    without an overflow. A step that overflows is skipped. Powers of two, which lose nothing."""

    initial: float = 65536.0  # SantaCoder's launch script; torch's as well
    growth: float = 2.0  # after `window` steps without an overflow
    backoff: float = 0.5  # after an overflow
    window: int = 1000  # Megatron-LM's --loss-scale-window
    least: float = 1.0  # Megatron-LM's --min-loss-scale: an overflow at it counts as a step without a finite gradient

    def __post_init__(self) -> None:
        if not (0 < self.least <= self.initial and self.growth >= 1 and 0 < self.backoff < 1 and self.window >= 1):
            raise ConfigError(
                f"loss_scale.least ({self.least}) is positive and at most initial ({self.initial}), growth at least 1 "
                f"({self.growth}), backoff between 0 and 1 ({self.backoff}), window at least 1 ({self.window})"
            )

    def after(self, scale: float, steps: int, finite: bool) -> tuple[float, int]:
        """The scale of the next step, and for how many steps it has stood, after one whose gradients were finite or not."""
        if not finite:
            return max(self.least, scale * self.backoff), 0
        return (scale * self.growth, 0) if steps + 1 == self.window else (scale, steps + 1)


@dataclass(frozen=True, slots=True)
class Spike:
    """What to do when the loss rises far above what was usual: go back to a checkpoint from before and past the batches
    that it rose on, as PaLM's training did (arXiv 2204.02311, section 5.1), or skip single steps. Numbers: our choice."""

    action: Literal["rollback", "skip"] = "rollback"
    window: int = 100  # steps that say what is usual: their median, and the median distance from it
    deviations: float = 6.0  # how far above, in standard deviations as that distance estimates them
    least: float = 0.2  # nats a token that are no rise, however small the scatter
    steps: int = 3  # in a row, for a rollback
    every: int = 100  # steps between the checkpoints that are gone back to; PaLM went back some 100, past 200 to 500
    most: int = 5  # rollbacks, then the run ends

    @classmethod
    def parse(cls, text: str) -> Spike:
        """`rollback` or `skip`, with the other settings as they are by default."""
        if text not in ("rollback", "skip"):
            raise ConfigError(f"what is done about a spike is rollback or skip, or none, not '{text}'")
        return cls(action=text)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        for name in ("window", "steps", "every", "most"):
            if getattr(self, name) < 1:
                raise ConfigError(f"spike.{name} is {getattr(self, name)}; use 1 or more")
        if self.deviations < 0 or self.least < 0:
            raise ConfigError(f"spike.deviations and least are 0 or more, not {self.deviations} and {self.least}")
        if self.every < self.steps:
            raise ConfigError(f"spike.every is {self.every}; it is at least spike.steps, {self.steps}")


@dataclass(frozen=True, slots=True)
class Heldout:
    """When and on how much the held-out text is scored. Bounds are in tokens, so that they cost the same everywhere."""

    times: int = 10  # quick looks during the run, evenly spaced; 0: only at the end
    quick_tokens: int = 8_192  # of each quick look, windows spread over the whole split: our choice
    final_tokens: int | None = 65_536  # of the last look, in fp32; None: the whole split

    def __post_init__(self) -> None:
        if self.times < 0 or self.quick_tokens < 1 or (self.final_tokens is not None and self.final_tokens < 1):
            raise ConfigError(
                f"heldout.times is 0 or more and its token counts are positive, not {self.times}, "
                f"{self.quick_tokens} and {self.final_tokens}"
            )
