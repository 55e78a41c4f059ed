"""What a hidden line costs a model: exact match says little of small models, whose answers are all wrong; this does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from starloom.errors import GenerationError
from starloom.generate.prompts import Prompts
from starloom.generate.protocol import Ask
from starloom.generate.session import Session

AT_ONCE = 128  # lines between two signs of life


def hidden(truth: str) -> str:
    """The text that is scored: the line behind the break that it begins with."""
    return "\n" + truth


def line_costs(
    session: Session, asked: Sequence[tuple[Ask, str]], advance: Callable[[int], object] = lambda lines: None
) -> list[float | None]:
    """Nats of each line as what follows its prompt, encoded apart from it as a middle is in training; None for a line that
    does not fit into the context behind its prompt."""
    prompts = Prompts(session.vocabulary, session.engine.backend.context, session.name)

    def ids(ask: Ask, truth: str) -> tuple[list[int], list[int]]:
        line = session.vocabulary.encode(hidden(truth))
        roomy = replace(
            ask, settings=replace(ask.settings, max_tokens=len(line))
        )  # what is kept leaves room for the line
        return prompts.ids(roomy).ids, line

    found: list[float | None] = []
    for first in range(0, len(asked), AT_ONCE):
        pairs = [ids(*one) for one in asked[first : first + AT_ONCE]]
        for likelihood in session.engine.loglikelihood(pairs):
            found.append(None if isinstance(likelihood, GenerationError) else -likelihood.total)
        advance(len(pairs))
    return found
