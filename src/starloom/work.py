"""A stage being built: units of files that become real together, their records, and what a killed build left."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from starloom import cluster, errors, store
from starloom.crew import Crew
from starloom.errors import DamagedError
from starloom.progress import Progress
from starloom.store import SCRATCH, UNITS, Built

Facts = dict[str, Any]  # what a unit says about itself, in JSON


@dataclass(slots=True)
class Runtime:
    """How to execute: recorded in manifests, never fingerprinted."""

    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    save_every_s: float = 30.0  # seconds between the checkpoints of long work
    progress: Progress = field(default_factory=Progress)
    cluster: cluster.Cluster = field(default_factory=cluster.Local)
    crew: Crew | None = None  # the processes that torchrun started; None: this one is alone
    tensor_parallel: int = 1  # processes that share each layer's matrices; the others share the batch
    watch: tuple[str, ...] | None = None  # trackers that a training writes to; None: TensorBoard where it is installed

    @property
    def first(self) -> bool:
        """Whether this process writes directories; others of a launch compute with it, or wait."""
        return self.crew is None or self.crew.launch.first

    @property
    def ranks(self) -> int:
        """How many processes compute together."""
        return 1 if self.crew is None else self.crew.launch.ranks


class Unit:
    """Files being written that become real together, or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: Facts = {}
        self.sealed: dict[str, dict[str, Any]] = {}  # files that another process sealed, with size and SHA-256

    def path(self, name: str) -> Path:
        """Where to write the file that will lie at `name` in the stage's directory."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Work:
    """A stage being built: its inputs, and the only way to write its files."""

    def __init__(
        self,
        directory: Path,
        runtime: Runtime,
        inputs: Mapping[str, Built | tuple[Built, ...]],
        externals: Mapping[str, str],
    ) -> None:
        self.directory = directory
        self.runtime = runtime
        self.inputs = dict(inputs)
        self.counts: dict[str, Any] = {}
        self.summary = ""
        self._records: dict[str, dict[str, Any]] = {}
        self.resolved: dict[str, Any] = {}
        self.externals = dict(externals)  # what the fingerprint saw outside: a stage checks that it reads the same

    def input(self, name: str) -> Built:
        """The one directory behind an input field."""
        built = self.inputs[name]
        assert isinstance(built, Built), f"{name} holds several stages"
        return built

    def many(self, name: str) -> tuple[Built, ...]:
        """The directories behind an input field that holds several stages, or none."""
        built = self.inputs.get(name, ())
        return (built,) if isinstance(built, Built) else built

    def count(self, **counts: Any) -> None:
        """Add to the manifest's counts: numbers are summed, dictionaries of numbers key by key."""
        for name, value in counts.items():
            if isinstance(value, Mapping):
                mine = self.counts.setdefault(name, {})
                for key, number in value.items():
                    mine[key] = mine.get(key, 0) + number
            else:
                self.counts[name] = self.counts.get(name, 0) + value

    def resolve(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is only known at run time, made once and kept in `resolved.json` for every build that goes on.

        A second copy takes the place of a damaged first one: without it, nothing of an unfinished build could be used.
        """
        path, copy = self.directory / "resolved.json", self.directory / UNITS / "resolved.copy"
        if path.exists() or copy.exists():
            try:
                sealed = store.sealed_json(store.read_sealed_json(path))
            except (DamagedError, FileNotFoundError):
                if not copy.exists():
                    raise
                sealed = store.sealed_json(store.read_sealed_json(copy))
                if self.runtime.first:
                    store.write_atomically(path, sealed)
        else:
            sealed = store.sealed_json(make())
            if self.runtime.first:
                copy.parent.mkdir(exist_ok=True)
                store.write_atomically(copy, sealed)
                store.write_atomically(path, sealed)
        self.resolved = json.loads(sealed)
        self.resolved.pop("sealed")
        return dict(self.resolved)

    def _record_path(self, unit: str) -> Path:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", unit), f"unit name {unit!r}"
        return self.directory / UNITS / f"{unit}.json"

    def finished(self, unit: str) -> Facts | None:
        """Facts of a unit that an earlier build finished, its files checked; None when it must be made (again)."""
        path = self._record_path(unit)
        if not path.exists():
            return None
        try:
            record = store.read_sealed_json(path)
            sound = all(
                (self.directory / name).is_file()
                and store.sha256_of(self.directory / name) == (entry["bytes"], entry["sha256"])
                for name, entry in record["files"].items()
            )
        except errors.DamagedError:
            sound = False
        if not sound:
            self.runtime.progress.line(f"{self.directory / UNITS / unit} is damaged: it is made anew")
            path.unlink(missing_ok=True)
            return None
        self._records[unit] = record
        return dict(record["facts"])

    def units(self) -> list[str]:
        """Names of the units that records exist for, sorted; `finished` checks one."""
        return sorted(path.stem for path in (self.directory / UNITS).glob("*.json"))

    @contextmanager
    def unit(self, unit: str, *, scratch: bool = False) -> Iterator[Unit]:
        """Write files that appear together with their record when the block ends, and leave no trace if it fails.

        Files of a scratch unit serve resuming only: they are gone when the stage is complete.
        """
        folder = self._fresh_folder(unit)
        writing = Unit(folder)
        yield writing
        self._commit(unit, folder, writing.facts, seal_files(folder, writing.sealed), scratch)

    def forget(self, unit: str) -> None:
        """Remove a finished unit, its record first: an old checkpoint."""
        record = self._records.pop(unit, None) or store.read_sealed_json(self._record_path(unit))
        self._record_path(unit).unlink(missing_ok=True)
        for name in record["files"]:
            (self.directory / name).unlink(missing_ok=True)
            parent = (self.directory / name).parent
            if parent != self.directory and not any(parent.iterdir()):
                parent.rmdir()

    def map(
        self, function: Callable[[Any, Path], Facts], units: Mapping[str, Any], *, scratch: bool = False
    ) -> Iterator[tuple[str, Facts]]:
        """Run `function(arguments, folder) -> facts` for each unit on the workers, and yield (unit, facts) in order.

        The function writes its files into the folder. Finished units are skipped, their recorded facts yielded.
        """
        facts = {unit: self.finished(unit) for unit in units}
        waiting = [unit for unit, known in facts.items() if known is None]
        calls = [(function, units[unit], self._fresh_folder(unit)) for unit in waiting]
        order = list(units)
        with self.runtime.progress.task(self.directory.name.rpartition("-")[0], len(order), "shards") as advance:
            advance(len(order) - len(waiting))
            for position, (said, files) in self.runtime.cluster.map(_run_unit, calls):
                self._commit(waiting[position], calls[position][2], said, files, scratch)
                facts[waiting[position]] = said
                advance(1)
                while order and (known := facts[order[0]]) is not None:
                    yield order.pop(0), known
        for unit in order:
            known = facts[unit]
            assert known is not None
            yield unit, known

    def _fresh_folder(self, unit: str) -> Path:
        folder = self.directory / SCRATCH / unit
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _commit(self, unit: str, folder: Path, facts: Facts, files: Mapping[str, Any], scratch: bool) -> None:
        for name in files:
            target = self.directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(target)
            store.fsync(target.parent)
        shutil.rmtree(folder)
        record = {"unit": unit, "files": dict(files), "facts": facts, "scratch": scratch}
        self._record_path(unit).parent.mkdir(exist_ok=True)
        store.write_atomically(self._record_path(unit), store.sealed_json(record))
        self._records[unit] = record

    def files(self) -> dict[str, Any]:
        """Every file of this build's units, with size and SHA-256; scratch units are removed first."""
        for unit in [unit for unit, record in self._records.items() if record["scratch"]]:
            self.forget(unit)
        return {name: entry for record in self._records.values() for name, entry in sorted(record["files"].items())}


def seal_files(folder: Path, known: Mapping[str, dict[str, Any]] = MappingProxyType({})) -> dict[str, dict[str, Any]]:
    """Force every file of a folder to the disk, and return name → bytes and SHA-256; of known ones, what is known."""
    sealed = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in known:
            sealed[name] = known[name]
            continue
        store.fsync(path)
        size, digest = store.sha256_of(path)
        sealed[name] = {"bytes": size, "sha256": digest}
    return sealed


def _run_unit(call: tuple[Callable[[Any, Path], Facts], Any, Path]) -> tuple[Facts, dict[str, Any]]:
    function, arguments, folder = call
    with store.disk_errors(folder):
        facts = function(arguments, folder)
        return facts, seal_files(folder)
