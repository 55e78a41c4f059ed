"""The stage that answers with a task's own solutions: what a judge must pass, or name why not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from starloom.evals.harness.asks import digest_of_asks
from starloom.evals.harness.named import task_named
from starloom.evals.harness.sample import ASKED, ROWS
from starloom.evals.harness.score import UNJUDGED
from starloom.evals.tasks.task import AS_GIVEN, Task
from starloom.problems import Problem
from starloom.report import plain
from starloom.report.show import table
from starloom.stage import Stage, Work, external
from starloom.store import canonical_json

NO_REFERENCE = "the benchmark gives no solution"


@dataclass(frozen=True, slots=True)
class Canonical(Stage):
    """The references of a task as if a model had written them."""

    version: ClassVar[int] = 1

    task: str
    limit: int | None = None
    run: int = 0  # the same once more: verdicts must not change
    data: str = external("")

    def external_digests(self) -> dict[str, str]:
        task, problems = self._chosen()
        return {"data": digest_of_asks(task, problems, AS_GIVEN)}

    def produce(self, work: Work) -> None:
        task, problems = self._chosen()
        rows = []
        for problem in problems:
            text = task.canonical(problem)
            row = {"task": task.name, "id": problem.id, "sample": 0, "language": problem.language, "kind": "completion"}
            rows.append({**row, "text": text or "", "error": NO_REFERENCE if text is None else None})
        with work.unit("completions") as unit:
            with unit.path(ROWS).open("w", encoding="ascii") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            unit.path(ASKED).write_bytes(canonical_json({"problems": len(problems), "references": True}))
        work.count(answers=len(rows))
        work.summary = plain.several(len(rows), "reference")

    def _chosen(self) -> tuple[Task, Sequence[Problem]]:
        task = task_named(self.task)
        return task, task.problems(self.data)[: self.limit]


def sweep(task: str, rows: Sequence[Mapping[str, Any]], exceptions: Mapping[str, str]) -> dict[str, Any]:
    """How a task's references fared: what did not pass is explained by the task, or is not."""
    failed = [row for row in rows if not row["passed"] and row["status"] not in UNJUDGED]
    return {
        "task": task,
        "references": len(rows),
        "passed": sum(bool(row["passed"]) for row in rows),
        "explained": {row["id"]: exceptions[row["id"]] for row in failed if row["id"] in exceptions},
        "unexplained": {
            row["id"]: f"{row['status']}: {row['detail']}" for row in failed if row["id"] not in exceptions
        },
        "not_judged": {row["id"]: row["detail"] for row in rows if row["status"] in UNJUDGED},
        "strength": sorted({row["strength"] for row in rows if row["strength"]}),
        "passed_against_expectation": sorted(row["id"] for row in rows if row["passed"] and row["id"] in exceptions),
    }


def table_of_sweeps(sweeps: Sequence[Mapping[str, Any]], lacking: Mapping[str, str]) -> str:
    """Several sweeps for a terminal; `lacking`: task → why it has no data."""
    rows: list[tuple[str, ...]] = [
        ("task", "references", "passed", "explained", "unexplained", "not judged", "verdicts")
    ]
    notes = []
    for one in sweeps:
        label = one["task"] + (f" (run {one['run'] + 1})" if one["run"] else "")
        counts = (len(one[name]) for name in ("explained", "unexplained", "not_judged"))
        rows.append(
            (
                label,
                plain.count(one["references"]),
                plain.count(one["passed"]),
                *map(plain.count, counts),
                "+".join(one["strength"]) or "none",
            )
        )
        notes += [f"{label}: {name}: {why}" for kind in ("explained", "unexplained") for name, why in one[kind].items()]
        reasons: dict[str, int] = {}
        for why in one["not_judged"].values():
            reasons[why] = reasons.get(why, 0) + 1
        notes += [f"{label}: {count:,} not judged: {why}" for why, count in reasons.items()]
        if one["passed_against_expectation"]:
            notes.append(
                f"{label}: passed although named as exceptions: {', '.join(one['passed_against_expectation'])}"
            )
    notes += [f"{name}: left out: {why}" for name, why in lacking.items()]
    return "\n".join(plain.visible(line) for line in [*table(rows, right=(1, 2, 3, 4, 5)), *notes])
