"""The training loop, top to bottom: batches → loss → gradients → update → log, held-out score, resume points.

Everything in a step is a function of the job, the step number, the weights and the optimizer's state, and the last
three are what a resume point holds: so a killed run ends at the weights of one that was never killed, bit for bit.
"""

# B sequences, T tokens of context

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starloom.errors import CheckpointError, TrainingError
from starloom.models.causal_lm import CausalLM, new_model
from starloom.models.checkpoint import load_tensors
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.stage import Work
from starloom.train import hardware, heldout, sharding
from starloom.train.ahead import Ahead, Ids
from starloom.train.body import compile_layers, eager, recompute
from starloom.train.budget import calibration_steps
from starloom.train.checkpoint import Check, Checkpoints, SaveModel, State
from starloom.train.interrupt import Interrupt
from starloom.train.keep import Keep
from starloom.train.log import Row, lines
from starloom.train.looks import ALL, final_scores, heldout_key, look, looks
from starloom.train.muon import Rows, qkv_blocks
from starloom.train.optimizer import Optimizer
from starloom.train.ranks import Ranks
from starloom.train.samples import Sampler
from starloom.train.schedule import Schedule
from starloom.train.settings import AnyOptimizer, Heldout, LossScale, Precision, Spike
from starloom.train.spike import Guard
from starloom.train.step import gradients, seed_dropout
from starloom.train.watch import Watch


@dataclass(frozen=True, slots=True)
class Job:
    """What decides the weights, but for the data."""

    config: ModelConfig
    optimizer: AnyOptimizer
    schedule: Schedule
    clip: float | None  # largest norm of the gradient
    accumulate: int  # parts that a step's batch is computed in
    seed: int
    patience: int  # steps in a row without a finite gradient before the run ends
    heldout: Heldout
    precision: Precision
    loss_scale: LossScale  # of fp16
    spike: Spike | None  # what is done when the loss rises; None: nothing
    document_mask: bool  # attention does not look behind an end of document
    recompute: bool  # keep only what goes into each layer
    compile: bool  # let torch compile the layers
    threads: int
    device: str
    start: Path | None = None  # the model's folder to go on from; None: weights drawn from the seed
    keep: Keep = Keep()  # noqa: RUF009  (checkpoints that stay)


