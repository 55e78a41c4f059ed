"""Two models on the same problems: how much better one is, how sure that is, and on which problems they differ."""

# n samples of a problem, c of them correct

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from starloom.errors import ConfigError
from starloom.evals import intervals
from starloom.evals.harness import verdict_files
from starloom.evals.harness.pass_at_k import permutation_p
from starloom.evals.harness.verdict_files import Tries
from starloom.report import plain
from starloom.report.show import table

NAMED: Final = 40  # problems on which two models differ that are named; all are counted


def compare(a: Path, b: Path, *, seed: int = 0) -> dict[str, Any]:
    """What two folders or files of verdicts say of each task that both have. Raises ConfigError where they share none."""
    ours, theirs = verdict_files.tries(a), verdict_files.tries(b)
    both = [key for key in ours if key in theirs]
    if not both:
        had = [", ".join(sorted({task for task, _ in one})) for one in (ours, theirs)]
        raise ConfigError(f"{a} has {had[0]}, and {b} has {had[1]}: there is no task to compare them on")
    strong = verdict_files.strengths(a), verdict_files.strengths(b)
    rows = [
        {
            "task": task,
            "part": part or None,
            "verdicts": ["+".join(sorted(one.get(task, {"none"}))) for one in strong],
            **paired(ours[task, part], theirs[task, part], seed=seed),
        }
        for task, part in both
    ]
    alone = [sorted({task for task, _ in one} - {task for task, _ in both}) for one in (ours, theirs)]
    return {"a": str(a), "b": str(b), "tasks": rows, "only_a": alone[0], "only_b": alone[1]}


def paired(a: Tries, b: Tries, *, seed: int = 0) -> dict[str, Any]:
    """pass@1 of both on the problems that both answered, their difference with its bootstrap interval, and a test.

    With one sample of each it is McNemar's exact test; with more, the exact test over all changes of sign.
    """
    both = [name for name in a if name in b]
    if not both:
        return {"problems": 0, "only_a": len(a), "only_b": len(b)}
    shares = [[Fraction(one[name][1], one[name][0]) for name in both] for one in (a, b)]
    apart = [one - other for one, other in zip(*shares, strict=True)]
    values = [[float(share) for share in one] for one in shares]
    ones = [1.0] * len(both)
    found = intervals.difference(values[0], ones, values[1], ones, seed=seed)
    p, how = permutation_p(apart, seed=seed)
    better, worse = ([name for name, one in zip(both, apart, strict=True) if one * sign > 0] for sign in (1, -1))
    single = all(one[name][0] == 1 for one in (a, b) for name in both)
    return {
        "problems": len(both),
        "only_a": len(a) - len(both),
        "only_b": len(b) - len(both),
        "a": intervals.rate(values[0], ones, seed=seed)._asdict(),
        "b": intervals.rate(values[1], ones, seed=seed)._asdict(),
        "difference": found._asdict(),
        "p": p,
        "test": "McNemar, exact" if single and how == "exact" else f"changes of sign, {how}",
        "better": len(better),
        "worse": len(worse),
        "first_better": better[:NAMED],
        "first_worse": worse[:NAMED],
    }


def render(compared: dict[str, Any]) -> str:
    """The comparison for a terminal."""
    rows: list[tuple[str, ...]] = [
        ("task", "A %", "B %", "A − B", "95 % interval", "p", "A better", "B better", "problems")
    ]
    notes: list[str] = []
    for row in compared["tasks"]:
        name = row["task"] + (f" ({row['part']})" if row["part"] else "")
        if not row["problems"]:
            notes.append(f"{name}: no problem was answered by both")
            continue
        apart = row["difference"]
        span = "–" if apart["low"] is None else f"{100 * apart['low']:+.1f} – {100 * apart['high']:+.1f}"
        rows.append((
            name, f"{100 * row['a']['value']:.1f}", f"{100 * row['b']['value']:.1f}", f"{100 * apart['value']:+.1f}", span,
            f"{row['p']:.2g}", str(row["better"]), str(row["worse"]), plain.count(row["problems"]),
        ))  # fmt: skip
        notes += _notes(name, row)
    lines = [f"A {compared['a']}", f"B {compared['b']}", *table(rows, right=(1, 2, 3, 5, 6, 7, 8), indent="  "), *notes]
    for which in ("a", "b"):
        if compared[f"only_{which}"]:
            lines.append(f"only in {which.upper()}: {', '.join(compared[f'only_{which}'])}")
    tests: Sequence[str] = sorted({row["test"] for row in compared["tasks"] if row["problems"]})
    lines.append(f"intervals: paired bootstrap over problems; p: {'; '.join(tests)}, two-sided")
    return "\n".join(plain.visible(line) for line in lines)


def _notes(name: str, row: dict[str, Any]) -> list[str]:
    said = []
    if row["only_a"] or row["only_b"]:
        said.append(f"{name}: {row['only_a']:,} answered by A alone, {row['only_b']:,} by B alone: left out")
    if row["verdicts"][0] != row["verdicts"][1]:
        said.append(
            f"{name}: verdicts of A are {row['verdicts'][0]}, those of B {row['verdicts'][1]}: not the same judge"
        )
    return said
