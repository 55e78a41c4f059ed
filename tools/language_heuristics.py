"""Derive src/starloom/corpus/data/language_heuristics.json from GitHub linguist's heuristics, vendor and documentation lists.

    python tools/language_heuristics.py LINGUIST_FOLDER

Linguist's patterns are Ruby's; ours run on RE2 (through Arrow), which is linear in the text whatever the pattern. RE2
knows neither look-around nor back references, so the few patterns that use them are written again here; the tool fails
for one that RE2 refuses, so that a newer linguist cannot bring one in unseen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

TARGET = Path(__file__).parents[1] / "src/starloom/corpus/data/language_heuristics.json"

# (extension, language) → the pattern without look-around and back references
REWRITTEN = {
    (".as", "ActionScript"): [
        r"^\s*package(?:\s+[\w.]+)?\s+(?:{|$)",
        r"^\s*import\s+[\w.*]+\s*;",
        r"^\s*(?:intrinsic\s+)?class\s+[\w<>.]+\s+extends\s+[\w<>.]+",
        r"^\s*intrinsic\s+class\s+[\w<>.]+",
        r"^\s*(?:(?:public|protected|private|static)\s+)*(?:var|const|local)\s+\w+\s*:\s*[\w<>.]+(?:\s*=.*)?\s*;",
        r"^\s*(?:(?:public|protected|private|static)\s+)*function\s+\w+\s*\(",
    ],
    (".es", "JavaScript"): [r"//", "\"use strict\"", "'use strict'", r"export\s+default\s", r"(?s)/\*.*?\*/"],
    (".ftl", "FreeMarker"): [
        r"^(?:<|[a-zA-Z-][a-zA-Z0-9_-]+[ \t]+\w)",
        r"\${\w+[^\n]*?}",
        r"^[ \t]*<#--.*?-->",
        r"^[ \t]*<#[a-z]+[\s>]",
        r"^[ \t]*\[#--.*?--\]",
        r"^[ \t]*\[#[a-z]+[\s\]]",
    ],
    (".inc", "NASL"): [
        r"^\s*include\s*\(\s*(?:\"|')[\\/\w\-\.:\s]+\.(?:nasl|inc)\s*(?:\"|')\s*\)\s*;",
        r"^\s*(?:global|local)_var\s+\w",
        r"^\s*namespace\s+\w+\s*{",
        r"^\s*object\s+\w+\s*(?:extends\s+\w+(?:::\w+)?)?\s*{",
        r"^\s*(?:public\s+|private\s+|\s*)function\s+\w+\s*\([\w\s,]*\)\s*{",
    ],
    (".pod", "Pod 6"): [r"^[^\S\n]*=(comment|begin pod|begin para|item\d+)"],
    (".rno", "RUNOFF"): [
        r"(?i:^\.!|^\f|\f$|^\.end lit(?:eral)?\b|^\.[a-zA-Z].*?;\.[a-zA-Z](?:[; \t])|^\^\*[^\s*][^*]*\\\*(?:$|\s)|^\.c;[ \t]*\w+)"
    ],
    (".sol", "Solidity"): [
        r"\bpragma\s+solidity\b",
        r"\b(?:abstract\s+)?contract\s+[a-zA-Z$_][a-zA-Z0-9$_]*(?:\s+is\s+[a-zA-Z0-9$_][^\{]*)?\s*\{",
    ],
    (".st", "StringTemplate"): [r"\$\w+[($]", r"<!\s*.+?\s*!>", r"\[!\s*.+?\s*!\]", r"\{!\s*.+?\s*!\}", r"\$!\s*.+?\s*!\$"],
    (".txt", "Vim Help File"): [r"(?:^|[ \t])(?:vi|vim|Vim|ex):(?:.*[ \t:])?(?:filetype|ft|syntax)[ \t]*=help(?:$|\s|:)"],
}  # fmt: skip


def checked(pattern: str) -> str:
    """A pattern for RE2: `^` and `$` at every line, as in Ruby; Ruby's `(?m)` is RE2's `(?s)`."""
    ours = pattern.replace("(?m:", "(?s:").replace("(?im)", "(?is)")
    ours = "(?m)" + ours
    try:
        pc.match_substring_regex(pa.array([""]), ours)
    except pa.ArrowInvalid as error:
        sys.exit(f"RE2 refuses {pattern}: {error}; write it again in REWRITTEN")
    return ours


def patterns(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def condition(rule: dict[str, Any], named: dict[str, Any]) -> dict[str, list[str]]:
    """What one rule asks: {"any": patterns of which one occurs, "none": patterns that do not}."""
    wanted = patterns(rule.get("pattern"))
    if "named_pattern" in rule:
        wanted += patterns(named[rule["named_pattern"]])
    found = {
        "any": [checked(one) for one in wanted],
        "none": [checked(one) for one in patterns(rule.get("negative_pattern"))],
    }
    return {key: value for key, value in found.items() if value}


def heuristics(source: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Extension → rules in order: the language, and conditions that must all hold (none: it always does)."""
    found: dict[str, list[dict[str, Any]]] = {}
    for block in source["disambiguations"]:
        for extension in block["extensions"]:
            rules = []
            for rule in block["rules"]:
                languages = patterns(rule["language"])
                if len(languages) > 1:
                    continue  # linguist leaves the rest to its classifier
                key = (extension, languages[0])
                if key in REWRITTEN:
                    rule = {"language": rule["language"], "pattern": REWRITTEN[key]}
                conditions = [condition(one, source["named_patterns"]) for one in rule.get("and", [rule])]
                rules.append({"language": languages[0], "all": [one for one in conditions if one]})
            found[extension] = rules
    return found


def main() -> None:
    linguist = Path(sys.argv[1])

    def read(name: str) -> Any:
        return yaml.safe_load((linguist / name).read_text(encoding="utf-8"))

    made = {
        "sources": {
            "patterns": "github/linguist lib/linguist/heuristics.yml, vendor.yml, documentation.yml, MIT (LICENSE.linguist beside this file)",
            "made by": "tools/language_heuristics.py",
        },
        "heuristics": heuristics(read("heuristics.yml")),
        "vendored": [checked(one) for one in read("vendor.yml")],
        "documentation": [checked(one) for one in read("documentation.yml")],
    }
    TARGET.write_text(json.dumps(made, sort_keys=True, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(
        f"{len(made['heuristics'])} extensions, {len(made['vendored'])} vendored, {len(made['documentation'])} documentation"
    )


if __name__ == "__main__":
    main()
