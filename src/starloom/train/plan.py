"""What a training run takes, before it runs: tokens, operations by named formulas, days, a loader, disk. No torch."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

from starloom.errors import ConfigError
from starloom.models.config import ModelConfig
from starloom.tokens.fim import FIM
from starloom.train.budget import Budget, Minutes, Steps, steps_in
from starloom.train.devices import Hardware, Precision, cpu_has_bf16, measured_gemm
from starloom.train.formulas import COMPUTED, FORMULAS, Terms
from starloom.train.keep import Keep
from starloom.train.memory import NUMBERS, Layout, Memory, elements, held, memory, optimizer_state
from starloom.train.schedule import Schedule
from starloom.train.settings import AnyOptimizer

DAY: Final = 86_400.0
UTILIZATION: Final = 0.40  # share of the peak, where none is given: our choice; published runs imply 0.29 to 0.37


@dataclass(frozen=True, slots=True)
class Run:
    """One training run, in the settings that `Pretrain` takes."""

    model: ModelConfig
    context: int
    batch: int  # sequences a step, over all devices
    steps: int
    optimizer: AnyOptimizer
    schedule: Schedule
    precision: Precision
    fim: FIM = FIM()  # noqa: RUF009  (frozen)
    clip: float | None = 1.0
    save_every: int | None = None  # steps between checkpoints
    padded: int | None = None  # tokens, where sequences of a fine-tune are padded to the context: the most they can be

    @property
    def decay_steps(self) -> int | None:
        """Steps that its schedule was made for, where they are not its own."""
        return self.schedule.length or None

    @property
    def tokens(self) -> int:
        """Tokens that it trains on, each as often as it is seen."""
        return self.steps * self.batch * self.context if self.padded is None else self.padded

    def flops(self, formula: str) -> Terms:
        """Operations of the whole run by one of FORMULAS, term by term."""
        if formula not in FORMULAS:
            raise ConfigError(f"no formula '{formula}'; known: {', '.join(FORMULAS)}")
        return {name: self.tokens * each for name, each in FORMULAS[formula].terms(self.model, self.context).items()}

    def total(self, formula: str) -> float:
        """Their sum."""
        return sum(self.flops(formula).values())


def seconds(flops: float, devices: int, peak: float, utilization: float) -> float:
    """How long so many operations take."""
    return flops / (devices * peak * utilization)


def utilization(flops: float, devices: int, peak: float, taken_s: float) -> float:
    """What share of the peak so many operations in that time are."""
    return flops / (devices * peak * taken_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run on devices: everything in it is computed from these four."""

    run: Run
    hardware: Hardware
    layout: Layout
    utilization: float = UTILIZATION  # share of the peak

    def __post_init__(self) -> None:
        if not 0 < self.utilization <= 1:
            raise ConfigError(f"utilization is a share above 0 and up to 1, not {self.utilization}")
        a_round = self.layout.data * self.layout.micro_batch
        if self.run.batch % a_round:
            raise ConfigError(
                f"a batch of {self.run.batch} sequences does not divide into {self.layout.data} copies of the model with "
                f"{self.layout.micro_batch} at a time; change devices, tensor, pipeline or the micro-batch"
            )

    @property
    def peak(self) -> float:
        return self.hardware.peak_at(self.run.precision)

    @property
    def flops(self) -> float:
        """Operations that the devices do, recomputation among them."""
        return self.run.total(COMPUTED[self.layout.recompute])

    @property
    def seconds(self) -> float:
        return seconds(self.flops, self.layout.devices, self.peak, self.utilization)

    @property
    def tokens_per_second(self) -> float:
        """What the loader has to bring, over all devices."""
        return self.run.tokens / self.seconds

    @property
    def accumulate(self) -> int:
        """Micro-batches that each copy of the model takes one after another in a step."""
        return self.run.batch // (self.layout.data * self.layout.micro_batch)

    def pretrain(self) -> dict[str, Any]:
        """Arguments of `Pretrain` that train as this run did, on as many processes as there are copies of the model."""
        run = self.run
        own = ("model", "fim", "optimizer", "schedule", "clip", "precision")
        return {
            "budget": Steps(run.steps),
            "batch": run.batch // self.accumulate,
            "accumulate": self.accumulate,
            "keep": Keep(run.save_every or 0),
            **{name: getattr(run, name) for name in own},
        }

    @property
    def bubble(self) -> float:
        """Share of a step in which a pipeline waits: (p − 1) / (micro-batches + p − 1), one forward, one backward."""
        waiting = self.layout.pipeline - 1
        return waiting / (self.accumulate + waiting)

    @property
    def traffic_bytes(self) -> float:
        """What each device sends to the others of its data-parallel group over the run: weights gathered twice and gradients
        reduced once for each micro-batch (ZeRO 3), else gradients once a step, and with ZeRO 1 or without the same again
        to hand the result around (Rajbhandari et al. 2020, arXiv 1910.02054, section 7)."""
        shapes, numbers = held(self.run.model, self.layout.tensor, self.layout.pipeline), NUMBERS[self.layout.numbers]
        share = elements(shapes) * (self.layout.data - 1) / self.layout.data
        if self.layout.shard == "full":
            return self.run.steps * self.accumulate * 3.0 * numbers.activations * share
        after = numbers.weights if self.layout.shard == "optimizer" else numbers.gradients
        return self.run.steps * (numbers.gradients + after) * share

    @property
    def memory(self) -> Memory:
        return memory(self.run.model, self.run.context, optimizer_name(self.run.optimizer), self.layout)

    @property
    def fits(self) -> bool:
        """Whether what is counted lies within nine tenths of a device's memory (the rest, our choice, for what is not)."""
        return self.memory.total <= 0.9 * self.hardware.memory

    @property
    def checkpoint_bytes(self) -> int:
        """What a run needs to go on: weights, master copies, the optimizer's state."""
        shapes, numbers = self.run.model.shapes(), NUMBERS[self.layout.numbers]
        return (numbers.weights + numbers.master) * elements(shapes) + optimizer_state(
            shapes, optimizer_name(self.run.optimizer)
        )

    @property
    def weights_bytes(self) -> int:
        """The finished model in 16 bits."""
        return 2 * self.run.model.parameter_count()

    @property
    def packed_bytes(self) -> int:
        """Packed tokens on disk, were none seen twice."""
        return self.run.tokens * (2 if self.run.model.vocab_size <= 2**16 else 4)

    def to_json(self) -> dict[str, Any]:
        """Every figure, in plain units (bytes, seconds, operations)."""
        used = self.memory
        names = ("weights", "gradients", "optimizer", "activations", "logits", "gathered", "total")
        return {
            "parameters": self.run.model.parameter_count(),
            "tokens": self.run.tokens,
            "steps": self.run.steps,
            "batch": self.run.batch,
            "context": self.run.context,
            "flops": {name: self.run.flops(name) | {"total": self.run.total(name)} for name in FORMULAS},
            "hardware": {"name": self.hardware.name, "peak": self.peak, "memory": self.hardware.memory},
            "layout": {
                name: getattr(self.layout, name)
                for name in ("devices", "data", "tensor", "pipeline", "shard", "micro_batch", "numbers", "recompute")
            }
            | {"accumulate": self.accumulate, "bubble": self.bubble},
            "memory": {name: getattr(used, name) for name in names} | {"fits": self.fits},
            "utilization": self.utilization,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "traffic_bytes": self.traffic_bytes,
            "checkpoint_bytes": self.checkpoint_bytes,
            "weights_bytes": self.weights_bytes,
            "packed_bytes": self.packed_bytes,
        }


