"""From rows to `leaderboard.json`: each task's figure with its interval over documents, and the mean of the seven."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starloom.evals.intervals import rate
from starloom.evals.leaderboard.board import HARNESS, SEVEN, Asked
from starloom.report.show import table

Row = Mapping[str, Any]
Result = dict[str, Any]
PERCENT: Final = 100


def result_of(one: Asked, rows: Sequence[Row], notes: Sequence[str], shots: int, limit: int | None) -> Result:
    """One task's figure. Where there are subjects it is the plain mean of theirs, else the mean over documents.

    Documents that failed have no part in it and are counted apart. `standard_error` is what the harness reports: of a mean
    of independent documents, with n − 1; of MMLU, of the mean of its subjects.
    """
    key = one.metric if one.filter == "none" else f"{one.metric},{one.filter}"
    sound = [row for row in rows if row["error"] is None]
    groups: dict[str, list[float]] = {}
    for row in sound:
        groups.setdefault(row["subject"] or "", []).append(row["metrics"][key])
    low = high = value = None
    if sound:
        share = {subject: 1 / (len(groups) * len(own)) for subject, own in groups.items()}
        weights = [share[row["subject"] or ""] for row in sound]
        hits = [weight * row["metrics"][key] for weight, row in zip(weights, sound, strict=True)]
        value, low, high = rate(hits, weights)
    errors = [_error(own) for own in groups.values()]
    return {
        "metric": key,
        "value": value,
        "low": low,
        "high": high,
        "standard_error": math.hypot(*(error for error in errors if error is not None)) / len(groups)
        if errors and None not in errors
        else None,
        "documents": len(rows),
        "failed": len(rows) - len(sound),
        "failures": sorted({row["error"] for row in rows if row["error"] is not None})[:3],
        "shots": shots,
        "limit": limit,
        "subjects": {
            subject: {"value": _mean(own), "documents": len(own)} for subject, own in groups.items() if subject
        },
        "also": {
            name: _mean([row["metrics"][name] for row in sound])
            for name in sorted({name for row in sound for name in row["metrics"]} - {key})
        },
        "notes": [*([one.note] if one.note else ()), *notes],
        "as_published": not notes and limit is None and shots == one.shots and len(sound) == len(rows),
    }


def skipped(one: Asked, why: str) -> Result:
    """A task that the model cannot be asked."""
    return {
        "metric": one.metric,
        "value": None,
        "skipped": why,
        "documents": 0,
        "failed": 0,
        "notes": [],
        "shots": one.shots,
    }


def whole(results: Mapping[str, Result], harness: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """What `leaderboard.json` says. The mean is there only when all seven figures are."""
    values = [results[one.name]["value"] for one in SEVEN if one.name in results]
    errors = [error for one in results.values() if (error := one.get("standard_error")) is not None]
    there = len(values) == len(SEVEN) and None not in values
    return {
        "harness": {"name": "lm-evaluation-harness", "version": harness, "compared_with": HARNESS},
        "model": dict(model),
        "tasks": dict(results),
        "average": math.fsum(values) / len(SEVEN) if there else None,
        "average_standard_error": math.hypot(*errors) / len(SEVEN) if there and len(errors) == len(SEVEN) else None,
        "as_published": there and all(one["as_published"] for one in results.values()),
    }


def render(said: Mapping[str, Any]) -> str:
    """The figures for a terminal, in percent as the leaderboard shows them."""
    lines: list[tuple[str, ...]] = [("", "shots", "metric", "%", "95 % interval", "documents")]
    tasks = {one.name: said["tasks"][one.name] for one in SEVEN if one.name in said["tasks"]}
    for name, one in tasks.items():
        if one["value"] is None:
            lines.append(
                (name, str(one["shots"]), one["metric"], "–", one.get("skipped") or "all failed", str(one["documents"]))
            )
            continue
        between = "" if one["low"] is None else f"{one['low'] * PERCENT:.1f} to {one['high'] * PERCENT:.1f}"
        failed = f" ({one['failed']:,} failed)" if one["failed"] else ""
        lines.append(
            (
                name,
                str(one["shots"]),
                one["metric"],
                f"{one['value'] * PERCENT:.2f}",
                between,
                f"{one['documents']:,}{failed}",
            )
        )
    if said["average"] is not None:
        lines.append(("average", "", "", f"{said['average'] * PERCENT:.2f}", "", ""))
    notes = [f"{name}: {note}" for name, one in tasks.items() for note in one["notes"]]
    return "\n".join([*table(lines, right=(1, 3), indent="  "), *notes])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _error(values: Sequence[float]) -> float | None:
    """Standard error of a mean; None of a single value."""
    if len(values) < 2:
        return None
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
