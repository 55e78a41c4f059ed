"""Figures of one task from its rows: pass@k with intervals, what was counted and what was not, each by its name."""

# n samples of a problem, c of them correct

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from starloom.evals import intervals
from starloom.evals.harness.pass_at_k import PUBLISHED_K, pass_at_k, robust_pass_at_1
from starloom.evals.harness.score import NOT_ANSWERED, UNJUDGED
from starloom.report import plain
from starloom.sandbox import Layers

Row = Mapping[str, Any]
Missing = Literal["leave_out", "failed"]
NAMED: Final = 20  # problems of a kind that are named; all are counted
WHOLE: Final = ""  # the part that is everything
ROBUST: Final = "robust pass@1"


def tally(
    rows: Sequence[Row], facts: Row, *, ks: Sequence[int] = PUBLISHED_K, missing: Missing = "leave_out", seed: int = 0
) -> dict[str, Any]:
    """What `results.json` says of a task. `facts` is what `scored.json` holds.

    Problems without a judged answer are left out of the figures, or with `missing="failed"` counted as failed, unless a
    toolchain was missing or the harness itself failed: that says nothing about an answer.
    """
    asked = facts["asked"]
    wanted = asked["problems"] if "problems" in asked else asked["tasks"][facts["task"]]["problems"]
    by_problem: dict[str, list[Row]] = {}
    for row in rows:
        by_problem.setdefault(row["id"], []).append(row)
    judged = {name: [row for row in some if row["status"] not in UNJUDGED] for name, some in by_problem.items()}
    judged = {name: some for name, some in judged.items() if some}
    skipped = {name for name, some in by_problem.items() if any(is_skipped(row) for row in some)}
    unanswered = wanted - len(judged) - len(skipped - judged.keys())
    failed = missing == "failed"
    parts = [WHOLE, *dict.fromkeys(part for row in rows for part in row["parts"])]
    figures = []
    for part in parts:
        figures += _figures(part, judged, by_problem, facts["metric"], ks, unanswered, failed, seed)
    if facts["metric"] == "robust_pass@1":
        counted = {name: [row for row in some if not is_skipped(row)] for name, some in by_problem.items()}
        figures += _robust(counted if failed else judged, wanted, figures, seed)
    statuses = Counter(row["status"] for row in rows)
    return {
        **{name: facts[name] for name in ("about", "derived", "metric", "language", "benchmark")},
        "task": without_folder(facts["task"]),
        "figures": figures,
        "problems": {
            "all": facts["problems"],
            "asked": wanted,
            "judged": len(judged),
            "missing": unanswered,
            "first_missing": first_missing(by_problem, judged, asked, facts["task"]),
            "skipped": len(skipped - judged.keys()),
            "counted_as": missing,
        },
        "answers": {
            "all": len(rows),
            "judged": sum(map(len, judged.values())),
            "not_answered": statuses[NOT_ANSWERED],
            "toolchain_missing": statuses["toolchain_missing"],
            "harness_error": statuses["harness_error"],
            "refused": statuses["refused"],
            "samples": dict(sorted(Counter(len(some) for some in judged.values()).items())),
            "identical": asked.get("tasks", {}).get(facts["task"], {}).get("identical", 0),
        },
        "status": dict(sorted(statuses.items())),
        "strength": dict(sorted(Counter(row["strength"] for row in rows if row["strength"]).items())),
        "toolchains": sorted({row["toolchain"] for row in rows if row["toolchain"]}),
        "containment": containment(rows),
        "exceptions": facts["exceptions"],
        "limits": facts["limits"],
        "asked": asked,
    }


def without_folder(task: str) -> str:
    """A task with data by path is called by the file's name: where it lies is no part of a result."""
    name, given, path = task.partition("=")
    return f"{name}={Path(path).name}" if given else name


def containment(rows: Sequence[Row]) -> list[str]:
    """Which layers programs ran behind, a line for each combination that there was."""
    found = {json.dumps(row["sandbox"], sort_keys=True): row["sandbox"] for row in rows if row["sandbox"]}
    return [Layers(**{**said, "notes": tuple(said["notes"])}).describe() for said in found.values()]


