"""The stage that makes figures of verdicts: `results.json` for machines and cards, `results.md`, and a page of what failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Final

from starloom.errors import ConfigError
from starloom.evals.harness.card import LIKELIHOODS, markdown, model_index
from starloom.evals.harness.page import PAGE, Failures, page
from starloom.evals.harness.pass_at_k import PUBLISHED_K
from starloom.evals.harness.sample import ROWS as COMPLETIONS
from starloom.evals.harness.score import FACTS
from starloom.evals.harness.score import ROWS as RESULTS
from starloom.evals.harness.tally import Missing, contained, notes, over, percent, span, tally
from starloom.evals.intervals import CONFIDENCE
from starloom.report import plain
from starloom.report.show import table
from starloom.stage import Stage, Work
from starloom.store import Built, canonical_json

JSON: Final = "results.json"
MARKDOWN: Final = "results.md"


@dataclass(frozen=True, slots=True)
class Results(Stage):
    """Figures of one model over some tasks: for each a `Score`, and the `Sample` or `Given` that it judged."""

    version: ClassVar[int] = 1

    model: str
    scores: tuple[Stage, ...] = ()
    samples: tuple[Stage, ...] = ()
    boards: tuple[Stage, ...] = ()  # `Leaderboard`
    k: tuple[int, ...] = PUBLISHED_K
    missing: Missing = "leave_out"
    seed: int = 0  # of the bootstrap

    def __post_init__(self) -> None:
        for name in ("scores", "samples", "boards", "k"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.scores) != len(self.samples):
            raise ConfigError("results take for each score the samples that it judged")
        if not all(k >= 1 for k in self.k):
            raise ConfigError(f"k is {min(self.k)}; pass@k is for k from 1 up")

    def produce(self, work: Work) -> None:
        failures = Failures()
        tasks = []
        for score, samples in zip(work.many("scores"), work.many("samples"), strict=True):
            facts = json.loads(score.read_bytes(FACTS))
            rows = list(json_rows(score, RESULTS))
            tasks.append(tally(rows, facts, ks=self.k, missing=self.missing, seed=self.seed))
            failed = {(row["id"], row["sample"]): row for row in rows if not row["passed"]}
            for answer in json_rows(samples, COMPLETIONS):
                row = failed.get((answer["id"], answer["sample"]))
                if row is not None and answer["task"] == row["task"]:
                    failures.add(row, answer)
        board = [row for built in work.many("boards") for row in board_rows(built)]
        whole = {
            "model-index": model_index(self.model, tasks, board),
            "evaluation": {"model": self.model, "tasks": tasks, "leaderboard": board},
        }
        with work.unit("results") as unit:
            unit.path(JSON).write_bytes(canonical_json(whole))
            unit.path(MARKDOWN).write_text(
                markdown(self.model, tasks, board), encoding="utf-8", errors="backslashreplace"
            )
            unit.path(PAGE).write_text(
                page(self.model, tasks, failures, board), encoding="utf-8", errors="backslashreplace"
            )
        work.count(tasks=len(tasks) + len(board), failures=failures.count)
        work.summary = headline(tasks) or f"{plain.several(len(board), 'task')} of the leaderboard"

    def closing(self, built: Built) -> str:
        return render(built)


def json_rows(built: Built, name: str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, its SHA-256 checked."""
    for line in built.read_bytes(name).splitlines():
        yield json.loads(line)


def board_rows(built: Built) -> list[dict[str, Any]]:
    """What a `Leaderboard` found, a row for each of its tasks, and one for their mean where all seven have a figure."""
    from starloom.evals.leaderboard.board import NAME, leaderboard_tasks

    board = json.loads(built.read_bytes("leaderboard.json"))
    said = board["tasks"]
    rows = [
        {
            "task": name,
            "name": one["metric"],
            "value": one["value"],
            "low": one.get("low"),
            "high": one.get("high"),
            "problems": one["documents"],
            "shots": one["shots"],
            "notes": [*([one["skipped"]] if "skipped" in one else ()), *one["notes"], *_board_notes(one)],
        }
        for name, one in ((name, said[name]) for name in leaderboard_tasks() if name in said)
    ]
    return rows if board["average"] is None else [*rows, _average(NAME, board, rows)]


def _average(name: str, board: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of the seven figures."""
    value, error = board["average"], board["average_standard_error"]
    reach = None if error is None else error * NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return {
        "task": name,
        "name": "average",
        "value": value,
        "low": None if reach is None else max(value - reach, 0.0),
        "high": None if reach is None else min(value + reach, 1.0),
        "problems": sum(row["problems"] for row in rows),
        "shots": None,
        "notes": [
            *([] if reach is None else ["interval from the tasks' standard errors, taken for normal: no bootstrap"]),
            *([] if board["as_published"] else ["not as published: see the notes of its tasks"]),
        ],
    }


def _board_notes(one: dict[str, Any]) -> list[str]:
    said = [f"{plain.several(one['failed'], 'document')} failed: left out"] if one["failed"] else []
    return said + ([f"the first {one['limit']:,} documents only"] if one.get("limit") else [])


def headline(tasks: list[dict[str, Any]]) -> str:
    """The first figure of every task, in one line."""
    firsts = [(task["task"], task["figures"][0]) for task in tasks if task["figures"]]
    return ", ".join(f"{name} {100 * figure['value']:.1f} %" for name, figure in firsts)


def render(built: Built) -> str:
    """The figures for a terminal, with everything that a reader has to know of them."""
    said = json.loads(built.read_bytes(JSON))["evaluation"]
    rows: list[tuple[str, ...]] = [("task", "figure", "%", "95 % interval", "problems", "verdicts")]
    for task in said["tasks"]:
        for figure in task["figures"]:
            name = figure["name"] + (f" ({figure['part']})" if figure["part"] else "")
            rows.append(
                (
                    task["task"],
                    name,
                    f"{100 * figure['value']:.1f}",
                    span(figure),
                    over(task, figure),
                    figure["strength"] or "none",
                )
            )
    for row in said["leaderboard"]:
        rows.append((row["task"], row["name"], percent(row), span(row), plain.count(row["problems"]), LIKELIHOODS))
    lines = [f"what {said['model']} scores", *table(rows, right=(2, 4), indent="  ")]
    for task in said["tasks"]:
        lines += [f"{task['task']}: {note}" for note in notes(task)]
    lines += [f"{row['task']}: {note}" for row in said["leaderboard"] for note in row["notes"]]
    lines += [f"programs ran behind: {line}" for line in contained(said["tasks"])]
    lines.append(f"page: {built.path(PAGE)}")
    return "\n".join(plain.visible(line) for line in lines)
