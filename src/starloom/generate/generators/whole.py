"""What generators without ids share: a text that is there at once, asks that run side by side, frames in text."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from starloom.errors import GenerationError
from starloom.generate.protocol import Ask, Capability, Completion, Hole
from starloom.generate.suffix_copy import SuffixCopy
from starloom.generate.text_stream import Ending
from starloom.tokens.special import family_named

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class Whole:
    """The pieces of a completion that came as one."""

    def __init__(self, completion: Completion) -> None:
        self.completion = completion
        self._pieces = iter([completion.text] if completion.text else [])

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        self._pieces = iter(())


def ending(ask: Ask) -> Ending:
    """Where the text of an answer ends, whatever the server made of it."""
    before = ask.settings.response_prefix
    copy = SuffixCopy(ask.prefix + before, ask.suffix) if isinstance(ask, Hole) and not ask.as_written else None
    return Ending(ask.settings.stop, copy, before)


def side_by_side(
    answer: Callable[[Asked], Answered], asks: Iterable[Asked], *, at_once: int
) -> Iterator[Answered | GenerationError]:
    """Answers in the order asked, at most `at_once` under way and few more asked for than taken; an error is its own answer.

    The threads are daemons: a program that ends does not wait for a server.
    """
    source = iter(asks)
    window: deque[Future[Answered]] = deque()
    queue: SimpleQueue[tuple[Asked, Future[Answered]] | None] = SimpleQueue()

    def work() -> None:
        while (job := queue.get()) is not None:
            ask, future = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(answer(ask))
                except BaseException as error:  # goes to who takes the answer
                    future.set_exception(error)

    for _ in range(at_once):
        threading.Thread(target=work, name="starloom-generator", daemon=True).start()
    try:
        while True:
            while len(window) < 2 * at_once and (ask := next(source, None)) is not None:
                window.append(Future())
                queue.put((ask, window[-1]))
            if not window:
                return
            try:
                result: Answered | GenerationError = window.popleft().result()
            except GenerationError as error:
                result = error
            yield result
    finally:
        for future in window:
            future.cancel()
        for _ in range(at_once):
            queue.put(None)


def frame_text(hole: Hole, family: str) -> str:
    """The published frame of a gap as text, for a server that reads its sentinels as controls.

    Raises GenerationError for a gap whose own text spells a control, for the server would read that as one.
    """
    known = dict(family_named(family).controls)
    prefix, suffix = hole.prefix, hole.suffix
    for where, text in (("prefix", prefix), ("suffix", suffix), ("response prefix", hole.settings.response_prefix)):
        for spelling in known.values():
            if spelling in text:
                raise GenerationError(
                    f"the {where} of the gap spells {spelling}, which a server would read as a control token; "
                    "load the model here, or leave that part out"
                )
    if hole.header is not None:
        raise GenerationError("a header cannot be sent to a server; leave it out, or load the model here")
    pre, mid, suf = (known[f"fim_{name}"] for name in ("prefix", "middle", "suffix"))
    if hole.mode == "spm":
        return f"{pre}{suf}{suffix}{mid}{prefix}{hole.settings.response_prefix}"
    return f"{pre}{prefix}{suf}{suffix}{mid}{hole.settings.response_prefix}"


def needs(capability: Capability, capabilities: frozenset[Capability], name: str, remedy: str) -> None:
    """Raises GenerationError when a generator cannot do what is asked."""
    if capability not in capabilities:
        raise GenerationError(f"{name} cannot {capability}; {remedy}")