def contained(tasks: Sequence[Row]) -> list[str]:
    """The same of several tasks."""
    return list(dict.fromkeys(line for task in tasks for line in task["containment"]))


def is_skipped(row: Row) -> bool:
    return row["status"] in UNJUDGED and row["status"] != NOT_ANSWERED


def first_missing(
    by_problem: Mapping[str, Sequence[Row]], judged: Mapping[str, Any], asked: Row, task: str
) -> list[str]:
    """Names of problems that have no judged answer: those that the file lacks, then those whose requests all failed."""
    lacking = asked["tasks"][task]["first_missing"] if "tasks" in asked else []
    failed = [name for name, some in by_problem.items() if name not in judged and not any(map(is_skipped, some))]
    return [*lacking, *failed][:NAMED]


def passed(row: Row, part: str) -> bool:
    """Whether an answer passed, as a whole or in one part."""
    return bool(row["passed"] if part == WHOLE else row["parts"].get(part, False))


def _figures(
    part: str,
    judged: Mapping[str, Sequence[Row]],
    by_problem: Mapping[str, Sequence[Row]],
    metric: str,
    ks: Sequence[int],
    unanswered: int,
    failed: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """The figures of one part: pass@k for each k that every problem has samples for, or the mean of a measure."""
    if not judged:
        return []
    strengths = Counter(row["strength"] for some in judged.values() for row in some if row["strength"])
    strength = next(iter(strengths), None) if len(strengths) < 2 else "mixed"
    said = {"part": part or None, "strength": strength, "strengths": dict(sorted(strengths.items()))}
    if metric == "bleu":
        means = [math.fsum(row["score"] or 0.0 for row in some) / len(some) for some in judged.values()]
        return [{**said, "name": "bleu", "k": None, **_sure(means, len(judged), unanswered, failed, seed)}]
    tries = {name: (len(some), sum(passed(row, part) for row in some)) for name, some in judged.items()}
    if failed:  # requests that failed are samples that failed
        lost = {name: sum(row["status"] == NOT_ANSWERED for row in by_problem[name]) for name in tries}
        tries = {name: (n + lost[name], c) for name, (n, c) in tries.items()}
    fewest = min(n for n, _ in tries.values())
    found = []
    drawn = metric != "exact_match"
    for k in sorted({k for k in ks if k <= fewest} | {1}) if drawn else [1]:
        name = f"pass@{k}" if drawn else metric
        values = [pass_at_k(n, c, k) for n, c in tries.values()]
        found.append({**said, "name": name, "k": k, **_sure(values, len(judged), unanswered, failed, seed)})
    return found


def _robust(
    answered: Mapping[str, Sequence[Row]], wanted: int, figures: Sequence[Row], seed: int
) -> list[dict[str, Any]]:
    """Robust pass@1 of each change, over the problems that were changed; none where a changed prompt lacks a verdict that the
    others have, since the worst of fewer prompts is better."""
    said = [figure for figure in figures if figure["part"] is None and figure["k"] == 1]
    if not said or len(answered) < wanted or len({len(some) for some in answered.values()}) > 1:
        return []
    ordered = {name: sorted(some, key=lambda row: row["sample"]) for name, some in answered.items()}
    found = robust_pass_at_1({name: [bool(row["passed"]) for row in some] for name, some in ordered.items()})
    alike = {name: said[0][name] for name in ("strength", "strengths")}
    return [
        {"part": change, **alike, "name": ROBUST, "k": 1, **_sure(shares, len(shares), 0, False, seed)}
        for change, shares in found.items()
    ]


def _sure(values: Sequence[float], judged: int, unanswered: int, failed: bool, seed: int) -> dict[str, Any]:
    """A mean over problems with its interval, and what it would be if unanswered problems counted as failed."""
    lowest = math.fsum(values) / (judged + unanswered)
    counted = [*values, *[0.0] * (unanswered if failed else 0)]
    interval = intervals.rate(counted, [1.0] * len(counted), seed=seed)
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "confidence": intervals.CONFIDENCE,
        "problems": len(counted),
        "if_missing_failed": lowest,
    }


