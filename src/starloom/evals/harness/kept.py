"""Rows kept as they come: what a killed build loses is at most a second of answers and what was under way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from starloom.stage import Work

KEEP_EVERY_S: Final = 1.0  # seconds of answers that a killed build loses at most
MERGE: Final = 60  # units of a level that become one of the next: a minute, an hour; a long run leaves few files behind

Row = dict[str, Any]


class Kept(Mapping[int, Row]):
    """Number → row. A context manager: what was added before it is left, by whatever way, is kept."""

    def __init__(self, work: Work, name: str) -> None:
        self._work, self._name = work, name
        self._rows: dict[int, Row] = {}
        self._fresh: dict[int, Row] = {}
        self._units: dict[int, list[str]] = {}  # level → its units, oldest first
        self._serial = 0
        self._since = time.monotonic()
        for unit in work.units():
            if unit.startswith(f"{name}-l") and work.finished(unit) is not None:
                level, serial = map(int, unit.removeprefix(f"{name}-l").split("-"))
                self._units.setdefault(level, []).append(unit)
                self._serial = max(self._serial, serial + 1)
                self._rows |= self._read(unit)

    def __enter__(self) -> Kept:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    def __getitem__(self, number: int) -> Row:
        return self._rows[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, number: int, row: Row, *, keep: bool = True) -> None:
        """Take a row in. One that is not to be kept is there until the build ends; a build that goes on asks again."""
        self._rows[number] = row
        if keep:
            self._fresh[number] = row
        if time.monotonic() - self._since >= min(KEEP_EVERY_S, self._work.runtime.save_every_s):
            self.flush()

    def flush(self) -> None:
        """Write what is not on the disk yet."""
        if self._fresh:
            self._write(0, self._fresh)
            self._fresh = {}
        self._since = time.monotonic()

    def _write(self, level: int, rows: Mapping[int, Row]) -> None:
        unit = f"{self._name}-l{level}-{self._serial:08d}"
        self._serial += 1
        with self._work.unit(unit, scratch=True) as writing:
            lines = (json.dumps([number, row]) + "\n" for number, row in rows.items())
            writing.path(f"{self._name}/{unit}.jsonl").write_text("".join(lines), encoding="ascii")
        units = self._units.setdefault(level, [])
        units.append(unit)
        if len(units) >= MERGE:
            merged: dict[int, Row] = {}
            for old in units:
                merged |= self._read(old)
            self._write(level + 1, merged)  # first: rows that lie in two units are the same
            while units:
                self._work.forget(units.pop(0))

    def _read(self, unit: str) -> dict[int, Row]:
        text = (self._work.directory / self._name / f"{unit}.jsonl").read_text(encoding="ascii")
        return dict(map(json.loads, text.splitlines()))
