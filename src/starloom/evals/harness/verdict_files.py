"""Verdicts that lie in a file, to be compared: our `results.jsonl`, or the `eval_results.json` that EvalPlus writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from starloom.errors import SourceError
from starloom.evals.harness.score import ROWS, UNJUDGED

Tries = dict[str, tuple[int, int]]  # problem → samples that were judged, how many passed
EVALPLUS = "evalplus"


def tries(path: Path) -> dict[tuple[str, str], Tries]:
    """(task, part) → what became of each problem; the part "" is the whole. Raises SourceError."""
    found: dict[tuple[str, str], Tries] = {}
    for row in rows(path):
        if row["status"] in UNJUDGED:
            continue
        for part, passed in {"": row["passed"], **row["parts"]}.items():
            problems = found.setdefault((row["task"].partition("=")[0], part), {})  # wherever its data lie
            n, c = problems.get(row["id"], (0, 0))
            problems[row["id"]] = n + 1, c + bool(passed)
    if not found:
        raise SourceError(f"{path} holds no verdict; name a folder that `starloom eval` wrote, or its {ROWS}")
    return found


def strengths(path: Path) -> dict[str, set[str]]:
    """Task → the strengths of its verdicts."""
    found: dict[str, set[str]] = {}
    for row in rows(path):
        if row["strength"]:
            found.setdefault(row["task"].partition("=")[0], set()).add(row["strength"])
    return found


def rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file, or of the one in a folder. Raises SourceError, with the line, for what is no verdict."""
    file = path / ROWS if path.is_dir() else path
    try:
        with file.open("rb") as lines:
            start = lines.read(64).lstrip()
            lines.seek(0)
            if file.suffix == ".json" and start[:1] == b"{":
                yield from _evalplus(json.load(lines), file)
                return
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    sound = {"task", "id", "passed", "status", "strength"} <= row.keys() and isinstance(
                        row["parts"], dict
                    )
                except (ValueError, RecursionError, AttributeError, KeyError):
                    sound = False
                if not sound:
                    raise SourceError(f"{file}, line {number} is no verdict; is this a {ROWS}?")
                yield row
    except OSError as error:
        hint = f"; a folder that `starloom eval` wrote holds {ROWS}" if path.is_dir() else ""
        raise SourceError(f"{file} cannot be read: {error.strerror or error}{hint}") from None
    except ValueError as error:
        raise SourceError(f"{file} is not JSON ({error})") from None


def _evalplus(value: Mapping[str, Any], file: Path) -> Iterator[Mapping[str, Any]]:
    """EvalPlus says `pass`, `fail` or `timeout` of the base tests and of the further ones; passed is both."""
    try:
        for name, samples in value["eval"].items():
            task = "mbpp+" if name.startswith("Mbpp/") else "humaneval+"
            for number, sample in enumerate(samples):
                base = sample["base_status"] == "pass"
                plus = sample["plus_status"] == "pass"
                yield {
                    "task": task, "id": name, "sample": number, "passed": base and plus, "strength": EVALPLUS,
                    "status": "passed" if base and plus else "wrong_answer", "parts": {"base": base, "plus": plus},
                }  # fmt: skip
    except (KeyError, TypeError, AttributeError):
        raise SourceError(f"{file} is neither a {ROWS} nor an eval_results.json of EvalPlus") from None
