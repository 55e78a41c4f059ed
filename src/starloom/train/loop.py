"""The training loop, top to bottom: batches → loss → gradients → update → log, held-out score, resume points.

Everything in a step is a function of the job, the step number, the weights and the optimizer's state, and the last
three are what a resume point holds: so a killed run ends at the weights of one that was never killed, bit for bit.
"""

# B sequences, T tokens of context

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starloom import records
from starloom.errors import TrainingError
from starloom.models.causal_lm import CausalLM, new_model
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.stage import Work
from starloom.train import hardware, heldout, sharding
from starloom.train.budget import calibration_steps
from starloom.train.checkpoint import Checkpoints, State
from starloom.train.interrupt import Interrupt
from starloom.train.log import Row
from starloom.train.muon import Rows, qkv_blocks
from starloom.train.optimizer import Optimizer
from starloom.train.parts import whole
from starloom.train.ranks import Ranks
from starloom.train.samples import Sampler
from starloom.train.schedule import Schedule
from starloom.train.settings import AnyOptimizer, Heldout, Precision
from starloom.train.watch import Watch

Ids = npt.NDArray[np.int64]
ALL: Final = ""  # the validation set of everything that was held out


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
    threads: int
    device: str


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
    with hardware.repeatable(job.threads, job.device), Checkpoints(work) as checkpoints:
        model, optimizer = fresh(job, ranks)
        weights: dict[str, Tensor] = dict(model.named_parameters())
        state, log_so_far = State(), b""
        if (saved := checkpoints.newest()) is not None:
            state, log_so_far = saved.state, saved.log
            load_weights(weights, saved.model)
            optimizer.load(saved.optimizer)
            progress.line(f"going on from step {state.step:,} of {steps:,}")
        look_after = looks(steps, job.heldout.times) if len(data.heldout[ALL]) > 1 else set()

        with (
            Interrupt() as interrupt,
            Watch(work, job, data, ranks, log_so_far) as watch,
            progress.task("train", (steps - state.step) * data.tokens_a_step, "tokens") as advance,
        ):
            for ids, waited in ahead(lambda step: data.batch(step, ranks.index, ranks.count), state.step, steps):
                began = time.perf_counter()
                factor = job.schedule.factor(state.step, steps)
                rate = optimizer.rate(factor)
                seed_dropout(job.seed, state.step)
                loss, norm = gradients(model, ids, job, ranks)
                finite = math.isfinite(loss) and math.isfinite(norm)
                if finite:
                    optimizer.step(factor)
                optimizer.zero_grad()
                seconds = waited + time.perf_counter() - began

                state.step += 1
                state.tokens += data.tokens_a_step
                state.seconds += seconds
                state.skipped += not finite
                state.skipped_in_a_row = 0 if finite else state.skipped_in_a_row + 1
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
                if state.skipped_in_a_row >= job.patience:
                    raise TrainingError(
                        f"no finite gradient in {job.patience} steps in a row, up to step {state.step}; the last "
                        "checkpoint stays: lower the learning rate (pretrain.optimizer.lr), or look at the data of "
                        f"these steps with `starloom follow --run {work.directory} --step {state.step}`"
                    )
                if state.step in look_after and state.step < steps:
                    for name, score in look(model, data, job).items():
                        row[heldout_key(name)] = score.bits_per_byte
                    watch.at_look(model, row)
                watch.after_step(row)
                advance(data.tokens_a_step, note=f"loss {loss:.3f}")

                stopping = ranks.any(interrupt.signal is not None)
                if stopping or ranks.any(checkpoints.due()) or state.step == steps:
                    checkpoints.save(state, weights, optimizer.tensors(), watch.log)
                    watch.at_checkpoint(model, state.step)
                if stopping:
                    checkpoints.wait()
                    progress.line(
                        f"{interrupt.name}: stopped after step {state.step:,} of {steps:,}, all of it saved; "
                        "the same command goes on from there"
                    )
                    raise SystemExit(interrupt.exit_code)

        checkpoints.wait()
        return Outcome(model, state, final_scores(model, data, job, work))


def fresh(job: Job, ranks: Ranks) -> tuple[CausalLM, Optimizer]:
    """A model with the seed's weights, and its optimizer at the start."""
    config = job.config
    model = sharding.shard(new_model(config, seed=job.seed, device=job.device), ranks, job)
    qkv: tuple[Rows, ...] = ()
    if isinstance(config, GPTBigCodeConfig):  # queries, keys and values are one matrix
        qkv = qkv_blocks(config.n_head, config.n_embd, config.multi_query)
    dtype = torch.bfloat16 if job.precision == "bf16" else torch.float32
    return model, Optimizer(dict(model.named_parameters()), job.optimizer, qkv, dtype)


