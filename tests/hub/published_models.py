"""Small runs to publish: stage directories with random models of three thousand parameters, made without training."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from starloom.hub import Card, Commit, publish
from starloom.models import checkpoint
from starloom.models.config import GPTBigCodeConfig
from starloom.stage import Runtime, Stage, Work, build
from starloom.store import Built, Store
from starloom.tokens.bpe import Vocabulary, train

NAME = "me/santacoder"
CONFIG = GPTBigCodeConfig(vocab_size=320, n_positions=32, n_embd=16, n_layer=1, n_head=2)
CARD = Card(recipe="santacoder --scale mini", published="SantaCoder", data_licenses=("MIT", "Apache-2.0"))


@functools.cache
def vocabulary() -> Vocabulary:
    return train(
        ["def näme(value):\n    return value + 1\n", "print(index)\n"] * 8, vocab_size=300, family="santacoder"
    )


def write_model(folder: Path, seed: int) -> None:
    """A model folder as training leaves it."""
    chance = np.random.default_rng(seed)
    end = vocabulary().end_of_document
    config = replace(CONFIG, vocab_size=vocabulary().rows, bos_token_id=end, eos_token_id=end)
    shapes = config.shapes().items()
    checkpoint.save(folder, config, {name: chance.normal(size=shape).astype(np.float32) for name, shape in shapes})
    for name, data in vocabulary().files(max_length=32).items():
        (folder / name).write_bytes(data)


@dataclass(frozen=True, slots=True)
class Trained(Stage):
    """Stands for Pretrain: the finished model, its log, and a kept checkpoint after each of some steps."""

    seed: int = 0
    checkpoints: tuple[int, ...] = ()

    def produce(self, work: Work) -> None:
        for step in self.checkpoints:
            with work.unit(f"step-{step:08d}") as unit:
                unit.path(f"checkpoints/step-{step:08d}/x")
                write_model(unit.folder / f"checkpoints/step-{step:08d}", 1000 * self.seed + step)
                unit.path(f"checkpoints/step-{step:08d}/optimizer.safetensors").write_bytes(b"moments")
        with work.unit("model") as unit:
            write_model(unit.folder, self.seed)
            unit.path("log.jsonl").write_text("{}\n")
        work.count(steps=30)


def trained(store: Path, seed: int = 0, checkpoints: tuple[int, ...] = (), label: str = "") -> Built:
    return build(Trained(seed, checkpoints, label=label), Store(store), Runtime())


def kept(built: Built) -> list[tuple[int, Path]]:
    return [(int(path.name[5:]), path) for path in sorted(built.directory.glob("checkpoints/*"))]


def published(hub: Path, built: Built, revision: str = "no-fim", also: Sequence[str] = (), name: str = NAME) -> Commit:
    return publish(hub, name, revision, built, kept(built), also=also, about=CARD)


def flip(path: Path, bit: int = 1) -> None:
    """Change one bit of a file, in place."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= bit
    path.write_bytes(data)
