"""How long a step waits for a checkpoint to be saved, beside a step without one: at the quickstart's size and at 12.5M
parameters (6 layers × 384, vocabulary 8,192, 8 × 512 tokens), Muon, a save in every second step.

`python benchmarks/train_saving.py [--steps N] [--threads N]` prints JSON lines; the bar is 5 % of a step.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from starloom.models import presets
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.stage import Runtime, Work
from starloom.train import hardware
from starloom.train.checkpoint import Checkpoints, State
from starloom.train.loop import Job, fresh
from starloom.train.pretrain import Pretrain
from starloom.train.ranks import alone
from starloom.train.step import gradients

MIDDLE = GPTBigCodeConfig(
    vocab_size=8192, n_positions=512, n_embd=384, n_layer=6, n_head=6, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
)


def job_of(config: ModelConfig, threads: int) -> Job:
    """The default recipe's job for a model."""
    stage = Pretrain.__dataclass_fields__
    defaults = {name: field.default for name, field in stage.items()}
    names = Job.__dataclass_fields__
    given = {"config": config, "precision": "fp32", "threads": threads, "device": "cpu", "start": None, "spike": None}
    return Job(**{**{name: defaults[name] for name in names if name in defaults}, **given})  # type: ignore[arg-type]


def measure(name: str, config: ModelConfig, batch: int, tokens: int, steps: int, threads: int) -> dict[str, object]:
    """Seconds of steps with and without a save, and the seconds that training waited for each save."""
    job, ranks = job_of(config, threads), alone()
    with tempfile.TemporaryDirectory() as folder, hardware.repeatable(threads, "cpu"):
        work = Work(Path(folder), Runtime(), {}, {})
        log = Path(folder) / "log.jsonl"
        log.write_bytes(b"{}\n" * 1000)
        hardware.keep_freed_memory()
        model, optimizer = fresh(job, ranks)
        weights = dict(model.named_parameters())
        chance = np.random.default_rng(0)
        plain: list[float] = []
        saving: list[float] = []
        blocked: list[float] = []
        with Checkpoints(work, ranks) as checkpoints:
            for step in range(1, steps + 4):
                ids = chance.integers(0, config.vocab_size, (batch, tokens + 1))
                checkpoints.wait()  # in a run saves lie 30 s apart: one never meets the one before
                before, waited = time.perf_counter(), checkpoints.blocked_s
                save = step % 2 == 0
                if save:
                    checkpoints.save(State(step=step), weights, optimizer.tensors(), log)
                gradients(model, ids, job, ranks)
                checkpoints.before_update()
                optimizer.step(1e-3)
                optimizer.zero_grad()
                seconds = time.perf_counter() - before
                if step > 3:  # the first are slow
                    (saving if save else plain).append(seconds)
                    if save:
                        blocked.append(checkpoints.blocked_s - waited)
            checkpoints.wait()
        sizes = sum(path.stat().st_size for path in Path(folder).glob("resume/*/*")) // 2
    step_s = statistics.median(plain)
    return {
        "what": name, "parameters": config.parameter_count(), "saved_bytes": sizes, "step_s": round(step_s, 4),
        "blocked_s_median": round(statistics.median(blocked), 5), "blocked_s_max": round(max(blocked), 5),
        "blocked_share_of_a_step": round(statistics.median(blocked) / step_s, 4),
        "step_that_saves_s": round(statistics.median(saving), 4), "saves": len(blocked), "threads": threads,
        "machine": platform.machine(),
    }  # fmt: skip


def main() -> None:
    """Both sizes, one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    quick = presets.QUICKSTART
    sizes = (("quickstart", quick, 4, min(512, quick.context)), ("12.5M", MIDDLE, 8, 512))
    for name, config, batch, tokens in sizes:
        print(json.dumps(measure(name, config, batch, tokens, flags.steps, flags.threads)), flush=True)


if __name__ == "__main__":
    main()
