"""Resume points: weights, optimizer state, log and counters as one atomic, hashed unit; the newest sound one is used."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from starloom.errors import TrainingError
from starloom.stage import Facts, Work
from starloom.train.log import LOG

FOLDER = "checkpoints"
KEPT = 2  # should the newest be damaged, the one before is there
_UNIT = re.compile(r"step-(\d{8,})")


@dataclass(slots=True)
class State:
    """How far a run is; everything else that a step depends on is a function of it, the weights and the optimizer."""

    step: int = 0  # steps done
    tokens: int = 0
    seconds: float = 0.0  # of training, over all the processes that took part
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    loss_scale: float = 1.0  # of the next step, in fp16
    steps_at_scale: int = 0  # without an overflow


@dataclass(frozen=True, slots=True)
class Saved:
    """A resume point, read back."""

    state: State
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    log: bytes


class Checkpoints:
    """The resume points of one stage directory."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._steps: list[int] = []
        self._saved_at = time.monotonic()

    def newest(self) -> Saved | None:
        """The newest resume point whose files are whole; says so when that is not the newest of all."""
        units = [unit for unit in self._work.units() if _UNIT.fullmatch(unit)]
        known = {unit: self._work.finished(unit) for unit in units}
        sound = [unit for unit, facts in known.items() if facts is not None]
        self._steps = [_step_of(unit) for unit in sound]
        if not sound:
            if units:
                self._work.runtime.progress.line("no checkpoint is whole: training begins again at step 0")
            return None
        if sound[-1] != units[-1]:
            self._work.runtime.progress.line(f"checkpoint {units[-1]} is damaged: going on from {sound[-1]}")
        return self._read(sound[-1], known[sound[-1]] or {})

    def _read(self, unit: str, facts: Facts) -> Saved:
        from safetensors.torch import load_file

        folder = self._work.directory / FOLDER / unit
        return Saved(
            State(**facts),
            load_file(folder / "model.safetensors"),
            load_file(folder / "optimizer.safetensors"),
            (folder / LOG).read_bytes(),
        )

    def due(self) -> bool:
        """Whether so much time passed since the last save that it is time for the next."""
        return time.monotonic() - self._saved_at >= self._work.runtime.save_every_s

    def save(self, state: State, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], log: Path) -> None:
        """Write a resume point and drop all but the last two. Raises TrainingError rather than save what is not finite."""
        from safetensors.torch import save_file

        if self._steps and self._steps[-1] == state.step:
            return
        check_finite(model, state.step)
        check_finite(optimizer, state.step)
        unit = f"step-{state.step:08d}"
        with self._work.unit(unit, scratch=True) as writing:
            save_file(dict(model), writing.path(f"{FOLDER}/{unit}/model.safetensors"))
            save_file(dict(optimizer), writing.path(f"{FOLDER}/{unit}/optimizer.safetensors"))
            shutil.copyfile(log, writing.path(f"{FOLDER}/{unit}/{LOG}"))
            writing.facts.update(asdict(state))
        self._steps.append(state.step)
        for step in self._steps[:-KEPT]:
            self._work.forget(f"step-{step:08d}")
        self._steps = self._steps[-KEPT:]
        self._saved_at = time.monotonic()

    def wait(self) -> None:
        """Return when what `save` began is written, or raise what went wrong."""

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()

    def clear(self) -> None:
        """Drop them all: the run is complete."""
        for unit in self._work.units():
            if _UNIT.fullmatch(unit) and self._work.finished(unit) is not None:
                self._work.forget(unit)
        shutil.rmtree(self._work.directory / FOLDER, ignore_errors=True)  # of damaged ones, whose records are gone
        self._steps = []


def _step_of(unit: str) -> int:
    found = _UNIT.fullmatch(unit)
    assert found is not None
    return int(found[1])


def check_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    """Raise TrainingError when a tensor holds NaN or infinity: such weights are never written."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                f"{name} is not finite after step {step}; nothing is saved, the last checkpoint stays: "
                "lower the learning rate (pretrain.optimizer.lr)"
            )
