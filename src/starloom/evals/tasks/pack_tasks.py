"""HumanEvalPack (Muennighoff et al. 2023, OctoPack): fix, explain and synthesize in six languages.

The words are the harness' `instruct` form; `prompted` is its form for models of commits, with the family's own controls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from starloom.evals.judges.exceptions import exceptions_of
from starloom.evals.tasks import stops
from starloom.evals.tasks.continuation import DIALECTS, instructed
from starloom.evals.tasks.fences import code_of
from starloom.evals.tasks.multilingual_tasks import judge_of, languages_of, slug
from starloom.evals.tasks.task import AS_GIVEN, Form, Published, Task
from starloom.generate.protocol import Ask, Header, Prompt
from starloom.problems import Problem
from starloom.tokens.special import FAMILIES

COMMIT: Final = ("commit_before", "commit_message", "commit_after")
LONGEST_QUOTE: Final = (
    20  # characters; longer lines of the solution are taken out of an explanation (tasks/humanevalpack.py)
)
_SAMPLED: Final = Published(
    20, 0.2, 2048, 0.95, "bigcode-evaluation-harness, docs: HumanEvalPack; OctoPack, arXiv 2308.07124"
)


@dataclass(frozen=True, slots=True)
class PackWay:
    """One of the pack's tasks in one language. `docs`: whether the code is shown with its description."""

    language: str
    what: Literal["fix", "explain", "synthesize"]
    docs: bool

    def ask(self, problem: Problem, form: Form) -> Ask:
        row = problem.row
        if self.what == "synthesize":
            return self._asked(problem, form, str(row["instruction"]).strip(), "", self._base(problem))
        if self.what == "fix":
            shown = self._base(problem) + str(row["buggy_solution"])
            if not self.docs:  # the tests say what is right
                shown += "\n" + str(row["test"])
            return self._asked(problem, form, f"Fix bugs in {problem.entry_point}.", shown, self._base(problem))
        length = len(str(row["docstring"]))
        words = f"Provide a concise natural language description of the code using at most {length} characters."
        return self._asked(problem, form, words, self._base(problem) + problem.solutions[0], "")

    def then(self, problem: Problem, form: Form, answer: str) -> Ask:
        """Code from what the model said of the code before."""
        words = f"Write functional code in {self.language} according to the description."
        return self._asked(problem, form, words, self.explanation(problem, answer), self._base(problem))

    def explanation(self, problem: Problem, answer: str) -> str:
        """As long as it may be, and without lines of the code."""
        told = answer.strip()[: len(str(problem.row["docstring"]))]
        told = stops.cut(told, stops.PACK.get(self.language, ())).rstrip()
        for line in problem.solutions[0].split("\n"):
            if len(line.strip()) > LONGEST_QUOTE:
                told = told.replace(line.strip(), "")
        return told

    def solution(self, problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
        base = self._base(problem)
        if not form.cut:
            return base + text
        start = base.strip() if form.strip else base
        if form.style == "instruct":
            code = code_of(text, self.language).strip("\n")
            return code if code.startswith(start) or (problem.entry_point or "") in code else start + code
        rest = stops.cut(text, stops.PACK.get(self.language, ()))
        return start + stops.ENDS[self.language].cut(rest.rstrip())

    def _base(self, problem: Problem) -> str:
        """What the solution goes on from."""
        if self.docs:
            return problem.prompt
        return ("fn main(){}\n" if self.language == "Rust" else "") + str(problem.row["declaration"])

    def _asked(self, problem: Problem, form: Form, words: str, shown: str, base: str) -> Ask:
        start = base.strip() if form.strip else base
        settings = replace(form.settings, stop=(*form.settings.stop, *stops.PACK.get(self.language, ())))
        if form.style == "instruct":
            told = f"{shown}\n{words}" if shown else words
            if not base:
                return instructed(told, form, id=problem.id)
            begun = f"```{DIALECTS[self.language].fence}\n{start}"
            return instructed(told, form, prefix=begun, stop=stops.FENCE, id=problem.id)
        if form.style == "prompted":
            return self._commit(problem, form.family, words, shown, start, Prompt("", settings, id=problem.id))
        told = f"{shown}\n{words}\n\n{base}" if shown else f"{words}\n\n{base}"
        return Prompt(told.strip() if form.strip else told, settings, id=problem.id)

    def _commit(self, problem: Problem, family: str | None, words: str, shown: str, start: str, ask: Prompt) -> Prompt:
        """A commit's message, and what was there before."""
        if family is None:
            before, message, after = map(FAMILIES["starcoder"].spelling, COMMIT)
            return replace(ask, text=f"{before}{shown}{message}{words}{after}{start}")
        known = dict(FAMILIES[family].controls)
        if not all(control in known for control in COMMIT):
            return replace(ask, text=f"{shown}\n{words}\n\n{start}".strip())
        return replace(ask, text=start, header=Header(tuple(zip(COMMIT, (shown, words, ""), strict=True))))


_ABOUT: Final = {
    "fix": ("fix", False, "a wrong {language} function and its tests, to be put right"),
    "fixdocs": ("fix", True, "a wrong {language} function and its description, to be put right"),
    "explain": ("explain", False, "a {language} function in words, then the function again from these words"),
    "synthesize": ("synthesize", True, "a {language} function from an instruction"),
}


def _task(name: str, language: str) -> Task:
    what, docs, about = _ABOUT[name]
    way = PackWay(language, what, docs)  # type: ignore[arg-type]
    return Task(
        f"humanevalpack:{name}:{slug(language)}",
        about.format(language=language) + " (Muennighoff et al. 2023)",
        ("humanevalpack",),
        language,
        "complete",
        _SAMPLED,
        way.ask,
        way.solution,
        judge_of(language),
        exceptions=exceptions_of("humanevalpack", language),
        then=way.then if what == "explain" else None,
    )


TASKS: Final = tuple(_task(name, language) for name in _ABOUT for language in languages_of("humanevalpack"))
