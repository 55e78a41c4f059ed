"""One problem of a benchmark, whatever the benchmark calls its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked, what solves it, and what checks that, as published: nothing stripped, line ends included."""

    benchmark: str
    id: str  # as the benchmark spells it: HumanEval/0
    language: str | None  # linguist's name; None for prose
    prompt: str  # what a model is given
    description: str  # the task in words: a docstring, a question; empty where there is none
    solutions: tuple[str, ...] = ()
    continues: bool = False  # a solution goes on where the prompt ends; else it stands alone
    tests: tuple[str, ...] = ()
    entry_point: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # every published field

    def programs(self) -> tuple[str, ...]:
        """Whole programs: each solution, behind the prompt where it continues it."""
        return tuple((self.prompt if self.continues else "") + solution for solution in self.solutions)


def docstring_of(prompt: str) -> str:
    """What stands between the last pair of triple quotes of a prompt (HumanEval's docstring); empty without one.

    Two prompts of HumanEval hold a helper with a docstring of its own before: the last is the problem's.
    """
    for quotes in ('"""', "'''"):
        pieces = prompt.split(quotes)
        if len(pieces) >= 3:
            return pieces[-2]
    return ""


def signature_of(prompt: str) -> str:
    """A Python prompt without its last docstring: imports, helpers and the line that a solution goes on from."""
    for quotes in ('"""', "'''"):
        pieces = prompt.split(quotes)
        if len(pieces) >= 3:
            return quotes.join(pieces[:-2]) + pieces[-1]
    return prompt
