"""The run's log: one JSON line a step, without gaps or repeats whatever was killed; and its curves for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from starloom import store
from starloom.errors import MissingExtraError

Row = dict[str, Any]
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"  # folder of the event files
LIVE = "live"  # folder in it of what a run writes while it goes on
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


def rows(path: Path) -> Iterator[Row]:
    """The lines of a log."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


class Curves:
    """TensorBoard event files, from log rows."""

    def __init__(self, folder: Path) -> None:
        """Raises MissingExtraError where TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "tensorboard", "tensorboard") from None
        self._writer: Any = SummaryWriter(str(folder))

    def add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "step":
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()


def write_curves(log: Path, folder: Path) -> None:
    """The event file of a whole log; none where TensorBoard is not installed."""
    try:
        curves = Curves(folder)
    except MissingExtraError:
        return
    for row in rows(log):
        curves.add(row)
    curves.close()
