"""Derive src/starloom/corpus/data/languages.json from GitHub linguist's languages.yml and BigCode's extension list.

    python tools/language_table.py LINGUIST_FOLDER BIGCODE_LIST.json

Every extension leads to one language, as in BigCode's list. Where several languages claim an extension, the one that
BigCode gave it to keeps it (by name, alias or group); an extension that BigCode gave to none of them is left to the
content of the file, and listed as ambiguous.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).parents[1] / "src/starloom/corpus/data"


def claims(languages: dict[str, dict[str, Any]], field: str) -> dict[str, list[str]]:
    """Extension, file name or interpreter → languages that claim it."""
    found: dict[str, list[str]] = {}
    for name, language in languages.items():
        for item in language.get(field, []):
            found.setdefault(item, []).append(name)
    return found


def chosen(candidates: list[str], wanted: str | None, languages: dict[str, dict[str, Any]]) -> str | None:
    """The candidate that another list calls `wanted`: by its name, an alias, or the group that it is part of."""
    if wanted is None:
        return None
    word = wanted.lower()
    for names in (
        lambda name: [name],
        lambda name: languages[name].get("aliases", []),
        lambda name: [languages[name].get("group", "")],
    ):
        found = [name for name in candidates if word in [one.lower() for one in names(name)]]
        if len(found) == 1:
            return found[0]
    return None


def table(languages: dict[str, dict[str, Any]], bigcode: dict[str, list[str]]) -> dict[str, Any]:
    given = {extension: name for name, extensions in bigcode.items() for extension in extensions}
    extensions, ambiguous, contested = {}, {}, {}
    for extension, candidates in claims(languages, "extensions").items():
        only = candidates[0] if len(candidates) == 1 else chosen(candidates, given.get(extension), languages)
        if only is None:
            ambiguous[extension] = sorted(candidates)
        else:
            extensions[extension] = only
            if len(candidates) > 1:
                contested[extension] = len(candidates)
    everyone = list(languages)
    for extension, name in given.items():  # spelled in capitals, or unknown to linguist
        if extension.startswith(".") and extension not in extensions and extension not in ambiguous:
            known = chosen(everyone, name, languages)
            if known is not None:
                extensions[extension] = known
    interpreters = {
        interpreter: candidates[0] if len(candidates) == 1 else chosen(candidates, interpreter, languages)
        for interpreter, candidates in claims(languages, "interpreters").items()
    }
    return {
        "sources": {
            "languages": "github/linguist lib/linguist/languages.yml, MIT (LICENSE.linguist beside this file)",
            "extension clashes": "bigcode-project/bigcode-dataset language_selection/"
            "programming-languages-to-file-extensions.json, Apache-2.0",
            "made by": "tools/language_table.py",
        },
        "types": {name: language["type"] for name, language in languages.items()},
        "extensions": extensions,
        "claimed_by": contested,
        "ambiguous": ambiguous,
        "file_names": {name: found[0] for name, found in claims(languages, "filenames").items() if len(found) == 1},
        "interpreters": {name: language for name, language in interpreters.items() if language is not None},
    }


def main() -> None:
    linguist, bigcode = Path(sys.argv[1]), Path(sys.argv[2])
    languages = yaml.safe_load((linguist / "languages.yml").read_text(encoding="utf-8"))
    made = table(languages, json.loads(bigcode.read_text(encoding="utf-8")))
    text = json.dumps(made, sort_keys=True, indent=0, ensure_ascii=False)
    (TARGET / "languages.json").write_text(text + "\n", encoding="utf-8")
    (TARGET / "LICENSE.linguist").write_text((linguist / "LICENSE").read_text(encoding="utf-8"), encoding="utf-8")
    kinds = ("extensions", "ambiguous", "file_names", "interpreters")
    print(", ".join(f"{len(made[kind])} {kind}" for kind in kinds))


if __name__ == "__main__":
    main()
