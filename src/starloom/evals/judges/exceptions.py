"""The reference solutions that do not pass their own benchmark's tests here, each with the reason (exceptions.json).

Reasons begin with `wrong reference:`, `wrong tests:`, `missing library:`, or `by chance:` where a reference passes in some runs only. Many of
MBXP's were written by a model and passed in MXEval's harness because they end the program (`exit`), or close PHP's
`?>` so that the tests are printed instead of run: there, exit code 0 is a pass.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from starloom.evals.bench import Bench
from starloom.evals.judges.harness import judge
from starloom.evals.verdict import Verdict
from starloom.problems import Problem

PLACE: Final = Path(__file__).with_name("exceptions.json")


@functools.cache
def _table() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    table: Mapping[str, Mapping[str, Mapping[str, str]]] = json.loads(PLACE.read_text(encoding="utf-8"))
    return table


def exceptions_of(benchmark: str, language: str | None) -> Mapping[str, str]:
    """Problem id → why its reference does not pass."""
    return _table().get(benchmark, {}).get(language or "", {})


def by_chance(reason: str) -> bool:
    """Whether the reference passes in some runs and not in others."""
    return reason.startswith("by chance:")


def swept(bench: Bench, problems: Sequence[Problem], field: str = "") -> list[tuple[Problem, Verdict]]:
    """Every problem's reference, or another field of its row as the solution, with its verdict."""
    asked = [problem for problem in problems if problem.solutions or field]
    pairs = [(p, p.prompt + (str(p.row[field]) if field else p.solutions[0])) for p in asked]
    return list(zip(asked, judge(bench, pairs), strict=True))
