"""A request on its way through the engine, and the checks that it must pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from starloom.errors import GenerationError
from starloom.generate.drafts import Drafter
from starloom.generate.prefix import common
from starloom.generate.protocol import Backend, FinishReason, Handle, Likelihood, Request
from starloom.generate.sampling import Ids, Logits, choose, is_whole, likeliest, log_probabilities

NOTHING: Ids = np.array([], dtype=np.intp)


class Run:
    """Which slot a request has, how much of it the backend holds, its masks, and what its drafts are taken from."""

    __slots__ = ("drafter", "fed", "forbid", "greedy", "handle", "mask", "scored_from", "slot", "suspect", "waits_for")

    def __init__(self, handle: Handle, *, scored_from: int | None = None, drafter: Drafter | None = None) -> None:
        self.handle = handle
        self.slot: int | None = None
        self.fed = 0
        self.forbid = sorted_ids(handle.request.forbid)
        self.mask = NOTHING  # of the next draw only
        self.scored_from = scored_from  # the first id to give a likelihood of; None: a request that draws
        self.greedy = True
        self.drafter = drafter  # None: without speculation
        self.suspect = 0  # it was in a batch that failed: until it is fed this far it is fed alone
        self.waits_for: tuple[Run, int] | None = None  # whose prompt it shares, and how much of that it needs fed

    @property
    def goal(self) -> int:
        """How many of its ids are to be fed: all, but the last of those that are only scored leads nowhere."""
        return len(self.handle.ids) - (self.scored_from is not None)

    @property
    def usable(self) -> int:
        """How many of its first ids another's slot may stand for: the next one's logits are wanted."""
        return len(self.handle.ids) - 1 if self.scored_from is None else self.scored_from - 1

    @property
    def lasting(self) -> int:
        """How many of its first ids are going to be fed whatever is drawn and taken back."""
        return len(self.handle.request.prompt) - (self.scored_from is not None)

    def waiting(self) -> bool:
        """Whether another, still running, is about to compute a beginning that this one shares."""
        if self.waits_for is not None and (
            self.waits_for[0].slot is None or self.waits_for[0].fed >= self.waits_for[1]
        ):
            self.waits_for = None
        return self.waits_for is not None

    def start_over(self) -> None:
        """The backend holds nothing of it any more."""
        self.fed = 0
        if self.scored_from is not None:
            self.handle.logprobs.clear()

    def next_piece(self, chunk: int) -> int:
        """Where the next piece to feed ends: a chunk further, whoever its batch-mates are."""
        end = min(self.goal, self.fed + chunk)
        if self.scored_from is not None and self.fed < self.scored_from - 1 < end:
            return self.scored_from - 1  # logits for every id are wanted from here on, and only from here
        return end


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step feeds of a request: its ids up to `end`, then a draft."""

    run: Run
    end: int
    draft: Sequence[int] = ()

    @property
    def every(self) -> bool:
        """Whether the logits after each id are wanted."""
        run = self.run
        return bool(self.draft) or (run.scored_from is not None and run.fed >= run.scored_from - 1)


def sorted_ids(ids: Collection[int]) -> Ids:
    return np.array(sorted(ids), dtype=np.intp)


def check(request: Request, backend: Backend) -> None:
    """Raises GenerationError when a request could never run."""
    size, context = backend.vocabulary_size, backend.context
    check_ids(request.prompt, size, "the prompt")
    check_ids(tuple(request.forbid), size, "forbid", empty=True)
    check_ids(request.surroundings, size, "surroundings", empty=True)
    check_ids([token for token, _ in request.sampling.logit_bias], size, "logit_bias", empty=True)
    if not is_whole(request.max_tokens) or request.max_tokens < 1:
        raise GenerationError(f"max_tokens is a count from 1 up, not {request.max_tokens}")
    if not is_whole(request.top_logprobs) or not 0 <= request.top_logprobs <= size:
        raise GenerationError(
            f"top_logprobs is a count from 0 to the vocabulary's {size:,}, not {request.top_logprobs}"
        )
    if len(request.prompt) >= context:
        raise GenerationError(
            f"the prompt has {len(request.prompt):,} tokens and the model's context {context:,}: cut the prompt "
            f"to at most {context - 1:,} tokens"
        )


