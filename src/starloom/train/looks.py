"""Looks at the held-out text: quick ones while a run goes on, and the one whose figures are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starloom.models.causal_lm import CausalLM
from starloom.stage import Work
from starloom.train import heldout
from starloom.train.step import computing, mask_at

if TYPE_CHECKING:
    from starloom.train.loop import Data, Job

ALL: Final = ""  # the validation set of everything that was held out


def heldout_key(name: str) -> str:
    """What a row of the log calls the bits per byte of a validation set."""
    return f"heldout_bits_per_byte/{name}" if name else "heldout_bits_per_byte"


def looks(steps: int, times: int) -> set[int]:
    """The steps after which the held-out text gets a quick look: a function of the number of steps alone."""
    return {steps * number // (times + 1) for number in range(1, times + 1)} - {0}


def look(model: CausalLM, data: Data, job: Job) -> dict[str, heldout.Score]:
    """A quick look: on a part of the text, in the precision of the training."""
    with computing(job):
        return scores(model, data, job, job.heldout.quick_tokens)


def final_scores(model: CausalLM, data: Data, job: Job, work: Work) -> dict[str, heldout.Score]:
    """The figures that are reported: in fp32 whatever the training's precision; none where nothing was held out."""
    tokens, bound = len(data.heldout[ALL]), job.heldout.final_tokens
    if tokens < 2:
        return {}
    with work.runtime.progress.task("held out", min(tokens, bound or tokens), "tokens") as advance:
        return scores(model, data, job, bound, advance)


def scores(
    model: CausalLM,
    data: Data,
    job: Job,
    bound: int | None,
    advance: Callable[[int], object] = lambda tokens: None,
) -> dict[str, heldout.Score]:
    """Scores of all held-out text within a bound in tokens, and of the named sets, which share as many once more."""
    named = [name for name, tokens in data.heldout.items() if name != ALL and len(tokens) > 1]
    bounds = {ALL: bound, **{name: bound and bound // len(named) for name in named}}
    return {
        name: heldout.score(
            model,
            data.heldout[name],
            data.byte_lengths,
            data.context,
            most,
            advance if name == ALL else lambda _: None,
            mask_at(job),
        )
        for name, most in bounds.items()
    }
