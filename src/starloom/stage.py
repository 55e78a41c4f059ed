"""The stage: a frozen description of one step, and the directory that building it makes.

A fingerprint covers what a stage says (settings, version, upstream stages) and what lies outside (by digest), never
how it is executed. Building skips what is complete, goes on with what was killed, and writes the manifest last.
`docs/decisions/0001-stages.md` says why this and not a workflow engine.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from starloom import __version__, store
from starloom.errors import ConfigError
from starloom.store import Built, Store
from starloom.work import Facts, Runtime, Unit, Work

__all__ = ["Facts", "Identities", "Runtime", "Stage", "Unit", "Work", "build", "external"]

_EXTERNAL: Final = "external"
_LABEL: Final = "label"


def external(default: Any = dataclasses.MISSING) -> Any:
    """A field that names something outside the store; it enters the fingerprint by `Stage.external_digests`."""
    return field(default=default, metadata={_EXTERNAL: True})


@dataclass(frozen=True, slots=True)
class Stage:
    """One step. Fields that hold stages are its inputs; `external()` fields enter by digest; the rest is content."""

    version: ClassVar[int] = 1  # raised by hand when the code's output changes; a test holds it
    collective: ClassVar[bool] = (
        False  # under torchrun all processes produce it; else the first does, and the others wait
    )
    label: str = field(default="", kw_only=True, metadata={_LABEL: True})

    @property
    def step(self) -> str:
        """The step's name: its class in snake_case, with the label that tells two of a class apart."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()
        return f"{name}:{self.label}" if self.label else name

    def external_fields(self) -> list[str]:
        """The fields that name something outside the store."""
        return [item.name for item in dataclasses.fields(self) if item.metadata.get(_EXTERNAL)]

    def external_digests(self) -> dict[str, str]:
        """Field name → digest of what it names, for every external field; read just before a build."""
        return {}

    def produce(self, work: Work) -> None:
        """Write this step's files through `work`."""
        raise NotImplementedError

    def cost(self) -> str:
        """What building will take, where the settings alone say it; empty where only an earlier build can."""
        return ""

    def closing(self, built: Built) -> str:
        """What a person wants to read when the whole journey has ended; empty for most steps."""
        return ""

    def inputs(self) -> dict[str, Stage | tuple[Stage, ...]]:
        """Field name → the upstream stage or stages that it holds."""
        found: dict[str, Stage | tuple[Stage, ...]] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Stage):
                found[item.name] = value
            elif isinstance(value, (tuple, list)) and any(isinstance(one, Stage) for one in value):
                if not all(isinstance(one, Stage) for one in value):
                    raise ConfigError(f"{item.name} of {self.step} mixes stages with other values")
                found[item.name] = tuple(value)
        return found

    def settings(self) -> dict[str, Any]:
        """The content fields as JSON."""
        skipped = self.inputs()
        return {
            item.name: as_json(getattr(self, item.name), f"{self.step}.{item.name}")
            for item in dataclasses.fields(self)
            if item.name not in skipped and not (item.metadata.get(_EXTERNAL) or item.metadata.get(_LABEL))
        }


def as_json(value: object, where: str) -> Any:
    """A setting as JSON, each distinct value in one spelling. Raises ConfigError for what has none."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ConfigError(f"{where} is {value}; a setting is a finite number")
        return value
    if isinstance(value, enum.Enum):
        return as_json(value.value, where)
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, (tuple, list)):
        return [as_json(item, where) for item in value]
    if isinstance(value, Mapping):
        return {str(key): as_json(item, where) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        body = {
            item.name: as_json(getattr(value, item.name), f"{where}.{item.name}") for item in dataclasses.fields(value)
        }
        return {"type": type(value).__name__, **body}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    raise ConfigError(
        f"{where} is a {type(value).__name__}, which a manifest cannot hold; use numbers, text, tuples or "
        "frozen dataclasses"
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """What decides where a stage lies: its fingerprint and everything that went into it."""

    fingerprint: str
    settings: dict[str, Any]
    externals: dict[str, str]
    inputs: dict[str, Any]  # field → fingerprint, or list of fingerprints


class Identities:
    """Fingerprints of the stages of a graph, each external thing looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Stage, Identity]] = {}  # the stage is held so that its id() stays its own

    def of(self, stage: Stage) -> Identity:
        known = self._known.get(id(stage))
        if known is not None:
            return known[1]
        inputs: dict[str, Any] = {}
        for name, value in stage.inputs().items():
            inputs[name] = (
                [self.of(one).fingerprint for one in value] if isinstance(value, tuple) else self.of(value).fingerprint
            )
        externals = stage.external_digests()
        declared = set(stage.external_fields())
        assert set(externals) == declared, f"{stage.step}: digests of {set(externals)} for the external {declared}"
        family = type(stage).__module__.partition(".")[0]
        body = {
            "stage": f"{family}:{type(stage).__name__}",
            "version": stage.version,
            "settings": stage.settings(),
            "externals": externals,
            "inputs": inputs,
        }
        digest = hashlib.sha256(store.canonical_json(body)).hexdigest()[: store.FINGERPRINT_DIGITS]
        identity = Identity(digest, body["settings"], externals, inputs)  # type: ignore[arg-type]
        self._known[id(stage)] = (stage, identity)
        return identity


