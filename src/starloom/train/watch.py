"""What a run shows while it goes on: its log, curves of it for TensorBoard and others, and samples at the looks."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import TYPE_CHECKING

from starloom.errors import MissingExtraError
from starloom.models.causal_lm import CausalLM
from starloom.stage import Work
from starloom.train.log import LIVE, LOG, TENSORBOARD, Curves, Log, Row, rows

if TYPE_CHECKING:
    from starloom.train.loop import Data, Job
    from starloom.train.ranks import Ranks


class Watch:
    """Takes each step's row. What it adds to a row is a function of it, of the weights and of how the run was resolved, so
    that a resumed log goes on as it began."""

    def __init__(self, work: Work, job: Job, data: Data, ranks: Ranks, log_so_far: bytes) -> None:
        self._flops_per_token = job.config.flops_per_token(data.context)
        peak = work.resolved.get("peak", {}).get("flops_per_s")
        self._peak = None if peak is None else ranks.count * peak
        self._sampler = data.sampler
        self._work = work
        self._begin(log_so_far)

    def back_to(self, log_so_far: bytes) -> None:
        """Go on from an earlier step, whose log this is."""
        self.__exit__(None, None, None)
        self._begin(log_so_far)

    def _begin(self, log_so_far: bytes) -> None:
        work = self._work
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
        row |= speed(row["tokens_per_s"], self._flops_per_token, self._peak)
        self._log.write(row)
        if self._curves is not None:
            self._curves.add(row)

    def at_look(self, model: CausalLM, row: Row) -> None:
        """After a look at the held-out text, whose figures are in the row, and before the row is written."""
        if self._sampler is not None:
            row["samples"] = self._sampler(model)

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


def speed(tokens_per_s: float, flops_per_token: int, peak_flops_per_s: float | None) -> Row:
    """Model FLOP/s, and the share that they are of the peak: forward and backward, no recomputation (PaLM, arXiv
    2204.02311, appendix B)."""
    flops_per_s = tokens_per_s * flops_per_token
    mfu = None if peak_flops_per_s is None else round(flops_per_s / peak_flops_per_s, 4)
    return {"model_flops_per_s": round(flops_per_s), "mfu": mfu}