@dataclass(frozen=True, slots=True)
class Data:
    """What is trained on and scored with."""

    batch: Callable[
        [int, int, int], Ids
    ]  # (step, rank, ranks) → that rank's lines, [B / ranks, T + 1]: a pure function
    tokens_a_step: int  # of all ranks
    context: int
    byte_lengths: npt.NDArray[np.int32]  # bytes of each token id
    heldout: Mapping[str, npt.NDArray[np.generic]]  # tokens by the name of their validation set; "" (ALL): all of them
    sampler: Sampler | None = None  # writes samples at each look
    save_model: SaveModel | None = None  # writes a checkpoint that stays
    check: Check | None = None  # compares the tokens' files with their hashes


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run."""

    model: CausalLM
    state: State
    scores: dict[str, heldout.Score]  # by the name of the validation set, "" for all; empty: nothing was held out

    @property
    def score(self) -> heldout.Score | None:
        """Of all that was held out."""
        return self.scores.get(ALL)


def train(job: Job, data: Data, steps: int, work: Work, ranks: Ranks) -> Outcome:
    """Train for `steps`, from the newest resume point of the directory where there is one.

    Raises TrainingError when gradients stay without finite values, SystemExit after SIGTERM or Ctrl-C, all being saved.
    """
    progress = work.runtime.progress
    hardware.keep_freed_memory()
    with (
        hardware.repeatable(job.threads, job.device),
        Checkpoints(work, ranks, lambda step: job.keep.at(step, steps), data.save_model, data.check) as checkpoints,
    ):
        model, optimizer = fresh(job, ranks)
        weights: dict[str, Tensor] = dict(model.named_parameters())
        scaled = job.precision == "fp16"
        state, log_so_far = State(loss_scale=job.loss_scale.initial if scaled else 1.0), b""
        if (saved := checkpoints.newest()) is not None:
            state, log_so_far = saved.state, saved.log
            saved.load(weights, optimizer.tensors())
            progress.line(f"going on from step {state.step:,} of {steps:,}")
        guard, went_back = Guard(job.spike, job.patience, lines(log_so_far)), None
        look_after = looks(steps, job.heldout.times) if len(data.heldout[ALL]) > 1 else set()

        with (
            Interrupt() as interrupt,
            Watch(work, job, data, ranks, log_so_far) as watch,
            Ahead(drawing(data, ranks)) as batches,
            progress.task("train", (steps - state.step) * data.tokens_a_step, "tokens") as advance,
        ):
            if state.step == 0 and guard.keeps(0):
                checkpoints.save(state, weights, optimizer.tensors(), watch.log)
            while state.step < steps:
                ids, waited = batches.take(state.step + state.past, more=state.step + 1 < steps)
                began = time.perf_counter()
                factor = job.schedule.factor(state.step, steps)
                rate = optimizer.rate(factor)
                seed_dropout(job.seed, state.step, ranks.index)
                scale = state.loss_scale
                loss, norm = gradients(model, ids, job, ranks, scale)
                finite = math.isfinite(loss) and math.isfinite(norm)
                overflow = scaled and not finite and math.isfinite(loss) and scale > job.loss_scale.least
                checkpoints.before_update()
                skip = not finite or guard.leaves_out(loss)
                if not skip:
                    optimizer.step(factor)
                optimizer.zero_grad()
                seconds = waited + time.perf_counter() - began

                state.step += 1
                state.tokens += data.tokens_a_step
                state.seconds += seconds
                state.skipped += skip
                if not overflow:
                    state.skipped_in_a_row = state.skipped_in_a_row + 1 if skip else 0
                if scaled:
                    state.loss_scale, state.steps_at_scale = job.loss_scale.after(scale, state.steps_at_scale, finite)
                in_bytes = ranks.count * ranks.mean(float(data.byte_lengths[ids[:, 1:]].sum(dtype=np.int64)))
                row: Row = {
                    "step": state.step,
                    "tokens": state.tokens,
                    "loss": loss if finite else None,
                    "bits_per_byte": loss * data.tokens_a_step / math.log(2) / max(1, in_bytes) if finite else None,
                    "gradient_norm": norm if finite else None,
                    "learning_rate": rate,
                    "skipped": state.skipped,
                    "tokens_per_s": round(data.tokens_a_step / seconds, 1),
                    "loader_wait_s": round(waited, 6),
                    "seconds": round(state.seconds, 3),
                }
                if scaled:
                    row["loss_scale"] = scale
                if state.past:
                    row["batch"] = state.step - 1 + state.past
                if not skip:
                    guard.add(loss)
                elif not overflow:
                    progress.line(
                        f"step {state.step:,} is skipped: its loss is {loss:.3f}, its gradient's norm {norm:.3g}"
                    )
                if (wrong := guard.wrong(state)) is not None:
                    back = guard.back_from(state)
                    saved = None if back is None else checkpoints.back_to(back)
                    if saved is None:
                        raise TrainingError(last_words(wrong, state, work))
                    gone = state.step - saved.state.step
                    progress.line(
                        f"{wrong}, up to step {state.step:,}: back to step {saved.state.step:,}, and on past {gone:,} batches"
                    )
                    went_back = {
                        "from": state.step,
                        "to": saved.state.step,
                        "loss": row["loss"],
                        "rollbacks": state.rollbacks + 1,
                    }
                    state = replace(
                        saved.state, past=state.past + gone, rollbacks=state.rollbacks + 1, seconds=state.seconds
                    )
                    saved.load(weights, optimizer.tensors())
                    watch.back_to(saved.log)
                    guard = Guard(job.spike, job.patience, lines(saved.log))
                    continue
                if went_back is not None:
                    row["went_back"], went_back = went_back, None
                if state.step in look_after and state.step < steps:
                    with eager(job.compile):
                        for name, score in look(model, data, job).items():
                            bits = score.bits_per_byte  # in fp16 they may be too many for a number
                            row[heldout_key(name)] = bits if math.isfinite(bits) else None
                        watch.at_look(model, row)
                watch.after_step(row)
                advance(data.tokens_a_step, note=f"loss {loss:.3f}")

                checkpoints.held = guard.held(state.step)
                kept = guard.keeps(state.step) or job.keep.at(state.step, steps)
                stopping = ranks.any(interrupt.signal is not None)
                if stopping or kept or ranks.any(checkpoints.due()) or state.step == steps:
                    checkpoints.save(state, weights, optimizer.tensors(), watch.log)
                if stopping:
                    checkpoints.wait()
                    progress.line(
                        f"{interrupt.name}: stopped after step {state.step:,} of {steps:,}, all of it saved; "
                        "the same command goes on from there"
                    )
                    raise SystemExit(interrupt.exit_code)

        checkpoints.wait()
        with eager(job.compile):
            return Outcome(model, state, final_scores(model, data, job, work))


def fresh(job: Job, ranks: Ranks) -> tuple[CausalLM, Optimizer]:
    """A model with the seed's weights, and its optimizer at the start."""
    config = job.config
    model = new_model(config, seed=job.seed, device=job.device)
    if job.start is not None:
        load_weights(model, job.start)
    if job.recompute:
        recompute(model)
    if job.compile:
        compile_layers(model, job.device)
    model = sharding.shard(model, ranks, job)
    qkv: tuple[Rows, ...] = ()
    if isinstance(config, GPTBigCodeConfig):  # queries, keys and values are one matrix
        qkv = qkv_blocks(config.n_head, config.n_embd, config.multi_query)
    dtype = torch.bfloat16 if job.precision == "bf16" else torch.float32
    return model, Optimizer(dict(model.named_parameters()), job.optimizer, qkv, dtype)


