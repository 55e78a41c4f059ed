"""Language of a file, by its name, its extension, or the interpreter that its first line names.

The table is GitHub linguist's, each extension leading to one language as in BigCode's list (`tools/language_table.py`
makes it). An extension that only the content could settle (`.m`, `.v`, `.inc`, …) has no language here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from starloom.corpus.schemas import ATTRIBUTE, Attribute, table_of
from starloom.errors import ConfigError, suggestion
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, write_table

_FIRST_LINE = 512  # characters of a first line that are looked at; Linux reads 256 bytes of it (binfmt_script)
UNKNOWN = Attribute(None, None, 0.0)


@cache
def _table() -> dict[str, Any]:
    file = resources.files("starloom.corpus") / "data" / "languages.json"
    table: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    table["folded"] = {extension.lower(): name for extension, name in table["extensions"].items()}
    table["folded"].update(table["extensions"])  # `.C` and `.c` stay apart, `.PY` is `.py`
    return table


def languages() -> dict[str, str]:
    """Every language name, with its type: programming, markup, data or prose."""
    return dict(_table()["types"])


def check_languages(names: tuple[str, ...]) -> None:
    """Raises ConfigError for a name that linguist does not use, with the nearest one."""
    for name in names:
        if name not in _table()["types"]:
            known = {one.lower(): one for one in _table()["types"]}
            hint = (
                f"did you mean '{known[name.lower()]}'?"
                if name.lower() in known
                else suggestion(name, _table()["types"])
            )
            raise ConfigError(f"no language '{name}'; {hint}")


def language_of(path: bytes, text: str | None = None) -> Attribute:
    """Language of a file: its whole name first, then its longest known extension; a shebang where it has no extension.

    An extension that n languages claim was given to one of them: confidence 1/n.
    """
    table = _table()
    name = path.rpartition(b"/")[2].decode("utf-8", "replace")
    if name in table["file_names"]:
        return Attribute(table["file_names"][name], "file_name", 1.0)
    dots = [position for position, letter in enumerate(name) if letter == "."]
    for dot in dots:
        for extension in (name[dot:], name[dot:].lower()):
            if extension in table["folded"]:
                claimed = table["claimed_by"].get(extension, 1)
                return Attribute(table["folded"][extension], "extension", 1 / claimed)
    if text is not None and (not dots or dots == [0]):
        interpreter = shebang(text)
        language = table["interpreters"].get(interpreter) if interpreter else None
        if language is not None:
            return Attribute(language, "shebang", 1.0)
    return UNKNOWN


def shebang(text: str) -> str | None:
    """The interpreter that the first line names: `python3` of `#!/usr/bin/env -S python3.11 -u`; None without one."""
    line = text[:_FIRST_LINE].removeprefix("\ufeff").partition("\n")[0]
    if not line.startswith("#!"):
        return None
    words = line[2:].split()
    names = [word.rpartition("/")[2] for word in words]
    if names and names[0] == "env":
        names = [name for word, name in zip(words[1:], names[1:], strict=True) if not re.match(r"-|\w+=", word)]
    return re.sub(r"\.\d+(\.\d+)*$", "", names[0]) if names else None


def languages_of(files: pa.Table) -> pa.Table:
    """The attribute rows of a shard with columns id, path and text."""
    rows = []
    for document, path, text in zip(files["id"].to_pylist(), files["path"].to_pylist(), _heads(files), strict=True):
        rows.append({"id": document, **language_of(path, text)._asdict()})
    return table_of(rows, ATTRIBUTE)


def _heads(files: pa.Table) -> list[str | None]:
    import pyarrow.compute as pc

    heads: list[str | None] = pc.utf8_slice_codeunits(files["text"], 0, _FIRST_LINE).to_pylist()
    return heads


def _find_languages(call: tuple[Built, str], folder: Path) -> Facts:
    files, part = call
    table = languages_of(files.table(part, ["id", "path", "text"]))
    write_table(folder / part, table)
    return {"rows": len(table), "found": len(table) - table["value"].null_count}


@dataclass(frozen=True, slots=True)
class Language(Stage):
    """Language of each file as an attribute beside it."""

    files: Stage

    def produce(self, work: Work) -> None:
        files = work.input("files")
        for _, facts in work.map(
            _find_languages, {part.removesuffix(".parquet"): (files, part) for part in files.parts()}
        ):
            work.count(rows_in=facts["rows"], rows_out=facts["rows"], found=facts["found"])
        work.summary = f"{work.counts['found']:,} of {work.counts['rows_in']:,} files have a language"