def scorer(context: tuple[int, ...], continuation: tuple[int, ...], backend: Backend) -> Run | GenerationError:
    """A run that gives the likelihood of a continuation, or why there can be none."""
    try:
        check_ids(context, backend.vocabulary_size, "the context of a likelihood")
        check_ids(continuation, backend.vocabulary_size, "a continuation", empty=True)
        if len(context) + len(continuation) - 1 > backend.context:
            raise GenerationError(
                f"context and continuation have {len(context) + len(continuation):,} tokens together and the model "
                f"can score {backend.context + 1:,}: cut the context on the left"
            )
    except GenerationError as error:
        return error
    run = Run(Handle(Request(context + continuation, max_tokens=1)), scored_from=len(context))
    if not continuation:
        run.handle.finish_reason = "length"
    return run


def sharer(run: Run, running: Iterable[Run], least: int) -> tuple[Run, int] | None:
    """Whose prompt begins as this sequence does, further than is computed yet, and how far; None where it is not worth it."""
    ids = np.array(run.handle.ids[: run.usable], dtype=np.int32)
    best, longest, computed = None, 0, 0
    for other in running:
        length = common(ids, np.array(other.handle.ids[: min(other.lasting, run.usable)], dtype=np.int32))
        computed = max(computed, min(length, other.fed))
        if length > max(longest, other.fed):
            best, longest = other, length
    return None if best is None or longest - computed < least else (best, longest)


def draw_next(run: Run, logits: Logits, limit: int) -> FinishReason | GenerationError | None:
    """One more id, or how the request ends."""
    handle, request = run.handle, run.handle.request
    seen = handle.ids if request.sampling.repetition_penalty != 1 else ()
    try:
        check_finite(logits, len(handle.ids))
        token = choose(logits, request.sampling, len(handle.ids), run.forbid, run.mask, seen=seen)
    except GenerationError as error:
        return error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # its own settings: the others go on
        return failed(error, "its settings allow no draw")
    run.mask = NOTHING
    if token in request.stop:
        handle.stop_id = token
        return "stop"
    if request.logprobs or request.top_logprobs:
        logprobs = log_probabilities(logits)
        handle.logprobs.append(float(logprobs[token]))
        if request.top_logprobs:
            handle.top_logprobs.append(likeliest(logprobs, request.top_logprobs))
    handle.ids.append(token)
    return "length" if len(handle.ids) >= limit else None


def score(run: Run, start: int, rows_TV: Logits) -> GenerationError | None:
    """Likelihoods of the ids that follow those from `start` to what is fed, or why there are none."""
    try:
        check_finite(rows_TV, start + 1)
    except GenerationError as error:
        return error
    targets = np.array(run.handle.ids[start + 1 : run.fed + 1])
    run.handle.logprobs.extend(log_probabilities(rows_TV)[np.arange(len(targets)), targets].tolist())
    run.greedy = run.greedy and bool((rows_TV.argmax(axis=-1) == targets).all())
    return None


def likelihood(run: Run) -> Likelihood | GenerationError:
    return run.handle.error or Likelihood(tuple(run.handle.logprobs), run.greedy)


def failed(error: Exception, what: str = "the backend failed on this request") -> GenerationError:
    """An error that is no fault of other requests, as its asker gets it."""
    failure = GenerationError(f"{what}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def check_ids(ids: Sequence[int], size: int, what: str, *, empty: bool = False) -> None:
    if not ids and not empty:
        raise GenerationError(f"{what} is empty; start from the id of end_of_document")
    for extreme in (min(ids), max(ids)) if ids else ():
        if not 0 <= extreme < size:
            raise GenerationError(f"id {extreme} in {what} is not in the model's vocabulary of {size:,}")


def check_finite(logits: Logits, position: int) -> None:
    if not np.isfinite(logits).all():
        raise GenerationError(
            f"the model's logits at position {position} are not finite (NaN or infinity): the weights are damaged or the "
            "number format overflows; try dtype float32"
        )
