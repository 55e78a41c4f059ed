"""What a run shows while it goes on: its log, and curves of it for TensorBoard."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import TYPE_CHECKING

from starloom.errors import MissingExtraError
from starloom.models.causal_lm import CausalLM
from starloom.stage import Work
from starloom.train.log import LIVE, LOG, TENSORBOARD, Curves, Log, Row, rows

if TYPE_CHECKING:
    from starloom.train.loop import Job
    from starloom.train.ranks import Ranks


class Watch:
    """Takes each step's row. What it adds to a row is a function of it, so that a resumed log goes on as it began."""

    def __init__(self, work: Work, job: Job, ranks: Ranks, log_so_far: bytes) -> None:
        self._log = Log(work.directory / LOG, log_so_far)
        self.log = self._log.path
        folder = work.directory / TENSORBOARD / LIVE
        shutil.rmtree(folder, ignore_errors=True)
        self._curves: Curves | None = None
        try:
            self._curves = Curves(folder)
        except MissingExtraError as error:
            work.runtime.progress.line(f"no TensorBoard curves, log.jsonl holds the same: {error}")
        else:
            for row in rows(self.log):  # of an earlier process
                self._curves.add(row)

    def after_step(self, row: Row) -> None:
        """Write a step's row."""
        self._log.write(row)
        if self._curves is not None:
            self._curves.add(row)

    def at_look(self, model: CausalLM, row: Row) -> None:
        """After a look at the held-out text, whose figures are in the row, and before the row is written."""

    def at_checkpoint(self, model: CausalLM, step: int) -> None:
        """After a resume point was asked for."""

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.__exit__(kind, error, trace)
        if self._curves is not None:
            self._curves.close()