def percent(figure: Row) -> str:
    """40.3, or a dash where there is no value."""
    return "–" if figure["value"] is None else f"{100 * figure['value']:.1f}"


def span(figure: Row) -> str:
    """[33.1, 48.2] per cent."""
    if figure["low"] is None:
        return "–"
    return f"{100 * figure['low']:.1f} – {100 * figure['high']:.1f}"


def over(task: Row, figure: Row) -> str:
    """Over how many problems a figure is the mean. Those of a robust figure are what was changed, and not its prompts."""
    of = task["problems"]["all"]
    whole = figure["name"] == ROBUST or figure["problems"] == of
    return plain.count(figure["problems"]) + ("" if whole else f" of {plain.count(of)}")


def extent(task: Row) -> str:
    """Of how many problems a task's figures speak: "" for all."""
    problems = task["problems"]
    counted = problems["asked"] if problems["counted_as"] == "failed" else problems["judged"]
    if counted == problems["all"]:
        return ""
    first = "first " if problems["asked"] < problems["all"] and counted == problems["asked"] else ""
    return f"{first}{counted:,} of {plain.several(problems['all'], 'problem')}"


def notes(task: Row) -> list[str]:
    """What a reader of the figures has to know, a sentence each."""
    problems, answers, asked = task["problems"], task["answers"], task["asked"]
    said = []
    if task["derived"]:
        said.append(task["derived"])
    if asked.get("skipped"):
        said.append(f"skipped: {asked['skipped']}")
        return said
    if extent(task):
        said.append(f"figures are over {'the ' if extent(task).startswith('first') else ''}{extent(task)}")
    if problems["missing"]:
        names = ", ".join(problems["first_missing"])
        more = " …" if problems["missing"] > len(problems["first_missing"]) else ""
        how = "counted as failed" if problems["counted_as"] == "failed" else "left out (--missing failed counts them)"
        said.append(f"{plain.several(problems['missing'], 'problem')} without an answer, {how}: {names}{more}")
    if task["metric"] == "robust_pass@1" and all(figure["name"] != ROBUST for figure in task["figures"]):
        said.append(f"no {ROBUST}: it needs as many judged answers to every changed prompt")
    if answers["not_answered"]:
        said.append(f"{plain.several(answers['not_answered'], 'request')} failed")
    if answers["refused"]:
        said.append(f"{plain.several(answers['refused'], 'answer')} refused unread (status refused), counted as failed")
    if answers["toolchain_missing"]:
        said.append(
            f"{plain.several(answers['toolchain_missing'], 'answer')} not judged: no toolchain for {task['language']}"
        )
    if answers["harness_error"]:
        said.append(
            f"{plain.several(answers['harness_error'], 'answer')} not judged: the harness failed, see results.jsonl"
        )
    if len(answers["samples"]) > 1:
        numbers = ", ".join(f"{n} of {count:,} problems" for n, count in answers["samples"].items())
        said.append(f"problems have different numbers of samples: {numbers}")
    if len(task["strength"]) > 1:
        strengths = ", ".join(f"{name} {count:,}" for name, count in task["strength"].items())
        said.append(f"verdicts of different strength in one figure: {strengths}")
    said += [f"not as published: {one}" for one in asked.get("differs", ())]
    for trouble, bad in asked.get("bad", {}).items():
        said.append(
            f"{plain.several(bad['count'], 'row')} of {asked['file']} {plain.words(trouble)}: {'; '.join(bad['first'][:3])}"
        )
    same = answers["identical"]
    if same:
        said.append(f"{plain.several(same, 'answer')} of a problem equal to another of it: counted as samples")
    if task["limits"]:
        said.append(
            "limits changed: " + ", ".join(f"{name} {plain.count(value)}" for name, value in task["limits"].items())
        )
    return said