def optimizer_name(optimizer: object) -> str:
    """What `memory` calls the optimizer of these settings."""
    return type(optimizer).__name__.lower()


# Of what the fp32 matrix product of this machine reaches, a training step on it reaches so much: in fp32 0.58 to 0.65 at 12M
# parameters, ours and peers; in bfloat16 where the processor has it 1.10 (the quickstart's size, docs/log.md: 541k tokens in 60 s).
STEP_SHARE: Final = {"fp32": 0.6, "bf16": 1.1}
_gemm_here = functools.cache(measured_gemm)  # once for all steps of a plan


def brief(
    model: ModelConfig,
    context: int,
    tokens_a_step: int,
    budget: Budget,
    precision: str = "auto",
    gemm: float | None = None,
) -> str:
    """A run on this machine in a few words: parameters, tokens, operations, minutes; `gemm` is its FLOP/s, else measured."""
    fast = precision in ("auto", "bf16") and cpu_has_bf16()
    speed = STEP_SHARE["bf16" if fast else "fp32"] * (_gemm_here() if gemm is None else gemm)
    each = model.flops_per_token(context)
    if isinstance(budget, Minutes):
        tokens, minutes = budget.minutes * 60 * speed / each, budget.minutes
    else:
        tokens = float(steps_in(budget, tokens_a_step) * tokens_a_step)
        minutes = tokens * each / speed / 60
    guess = ("about ", "") if isinstance(budget, Minutes) else ("", "about ")
    return (
        f"{short(model.parameter_count())} parameters, {guess[0]}{short(tokens)} tokens, {tokens * each:.1e} FLOPs, "
        f"{guess[1]}{minutes:.3g} min here"
    )


def short(number: float) -> str:
    """1124886528 → `1.12B`: three digits and K, M, B or T."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= 0.9995 * size:
            return f"{float(f'{number / size:.3g}'):g}{letter}"
    return f"{float(f'{number:.3g}'):g}"
