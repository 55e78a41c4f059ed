"""One engine on ids: requests join and leave while others run, over any `Backend`; no torch, no text.

What a request gets depends on its own ids and seed: each draw is a function of (seed, position), and a prompt is fed in
pieces of a fixed size, whatever runs beside it. How far that makes its tokens independent of its batch-mates is for the
backend to say.

`submit` and `cancel` may be called from any thread and never wait for a step. Steps and rollbacks exclude one another by
a lock: any thread may take the next step, and a rollback falls between two.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Collection, Sequence

import numpy as np

from starloom.errors import GenerationError
from starloom.generate.protocol import Backend, FinishReason, Handle, Likelihood, Request
from starloom.generate.sampling import Ids, Logits, choose, log_probabilities

SLOTS = 8  # requests that run at once; memory grows with it (our choice)
CHUNK = 256  # prompt ids fed in one step, so that a long prompt never holds the others up for long (our choice)
NOTHING: Ids = np.array([], dtype=np.intp)


class _Run:
    """A request on its way: which slot it has, how much of it the backend holds, and its masks."""

    __slots__ = ("fed", "forbid", "greedy", "handle", "mask", "scored_from", "slot")

    def __init__(self, handle: Handle, scored_from: int | None = None) -> None:
        self.handle = handle
        self.slot: int | None = None
        self.fed = 0
        self.forbid = _sorted(handle.request.forbid)
        self.mask = NOTHING  # of the next draw only
        self.scored_from = scored_from  # the first id to give a likelihood of; None: a request that draws
        self.greedy = True

    @property
    def goal(self) -> int:
        """How many of its ids are to be fed: all, but the last of those that are only scored leads nowhere."""
        return len(self.handle.ids) - (self.scored_from is not None)

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


def _sorted(ids: Collection[int]) -> Ids:
    return np.array(sorted(ids), dtype=np.intp)


class Engine:
    """Runs requests over a backend, up to `slots` at once, feeding at most about `chunk` prompt ids per step."""

    def __init__(self, backend: Backend, *, slots: int = SLOTS, chunk: int = CHUNK) -> None:
        if slots < 1 or chunk < 1:
            raise GenerationError(f"slots and chunk are counts from 1 up, not {slots} and {chunk}")
        self.backend = backend
        self.slots = slots
        self.chunk = chunk
        self._lock = threading.RLock()
        self._free = list(range(slots))
        self._submitted: deque[_Run] = deque()  # any thread appends to these two; who holds the lock takes from them
        self._cancelled: deque[Handle] = deque()
        self._waiting: list[_Run] = []
        self._running: list[_Run] = []

    @property
    def busy(self) -> bool:
        """Whether a step would find anything to do."""
        return bool(self._running or self._waiting or self._submitted)

    def submit(self, request: Request) -> Handle:
        """Queue a request. Raises GenerationError when it could never run."""
        size, context = self.backend.vocabulary_size, self.backend.context
        _check_ids(request.prompt, size, "the prompt")
        _check_ids(tuple(request.forbid), size, "forbid", empty=True)
        if request.max_tokens < 1:
            raise GenerationError(f"max_tokens is a count from 1 up, not {request.max_tokens}")
        if len(request.prompt) >= context:
            raise GenerationError(
                f"the prompt has {len(request.prompt):,} tokens and the model's context {context:,}: cut the prompt "
                f"to at most {context - 1:,} tokens"
            )
        handle = Handle(request)
        self._submitted.append(_Run(handle))
        return handle

    def cancel(self, handle: Handle) -> None:
        """End a request: at once, or when the next step begins if another thread is in one. A finished one stays so."""
        self._cancelled.append(handle)
        if self._lock.acquire(blocking=False):
            try:
                self._take_in()
            finally:
                self._lock.release()

    def rollback(self, handle: Handle, length: int, forbid: Collection[int] = ()) -> None:
        """Keep the first `length` ids of a sequence, prompt included, and never draw `forbid` as the id that follows.

        Both take effect together. The mask holds for that one draw and replaces an earlier one; with none, the request
        goes on exactly as if the ids that were taken back had never been drawn. A request that had ended by "stop" or
        "length" runs again if it has room. Raises GenerationError when the sequence has no such length or was cancelled.
        """
        with self._lock:
            first = len(handle.request.prompt)
            if not first <= length <= len(handle.ids):
                raise GenerationError(
                    f"rollback to {length} is not possible: the sequence has {len(handle.ids)} ids, {first} of them "
                    "the prompt's, which stay"
                )
            if handle.finish_reason in ("cancelled", "error"):
                raise GenerationError(f"the request ended ({handle.finish_reason}); submit it again")
            mask = tuple(forbid)
            _check_ids(mask, self.backend.vocabulary_size, "forbid", empty=True)
            self._take_in()
            if length == self._limit(handle.request):
                return  # nothing is taken back, and nothing may follow
            run = next((run for run in (*self._running, *self._waiting) if run.handle is handle), None)
            if run is None:
                run = _Run(handle)
                self._waiting.append(run)
            del handle.ids[length:]
            del handle.logprobs[length - first :]
            handle.finish_reason = handle.stop_id = None
            run.mask = _sorted(mask)
            if run.slot is not None and run.fed >= length:  # the last id is fed again: its logits were not kept
                run.fed = length - 1
                self.backend.truncate(run.slot, run.fed)

    def step(self) -> list[Handle]:
        """Feed every running request once; those that are through their prompt draw one id. Returns who drew or ended.

        When the backend raises, every request stays as it was, to be fed anew, and the error goes to the caller.
        """
        with self._lock:
            self._take_in()
            while self._free and self._waiting:
                run = self._waiting.pop(0)
                run.slot = heapq.heappop(self._free)
                self._running.append(run)
            batch = self._next_batch()
            if not batch:
                return []
            pairs, every = [], set()
            for run, end in batch:
                assert run.slot is not None
                pairs.append((run.slot, run.handle.ids[run.fed : end]))
                if run.scored_from is not None and run.fed >= run.scored_from - 1:
                    every.add(run.slot)
            try:
                results = self.backend.forward(pairs, every)
            except BaseException:
                for run, _ in batch:  # how far the backend came is unknown
                    assert run.slot is not None
                    self.backend.free(run.slot)
                    run.start_over()
                raise
            moved = []
            for (run, end), logits in zip(batch, results, strict=True):
                start, run.fed = run.fed, end
                if run.slot in every:
                    self._score(run, start, logits)
                elif run.scored_from is None and end == run.goal:
                    self._draw(run, logits)
                else:
                    continue
                moved.append(run.handle)
            return moved

    def loglikelihood(self, batch: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood | GenerationError]:
        """For each (context ids, continuation ids), how likely the continuation is; a pair that failed is its error.

        A context has at least one id. Requests that are under way go on meanwhile.
        """
        runs = [self._scorer(tuple(context), tuple(continuation)) for context, continuation in batch]
        pending = [run for run in runs if isinstance(run, _Run) and not run.handle.done]
        self._submitted.extend(pending)
        try:
            while not all(run.handle.done for run in pending):
                self.step()
        finally:
            for run in pending:
                self.cancel(run.handle)
        return [run if isinstance(run, GenerationError) else _likelihood(run) for run in runs]

    def _scorer(self, context: tuple[int, ...], continuation: tuple[int, ...]) -> _Run | GenerationError:
        try:
            _check_ids(context, self.backend.vocabulary_size, "the context of a likelihood")
            _check_ids(continuation, self.backend.vocabulary_size, "a continuation", empty=True)
            if len(context) + len(continuation) - 1 > self.backend.context:
                raise GenerationError(
                    f"context and continuation have {len(context) + len(continuation):,} tokens together and the model "
                    f"can score {self.backend.context + 1:,}: cut the context on the left"
                )
        except GenerationError as error:
            return error
        run = _Run(Handle(Request(context + continuation, max_tokens=1)), scored_from=len(context))
        if not continuation:
            run.handle.finish_reason = "length"
        return run

    def _next_batch(self) -> list[tuple[_Run, int]]:
        """Who is fed up to where: every request that draws this step, and pieces of prompts up to the chunk in all."""
        batch, room = [], self.chunk
        for run in self._running:
            end = run.next_piece(self.chunk)
            size = end - run.fed
            if size > 1:
                if size > room:
                    continue  # its turn comes: the first in the queue always fits
                room -= size
            batch.append((run, end))
        return batch

    def _draw(self, run: _Run, logits: Logits) -> None:
        handle, request = run.handle, run.handle.request
        try:
            _check_finite(logits, len(handle.ids))
            token = choose(logits, request.sampling, len(handle.ids), run.forbid, run.mask)
        except GenerationError as error:
            self._end(run, "error", error)
            return
        run.mask = NOTHING
        if token in request.stop:
            handle.stop_id = token
            self._end(run, "stop")
            return
        handle.ids.append(token)
        if request.logprobs:
            handle.logprobs.append(float(log_probabilities(logits)[token]))
        if len(handle.ids) == self._limit(request):
            self._end(run, "length")

    def _limit(self, request: Request) -> int:
        return min(self.backend.context, len(request.prompt) + request.max_tokens)

    def _score(self, run: _Run, start: int, logits: Logits) -> None:
        try:
            _check_finite(logits, start + 1)
        except GenerationError as error:
            self._end(run, "error", error)
            return
        targets = np.array(run.handle.ids[start + 1 : run.fed + 1])
        run.handle.logprobs.extend(log_probabilities(logits)[np.arange(len(targets)), targets].tolist())
        run.greedy = run.greedy and bool((logits.argmax(axis=-1) == targets).all())
        if run.fed == run.goal:
            self._end(run, "length")

    def _end(self, run: _Run, reason: FinishReason, error: GenerationError | None = None) -> None:
        """The one place where a running request gives its slot back."""
        assert run.slot is not None
        self.backend.free(run.slot)
        heapq.heappush(self._free, run.slot)
        run.slot = None
        self._running.remove(run)
        run.handle.error = error
        run.handle.finish_reason = reason

    def _take_in(self) -> None:
        """Act on what was posted since: submitted requests join the queue, cancelled ones leave."""
        while self._submitted:
            self._waiting.append(self._submitted.popleft())
        while self._cancelled:
            handle = self._cancelled.popleft()
            for run in (*self._running, *self._waiting):
                if run.handle is handle and run.slot is not None:
                    self._end(run, "cancelled")
                elif run.handle is handle:
                    self._waiting.remove(run)
                    handle.finish_reason = "cancelled"


def _likelihood(run: _Run) -> Likelihood | GenerationError:
    return run.handle.error or Likelihood(tuple(run.handle.logprobs), run.greedy)


def _check_ids(ids: Sequence[int], size: int, what: str, *, empty: bool = False) -> None:
    if not ids and not empty:
        raise GenerationError(f"{what} is empty; start from the id of end_of_document")
    for extreme in (min(ids), max(ids)) if ids else ():
        if not 0 <= extreme < size:
            raise GenerationError(f"id {extreme} in {what} is not in the model's vocabulary of {size:,}")


def _check_finite(logits: Logits, position: int) -> None:
    if not np.isfinite(logits).all():
        raise GenerationError(
            f"the model's logits at position {position} are not finite (NaN or infinity): the weights are damaged or the "
            "number format overflows; try dtype float32"
        )
