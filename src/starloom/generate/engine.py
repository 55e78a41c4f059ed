"""One engine on ids: requests join and leave while others run, over any `Backend`; no torch, no text.

What a request gets depends on its own ids and seed: each draw is a function of (seed, sample, position). Three things
change which rows a backend computes together, and never what is asked of it: who runs beside a request, how much of its
prompt another slot already holds (`prefix`), and guesses that are verified in one forward (`drafts`). Where a backend's
row is the same bit for bit whatever rows are beside it, so are the tokens; how far that goes is for the backend to say.

`submit` and `cancel` may be called from any thread and never wait for a step. Steps and rollbacks exclude one another by
a lock: any thread may take the next step, and a rollback falls between two.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence
from typing import Literal, get_args

from starloom.errors import GenerationError
from starloom.generate.drafts import Drafter, share_needed
from starloom.generate.prefix import Slots
from starloom.generate.protocol import Backend, FinishReason, Handle, Likelihood, Request
from starloom.generate.requests import (
    Piece,
    Run,
    check,
    check_ids,
    draw_next,
    failed,
    likelihood,
    score,
    scorer,
    sharer,
    sorted_ids,
)
from starloom.generate.sampling import Logits

SLOTS = 8  # requests that run at once; memory grows with it (our choice)
CHUNK = 256  # prompt ids fed in one step, so that a long prompt never holds the others up for long (our choice)
KEPT_CONTEXTS = 2  # what is kept of ended requests, in contexts full of ids (our choice)

Speculation = Literal["off", "auto"]


class Engine:
    """Runs requests over a backend, up to `slots` at once, feeding at most about `chunk` prompt ids per step.

    Requests with the same beginning share its computation: `kept_tokens` ids of ended requests are kept for later ones (by
    default two contexts full; 0 keeps none). With `speculation="auto"` each request's next ids are guessed for as long as
    that pays, and the guesses verified in one forward.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        slots: int = SLOTS,
        chunk: int = CHUNK,
        kept_tokens: int | None = None,
        speculation: Speculation = "off",
    ) -> None:
        if slots < 1 or chunk < 1:
            raise GenerationError(f"slots and chunk are counts from 1 up, not {slots} and {chunk}")
        if speculation not in get_args(Speculation):
            raise GenerationError(f"speculation is one of {', '.join(get_args(Speculation))}, not '{speculation}'")
        self.backend = backend
        self.slots = slots
        self.chunk = chunk
        self.speculation = speculation
        self._lock = threading.RLock()
        self._slots = Slots(backend, KEPT_CONTEXTS * backend.context if kept_tokens is None else kept_tokens)
        self._submitted: deque[Run] = deque()  # any thread appends to these two; who holds the lock takes from them
        self._cancelled: deque[Handle] = deque()
        self._waiting: list[Run] = []
        self._running: list[Run] = []

    @property
    def busy(self) -> bool:
        """Whether a step would find anything to do."""
        return bool(self._running or self._waiting or self._submitted)

    def submit(self, request: Request) -> Handle:
        """Queue a request. Raises GenerationError when it could never run."""
        check(request, self.backend)
        handle = Handle(request)
        self._submitted.append(self._run(handle))
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
            check_ids(mask, self.backend.vocabulary_size, "forbid", empty=True)
            self._take_in()
            if length == self._limit(handle.request):
                return  # nothing is taken back, and nothing may follow
            run = next((run for run in (*self._running, *self._waiting) if run.handle is handle), None)
            if run is None:
                run = self._run(handle)
                self._waiting.append(run)
            del handle.ids[length:]
            del handle.logprobs[length - first :]
            del handle.top_logprobs[length - first :]
            handle.finish_reason = handle.stop_id = None
            run.mask = sorted_ids(mask)
            if run.drafter is not None:
                run.drafter.rollback(length)
            if run.slot is not None and run.fed >= length:  # the last id is fed again: its logits were not kept
                run.fed = length - 1
                self.backend.truncate(run.slot, run.fed)

    def step(self) -> list[Handle]:
        """Feed every running request once; those that are through their prompt draw an id, or several where a guess was
        right. Returns who drew, was scored or ended.

        When the backend fails, the requests of that step start over, each alone until it is past that place: the one that
        fails alone ends with the error, and the others lose nothing.
        """
        with self._lock:
            self._take_in()
            ended = self._admit()
            batch = self._next_batch()
            if not batch:
                return ended
            pairs, every = [], set()
            for piece in batch:
                assert piece.run.slot is not None
                pairs.append((piece.run.slot, [*piece.run.handle.ids[piece.run.fed : piece.end], *piece.draft]))
                if piece.every:
                    every.add(piece.run.slot)
            try:
                results = self.backend.forward(pairs, every)
            except BaseException as error:
                return ended + self._start_over(batch, error)
            for piece, logits in zip(batch, results, strict=True):
                run, scores = piece.run, piece.every and not piece.draft
                start, run.fed = run.fed, piece.end
                run.suspect = run.suspect if run.fed < run.suspect else 0
                if scores:
                    self._score(run, start, logits)
                elif run.scored_from is None and piece.end == run.goal:
                    self._draw(piece, logits if piece.draft else logits[None])
                else:
                    continue
                ended.append(run.handle)
            return ended

    def forget(self) -> None:
        """Keep nothing of ended requests: what comes next is computed as if by a fresh engine."""
        with self._lock:
            self._slots.clear()

    def loglikelihood(self, batch: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood | GenerationError]:
        """For each (context ids, continuation ids), how likely the continuation is; a pair that failed is its error.

        A context has at least one id. Requests that are under way go on meanwhile.
        """
        runs = [scorer(tuple(context), tuple(continuation), self.backend) for context, continuation in batch]
        pending = [run for run in runs if isinstance(run, Run) and not run.handle.done]
        self._submitted.extend(pending)
        try:
            while not all(run.handle.done for run in pending):
                self.step()
        finally:
            for run in pending:
                self.cancel(run.handle)
        return [run if isinstance(run, GenerationError) else likelihood(run) for run in runs]

    def _run(self, handle: Handle) -> Run:
        return Run(handle, drafter=Drafter(handle.request.surroundings) if self.speculation == "auto" else None)

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

    def _admit(self) -> list[Handle]:
        """Waiting requests take the slots that are free, but for those whose prompt another is about to compute."""
        ended = []
        for run in [*self._waiting] if len(self._running) < self.slots else ():
            if len(self._running) == self.slots:
                break
            if run.waiting():
                continue
            running = [(other, other.slot) for other in self._running if other.slot is not None]
            run.waits_for = sharer(run, (other for other, _ in running), self._slots.least)
            if run.waits_for is not None:
                continue
            self._waiting.remove(run)
            self._running.append(run)
            try:
                held = ((slot, other.handle.ids[: other.fed]) for other, slot in running)
                run.slot, run.fed = self._slots.open(run.handle.ids, run.usable, held)
            except Exception as error:  # handed to its asker
                self._end(run, "error", failed(error))
                ended.append(run.handle)
        return ended

    def _next_batch(self) -> list[Piece]:
        """Who is fed up to where: every request that draws this step, and pieces of prompts up to the chunk in all."""
        running = next(([run] for run in self._running if run.suspect), self._running)
        batch, room = [], self.chunk
        for run in running:
            end = run.next_piece(self.chunk)
            size = end - run.fed
            if size > 1:
                if size > room:
                    continue  # its turn comes: the first in the queue always fits
                room -= size
            batch.append(Piece(run, end, self._draft(run) if size == 1 and end == run.goal else ()))
        return batch

    def _draft(self, run: Run) -> Sequence[int]:
        if run.drafter is None or run.suspect:
            return ()
        return run.drafter.propose(run.handle.ids, self._limit(run.handle.request) - len(run.handle.ids) - 1)

    def _draw(self, piece: Piece, rows_TV: Logits) -> None:
        """Draw for as long as the draft agrees, and once more; the backend then holds nothing that was not drawn."""
        run, ids, old = piece.run, piece.run.handle.ids, len(piece.run.handle.ids)
        outcome: FinishReason | GenerationError | None = None
        for place, logits in enumerate(rows_TV):
            outcome = draw_next(run, logits, self._limit(run.handle.request))
            if outcome is not None or place == len(piece.draft) or ids[-1] != piece.draft[place]:
                break
        assert run.slot is not None
        run.fed = min(old + place, len(ids))
        if run.fed < old + len(piece.draft):
            self.backend.truncate(run.slot, run.fed)
        if piece.draft and run.drafter is not None:
            run.handle.guessed += len(piece.draft)
            run.handle.guessed_right += place
            run.drafter.learn(
                len(piece.draft), place, len(ids), share_needed(len(self._running), self.backend.row_cost)
            )
        if isinstance(outcome, GenerationError):
            self._end(run, "error", outcome)
        elif outcome is not None:
            self._end(run, outcome)

    def _score(self, run: Run, start: int, rows_TV: Logits) -> None:
        error = score(run, start, rows_TV)
        if error is not None:
            self._end(run, "error", error)
        elif run.fed == run.goal:
            self._end(run, "length")

    def _limit(self, request: Request) -> int:
        return min(self.backend.context, len(request.prompt) + request.max_tokens)

    def _start_over(self, batch: list[Piece], error: BaseException) -> list[Handle]:
        """The backend failed, and how far it came is unknown."""
        self._slots.clear()  # it may lack their memory
        for piece in batch:
            assert piece.run.slot is not None
            self.backend.free(piece.run.slot)
            piece.run.start_over()
        if not isinstance(error, Exception):
            raise error
        if len(batch) == 1:  # handed to its asker
            self._end(batch[0].run, "error", failed(error))
            return [batch[0].run.handle]
        for piece in batch:
            piece.run.suspect = piece.end
        return []

    def _end(self, run: Run, reason: FinishReason, error: GenerationError | None = None) -> None:
        """The one place where a running request gives its slot back."""
        if run.slot is not None and error is None:
            self._slots.close(run.slot, run.handle.ids[: run.fed])
        elif run.slot is not None:
            self._slots.discard(run.slot)
        run.slot = None
        self._running.remove(run)
        run.handle.error = error
        run.handle.finish_reason = reason
