"""Figures as others read them: `model-index` of a model card, and a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from starloom.evals.harness.tally import ROBUST, contained, extent, notes, over, percent, span
from starloom.evals.verdict import STRENGTHS
from starloom.report import plain

Task = Mapping[str, Any]
LIKELIHOODS: Final = "lm-evaluation-harness"  # who judged the leaderboard's tasks
# What published cards call a benchmark's data set: (type, name).
DATASETS: Final[Mapping[str, tuple[str, str]]] = {
    "humaneval": ("openai_humaneval", "HumanEval"),
    "humaneval-plus": ("evalplus/humanevalplus", "HumanEval+"),
    "mbpp": ("mbpp", "MBPP"),
    "mbpp-sanitized": ("mbpp", "MBPP (sanitized)"),
    "mbpp-plus": ("evalplus/mbppplus", "MBPP+"),
    "ds1000": ("ds1000", "DS-1000"),
    "apps": ("codeparrot/apps", "APPS"),
    "gsm8k": ("gsm8k", "GSM8K"),
    "humaneval-x": ("THUDM/humaneval-x", "HumanEval-X"),
    "humanevalpack": ("bigcode/humanevalpack", "HumanEvalPack"),
    "multilingual-humaneval": ("mxeval/multi-humaneval", "multilingual HumanEval"),
    "mbxp": ("mxeval/mbxp", "MBXP"),
    "cruxeval": ("cruxeval-org/cruxeval", "CRUXEval"),
    "multipl-e": ("nuprl/MultiPL-E", "MultiPL-E"),
}


def model_index(
    model: str, tasks: Iterable[Task], leaderboard: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """What stands under `model-index` in a card's head. A figure over some of the problems says so in its name; none is
    verified, which only a hub says."""
    results = []
    for task in tasks:
        kind, name = DATASETS.get(task["benchmark"], (task["benchmark"], task["benchmark"]))
        plain_name = (
            name if task["task"] == task["benchmark"] or _same(task["task"], name) else f"{name} ({task['task']})"
        )
        metrics = [_metric(task, figure) for figure in task["figures"]]
        if metrics:
            results.append(
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"type": kind, "name": plain_name},
                    "metrics": metrics,
                }
            )
    for row in leaderboard:
        if row["value"] is None or row["shots"] is None:  # the mean of the seven is of no data set
            continue
        name = f"{row['name']} ({', '.join(row['notes'])})" if row["notes"] else row["name"]
        results.append(
            {
                "task": {"type": "text-generation"},
                "dataset": {"type": row["task"], "name": f"{row['task']} ({row['shots']}-shot)"},
                "metrics": [{"name": name, "type": row["name"], "value": row["value"], "verified": False}],
            }
        )
    return [{"name": model, "results": results}]


def _same(task: str, name: str) -> bool:
    return task.lower() == name.lower()


def _metric(task: Task, figure: Mapping[str, Any]) -> dict[str, Any]:
    part = figure["part"] if figure["name"] == ROBUST else figure["part"] and f"{figure['part']} tests"
    said = [one for one in (part, extent(task)) if one]
    return {
        "name": figure["name"] + (f" ({', '.join(said)})" if said else ""),
        "type": figure["name"],
        "value": figure["value"],
        "verified": False,
        "args": {
            "verdicts": figure["strength"],
            "problems": figure["problems"],
            **{name: value for name, value in task["asked"].get("settings", {}).items() if name != "dtype"},
        },
    }


def markdown(model: str, tasks: Sequence[Task], leaderboard: Sequence[Mapping[str, Any]] = ()) -> str:
    """`results.md`."""
    lines = [f"# What {_cell(model)} scores", "", "| task | figure | % | 95 % interval | problems | verdicts |"]
    lines.append("|---|---|---:|---|---:|---|")
    for task in tasks:
        for figure in task["figures"]:
            name = figure["name"] + (f" ({figure['part']})" if figure["part"] else "")
            cells = (
                task["task"],
                name,
                percent(figure),
                span(figure),
                over(task, figure),
                figure["strength"] or "none",
            )
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        if not task["figures"]:
            lines.append(
                f"| {_cell(task['task'])} | {_cell(task['asked'].get('skipped') or 'nothing was judged')} |  |  |  |  |"
            )
    for row in leaderboard:
        cells = (row["task"], row["name"], percent(row), span(row), plain.count(row["problems"]), LIKELIHOODS)
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    used = {figure["strength"] for task in tasks for figure in task["figures"]}
    lines += ["", *(f"* *{name}*: {about}." for name, about in STRENGTHS.items() if name in used or "mixed" in used)]
    lines += [f"* Programs ran behind: {_cell(line)}." for line in contained(tasks)]
    lines += ["* Intervals: bootstrap over problems. A problem's samples are no problems of their own."]
    for task in tasks:
        said = notes(task)
        if said:
            lines += ["", f"## {_cell(task['task'])}", "", *(f"* {_cell(note)}" for note in said)]
    for row in leaderboard:
        if row["notes"]:
            lines += ["", f"## {_cell(row['task'])}", "", *(f"* {_cell(note)}" for note in row["notes"])]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that cannot break out of a cell or begin markup."""
    shown = plain.visible(text).replace("\n", " ").replace("\t", " ")
    return "".join("\\" + sign if sign in "|<>[]`*_\\&" else sign for sign in shown)
