"""A corpus of made-up Python in the format of a mix, and the journey from it to a model of three thousand parameters."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from small_job import Heard

from starloom.corpus.schemas import MIX, table_of
from starloom.journey import Journey
from starloom.models.config import GPTBigCodeConfig
from starloom.records import document_id
from starloom.stage import Runtime, Stage, Work, build
from starloom.store import Built, Store, write_table
from starloom.tokens.blend import open_packs as open_packs
from starloom.tokens.pack import Pack
from starloom.tokens.train_bpe import TrainBPE
from starloom.train import Heldout, Keep, Muon, Pretrain, Schedule, Steps
from starloom.train.settings import AdamW, parse_optimizer

NAMES = ("left", "right", "count", "total", "näme", "value", "index")


@dataclass(frozen=True, slots=True)
class MadeUp(Stage):
    """Small functions on a few names; every eighth file is held out."""

    files: int = 48

    def produce(self, work: Work) -> None:
        chance = random.Random(0)
        rows = []
        for number in range(self.files):
            names = [chance.choice(NAMES) for _ in range(12)]
            text = "".join(f"def {a}_{b}({b}):\n    return {b} + {number % 7}\n\n" for a, b in pairwise(names))
            source = document_id("file", "folder:made-up", b"%d.py" % number, "")
            end: dict[str, Any] = {"control": "end_of_document", "text": "", "source": None, "field": None}
            parts = [{"control": None, "text": text, "source": source, "field": "text"}, end]
            split = "heldout" if number % 8 == 0 else "train"
            rows.append(
                {"id": source, "parts": parts, "edits": [], "group": str(number), "split": split, "weight": 1.0}
            )
        with work.unit("part-00000") as unit:
            write_table(unit.path("part-00000.parquet"), table_of(rows, MIX))


def pretrain(**changes: Any) -> Pretrain:
    """A run that takes a fraction of a second, dropout and fill-in-the-middle in it."""
    mix = MadeUp()
    settings: dict[str, Any] = {
        "model": GPTBigCodeConfig(
            vocab_size=320,
            n_positions=32,
            n_embd=16,
            n_layer=1,
            n_head=2,
            resid_pdrop=0.1,
            embd_pdrop=0.1,
            attn_pdrop=0.1,
        ),
        "budget": Steps(12),
        "optimizer": Muon(rest=AdamW(lr=5e-3)),
        "schedule": Schedule("cosine", warmup_steps=2),
        "heldout": Heldout(times=2, quick_tokens=64),
        "precision": "fp32",
        "batch": 2,
        "accumulate": 2,
    }
    return Pretrain(Pack(mix, TrainBPE(mix, vocab_size=320), context=32), **{**settings, **changes})


def built(folder: Path, stage: Stage, heard: Heard | None = None, **runtime: Any) -> Built:
    return build(stage, Store(folder), Runtime(progress=heard or Heard(), **{"save_every_s": 0.0, **runtime}))


def small(steps: int = 12, dropout: float = 0.1, optimizer: str = "muon", keep: int = 0) -> Journey:
    """The same as a recipe: `starloom run small_stages:small`."""
    model = GPTBigCodeConfig(
        vocab_size=320, n_positions=32, n_embd=16, n_layer=2, n_head=2,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
    )  # fmt: skip
    return Journey(pretrain(model=model, budget=Steps(steps), optimizer=parse_optimizer(optimizer), keep=Keep(keep)))
