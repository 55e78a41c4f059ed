"""Derive src/starloom/corpus/data/extension_limits.json from BigCode's inspection of The Stack's files.

    python tools/extension_limits.py visual_inspection.csv stackv2-language_labels.csv

Kept are the columns that its filter reads: extension, language, included or not, and four limits. A blank or "remove"
is no limit; a longest line that is no number ("Custom! …") is the usual 1,000, as is the filter's own reading.
Names of languages become linguist's; some of theirs stand for several of linguist's. Beside it lies
stack_v2_languages.txt: the languages of which The Stack v2's label list includes an extension.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "src/starloom/corpus/data"

# their name → linguist's: spelling that differs by more than capitals, hyphens and plurals, and linguist's own languages
# for extensions that they count to another (`.f90`, `.bib`, `.bzl`)
NAMES = {
    "assembly": ["Assembly", "Motorola 68K Assembly", "Unix Assembly"],
    "c-sharp": ["C#", "HTML+Razor"],
    "coffeescript": ["CoffeeScript", "CSON"],
    "f-sharp": ["F#"],
    "fortran": ["Fortran", "Fortran Free Form"],
    "javascript": ["JavaScript"],
    "makefile": ["Makefile"],
    "maple": [],  # linguist does not know it
    "mathematica": ["Mathematica"],
    "protocol-buffer": ["Protocol Buffer"],
    "python": ["Python", "Starlark"],
    "restructuredtext": ["reStructuredText"],
    "sql": ["SQL", "PLSQL", "PLpgSQL", "SQLPL", "TSQL"],
    "tex": ["TeX", "BibTeX"],
    "typescript": ["TypeScript", "TSX"],
    "visual-basic": ["Visual Basic .NET", "Visual Basic 6.0", "VBA", "VBScript"],
}


def linguist_names(name: str, known: dict[str, str]) -> list[str]:
    """Linguist's names for one of theirs."""
    folded = {re.sub(r"[\s_-]", "", one.lower()): one for one in known}
    if name in NAMES:
        return [one for one in NAMES[name] if one in known]
    found = folded.get(re.sub(r"[\s_-]", "", name.lower()))
    if found is None:
        sys.exit(f"no language of linguist's is called {name}; add it to NAMES")
    return [found]


def number(text: str, default: float | None = None) -> float | None:
    text = text.strip()
    if re.fullmatch(r"[0-9.]+", text):
        return float(text)
    return default if text not in ("", "remove") else None


def limits(row: dict[str, str]) -> dict[str, Any]:
    """What the filter reads of one row."""
    return {
        "language": row["language"],
        "included": row["Include"].strip() == "1",
        "alphanumeric": number(row["Alphanum_threshold"]),
        "longest_line": number(row["Long_line_threshold"], 1000.0),
        "xml": row["XML filter"].strip() == "1",
        "alphabetic": number(row["Alpha filter"]),
    }


def main() -> None:
    known: dict[str, str] = json.loads((DATA / "languages.json").read_text(encoding="utf-8"))["types"]
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["language"]]
    languages: dict[str, list[str]] = {}
    extensions: dict[str, dict[str, Any]] = {}
    own: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["Include"].strip() == "1":
            languages[row["language"]] = linguist_names(row["language"], known)
        if not row["extension"]:
            own[row["language"]] = limits(row)  # Makefile, Dockerfile: files without one
            continue
        if row["extension"] in extensions:
            continue  # `.cmake` stands a second time under Makefile; the first row is its own language's
        extensions[row["extension"]] = limits(row)
    made = {
        "sources": {
            "limits": "bigcode-project/bigcode-dataset preprocessing/visual_inspection.csv, Apache-2.0",
            "made by": "tools/extension_limits.py",
        },
        "languages": languages,
        "extensions": extensions,
        "without_extension": own,
    }
    text = json.dumps(made, sort_keys=True, indent=0, ensure_ascii=False)
    (DATA / "extension_limits.json").write_text(text + "\n", encoding="utf-8")
    with Path(sys.argv[2]).open(encoding="utf-8", newline="") as file:
        names = sorted({row["language"] for row in csv.DictReader(file) if row["include_final"] == "TRUE"})
    head = "# bigcode-project, The Stack v2's language labels (Apache-2.0); made by tools/extension_limits.py"
    (DATA / "stack_v2_languages.txt").write_text("\n".join([head, *names]) + "\n", encoding="utf-8")
    print(f"{len(names)} languages of The Stack v2")
    print(f"{len(rows)} rows, {len(extensions)} extensions, {len(languages)} languages")


if __name__ == "__main__":
    main()
