"""ReCode (Wang et al. 2022): does a model still solve HumanEval when the prompt is written a little differently?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starloom.evals.tasks import stops
from starloom.evals.tasks.continuation import Continuation
from starloom.evals.tasks.perturbations import (
    Change,
    Code,
    as_comments,
    blanks,
    camel_case,
    chance_of,
    empty_lines,
    in_docstring,
    one_swap,
    one_typo,
    other_case,
    renamed,
    split_line,
    swaps,
    tabs,
    typos,
    unchanged,
)  # fmt: skip
from starloom.evals.tasks.python_tasks import FUNCTIONS
from starloom.evals.tasks.rewritten_code import dead_code, half_shown, renamed_variable, swapped_operands
from starloom.evals.tasks.task import Published, Task
from starloom.problems import Problem

FAMILIES: Final[Mapping[str, Mapping[str, Change]]] = {
    "docstring": {
        "typos": in_docstring(typos), "swaps": in_docstring(swaps), "case": in_docstring(other_case), "blanks": in_docstring(blanks),
    },
    "func-name": {
        "camel-case": renamed(camel_case), "typo": renamed(one_typo), "swap": renamed(one_swap), "case": renamed(other_case),
    },
    "format": {"tabs": tabs, "comments": as_comments, "empty-lines": empty_lines, "split-line": split_line},
    "syntax": {
        "nominal": unchanged, "dead-code": dead_code, "swapped-operands": swapped_operands, "renamed-variable": renamed_variable,
    },
}  # fmt: skip
BY_CHANCE: Final = frozenset({
    "typos", "swaps", "case", "blanks", "typo", "swap", "empty-lines", "dead-code", "swapped-operands", "renamed-variable",
})  # fmt: skip
SEEDS: Final = 5  # changed prompts of one problem and change, as published
_WAY: Final = Continuation(stop=stops.HUMANEVAL)


@dataclass(frozen=True, slots=True)
class Perturbed:
    """All changed prompts of one family."""

    family: str

    def __call__(self, problems: Sequence[Problem]) -> Iterator[Problem]:
        for change in FAMILIES[self.family]:
            for problem in problems:
                yield from self.of(problem, change)

    def of(self, problem: Problem, change: str) -> Iterator[Problem]:
        """The prompts of one problem that this change makes different, at most one for each seed."""
        name = problem.entry_point or ""
        code: Code | None = Code(problem.prompt, problem.solutions[0], name)
        if self.family == "syntax" and code is not None:
            code = half_shown(code)
        tests = problem.tests[0]
        if code is None or (self.family == "func-name" and re.search(rf"\b{re.escape(name)}\b", tests)):
            return
        seen = set() if change == "nominal" else {code.shown}
        for seed in range(SEEDS if change in BY_CHANCE else 1):
            made = FAMILIES[self.family][change](code, chance_of(seed, problem.id, self.family, change))
            if made is None or made.shown in seen:
                continue
            seen.add(made.shown)
            row = {**problem.row, "prompt": made.shown, "entry_point": made.name, "canonical_solution": made.rest}
            yield Problem(
                problem.benchmark,
                f"{problem.id}/{change}/{seed}",
                problem.language,
                made.shown,
                problem.description,
                (made.rest,),
                continues=True,
                tests=problem.tests,
                entry_point=made.name,
                row=row,
            )


_ABOUT: Final = {
    "docstring": "misspelled descriptions",
    "func-name": "other names of the function",
    "format": "other layouts of the prompt",
    "syntax": "half the solution, rewritten, and its other half to go on with",
}

TASKS: Final = tuple(
    Task(
        f"recode:{family}",
        f"HumanEval with {about} (after Wang et al. 2022)",
        ("humaneval",),
        "Python",
        "complete",
        Published(1, 0.0, 512, 1.0, "bigcode-evaluation-harness, docs: Recode, greedy"),
        _WAY.ask,
        _WAY.solution,
        FUNCTIONS,
        select=Perturbed(family),
        metric="robust_pass@1",
        derived="changes made here by counters of chance, after the families of ReCode, whose own prompts are made by "
        "NL-Augmenter, NatGen and models",
    )
    for family, about in _ABOUT.items()
)
