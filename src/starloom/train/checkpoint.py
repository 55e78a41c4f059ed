"""Resume points: weights, optimizer state, log and counters as one atomic, hashed unit; the newest sound one is used.

They are written by another thread while training goes on. Under several processes each writes its parts, and the first
makes them count, all together; what they have to tell each other about that lies beside the parts, so that no process
waits for another in the middle of a step. Beside resume points there are checkpoints that stay, folders that
`transformers` loads.
"""

from __future__ import annotations

import concurrent.futures
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import torch
from torch import Tensor

from starloom import store
from starloom import work as units
from starloom.errors import DamagedError, TrainingError
from starloom.stage import Unit, Work
from starloom.store import SCRATCH, Built
from starloom.train import parted_file
from starloom.train.log import LOG
from starloom.train.parted_file import Part
from starloom.train.ranks import Ranks, alone
from starloom.train.snapshot import Snapshot, check_finite

FOLDER: Final = "resume"
STAY: Final = "checkpoints"  # folder of those that stay
LAST: Final = 2  # resume points: should the newest be damaged, the one before is there
_RESUME: Final = re.compile(r"resume-(\d{8,})")
_STAYS: Final = re.compile(r"step-(\d{8,})")
_LOOK_EVERY_S: Final = 0.01
OTHERS_WITHIN_S: Final = 10.0  # that a run which ends with an error waits for other processes' parts: our choice

Check = Callable[[Callable[[], bool]], None]  # raises DamagedError; leaves off when its argument says so
SaveModel = Callable[[Path, Mapping[str, Tensor]], None]  # writes a model folder from whole weights


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
    past: int = 0  # batches that were gone past after the loss had risen: step n trains on batch n + past
    rollbacks: int = 0