@functools.cache
def code_revision() -> str:
    """Which starloom runs: its version and a digest of its own source files."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.c"), *package.rglob("*.h")]):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{__version__}+{digest.hexdigest()[:12]}"


def machine(runtime: Runtime) -> dict[str, Any]:
    """How and on what a stage was built, for its manifest."""
    libraries = {
        name: str(getattr(sys.modules[name], "__version__", "?"))
        for name in ("numpy", "pyarrow", "tokenizers", "torch")
        if name in sys.modules
    }
    return {
        "workers": runtime.workers,
        "ranks": runtime.ranks,
        "threads": runtime.threads,
        "tensor_parallel": runtime.tensor_parallel,
        "device": runtime.device,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": libraries,
    }


def build(
    stage: Stage,
    where: Store,
    runtime: Runtime,
    identities: Identities | None = None,
    built: dict[int, Built] | None = None,
) -> Built:
    """Build a stage and whatever it needs, skipping what is complete. Returns its opened directory."""
    identities = identities or Identities()
    built = {} if built is None else built
    if id(stage) in built:
        return built[id(stage)]
    identity = identities.of(stage)  # first: what is wrong outside is said before anything is built
    inputs: dict[str, Built | tuple[Built, ...]] = {}
    for name, value in stage.inputs().items():
        inputs[name] = (
            tuple(build(one, where, runtime, identities, built) for one in value)
            if isinstance(value, tuple)
            else build(value, where, runtime, identities, built)
        )
    built[id(stage)] = _build_one(stage, where, runtime, identity, inputs)
    return built[id(stage)]


def _build_one(
    stage: Stage, where: Store, runtime: Runtime, identity: Identity, inputs: Mapping[str, Built | tuple[Built, ...]]
) -> Built:
    if not runtime.first:
        return _follow(stage, where, runtime, identity, inputs)
    where.prepare()
    directory = where.directory(stage.step, identity.fingerprint)
    if (directory / store.MANIFEST).is_file():
        done = Built.open(directory)
        runtime.progress.line(f"{stage.step:<14} {done.manifest['summary']}  (done before)")
        return done
    started = time.perf_counter()
    with where.lock(directory), store.disk_errors(directory):
        if (directory / store.MANIFEST).is_file():  # finished by another between the look and the lock
            return Built.open(directory)
        directory.mkdir(exist_ok=True)
        store.clear_scratch(directory)
        work = Work(directory, runtime, inputs, identity.externals)
        if stage.collective and runtime.crew is not None:
            runtime.crew.invite(identity.fingerprint)
        stage.produce(work)
        files = work.files()
        if (directory / "resolved.json").exists():
            size, digest = store.sha256_of(directory / "resolved.json")
            files["resolved.json"] = {"bytes": size, "sha256": digest}
        store.clear_scratch(directory)
        seconds = time.perf_counter() - started
        manifest = {
            "stage": f"{type(stage).__module__}:{type(stage).__name__}",
            "step": stage.step,
            "version": stage.version,
            "fingerprint": identity.fingerprint,
            "settings": identity.settings,
            "inputs": identity.inputs,
            "externals": {
                name: {"value": str(getattr(stage, name)), "digest": digest}
                for name, digest in identity.externals.items()
            },
            "runtime": machine(runtime),
            "resolved": work.resolved,
            "counts": work.counts,
            "summary": work.summary,
            "files": dict(sorted(files.items())),
            "purged": None,
            "code": code_revision(),
            "seconds": round(seconds, 3),
            "peak_memory_bytes": _peak_memory(),
        }
        store.write_atomically(directory / store.MANIFEST, store.sealed_json(manifest))
    runtime.progress.line(f"{stage.step:<14} {work.summary}  {seconds:.1f} s")
    return Built.open(directory)


def _follow(
    stage: Stage, where: Store, runtime: Runtime, identity: Identity, inputs: Mapping[str, Built | tuple[Built, ...]]
) -> Built:
    """What the other processes of a launch do: wait for the first, or compute with it what is its to write."""
    assert runtime.crew is not None
    directory = where.directory(stage.step, identity.fingerprint)
    if runtime.crew.joins(directory / store.MANIFEST, identity.fingerprint if stage.collective else None):
        with store.disk_errors(directory):
            stage.produce(Work(directory, runtime, inputs, identity.externals))
        runtime.crew.joins(directory / store.MANIFEST, None)
    return Built.open(directory)


def _peak_memory() -> int:
    """Largest resident size in bytes of this process or of a worker that has ended, so far."""
    scale = 1 if sys.platform == "darwin" else 1024
    return scale * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
