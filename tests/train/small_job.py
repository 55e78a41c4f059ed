"""A small job on synthetic tokens, for tests of the loop: a vocabulary of 64, a model of two thousand parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from starloom.models.config import GPTBigCodeConfig
from starloom.progress import Progress
from starloom.stage import Runtime, Work
from starloom.train import loop
from starloom.train.loop import Data, Job, Outcome
from starloom.train.ranks import alone
from starloom.train.schedule import Schedule
from starloom.train.settings import AdamW, Heldout, LossScale, Muon

VOCABULARY, CONTEXT, BATCH = 64, 16, 4
CONFIG = GPTBigCodeConfig(
    vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=16, n_layer=1, n_head=2,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip
JOB = Job(
    config=CONFIG,
    optimizer=Muon(rest=AdamW(lr=1e-2)),
    schedule=Schedule("trapezoid", warmup_steps=2),
    clip=1.0,
    accumulate=1,
    seed=0,
    patience=3,
    heldout=Heldout(times=2, quick_tokens=32),
    precision="fp32",
    loss_scale=LossScale(),
    spike=None,
    document_mask=False,
    recompute=False,
    compile=False,
    threads=1,
    device="cpu",
)


def same(first: Any, second: Any) -> bool:
    """Whether two models have the same weights, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


class Heard(Progress):
    """Keeps the lines that were said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def job(**changes: Any) -> Job:
    return replace(JOB, **changes)


def batch(step: int, rank: int = 0, ranks: int = 1) -> np.ndarray:
    """A walk through the ids with a step that is the sequence's own: something to learn, a function of the step alone."""
    lines = slice(rank * BATCH // ranks, (rank + 1) * BATCH // ranks)
    draws = np.random.Generator(np.random.Philox(key=step)).integers(1, VOCABULARY, (BATCH, 2))
    return ((draws[:, :1] + draws[:, 1:] % 5 * np.arange(CONTEXT + 1)) % VOCABULARY)[lines]


def data(**changes: Any) -> Data:
    lengths = np.arange(VOCABULARY, dtype=np.int32) % 7 + 1
    made = Data(
        batch=batch,
        tokens_a_step=BATCH * CONTEXT,
        context=CONTEXT,
        byte_lengths=lengths,
        heldout={"": np.concatenate([batch(10**6 + i).reshape(-1) for i in range(3)]).astype(np.uint16)},
    )
    return replace(made, **changes)


def train(chosen: Job, given: Data, steps: int, working: Work) -> Outcome:
    """The loop in one process."""
    return loop.train(chosen, given, steps, working, alone())


def trained(
    folder: Path, steps: int, *, data: Data | None = None, runtime: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A folder after a run of the small job with some settings changed."""
    train(job(**changes), data or globals()["data"](), steps, work(folder, **(runtime or {})))
    return folder


def work(folder: Path, **changes: Any) -> Work:
    folder.mkdir(parents=True, exist_ok=True)
    return Work(folder, Runtime(progress=Heard(), **{"save_every_s": 1e9, **changes}), {}, {})
