"""Where the rows of a run go besides its log: TensorBoard's files, Weights & Biases, Trackio. What they show is the log's.

Each is given every row once: of the log so far those that it has not, then each new one. TensorBoard's files are written
anew by each process. Trackio says how far it got. Weights & Biases says so for a run on its server; offline, each process
writes a folder of its own that holds the whole run (`wandb sync` any of them: the server leaves out steps that it has).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from starloom.errors import ConfigError, MissingExtraError, suggestion
from starloom.train.log import Row, rows

PROJECT: Final = "starloom"
TENSORBOARD: Final = "tensorboard"  # folder of the event files in a run's directory
LIVE: Final = "live"  # folder in it of what a run writes while it goes on
OTHERS: Final = "watch"  # folder in the store of what other trackers write: no part of any stage


class Tracker(Protocol):
    """Takes rows of the log by rising steps; `last` is the step of the last one that it has, 0 for none."""

    last: int

    def add(self, row: Row) -> None: ...

    def close(self) -> None: ...


def figures(row: Row) -> dict[str, float]:
    """The numbers of a row, without its step."""
    return {name: value for name, value in row.items() if isinstance(value, (int, float)) and name != "step"}


class TensorBoard:
    """Event files: a scalar for each figure, samples as text."""

    def __init__(self, folder: Path) -> None:
        """Raises MissingExtraError where TensorBoard is not installed."""
        try:
            from tensorboard.compat.proto.summary_pb2 import Summary
            from torch.utils.tensorboard.writer import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or TENSORBOARD, TENSORBOARD) from None
        self.last = 0
        self._writer: Any = SummaryWriter(str(folder))
        self._summary: Any = Summary

    def add(self, row: Row) -> None:
        # one event with all figures: a ninth of the time of `add_scalar` for each
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in figures(row).items()]
        self._writer.file_writer.add_summary(self._summary(value=values), row["step"])
        for number, sample in enumerate(row.get("samples", ())):
            text = f"{sample['prompt']}⟦{sample['text']}⟧".replace("\n", "\n    ")  # four spaces: code, in Markdown
            self._writer.add_text(f"sample {number}", f"    {text}", row["step"])

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run of Weights & Biases, named after the directory, that later processes go on with."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        wandb = _module("wandb")
        folder = directory.parent / OTHERS
        folder.mkdir(parents=True, exist_ok=True)
        only_rows = wandb.Settings(
            console="off", disable_git=True, save_code=False, x_disable_meta=True, x_disable_stats=True
        )
        try:
            self._run: Any = wandb.init(
                project=PROJECT,
                id=directory.name,
                name=directory.name,
                dir=str(folder),
                resume="allow",
                config=dict(config),
                settings=only_rows,
            )
        except wandb.Error as error:
            raise ConfigError(
                f"Weights & Biases cannot start: {str(error).splitlines()[0]}; run `wandb login`, or set WANDB_MODE=offline"
            ) from None
        self.last = max(0, self._run.step - 1) if self._run.resumed else 0

    def add(self, row: Row) -> None:
        self._run.log(figures(row), step=row["step"])

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A run in Trackio's local files, named after the directory, that later processes go on with."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        trackio = _module("trackio")
        self.last = trackio.SQLiteStorage.get_max_step_for_run(PROJECT, directory.name) or 0
        self._finish: Callable[[], None] = trackio.finish
        with contextlib.redirect_stdout(sys.stderr):  # where what it says belongs
            self._run: Any = trackio.init(
                PROJECT,
                directory.name,
                config=dict(config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def add(self, row: Row) -> None:
        self._run.log(figures(row), step=row["step"])

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    TENSORBOARD: lambda directory, config: TensorBoard(_emptied(directory / TENSORBOARD / LIVE)),
    "wandb": Wandb,
    "trackio": Trackio,
}
NONE: Final = "none"


def chosen(text: str) -> tuple[str, ...] | None:
    """The trackers that `tensorboard,wandb` names; `none` for none; None where nothing is said: TensorBoard if it is there.

    Raises ConfigError for an unknown name, MissingExtraError for one that is not installed.
    """
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not names or names == (NONE,):
        return () if names else None
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"--watch knows no '{name}'; {suggestion(name, [*TRACKERS, NONE])}")
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, name)
    return tuple(dict.fromkeys(names))


def opened(names: tuple[str, ...] | None, directory: Path, config: Mapping[str, Any], log: Path,
           say: Callable[[str], None]) -> list[Tracker]:  # fmt: skip
    """The trackers of a run, each given the rows of an earlier process that it has not; a line where TensorBoard, which
    nobody asked for, is missing."""
    found: list[Tracker] = []
    try:
        for name in (TENSORBOARD,) if names is None else names:
            try:
                found.append(TRACKERS[name](directory, config))
            except MissingExtraError as error:
                if names is not None:
                    raise
                say(f"no TensorBoard curves, log.jsonl holds the same: {error}")
        for row in rows(log):
            tell(found, row)
    except BaseException:
        for one in found:
            one.close()
        raise
    return found


def tell(trackers: Iterable[Tracker], row: Row) -> None:
    """Give a row to those that have not got that far."""
    for one in trackers:
        if row["step"] > one.last:
            one.add(row)


def write_curves(log: Path, folder: Path) -> None:
    """The event file of a whole log; none where TensorBoard is not installed."""
    try:
        curves = TensorBoard(folder)
    except MissingExtraError:
        return
    for row in rows(log):
        curves.add(row)
    curves.close()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, name) from None


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder
