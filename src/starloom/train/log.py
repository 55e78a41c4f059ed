"""The run's log: one JSON line a step, without gaps or repeats whatever was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from starloom import store

Row = dict[str, Any]
LOG = "log.jsonl"
# Rows differ between two runs of the same steps in these keys only.
TIMES = ("seconds", "tokens_per_s", "model_flops_per_s", "mfu", "loader_wait_s")


class Log:
    """The log in a directory, growing line by line; opening sets it back to the `start` of a resume point."""

    def __init__(self, path: Path, start: bytes = b"") -> None:
        self.path = path
        store.write_atomically(path, start)
        self._file = path.open("ab")

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def lines(log: bytes) -> Iterator[Row]:
    """The rows of a log that was read."""
    return map(json.loads, log.splitlines())


def gone_past(log: bytes) -> list[tuple[int, int]]:
    """(first step, batches gone past before it) of each stretch of a run that went back when its loss had risen; steps
    before the first trained on the batch of their own number."""
    back = [json.loads(line) for line in log.splitlines() if b'"went_back"' in line]
    return [(row["step"], row["batch"] - row["step"] + 1) for row in back]


def rows(path: Path) -> Iterator[Row]:
    """The lines of a log."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)
