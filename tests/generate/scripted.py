"""A model that says what it is told, and the vocabularies that the session's tests use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

import numpy as np

from starloom.generate.protocol import Handle, Request
from starloom.generate.sampling import Logits
from starloom.generate.session import Session
from starloom.tokens import bpe
from starloom.tokens.bpe import Vocabulary

CORPUS = [
    "def hello(world):\n    return world + 1\n\n\nprint('Hello world!')\n",
    "# größe ñ 日本語 😀 ###\nif value is None:\n    return value\n",
] * 3


@cache
def vocabulary(family: str = "starcoder2") -> Vocabulary:
    return bpe.train(CORPUS, vocab_size=420, family=family)


class ScriptedBackend:
    """Whatever the prompt, what follows is the script, then the id `beyond` for ever, or logits that are NaN.

    Where a prompt ends, `session_of` tells it: neither drafts nor beginnings that are shared can be told from the ids.
    """

    row_cost = 1.0

    def __init__(
        self, script: Sequence[int], vocabulary_size: int, context: int = 4000, beyond: int | None = 300
    ) -> None:
        self.script = list(script)
        self.vocabulary_size = vocabulary_size
        self.context = context
        self.beyond = beyond
        self.held: dict[int, list[int]] = {}
        self.asked: list[list[int]] = []  # prompts that were submitted

    @property
    def last_prompt(self) -> list[int]:
        return self.asked[-1]

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], every: Collection[int] = ()) -> list[Logits]:
        results = []
        for slot, ids in batch:
            held = self.held.setdefault(slot, [])
            held.extend(ids)
            prompt = next((prompt for prompt in reversed(self.asked) if held[: len(prompt)] == prompt), held)
            drawn = len(held) - len(prompt)
            rows = [self._row(max(place, 0)) for place in range(drawn - len(ids) + 1, drawn + 1)]
            results.append(np.stack(rows) if slot in every else rows[-1])
        return results

    def _row(self, place: int) -> Logits:
        logits = np.zeros(self.vocabulary_size, np.float32)
        token = self.script[place] if place < len(self.script) else self.beyond
        logits[slice(None) if token is None else token] = np.nan if token is None else 9
        return logits

    def truncate(self, slot: int, length: int) -> None:
        del self.held[slot][length:]

    def share(self, source: int, slot: int, length: int) -> None:
        self.held[slot] = self.held[source][:length]

    def free(self, slot: int) -> None:
        self.held.pop(slot, None)


def session_of(backend: ScriptedBackend, words: Vocabulary) -> Session:
    """A session that tells the backend what it is asked."""
    session = Session(backend, words, name="scripted")
    submit = session.engine.submit

    def noted(request: Request) -> Handle:
        backend.asked.append(list(request.prompt))
        return submit(request)

    session.engine.submit = noted  # type: ignore[method-assign]
    return session


def says(
    script: Sequence[int] | str, family: str = "starcoder2", context: int = 4000
) -> tuple[Session, ScriptedBackend]:
    """A session whose model answers every prompt with the script; a text is then followed by end_of_document."""
    words = vocabulary(family)
    ids = [*words.encode(script), words.end_of_document] if isinstance(script, str) else script
    backend = ScriptedBackend(ids, words.rows, context)
    return session_of(backend, words), backend
