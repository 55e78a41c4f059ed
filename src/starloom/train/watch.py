"""What a run shows while it goes on: its log, the trackers that were chosen, and samples at the looks."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from starloom.models.causal_lm import CausalLM
from starloom.stage import Work
from starloom.train import sharding
from starloom.train.log import LOG, Log, Row
from starloom.train.peak import measured_again
from starloom.train.trackers import Tracker, opened, tell

if TYPE_CHECKING:
    from starloom.train.loop import Data, Job
    from starloom.train.ranks import Ranks

AGAIN = 3  # times that a process measures a peak that a step has exceeded: our choice


class Watch:
    """Takes each step's row. What it adds to a row is a function of it, of the weights and of how the run was resolved, so
    that a resumed log goes on as it began. Of several processes the main one alone writes."""

    def __init__(self, work: Work, job: Job, data: Data, ranks: Ranks, log_so_far: bytes) -> None:
        self._flops_per_token = job.config.flops_per_token(data.context)
        peak = work.resolved.get("peak", {}).get("flops_per_s")
        self._peak = None if peak is None else ranks.processes * peak
        self._job, self._again = job, AGAIN if job.device == "cpu" else 0
        self._sampler = data.sampler
        self._ranks = ranks
        self._work, self._main = work, ranks.main
        self.log = work.directory / LOG
        self._log: Log | None = None
        self._trackers: list[Tracker] = []
        self._begin(log_so_far)

    def _begin(self, log_so_far: bytes) -> None:
        if self._main:
            self._log = Log(self.log, log_so_far)
            runtime, resolved = self._work.runtime, self._work.resolved
            self._trackers = opened(runtime.watch, self._work.directory, resolved, self.log, runtime.progress.line)

    def back_to(self, log_so_far: bytes) -> None:
        """Go on from an earlier step, whose log this is. Trackers that cannot take rows back keep those of the steps between."""
        self.__exit__(None, None, None)
        self._begin(log_so_far)

    def after_step(self, row: Row) -> None:
        """Write a step's row."""
        if self._log is None:
            return
        row |= speed(row["tokens_per_s"], self._flops_per_token, self._peak)
        if self._again and (row["mfu"] or 0) > 1:  # measured while the machine was busy with something else
            self._again -= 1
            assert self._peak is not None
            self._peak = max(self._peak, self._ranks.processes * measured_again(self._job.precision))
            row |= speed(row["tokens_per_s"], self._flops_per_token, self._peak)
        self._log.write(row)
        tell(self._trackers, row)

    def at_look(self, model: CausalLM, row: Row) -> None:
        """After a look at the held-out text, whose figures are in the row, and before the row is written."""
        if self._sampler is not None:
            whole = sharding.unsharded(model, self._ranks)
            if whole is not None:
                row["samples"] = self._sampler(whole)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            self._log.__exit__(kind, error, trace)
        for tracker in self._trackers:
            tracker.close()


def speed(tokens_per_s: float, flops_per_token: int, peak_flops_per_s: float | None) -> Row:
    """Model FLOP/s, and the share that they are of the peak: forward and backward, no recomputation (PaLM, arXiv
    2204.02311, appendix B). Above 1 the peak is not what it was taken for."""
    flops_per_s = tokens_per_s * flops_per_token
    mfu = None if peak_flops_per_s is None else round(flops_per_s / peak_flops_per_s, 4)
    return {"model_flops_per_s": round(flops_per_s), "mfu": mfu}
