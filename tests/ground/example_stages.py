"""Small stages for the tests of the ground floor; module-level, so that worker processes can import them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starloom.errors import ConfigError
from starloom.stage import Facts, Stage, Work, external


@dataclass(frozen=True, slots=True)
class Named:
    """An element that --set addresses by name."""

    name: str
    longest: int = 10

    def with_setting(self, key: str, text: str) -> Named:
        if key != "longest":
            raise ConfigError(f"unknown setting '{key}' of {self.name}")
        return Named(self.name, int(text))


@dataclass(frozen=True, slots=True)
class Lines(Stage):
    """Each line of a file outside becomes one shard."""

    path: str = external()
    repeat: int = 3

    def external_digests(self) -> dict[str, str]:
        from starloom.store import sha256_of

        return {"path": sha256_of(Path(self.path))[1]}

    def produce(self, work: Work) -> None:
        lines = Path(self.path).read_text().splitlines()
        for _, facts in work.map(write_line, {f"part-{n:05d}": (line, self.repeat) for n, line in enumerate(lines)}):
            work.count(rows_out=1, bytes=facts["bytes"], dropped={facts["reason"]: 1} if facts["reason"] else {})
        work.summary = f"{len(lines)} lines"


def write_line(arguments: tuple[str, int], folder: Path) -> Facts:
    line, repeat = arguments
    if line == "KILL" and not os.environ.get("SPARE"):
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"{line[:8]}.txt").write_text(line * repeat)
    return {"bytes": len(line) * repeat, "reason": "empty" if not line else None}


@dataclass(frozen=True, slots=True)
class Joined(Stage):
    """All lines in one file; may depend on several stages."""

    lines: Stage
    others: tuple[Stage, ...] = ()
    rules: tuple[Named, ...] = (Named("long"), Named("short", 2))
    glue: str = " "
    limit: float | None = None

    def produce(self, work: Work) -> None:
        built = (work.input("lines"), *work.many("others"))
        with work.unit("all") as unit:
            text = self.glue.join(
                one.read_bytes(name).decode() for one in built for name in sorted(one.manifest["files"])
            )
            unit.path("nested/joined.txt").write_text(text)
        work.summary = f"{len(text)} characters"


@dataclass(frozen=True, slots=True)
class Counter(Stage):
    """Long work: one checkpoint per step, the last two kept; ends at a number of steps decided at run time."""

    steps: int = 6
    die_at: int = -1  # part of the content on purpose: see `Counter.settings`

    def settings(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def produce(self, work: Work) -> None:
        resolved = work.resolve(lambda: {"steps": self.steps, "made_by": os.getpid()})
        value, start = 0, 0
        for unit in reversed(work.units()):
            if (facts := work.finished(unit)) is not None:
                value, start = facts["value"], facts["step"]
                break
        for step in range(start, resolved["steps"]):
            value = value * 31 + step
            if step == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            with work.unit(f"step-{step + 1:04d}", scratch=True) as unit:
                unit.path(f"checkpoints/{step + 1}.txt").write_text(str(value))
                unit.facts.update(value=value, step=step + 1)
            for old in work.units()[:-2]:
                work.forget(old)
        with work.unit("end") as unit:
            unit.path("value.txt").write_text(str(value))
        work.summary = str(value)
