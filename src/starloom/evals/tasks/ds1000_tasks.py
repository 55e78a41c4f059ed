"""DS-1000 (Lai et al. 2022), in the simplified format of 2024: completion, and insertion."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from starloom.errors import ConfigError
from starloom.evals.tasks import stops
from starloom.evals.tasks.fences import code_of
from starloom.evals.tasks.standalone import Standalone
from starloom.evals.tasks.task import AS_GIVEN, Form, Published, Task
from starloom.generate.protocol import Ask, Hole
from starloom.problems import Problem

JUDGE: Final = "starloom.evals.judges.ds1000:judge"
# Of the harness; the second and third are where answers to the 2024 prompts run on (test_ds1000.py of its authors).
STOPS: Final = (*stops.DS1000, "\nEND SOLUTION", "\n```")
# Problems whose own tests fetch their data: seaborn's samples, and housing prices of California.
FETCHED: Final = (519, 539, 565, 566, 567, 577, 598, 624, 629, 650, 654, 655, 656, 661, 819)
EXCEPTIONS: Final = {f"DS-1000/{number}": "its tests fetch data from the network" for number in FETCHED}
_ASSIGNED: Final = re.compile(r"\n(\w+) = \.\.\. # put solution in this variable\n")
_SAMPLED: Final = Published(40, 0.2, 1024, 0.95, "bigcode-evaluation-harness, docs: DS-1000 (there Python 3.7.10)")


def prompt(problem: Problem) -> str:
    return problem.prompt


def instruction(problem: Problem) -> str:
    """The problem, and what belongs in the answer (our choice of words)."""
    told = problem.prompt.rstrip()
    return f"{told.removesuffix('<code>').rstrip()}\n\nWrite only the Python code that stands in the place of the solution."


def without_marks(problem: Problem, text: str) -> str:
    """An answer may open a code block once more; it is not stripped, for indentation may matter."""
    return text.replace("<code>", "").replace("```python", "")


def inserted(problems: Sequence[Problem]) -> Iterable[Problem]:
    """Where a solution has something behind it: Matplotlib's prompts end with it."""
    return [problem for problem in problems if "BEGIN SOLUTION" in problem.prompt]


def ask_insertion(problem: Problem, form: Form) -> Ask:
    """The prompt without the line that says which variable is wanted; behind the gap, that variable is printed."""
    if form.style != "plain":
        raise ConfigError("insertion is asked for in a frame; it has the plain form alone")
    found = _ASSIGNED.search(problem.prompt)
    before = problem.prompt[: found.start()] + "\n" + problem.prompt[found.end() :] if found else problem.prompt
    shown = f"<code>\nprint({found[1]})\n</code>\n" if found else ""
    settings = replace(form.settings, stop=(*form.settings.stop, *STOPS))
    return Hole(
        before.rstrip("\n") + "\n", f"\n</code>\nEND SOLUTION\n{shown}", settings, id=problem.id, as_written=True
    )


def insertion(problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
    return without_marks(problem, stops.cut(text, STOPS)) if form.cut else text


_WAY: Final = Standalone(prompt, STOPS, instruction=instruction, read=without_marks)


def solution(problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
    """The code of the answer, alone."""
    return (
        without_marks(problem, code_of(text, "Python"))
        if form.style == "instruct"
        else _WAY.solution(problem, text, form)
    )


TASKS: Final = (
    Task(
        "ds1000",
        "1,000 questions about seven Python libraries (Lai et al. 2022), completion",
        ("ds1000",),
        "Python",
        "complete",
        _SAMPLED,
        _WAY.ask,
        solution,
        JUDGE,
        exceptions=EXCEPTIONS,
    ),
    Task(
        "ds1000:insertion",
        "those of DS-1000 that can be asked as a gap",
        ("ds1000",),
        "Python",
        "infill",
        _SAMPLED,
        ask_insertion,
        insertion,
        JUDGE,
        select=inserted,
        exceptions=EXCEPTIONS,
        derived="gaps made of the simplified prompts of 2024, in the shape of the insertion prompts of 2022, which they leave out",
    ),
)
