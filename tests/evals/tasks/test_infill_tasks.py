"""Gaps that are made here are those that were published."""

from __future__ import annotations

from starloom.evals.line_gaps import COMMENTS
from starloom.evals.tasks.infill_tasks import TASKS, spans_of
from starloom.problems import load

BY_NAME = {task.name: task for task in TASKS}


def test_the_recipe_gives_the_published_single_lines() -> None:
    published = {problem.id: problem for problem in load("humaneval-infilling")}
    made = {gap.id: gap for one in load("humaneval") for gap in spans_of(one, "SingleLineInfilling", longest=1)}
    assert set(made) == set(published)
    for name, gap in made.items():
        theirs = published[name]
        assert gap.prompt == theirs.prompt and gap.solutions == theirs.solutions
        assert all(gap.row[field] == theirs.row[field] for field in ("suffix", "canonical_solution", "test"))


def test_there_are_as_many_runs_of_lines_as_were_published() -> None:
    assert len(BY_NAME["infill:multi-line"].problems()) == 5815


def test_hidden_lines_are_neither_blank_nor_comments_and_fit_between_what_is_shown() -> None:
    for name in ("infill_python", "infill_java", "infill_javascript"):
        task = BY_NAME[name]
        assert task.language is not None
        for problem in task.problems():
            hidden = str(problem.row["canonical_solution"])
            assert hidden.strip() and not hidden.lstrip().startswith(COMMENTS[task.language]) and "\n" not in hidden
            assert not problem.prompt.endswith("\n\n") or problem.prompt.rstrip()


def test_a_file_of_ones_own_takes_the_place_of_what_is_derived() -> None:
    for task in TASKS:
        given = task.at("/somewhere/file.jsonl")
        assert given.derived == "" and given.data[0].endswith("=/somewhere/file.jsonl")
