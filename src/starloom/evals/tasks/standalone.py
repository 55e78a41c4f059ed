"""Problems whose solution stands alone: the prompt asks, and what follows is the whole answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from starloom.evals.tasks import stops
from starloom.evals.tasks.continuation import DIALECTS, instructed, prompted
from starloom.evals.tasks.fences import code_of
from starloom.evals.tasks.task import AS_GIVEN, Form
from starloom.generate.protocol import Ask, Prompt
from starloom.problems import Problem

Words = Callable[[Problem], str]


def as_it_is(problem: Problem, text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Standalone:
    """A way to ask and to read.

    - `prompt` is published as it is; `strip` takes the blanks around it away where the source does.
    - What the prompt ends with may belong to the answer: `begun`.
    - `instruction` is what an instruction-tuned model is told (the prompt, without one), and the response begins with
      `prefix`. Its answer is the code of one fence: the first, or the `last`.
    - `read` makes the judge's text of the answer's.
    """

    prompt: Words
    stop: tuple[str, ...] = ()
    language: str = "Python"
    strip: bool = False
    begun: str = ""
    instruction: Words | None = None
    prefix: str = ""
    fenced: Literal["no", "first", "last"] = "first"
    read: Callable[[Problem, str], str] = as_it_is

    def ask(self, problem: Problem, form: Form) -> Ask:
        words = self.prompt(problem).strip() if self.strip else self.prompt(problem)
        if form.style == "instruct":
            told = self.instruction(problem) if self.instruction else words
            stop = stops.FENCE if self.prefix else ()
            return instructed(told, form, prefix=self.prefix, stop=stop, id=problem.id)
        settings = replace(form.settings, stop=(*form.settings.stop, *self.stop))
        ask = Prompt(words, settings, id=problem.id)
        return ask if form.style == "plain" else prompted(words, DIALECTS[self.language], form.family, ask)

    def solution(self, problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
        if form.style == "instruct":
            told = (
                text if self.fenced == "no" else code_of(text, self.language, which=-1 if self.fenced == "last" else 0)
            )
            return self.read(problem, told)
        if not form.cut:
            return text
        return self.read(problem, self.begun + stops.cut(text, self.stop))