@dataclass(frozen=True, slots=True)
class Saved:
    """A resume point on the disk, its hashes checked."""

    state: State
    log: bytes
    folder: Path

    def load(self, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> None:
        """Copy it over a model's own tensors. Raises TrainingError when it is another model's or optimizer's."""
        with torch.no_grad():
            parted_file.read(self.folder, {**weights, **optimizer})


class Checkpoints:
    """The resume points of one stage directory, and the checkpoints that stay."""

    def __init__(
        self,
        work: Work,
        ranks: Ranks | None = None,
        stays: Callable[[int], bool] = lambda step: False,  # whether the checkpoint after a step stays
        save_model: SaveModel | None = None,
        check_data: Check | None = None,
    ) -> None:
        self._work = work
        self._ranks = ranks or alone()
        self._stays = stays
        self._save_model = save_model
        self._steps: list[int] = []  # of the resume points that there are
        self._saved_at = time.monotonic()
        self._pool = ThreadPoolExecutor(2, "saving")
        self._check_data = check_data if self._ranks.main else None
        self._checked: Future[None] | None = None
        self._writing: Future[None] | None = None
        self._snapshot: Snapshot | None = None
        self._abandoned = threading.Event()
        self.held: set[int] = set()  # steps whose resume points stay beside the last two, to be gone back to
        self.blocked_s = 0.0  # that training waited for saving, in all

    def newest(self) -> Saved | None:
        """The newest resume point whose files are whole; says so when that is not the newest of all."""
        self.wait()
        found: tuple[int, dict[str, Any]] | None = None
        if self._ranks.main:
            self._check_those_that_stay()
            found = self._newest_sound()
        return self._opened(found)

    def back_to(self, step: int) -> Saved | None:
        """The newest whole resume point up to a step; what was saved after it is forgotten, as if it had not been."""
        self.wait()
        found: tuple[int, dict[str, Any]] | None = None
        if self._ranks.main:
            for later in [one for one in steps_of(self._work.units(), _RESUME) if one > step]:
                self._work.forget(_resume_unit(later))
            for later in [one for one in steps_of(self._work.units(), _STAYS) if one > step]:
                self._work.forget(_stays_unit(later))
            found = self._newest_sound()
        return self._opened(found)

    def _opened(self, found: tuple[int, dict[str, Any]] | None) -> Saved | None:
        """What the main process found, on all of them."""
        found = self._ranks.broadcast(found)
        if found is None:
            return None
        step, facts = found
        self._steps = self._steps if self._ranks.main else [step]
        folder = self._work.directory / FOLDER / _resume_unit(step)
        return Saved(State(**facts), (folder / LOG).read_bytes(), folder)

    def _newest_sound(self) -> tuple[int, dict[str, Any]] | None:
        known = {step: self._work.finished(_resume_unit(step)) for step in steps_of(self._work.units(), _RESUME)}
        self._steps = [step for step, facts in known.items() if facts is not None]
        say = self._work.runtime.progress.line
        if not self._steps:
            if known:
                say("no resume point is whole: training begins again at step 0")
            return None
        newest = self._steps[-1]
        if newest != max(known):
            say(f"the resume point after step {max(known):,} is damaged: going on from step {newest:,}")
        return newest, known[newest] or {}

    def _check_those_that_stay(self) -> None:
        """Count the checkpoints of an earlier process among this build's files; drop damaged ones, and say so."""
        for step in steps_of(self._work.units(), _STAYS):
            if self._work.finished(_stays_unit(step)) is None:
                shutil.rmtree(self._work.directory / STAY / _stays_unit(step), ignore_errors=True)
                self._work.runtime.progress.line(
                    f"the kept checkpoint of step {step:,} was damaged and is gone; only a run from its beginning makes it again"
                )

    def due(self) -> bool:
        """Whether it is time for the next save, for one of the processes; raises what went wrong with the last."""
        if self._writing is not None and self._writing.done():
            self.wait()
        if self._checked is not None and self._checked.done():
            self._checked.result()
        if not self._ranks.main:
            return False
        every = self._work.runtime.save_every_s
        if self._writing is not None and every > 0:  # a disk that is slower than that: training does not wait for it
            return False
        return time.monotonic() - self._saved_at >= every

    def save(self, state: State, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], log: Path) -> None:
        """Begin to write a resume point; the last two stay. Call `before_update` before anything of it changes.

        TrainingError, where something is not finite, and DiskFullError come from `due`, `wait` or the next `save`.
        """
        began = time.perf_counter()
        self.wait()
        if self._steps and self._steps[-1] == state.step:
            return
        self._steps.append(state.step)
        main = self._ranks.main
        self._snapshot = Snapshot({"weights": weights, "optimizer": optimizer}, main=main)
        log_bytes = log.stat().st_size if main else 0  # it only grows: these are the lines up to now
        facts = asdict(state)
        old = [step for step in self._steps[:-LAST] if step not in self.held]
        self._writing = self._pool.submit(self._write, self._snapshot, facts, log, log_bytes, old)
        self._steps = [step for step in self._steps if step not in old]
        self._saved_at = time.monotonic()
        self.blocked_s += time.perf_counter() - began

    def before_update(self) -> None:
        """Return when the weights and the optimizer's state may change."""
        if self._snapshot is not None:
            began = time.perf_counter()
            self._snapshot.wait()
            self._snapshot = None
            self.blocked_s += time.perf_counter() - began

    def wait(self) -> None:
        """Return when what `save` began is written, or raise what went wrong."""
        self.before_update()
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> Checkpoints:
        """Begin to compare the data with their hashes: no resume point counts before they were found whole."""
        if self._check_data is not None:
            self._checked = self._pool.submit(self._check_data, self._abandoned.is_set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        elif self._writing is not None:  # what is wrong is said already; what can still become whole does
            concurrent.futures.wait([self._writing], OTHERS_WITHIN_S if self._ranks.processes > 1 else None)
        self._abandoned.set()
        self._pool.shutdown()

    def clear(self) -> None:
        """Drop the resume points: the run is complete. What stays is checked and counted."""
        self._check_those_that_stay()
        for unit in self._work.units():
            if _RESUME.fullmatch(unit) and self._work.finished(unit) is not None:
                self._work.forget(unit)
        shutil.rmtree(self._work.directory / FOLDER, ignore_errors=True)  # of damaged ones, whose records are gone
        self._steps = []

    # What follows runs in the thread.

    def _write(self, snapshot: Snapshot, facts: dict[str, Any], log: Path, log_bytes: int, old: list[int]) -> None:
        groups = snapshot.copied()
        unit = _resume_unit(facts["step"])
        with store.disk_errors(self._work.directory):
            if not self._ranks.main:
                self._write_for_main(unit, groups, facts["step"])
                return
            with self._work.unit(unit, scratch=True) as writing:
                folder = writing.path(f"{FOLDER}/{unit}/{LOG}").parent
                self._write_parts(folder, groups, facts["step"])
                _copy_head(log, folder / LOG, log_bytes)
                for process in range(1, self._ranks.processes):
                    self._take_over(unit, process, writing)
                if self._checked is not None:
                    self._checked.result()
                    if self._abandoned.is_set():
                        raise TrainingError(
                            f"the tokens were not all compared with their hashes; {unit} does not count"
                        )
                if self._stays(facts["step"]):
                    self._write_model(facts, groups["weights"], folder)
                writing.facts.update(facts)
            for step in old:
                self._work.forget(_resume_unit(step))

    def _write_parts(self, folder: Path, groups: Mapping[str, Mapping[str, Part]], step: int) -> None:
        for group, tensors in groups.items():
            check_finite({name: part.tensor for name, part in tensors.items()}, step)
            if tensors:
                parted_file.write(folder / f"{group}-{self._ranks.process:05d}.safetensors", tensors)

    def _beside(self, unit: str, process: int) -> tuple[Path, Path]:
        """Where a process other than the first puts its parts, and what it says about them."""
        folder = self._work.directory / SCRATCH / f"{unit}.process-{process}"
        return folder, folder.with_name(f"{folder.name}.json")

    def _write_for_main(self, unit: str, groups: Mapping[str, Mapping[str, Part]], step: int) -> None:
        folder, said = self._beside(unit, self._ranks.process)
        shutil.rmtree(folder, ignore_errors=True)
        place = folder / FOLDER / unit
        place.mkdir(parents=True)
        try:
            self._write_parts(place, groups, step)
            facts: dict[str, Any] = {"files": units.seal_files(folder)}
        except BaseException as error:
            store.write_atomically(said, store.sealed_json({"error": str(error)}))
            raise
        store.write_atomically(said, store.sealed_json(facts))

    def _take_over(self, unit: str, process: int, writing: Unit) -> None:
        """Move what another process wrote to what the first one did."""
        folder, said = self._beside(unit, process)
        while not said.is_file():
            if self._abandoned.wait(_LOOK_EVERY_S):
                raise TrainingError(f"process {process} wrote no part of {unit}; the last resume point stays")
        facts = store.read_sealed_json(said)
        said.unlink()
        if "error" in facts:
            raise TrainingError(f"process {process}: {facts['error']}")
        for name in facts["files"]:
            (folder / name).replace(writing.path(name))
        writing.sealed.update(facts["files"])
        shutil.rmtree(folder)

    def _write_model(self, facts: dict[str, Any], weights: Mapping[str, Part], folder: Path) -> None:
        """A checkpoint that stays. It counts before its resume point does, so that no run goes on behind a missing one."""
        unit = _stays_unit(facts["step"])
        if self._save_model is None or self._work.finished(unit) is not None:
            return
        whole = {name: part.tensor for name, part in weights.items()}
        if self._ranks.processes > 1:
            whole = parted_file.read_whole(folder, "weights")
        with self._work.unit(unit) as writing:
            self._save_model(writing.folder / STAY / unit, whole)
            writing.facts.update({"step": facts["step"], "tokens": facts["tokens"]})


def kept(built: Built) -> list[tuple[int, Path]]:
    """(steps done, model folder) of each checkpoint that stayed, oldest first; `transformers` loads them."""
    names = {name.split("/")[1] for name in built.manifest["files"] if name.startswith(f"{STAY}/")}
    return [(step, built.directory / STAY / _stays_unit(step)) for step in steps_of(names, _STAYS)]


def steps_of(units: Any, form: re.Pattern[str]) -> list[int]:
    """The steps that units of a form are named by, ascending."""
    return sorted(int(match[1]) for unit in units if (match := form.fullmatch(unit)))


def _resume_unit(step: int) -> str:
    return f"resume-{step:08d}"


def _stays_unit(step: int) -> str:
    return f"step-{step:08d}"


def _copy_head(source: Path, target: Path, size: int) -> None:
    """Copy the first bytes of a file that others append to."""
    with source.open("rb") as file, target.open("wb") as copy:
        while size > 0:
            chunk = file.read(min(size, store.CHUNK))
            if not chunk:
                raise DamagedError(f"{source} was cut while training wrote it; run the same command again")
            copy.write(chunk)
            size -= len(chunk)
