"""Problems whose solution goes on where the prompt ends: the forms in which they are asked, and how answers are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from starloom.evals.tasks import stops
from starloom.evals.tasks.fences import code_of
from starloom.evals.tasks.task import AS_GIVEN, Form
from starloom.generate.protocol import Ask, Header, Prompt
from starloom.problems import Problem
from starloom.tokens.special import FAMILIES

# The prefix that lifts StarCoder on HumanEval from 33.6 to 40.8 (its model card's evaluation; Hugging Face's blog post).
PRAISE: Final = "Here is the correct implementation of the code exercise"
FILE_NAME: Final = "solutions/solution_1"
ANNOUNCERS: Final = ("file_name", "file_separator")  # the control before a file's name: StarCoder, StarCoder2
# As published, for a server that reads it: its tokenizer's family is not known here.
SPELLED: Final = FAMILIES["starcoder"].spelling("file_name")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a language's files look like."""

    extension: str
    comment: str
    fence: str
    comment_end: str = ""


DIALECTS: Final = {
    "Python": Dialect("py", "#", "python"),
    "C++": Dialect("cpp", "//", "cpp"),
    "C#": Dialect("cs", "//", "csharp"),
    "Go": Dialect("go", "//", "go"),
    "Java": Dialect("java", "//", "java"),
    "JavaScript": Dialect("js", "//", "javascript"),
    "Clojure": Dialect("clj", ";", "clojure"),
    "D": Dialect("d", "//", "d"),
    "Dart": Dialect("dart", "//", "dart"),
    "Elixir": Dialect("ex", "#", "elixir"),
    "Haskell": Dialect("hs", "--", "haskell"),
    "Julia": Dialect("jl", "#", "julia"),
    "Lua": Dialect("lua", "--", "lua"),
    "OCaml": Dialect("ml", "(*", "ocaml", " *)"),
    "R": Dialect("r", "#", "r"),
    "Racket": Dialect("rkt", ";", "racket"),
    "Shell": Dialect("sh", "#", "bash"),
    "Kotlin": Dialect("kt", "//", "kotlin"),
    "Perl": Dialect("pl", "#", "perl"),
    "PHP": Dialect("php", "//", "php"),
    "Ruby": Dialect("rb", "#", "ruby"),
    "Rust": Dialect("rs", "//", "rust"),
    "Scala": Dialect("scala", "//", "scala"),
    "Swift": Dialect("swift", "//", "swift"),
    "TypeScript": Dialect("ts", "//", "typescript"),
}


def published_prompt(problem: Problem) -> str:
    return problem.prompt


def no_stops(problem: Problem) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Continuation:
    """A way to ask and to read, for one language.

    - `prompt` is what a solution goes on from.
    - An answer ends at `stop` and `stops_of(problem)`, and with `end` where the function does.
    - As an instruction, `words` stand before the prompt in a fence, and the response begins with that fence and the prompt, as
      StarCoder2-Instruct was evaluated; the answer ends with the fence.
    """

    language: str = "Python"
    stop: tuple[str, ...] = ()
    stops_of: Callable[[Problem], tuple[str, ...]] = no_stops
    end: stops.FunctionEnd | None = None
    prompt: Callable[[Problem], str] = published_prompt
    words: str = "Write a {language} function to solve the given task:"  # evaluation/text2code.py, there for Python

    def ask(self, problem: Problem, form: Form) -> Ask:
        prompt = self._prompt(problem, form)
        if form.style == "instruct":
            instruction = f"{self.words.format(language=self.language)}\n{self._fenced(prompt)}\n```"
            return instructed(instruction, form, prefix=self._fenced(prompt), stop=stops.FENCE, id=problem.id)
        settings = replace(form.settings, stop=(*form.settings.stop, *self.stop, *self.stops_of(problem)))
        if form.style == "plain":
            return Prompt(prompt, settings, id=problem.id)
        dialect = DIALECTS[self.language]
        return prompted(prompt, dialect, form.family, replace(Prompt("", settings), id=problem.id))

    def solution(self, problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
        prompt = self._prompt(problem, form)
        if form.style == "instruct":
            return self._fenced_solution(problem, prompt, text)
        if not form.cut:
            return prompt + text
        rest = stops.cut(text, (*self.stop, *self.stops_of(problem)))
        return prompt + (self.end.cut(rest) if self.end else rest)

    def _prompt(self, problem: Problem, form: Form) -> str:
        prompt = self.prompt(problem)
        return prompt.strip() if form.strip or form.style == "instruct" else prompt

    def _fenced(self, code: str) -> str:
        return f"```{DIALECTS[self.language].fence}\n{code}"

    def _fenced_solution(self, problem: Problem, prompt: str, text: str) -> str:
        """The fence's code; where it does not begin with the prompt, behind the imports and helpers that the prompt has."""
        code = code_of(text, self.language)
        if code.startswith(prompt) or not self._defines(problem, code):
            return code if code.startswith(prompt) else prompt + code
        return preamble(prompt, problem.entry_point) + code

    def _defines(self, problem: Problem, code: str) -> bool:
        """Whether an answer begins the function anew instead of going on."""
        return problem.entry_point is not None and f" {problem.entry_point}(" in code


def instructed(
    instruction: str, form: Form, *, prefix: str = "", stop: tuple[str, ...] = (), id: str | None = None
) -> Ask:
    """An instruction in the form's template. Where nothing ends the answer, the template's own stops do."""
    assert form.template is not None
    settings = replace(
        form.settings,
        stop=(*form.settings.stop, *(stop or form.template.stop)),
        response_prefix=prefix,
        new_document=form.template.new_document and form.family is not None,
    )
    return Prompt(form.template.render(instruction), settings, id=id)


def prompted(prompt: str, dialect: Dialect, family: str | None, ask: Prompt) -> Prompt:
    """The prompt behind a file's name and a comment. A family without a control for names gets the comment alone."""
    name, comment = f"{FILE_NAME}.{dialect.extension}\n", f"{dialect.comment} {PRAISE}{dialect.comment_end}\n"
    if family is None:
        return replace(ask, text=SPELLED + name + comment + prompt)
    known = dict(FAMILIES[family].controls)
    control = next((control for control in ANNOUNCERS if control in known), None)
    if control is None:
        return replace(ask, text=comment + prompt)
    return replace(ask, text=prompt, header=Header(((control, name + comment),)))


def preamble(prompt: str, entry_point: str | None) -> str:
    """What stands before the function in a prompt: imports and helpers, in Python."""
    before, found, _ = prompt.partition(f"def {entry_point}(")
    return before if found else ""