@torch.no_grad()
def load_weights(model: CausalLM, folder: Path) -> None:
    """Copy a checkpoint's weights over a model's own, of the same shapes. Raises CheckpointError where one is no number."""
    tensors = load_tensors(folder, model.config)
    for name, tensor in model.named_parameters():
        tensor.copy_(tensors[name])
        if not tensor.isfinite().all():
            raise CheckpointError(f"'{name}' in {folder} holds NaN or infinity; go on from a checkpoint before it")


def last_words(wrong: str, state: State, work: Work) -> str:
    """What is said when a run cannot go on."""
    tried = f" after {state.rollbacks} rollbacks" if state.rollbacks else ""
    first = max(1, state.step - max(0, state.skipped_in_a_row - 1))
    return (
        f"{wrong}, up to step {state.step:,}{tried}; the last checkpoint stays: lower the learning rate "
        "(pretrain.optimizer.lr), or look at the data, from the first of these steps on, with "
        f"`starloom follow --run {work.directory} --step {first}`"
    )


def step_times(job: Job, data: Data, seconds: float, ranks: Ranks) -> list[float]:
    """Seconds of each step of a calibration for a budget of `seconds`, on weights that are thrown away; batches are drawn
    ahead as in training."""
    hardware.keep_freed_memory()
    with hardware.repeatable(job.threads, job.device), Ahead(drawing(data, ranks)) as batches:
        model, optimizer = fresh(job, ranks)
        numbers = itertools.count()

        def timed_step() -> float:
            began = time.perf_counter()
            ids, _ = batches.take(next(numbers))
            gradients(model, ids, job, ranks)
            optimizer.step(1e-3)
            optimizer.zero_grad()
            return ranks.mean(time.perf_counter() - began)  # so that all of them take as many steps

        return calibration_steps(timed_step, seconds)


def drawing(data: Data, ranks: Ranks) -> Callable[[int], Ids]:
    """How this process draws its lines of a batch."""
    return lambda number: data.batch(number, ranks.index, ranks.count)