@torch.no_grad()
def load_weights(weights: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy saved tensors over a model's own. Raises TrainingError when they are another model's."""
    differing = sorted(set(weights) ^ set(saved)) or [n for n in weights if weights[n].shape != saved[n].shape]
    if differing:
        raise TrainingError(f"the checkpoint's weights do not fit this model: '{differing[0]}' differs")
    for name, tensor in weights.items():
        tensor.copy_(saved[name])


def seed_dropout(seed: int, step: int) -> None:
    """Make what is dropped in a step a function of the seed and the step."""
    torch.manual_seed(int(records.uniform(seed, "dropout", step) * 2**53))


def gradients(model: CausalLM, ids: Ids, job: Job, ranks: Ranks) -> tuple[float, float]:
    """Leave the mean gradient of all ranks' lines in the parameters, clipped. Returns their loss in nats a token, and the
    gradient's norm before clipping."""
    ids_BT = torch.from_numpy(ids).to(job.device)
    loss = torch.zeros((), device=job.device)
    for part_BT in torch.split(ids_BT, -(-len(ids) // job.accumulate)):
        parts = len(ids) / len(part_BT)
        with computing(job):
            part_loss = model.loss(part_BT[:, :-1], part_BT[:, 1:])
        (part_loss / parts).backward()  # type: ignore[no-untyped-call]
        loss += part_loss.detach() / parts
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf if job.clip is None else job.clip)
    return ranks.mean(loss).item(), whole(norm).item()


def computing(job: Job) -> torch.autocast:
    """Matrix products in the job's precision; the weights stay fp32."""
    return torch.autocast(job.device.partition(":")[0], torch.bfloat16, enabled=job.precision == "bf16")


def heldout_key(name: str) -> str:
    """What a row of the log calls the bits per byte of a validation set."""
    return f"heldout_bits_per_byte/{name}" if name else "heldout_bits_per_byte"


def look(model: CausalLM, data: Data, job: Job) -> dict[str, heldout.Score]:
    """A quick look at the held-out text: on a part of it, in the precision of the training."""
    with computing(job):
        return score_sets(model, data, job.heldout.quick_tokens)


def final_scores(model: CausalLM, data: Data, job: Job, work: Work) -> dict[str, heldout.Score]:
    """The figures that are reported: in fp32 whatever the training's precision."""
    tokens, bound = len(data.heldout[ALL]), job.heldout.final_tokens
    if tokens < 2:
        return {}
    with work.runtime.progress.task("held out", min(tokens, bound or tokens), "tokens") as advance:
        return score_sets(model, data, bound, advance)


def score_sets(
    model: CausalLM, data: Data, bound: int | None, advance: Callable[[int], object] = lambda tokens: None
) -> dict[str, heldout.Score]:
    """Scores of all held-out text within a bound in tokens, and of the named sets, which share as many once more."""
    named = [name for name, tokens in data.heldout.items() if name != ALL and len(tokens) > 1]
    bounds = {ALL: bound, **{name: bound and bound // len(named) for name in named}}
    return {
        name: heldout.score(
            model, data.heldout[name], data.byte_lengths, data.context, most, advance if name == ALL else lambda _: None
        )
        for name, most in bounds.items()
    }


def looks(steps: int, times: int) -> set[int]:
    """The steps after which the held-out text gets a quick look: a function of the number of steps alone."""
    return {steps * number // (times + 1) for number in range(1, times + 1)} - {0}


def ahead(draw: Callable[[int], Ids], start: int, steps: int) -> Iterator[tuple[Ids, float]]:
    """The batches of steps `start` to `steps`, each drawn by another thread while the one before is trained on, and for
    how many seconds training waited for it."""
    with ThreadPoolExecutor(1, "batches") as pool:
        coming = pool.submit(draw, start) if start < steps else None
        for step in range(start, steps):
            assert coming is not None
            began = time.perf_counter()
            ids = coming.result()
            waited = time.perf_counter() - began
            coming = pool.submit(draw, step + 1) if step + 1 < steps else None
            yield ids, waited


def step_times(job: Job, data: Data, seconds: float, ranks: Ranks) -> list[float]:
    """Seconds of each step of a calibration for a budget of `seconds`, on weights that are thrown away."""
    hardware.keep_freed_memory()
    with hardware.repeatable(job.threads, job.device):
        model, optimizer = fresh(job, ranks)
        numbers = itertools.count()

        def timed_step() -> float:
            began = time.perf_counter()
            gradients(model, data.batch(next(numbers), ranks.index, ranks.count), job, ranks)
            optimizer.step(1e-3)
            optimizer.zero_grad()
            return time.perf_counter() - began

        return calibration_steps(timed_step, seconds)
