"""HumanEval infilling, judged by its tests, and single lines by exact match as SantaCoder was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from starloom.errors import ConfigError
from starloom.evals.line_gaps import line_gaps
from starloom.evals.tasks.continuation import DIALECTS, prompted
from starloom.evals.tasks.python_tasks import FUNCTIONS
from starloom.evals.tasks.task import AS_GIVEN, Form, Published, Task
from starloom.generate.protocol import Ask, Hole, Prompt
from starloom.problems import Problem
from starloom.problems.problem import docstring_of

EXACT: Final = "starloom.evals.judges.text:judge_exact"


def ask(problem: Problem, form: Form) -> Ask:
    """The gap, prefix first; `prompted` puts a file's name before it. The whole middle is kept, a copied suffix too."""
    if form.style == "instruct":
        raise ConfigError("a gap is asked for in a frame, not in words; an infilling task has no instruct form")
    hole = Hole(problem.prompt, str(problem.row["suffix"]), form.settings, id=problem.id, as_written=True)
    if form.style == "plain":
        return hole
    told = prompted(problem.prompt, DIALECTS[problem.language or "Python"], form.family, Prompt(""))
    if told.header is None:
        return replace(hole, prefix=told.text)
    return replace(hole, header=replace(told.header, within=True))


def program(problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
    return f"{problem.prompt}{text}{problem.row['suffix']}"


def middle(problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
    return text


def true_middle(problem: Problem) -> str:
    return str(problem.row["canonical_solution"])


def spans_of(problem: Problem, kind: str, *, longest: int | None = None) -> Iterator[Problem]:
    """OpenAI's recipe (Bavarian et al. 2022): every run of lines of a solution that begins and ends with one that is not
    blank. The published files have a line break more before the gap of a first line; so have these."""
    lines = problem.solutions[0].split("\n")
    full = [number for number, line in enumerate(lines) if line.strip()]
    for first in full:
        for last in full:
            if last < first or (longest is not None and last - first >= longest):
                continue
            name = f"L{first}" if longest == 1 else f"L{first}_L{last}"
            before = problem.prompt + "\n".join(lines[:first]) + "\n"
            hidden, after = "\n".join(lines[first : last + 1]) + "\n", "\n".join(lines[last + 1 :])
            row = {
                "suffix": after,
                "canonical_solution": hidden,
                "test": problem.tests[0],
                "entry_point": problem.entry_point,
            }
            yield Problem(
                problem.benchmark,
                f"{kind}/{problem.id}/{name}",
                problem.language,
                before,
                docstring_of(before),
                (hidden + after,),
                continues=True,
                tests=problem.tests,
                entry_point=problem.entry_point,
                row=row,
            )


def multi_line(problems: Sequence[Problem]) -> Iterable[Problem]:
    return (gap for problem in problems for gap in spans_of(problem, "MultiLineInfilling"))


def single_lines(problems: Sequence[Problem]) -> Iterator[Problem]:
    """Every line of every reference solution by SantaCoder's recipe (`line_gaps`)."""
    for problem in problems:
        assert problem.language is not None
        given, body = problem.prompt.rstrip("\n"), problem.solutions[0].rstrip("\n").lstrip("\n").split("\n")
        for gap in line_gaps(given, body, problem.language):
            row = {"suffix": gap.suffix, "canonical_solution": gap.truth}
            name = f"{problem.id}/L{gap.number}"
            yield Problem("infill", name, problem.language, gap.prefix, "", (gap.truth,), row=row)


def _judged(name: str, about: str, data: str, **more: object) -> Task:
    published = Published(1, 0.2, 512, 0.95, "Fried et al. 2022 (InCoder): T 0.2, top_p 0.95; tokens are our choice")
    task = Task(name, about, (data,), "Python", "infill", published, ask, program, FUNCTIONS, canonical=true_middle)
    return replace(task, **more)  # type: ignore[arg-type]


def _exact(name: str, language: str, data: str) -> Task:
    return Task(
        name,
        f"one hidden line of a {language} function, exact match (SantaCoder's infilling task)",
        (data,),
        language,
        "infill",
        Published(1, 0.2, 25, 0.95, "MultiPL-E, fill_in_the_middle/inference.py"),
        ask,
        middle,
        EXACT,
        canonical=true_middle,
        select=single_lines,
        metric="exact_match",
        file="santacoder-fim",
        derived=f"lines of {data}'s reference solutions, hidden by the recipe of bigcode/santacoder-fim-task, whose own problems "
        "are lines of solutions that a model wrote",
    )


TASKS: Final = (
    _judged(
        "infill:single-line",
        "1,033 single lines of HumanEval's solutions (Bavarian et al. 2022)",
        "humaneval-infilling",
    ),
    _judged(
        "infill:multi-line",
        "5,815 runs of lines of HumanEval's solutions (Bavarian et al. 2022)",
        "humaneval",
        select=multi_line,
        file="humaneval-infilling-multi-line",
        derived="made from HumanEval's solutions by OpenAI's recipe, which gives the published single-line problems exactly; "
        "as many as published, 5,815",
    ),
    _judged(
        "infill:random-span",
        "1,640 random spans of HumanEval's solutions (Bavarian et al. 2022)",
        "humaneval-infilling-random-span",
    ),
    _judged(
        "infill:random-span-light",
        "164 random spans of HumanEval's solutions, one of each (Bavarian et al. 2022)",
        "humaneval-infilling-random-span-light",
    ),
    _exact("infill_python", "Python", "humaneval"),
    _exact("infill_java", "Java", "humaneval-x"),
    _exact("infill_javascript", "JavaScript", "humaneval-x"),
)
