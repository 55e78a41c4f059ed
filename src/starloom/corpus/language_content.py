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

HEAD = 50 * 1024  # characters of a file that are looked at (linguist `heuristics.rb`: HEURISTICS_CONSIDER_BYTES)

# `package A;` is no Raku, whatever else looks like it; asked first, our choice.
_FIRST = {one: [{"language": "Perl", "all": [{"any": [r"(?m)^package\s+[\w:]+\s*;"]}]}] for one in (".pl", ".pm", ".t")}

# Asked after linguist's rules, where linguist would ask its trained classifier; our choice.
_OURS: dict[str, list[dict[str, Any]]] = {
    extension: [{"language": language, "all": [{"any": [f"(?m){one}" for one in patterns]}]} for language, patterns in rules]
    for extension, rules in {
        ".cl": [("OpenCL", [r"\b(?:__)?kernel\s+void\b", r"\bget_global_id\s*\("])],
        ".d": [("Makefile", [r"^[^\s:#][^:#\n]*:(?:\s|\\|$)"])],  # a compiler's dependency file
        ".fs": [("F#", [r"^\s*(?:let|type|module|open|namespace)\s"]), ("GLSL", [r"\bgl_Frag\w+\b", r"^\s*void\s+main\s*\("])],
        ".inc": [
            ("C++", [r"^[ \t]*#(?:include|define|ifdef|ifndef|if|undef|pragma)\b"]),
            ("Assembly", [r"^\s*(?:%(?:define|macro|include|if)|\.(?:macro|equ|text|globl)|\w+\s+(?:equ|EQU|db|dw|dd)\s)"]),
            ("Pascal", [r"(?i)^\s*(?:procedure|function|unit|uses|var|const|type)\s.*;?\s*$", r"\{\$(?:IFDEF|DEFINE)"]),
            ("Shell", [r"^\s*(?:if \[|export \w+=|fi$|esac$)"]),
            ("Makefile", [r"^[\w.$()%/-]+\s*(?:[:?+]?=|:)\s*\S?", r"^\t\S"]),
        ],
        ".h": [("C++", [r"^\s*#\s*include\s*<[a-z_]+>", r"^[^/*\n]*\b\w+::\w"])],
        ".m": [
            ("Objective-C", [r"^[ \t]*#[ \t]*(?:import|include|define|ifdef|ifndef)\b"]),
            ("Mathematica", [r"\b(?:BeginPackage|Begin|Module|Needs|SetAttributes)\[", r"^\s*\w+\[[^\]]*_[^\]]*\]\s*:?="]),
            (
                "MATLAB",
                [
                    r"^\s*function\b[^;{]*$",
                    r"^\s*(?:end(?:if|for|while|function)?|clc|clear|close all|hold on);?\s*$",
                    r"^\s*[\w.(),: ]+\s*=\s*[^=].*;\s*(?:%.*)?$",
                    r"\.\.\.\s*$",
                ],
            ),
        ],
        ".mm": [("Objective-C++", [r"^\s*(?:@(?:interface|implementation|end|import)|#\s*(?:import|include))\b"])],
        ".pl": [
            ("Perl", [r"^\s*(?:my|our|local)\s*[\$@%(]", r"^\s*(?:sub\s+\w+|package\s+[\w:]+|require\s)", r"^=(?:head\d|pod|cut)\b"]),
            ("Prolog", [r"^[a-z]\w*\([^()]*\)\.\s*$"]),
        ],
        ".pm": [("Perl", [r"^\s*(?:package\s+[\w:]+|sub\s+\w+|=head\d)"])],
        ".r": [("R", [r"^\s*(?:library|require|source)\s*\(", r"\bfunction\s*\("])],
        ".rs": [("Rust", [r"\b(?:fn|struct|enum|impl|let(?:\s+mut)?|pub|use|mod)\s+\w", r"^\s*//[/!]"])],
        ".t": [("Perl", [r"^\s*(?:my|our)\s*[\$@%(]", r"\bTest::(?:More|Simple)\b"])],
        ".v": [
            ("Verilog", [r"^\s*(?:module|endmodule|wire|reg|assign|input|output)\b"]),
            ("Coq", [r"^\s*(?:Theorem|Lemma|Definition|Fixpoint|Inductive|From\s+\w+\s+Require)\b"]),
            ("V", [r"^\s*(?:pub\s+)?fn\s+\w+", r"^\s*module\s+\w+\s*$", r"^import\s+[\w.]+\s*$"]),
        ],
    }.items()
}  # fmt: skip


@cache
def _data() -> dict[str, Any]:
    file = resources.files("starloom.corpus") / "data" / "language_heuristics.json"
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def asked(extension: str) -> bool:
    """Whether files of an extension are told apart by content."""
    return extension in _data()["heuristics"] or extension in _OURS


@cache
def possible(extension: str) -> frozenset[str]:
    """The languages that a rule for this extension names."""
    rules = [*_data()["heuristics"].get(extension, []), *_OURS.get(extension, [])]
    return frozenset(rule["language"] for rule in rules)


def languages_by_content(extension: str, heads: Sequence[str]) -> list[str | None]:
    """For each text of one extension, the language of the first rule that holds; None where none does."""
    texts = pa.array(heads, pa.string())
    found: list[str | None] = [None] * len(heads)
    rules = [*_FIRST.get(extension, []), *_data()["heuristics"].get(extension, []), *_OURS.get(extension, [])]
    # linguist's last rule for an extension may hold always: ours come before it, they know more
    rules.sort(key=lambda rule: not rule["all"])
    for rule in rules:
        if None not in found:
            break
        holds = _holds(rule["all"], texts)
        found = [one or (rule["language"] if held else None) for one, held in zip(found, holds, strict=True)]
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
    found = [False] * len(texts)
    for pattern in patterns:
        matches: list[bool] = pc.match_substring_regex(texts, pattern).to_pylist()
        found = [one or two for one, two in zip(found, matches, strict=True)]
        if all(found):
            break
    return found


def vendored_patterns() -> list[str]:
    """Paths of code that a project carries along but did not write (linguist `vendor.yml`)."""
    return list(_data()["vendored"])


def documentation_patterns() -> list[str]:
    """Paths of documentation (linguist `documentation.yml`)."""
    return list(_data()["documentation"])
