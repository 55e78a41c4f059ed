"""Languages that share an extension, told apart by what the file says, as GitHub linguist does.

The patterns are linguist's (`tools/language_heuristics.py` derives them). They run on RE2, which Arrow brings along:
its time is linear in the text whatever the pattern, so no file can stall a worker. Only the head of a file is asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from starloom.corpus.language_rules import BEHIND, FIRST, PASSED_OVER, rules_for

HEAD = 50 * 1024  # characters of a file that are looked at (linguist `heuristics.rb`: HEURISTICS_CONSIDER_BYTES)


@cache
def _data() -> dict[str, Any]:
    file = resources.files("starloom.corpus") / "data" / "language_heuristics.json"
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def asked(extension: str) -> bool:
    """Whether files of an extension are told apart by content."""
    return extension in _data()["heuristics"] or extension in FIRST or extension in BEHIND


@cache
def _rules(extension: str) -> list[dict[str, Any]]:
    """Ours, linguist's, ours again. Linguist's last rule for an extension may hold always: that stands behind all."""
    linguists = _data()["heuristics"].get(extension, [])
    rules = [*rules_for(extension, FIRST), *linguists, *rules_for(extension, BEHIND)]
    return sorted(rules, key=lambda rule: not rule["all"])


@cache
def possible(extension: str) -> frozenset[str]:
    """The languages that a rule for this extension names."""
    return frozenset(rule["language"] for rule in _rules(extension))


def languages_by_content(extension: str, heads: Sequence[str]) -> list[str | None]:
    """For each text of one extension, the language of the first rule that holds; None where none does."""
    texts = pa.array(heads, pa.string())
    if extension in PASSED_OVER:
        texts = pc.replace_substring_regex(texts, PASSED_OVER[extension], "\n")
    found: list[str | None] = [None] * len(heads)
    open_ = list(range(len(heads)))  # texts without an answer, which alone are asked on
    for rule in _rules(extension):
        if not open_:
            break
        holds = _holds(rule["all"], texts)
        for row, held in zip(open_, holds, strict=True):
            if held:
                found[row] = rule["language"]
        left = pa.array([not held for held in holds], pa.bool_())
        open_ = [row for row, held in zip(open_, holds, strict=True) if not held]
        texts = texts.filter(left)
    return found


def _holds(conditions: Sequence[dict[str, list[str]]], texts: pa.Array) -> list[bool]:
    held = [True] * len(texts)
    for condition in conditions:
        if "any" in condition:
            held = [one and any_ for one, any_ in zip(held, matching(condition["any"], texts), strict=True)]
        if "none" in condition:
            held = [one and not any_ for one, any_ in zip(held, matching(condition["none"], texts), strict=True)]
    return held


def matching(patterns: Sequence[str], texts: pa.Array) -> list[bool]:
    """Whether each text has a match of one of the RE2 patterns."""
    found: list[bool] = pc.match_substring_regex(texts, "|".join(f"(?:{one})" for one in patterns)).to_pylist()
    return found


def vendored_patterns() -> list[str]:
    """Paths of code that a project carries along but did not write (linguist `vendor.yml`)."""
    return list(_data()["vendored"])


def documentation_patterns() -> list[str]:
    """Paths of documentation (linguist `documentation.yml`)."""
    return list(_data()["documentation"])
