"""From a server's events to a completion: whole characters, ended where it was to end, whatever the server made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from starloom.errors import GenerationError
from starloom.generate.generators.whole import ending
from starloom.generate.protocol import Ask, Completion, FinishReason


class EndpointStream:
    """The pieces of a server's answer, ended where it should have ended; `completion` is the whole."""

    def __init__(self, events: Iterator[Any], ask: Ask) -> None:
        self._events = events
        self._ending = ending(ask)
        before = ask.settings.response_prefix
        self._pieces = [before] if before else []
        self._given = 0
        self._half = ""  # the first of two surrogates, which some servers tear apart
        self._reason: FinishReason | None = None
        self._stopped_by: str | None = None
        self._prompt_tokens = 0
        self._logprobs: list[float] | None = [] if ask.settings.logprobs else None
        self._completion: Completion | None = None

    def __iter__(self) -> EndpointStream:
        return self

    def __next__(self) -> str:
        while self._given == len(self._pieces):
            if self._completion is not None:
                raise StopIteration
            self._advance()
        piece = "".join(self._pieces[self._given :])
        self._given = len(self._pieces)
        return piece

    @property
    def completion(self) -> Completion:
        """The whole; runs to the end whatever was not taken yet."""
        while self._completion is None:
            self._advance()
        return self._completion

    def close(self) -> None:
        """Hang up."""
        close = getattr(self._events, "close", None)
        if close is not None:
            close()

    def _advance(self) -> None:
        event = next(self._events, None)
        if event is not None:
            self._take(event)
        if event is None or self._reason is not None or self._ending.stopped_by is not None:
            self._finish()

    def _take(self, event: Any) -> None:
        usage = event.get("usage") if isinstance(event, Mapping) else None
        if isinstance(usage, Mapping) and isinstance(usage.get("prompt_tokens"), int):
            self._prompt_tokens = usage["prompt_tokens"]
        if isinstance(event, Mapping) and event.get("choices") == []:
            return  # the usage alone
        choice = first_choice(event)
        text = choice.get("text")
        if not isinstance(text, str):
            raise GenerationError(f"the server's answer has no text: {str(choice)[:200]}")
        self._show(self._ending.feed(self._whole(text)))
        chances = choice.get("logprobs")
        if self._logprobs is not None and isinstance(chances, Mapping):
            self._logprobs += [
                chance for chance in chances.get("token_logprobs") or () if isinstance(chance, float | int)
            ]
        reason = choice.get("finish_reason")
        if reason in ("stop", "length"):
            self._reason = cast(FinishReason, reason)
            said = choice.get("stop_reason")
            self._stopped_by = said if isinstance(said, str) else None
        elif reason is not None:
            raise GenerationError(f"the server ended the answer for a reason of its own: {str(reason)[:100]}")

    def _whole(self, text: str) -> str:
        text = self._half + text
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        text = text[: len(text) - len(self._half)]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _show(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)

    def _finish(self) -> None:
        self._show(self._ending.finish(broken_off=self._reason == "length"))
        stopped_by = self._ending.stopped_by or self._stopped_by
        if self._reason is None and self._ending.stopped_by is None:
            raise GenerationError("the server's answer ended without saying why; ask again")
        self._completion = Completion(
            text="".join(self._pieces),
            tokens=(),
            finish_reason="stop" if self._ending.stopped_by is not None else self._reason or "stop",
            stopped_by=stopped_by,
            prompt_tokens=self._prompt_tokens,
            logprobs=None if self._logprobs is None else tuple(self._logprobs),
        )
        self.close()


def first_choice(answer: Any) -> Mapping[str, Any]:
    """What a server completed. Raises GenerationError for anything else, with its words."""
    if isinstance(answer, Mapping) and "error" in answer:
        raise GenerationError(f"the server reports: {str(answer['error'])[:200]}")
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise GenerationError(f"the server's answer is not a completion: {str(answer)[:200]}")
    return choices[0]
