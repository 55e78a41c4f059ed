"""Every task holds what all of them promise: prompts without answers, answers that are kept, ids that name one problem."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from dataclasses import replace

import pytest

from starloom.errors import SourceError
from starloom.evals.harness.named import everything
from starloom.evals.tasks.multilingual_tasks import CUT_SHORT
from starloom.evals.tasks.task import AS_GIVEN, Form, Task
from starloom.evals.tasks.templates import PUBLISHED
from starloom.generate.protocol import Hole, Prompt
from starloom.problems import Problem
from starloom.problems.load import CARRIED
from starloom.registry import resolve

TASKS = everything()
HERE = [name for name, task in TASKS.items() if task.data[0] in CARRIED and name != "recode:docstring"]  # which is slow
# References that the published stop words and ends cut short, found by the test below.
SHORT = {
    "MBPP/342": "a class behind the function",
    "QuixBugs/breadth_first_search": "an import before the function",
    "QuixBugs/shortest_path_length": "an import before the function",
    "QuixBugs/shortest_path_lengths": "an import before the function",
    "QuixBugs/to_base": "an import before the function",
    **dict.fromkeys((name for names in CUT_SHORT.values() for name in names), "braces in characters, helpers behind"),
}
LONG = 30  # characters from which a reference is told from a coincidence


@functools.cache
def problems_of(name: str, folder: str = "") -> tuple[Problem, ...]:
    return TASKS[name].problems(folder)


def written(task: Task, problem: Problem, form: Form) -> tuple[str, str]:
    """(what a perfect model writes in this form, what the benchmark says it is)."""
    truth = task.canonical(problem)
    assert truth is not None
    ask = task.ask(problem, form)
    whole = task.solution(problem, truth).lstrip("\n")
    if isinstance(ask, Prompt) and whole.startswith(ask.text.lstrip("\n")):
        return whole.removeprefix(ask.text.lstrip("\n")), truth
    return truth, truth


def with_reference(task: Task, folder: str = "") -> Iterator[Problem]:
    return (problem for problem in problems_of(task.name, folder) if task.canonical(problem) is not None)


def check(task: Task, folder: str = "") -> None:
    """What every task promises, on the problems that are there."""
    problems = problems_of(task.name, folder)
    assert len({problem.id for problem in problems}) == len(problems) > 0
    for problem in with_reference(task, folder):
        truth = task.canonical(problem)
        assert truth is not None and truth.strip() in task.solution(problem, truth), problem.id
        for strip in (True, False):
            form = Form(strip=strip)
            answer, _ = written(task, problem, form)
            kept = truth.strip() in task.solution(problem, answer, form)
            assert kept or problem.id in SHORT, f"{problem.id} is cut"
            ask = task.ask(problem, form)
            shown = ask.text if isinstance(ask, Prompt) else ask.prefix
            shows = task.kind == "infill" or task.then is not None or ":fix" in task.name or "cruxeval" in task.name
            assert shows or len(truth.strip()) < LONG or truth.strip() not in shown, f"{problem.id} shows its answer"


@pytest.mark.parametrize("name", HERE)
def test_a_task_of_carried_problems_keeps_its_promises(name: str) -> None:
    check(TASKS[name])


@pytest.mark.slow
def test_recodes_descriptions_keep_their_promises() -> None:
    check(TASKS["recode:docstring"])


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.data[0] not in CARRIED])
def test_a_task_of_published_files_keeps_its_promises(name: str, data: str) -> None:
    try:
        TASKS[name].problems(data)
    except SourceError as error:
        pytest.skip(str(error))
    check(TASKS[name], data)


def test_names_are_unique_and_say_their_language() -> None:
    assert all(name == task.name for name, task in TASKS.items())
    for name in ("humaneval-x:java", "mxeval:perl", "mbxp:php", "humanevalpack:fix:rust", "multipl-e:lua"):
        assert (TASKS[name].language or "").lower() == name.rpartition(":")[2]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_can_be_sent_to_another_process(name: str) -> None:
    assert pickle.loads(pickle.dumps(TASKS[name])).name == name


@pytest.mark.parametrize("judge", sorted({task.judge for task in TASKS.values()}))
def test_every_judge_exists(judge: str) -> None:
    assert callable(resolve(judge, "judge"))


@pytest.mark.parametrize("name", [name for name in HERE if TASKS[name].kind == "complete" and "recode" not in name])
@pytest.mark.parametrize("template", ["starcoder2-instruct", "alpaca"])
def test_code_in_a_fence_is_the_answer(name: str, template: str) -> None:
    task, form = TASKS[name], Form("instruct", template=PUBLISHED[template])
    for problem in list(with_reference(task))[:20]:
        truth = task.canonical(problem)
        assert truth is not None
        ask = task.ask(problem, form)
        prefix = ask.settings.response_prefix
        if not prefix:
            continue
        program = task.solution(problem, truth, replace(AS_GIVEN))
        begun = prefix.partition("\n")[2]
        rest = program.lstrip("\n").removeprefix(begun.lstrip("\n")) if begun else f"\n{program}"
        said = f"{prefix}{rest}\n```\n\nThis works because of `x`.\n```python\nprint(1)\n```\n"
        assert truth.strip() in task.solution(problem, said, form)
        assert "print(1)" not in task.solution(problem, said, form) or "print(1)" in truth


def test_a_prompted_form_puts_controls_and_not_their_spelling() -> None:
    task = TASKS["humaneval"]
    problem = task.problems()[0]
    said = {}
    for family in ("starcoder", "starcoder2", "santacoder", None):
        ask = task.ask(problem, Form("prompted", family=family))
        assert isinstance(ask, Prompt)
        said[family] = (ask.header.fields if ask.header else None, ask.text.partition("from typing")[0])
    words = "solutions/solution_1.py\n# Here is the correct implementation of the code exercise\n"
    assert said["starcoder"] == ((("file_name", words),), "")
    assert said["starcoder2"] == ((("file_separator", words),), "")
    assert said["santacoder"] == (None, words.partition("\n")[2])
    assert said[None] == (None, "<filename>" + words)


def test_a_gap_is_prompted_within_its_prefix() -> None:
    task = TASKS["infill:single-line"]
    ask = task.ask(task.problems()[0], Form("prompted", family="starcoder"))
    assert isinstance(ask, Hole) and ask.header is not None and ask.header.within
    assert ask.header.fields[0][0] == "file_name"
