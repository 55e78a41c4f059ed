"""Changed prompts still ask the same, and what followed them still solves it."""

from __future__ import annotations

import pytest

from starloom.evals.tasks.perturbations import Code, chance_of
from starloom.evals.tasks.recode_tasks import FAMILIES, TASKS, Perturbed
from starloom.problems import Problem, load
from starloom.records import uniform

SOME = [problem for problem in load("humaneval") if uniform(0, problem.id) < 0.08]


def passes(problem: Problem) -> bool:
    names: dict[str, object] = {"__name__": "program"}
    (program,) = problem.programs()
    exec(compile(f"{program}\n{problem.tests[0]}\ncheck({problem.entry_point})\n", "program", "exec"), names)
    return True


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_still_solves_a_changed_problem(family: str) -> None:
    made = list(Perturbed(family)(SOME))
    assert {one.id.rsplit("/", 2)[1] for one in made} == set(FAMILIES[family])
    assert all(passes(one) for one in made)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_change_changes_the_prompt_and_is_the_same_every_time(family: str) -> None:
    made = list(Perturbed(family)(SOME))
    asked = {problem.id: problem.prompt for problem in SOME}
    assert len({one.id for one in made}) == len(made)
    assert len({(one.id.rpartition("/")[0], one.prompt) for one in made}) == len(made)
    assert all(one.prompt != asked["/".join(one.id.split("/")[:2])] for one in made)
    assert [one.prompt for one in Perturbed(family)(SOME)] == [one.prompt for one in made]


def test_descriptions_change_in_their_words_alone() -> None:
    for problem in SOME:
        code = Code(problem.prompt, problem.solutions[0], problem.entry_point or "")
        for change in FAMILIES["docstring"].values():
            made = change(code, chance_of(0, "x"))
            assert made is not None and made.rest == code.rest
            signature = problem.prompt.partition(problem.description)[0]
            assert made.shown.startswith(signature)
            examples = (
                problem.description[problem.description.find("\n    >>>") :] if ">>>" in problem.description else ""
            )
            assert examples in made.shown


def test_every_family_is_a_task_that_says_that_it_is_derived() -> None:
    assert [task.name for task in TASKS] == [f"recode:{family}" for family in FAMILIES]
    assert all(task.derived for task in TASKS)
