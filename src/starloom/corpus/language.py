"""Language of a file: by its name, its extension, the interpreter that its first line names, and its content.

The table is GitHub linguist's, each extension leading to one language as in BigCode's list (`tools/language_table.py`
makes it). Extensions that several languages share (`.h`, `.m`, `.pl`, `.ts`, …) are settled by `language_content.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from starloom.corpus.language_content import HEAD, asked, languages_by_content, possible
from starloom.corpus.schemas import ATTRIBUTE, Attribute, table_of
from starloom.errors import ConfigError, suggestion
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, write_table

_FIRST_LINE = 512  # characters of a first line that are looked at; Linux reads 256 bytes of it (binfmt_script)
_CONTENT = 0.95  # confidence in what a heuristic says; our choice
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

    An extension that several languages share is settled by the content, as linguist does (confidence 0.95, our
    choice); where that says nothing, it is the language that BigCode gave it to, with confidence 1/n of n claims.
    """
    named, extension = _by_name(path)
    if text is None:
        return named
    if extension is None:
        return named if named.value is not None else _by_shebang(path, text)
    (told,) = languages_by_content(extension, [text[:HEAD]])
    return _settled(named, extension, told, text)


def _by_name(path: bytes) -> tuple[Attribute, str | None]:
    """What the name says, and the extension about which the content is to be asked, if it is one of these."""
    table = _table()
    name = path.rpartition(b"/")[2].decode("utf-8", "replace")
    if name in table["file_names"]:
        return Attribute(table["file_names"][name], "file_name", 1.0), None
    for extension in _extensions(name):
        spellings = (extension, extension.lower())
        ask = next((one for one in spellings if asked(one)), None)
        for one in spellings:
            if one in table["folded"]:
                claimed = table["claimed_by"].get(one, 1)
                return Attribute(table["folded"][one], "extension", 1 / claimed), ask
        if ask is not None:
            return UNKNOWN, ask
    return UNKNOWN, None


def _extensions(name: str) -> list[str]:
    """Everything behind a dot, the longest first: `.blade.php`, `.php`."""
    return [name[position:] for position, letter in enumerate(name) if letter == "."]


@cache
def _sharing(extension: str) -> frozenset[str | None]:
    """The languages that an extension may stand for; None among them where no language has it alone."""
    table = _table()
    return frozenset({*possible(extension), table["folded"].get(extension), *table["ambiguous"].get(extension, [])})


def _settled(named: Attribute, extension: str, told: str | None, text: str) -> Attribute:
    """One of the languages that share an extension: by the shebang if it names one of them, else by the content."""
    interpreter = shebang(text)
    stated = _table()["interpreters"].get(interpreter) if interpreter else None
    if stated is not None and stated in _sharing(extension):
        return Attribute(stated, "shebang", 1.0)
    return Attribute(told, "content", _CONTENT) if told is not None else named


def _by_shebang(path: bytes, text: str) -> Attribute:
    name = path.rpartition(b"/")[2]
    interpreter = shebang(text) if b"." not in name[1:] else None
    language = _table()["interpreters"].get(interpreter) if interpreter else None
    return UNKNOWN if language is None else Attribute(language, "shebang", 1.0)


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
    paths = files["path"].to_pylist()
    lines: list[str | None] = pc.utf8_slice_codeunits(files["text"], 0, _FIRST_LINE).to_pylist()
    found: list[Attribute] = []
    groups: dict[str, list[int]] = {}  # extension → rows whose content is asked
    for row, (path, line) in enumerate(zip(paths, lines, strict=True)):
        named, extension = _by_name(path)
        if extension is not None and line is not None:
            groups.setdefault(extension, []).append(row)
        elif named.value is None and line is not None:
            named = _by_shebang(path, line)
        found.append(named)
    for extension, rows in groups.items():
        heads = pc.utf8_slice_codeunits(files["text"].take(pa.array(rows, pa.int64())), 0, HEAD).to_pylist()
        for row, head, told in zip(rows, heads, languages_by_content(extension, heads), strict=True):
            found[row] = _settled(found[row], extension, told, head)
    documents = files["id"].to_pylist()
    return table_of(
        ({"id": document, **one._asdict()} for document, one in zip(documents, found, strict=True)), ATTRIBUTE
    )


def _find_languages(call: tuple[Built, str], folder: Path) -> Facts:
    files, part = call
    table = languages_of(files.table(part, ["id", "path", "text"]))
    write_table(folder / part, table)
    return {"rows": len(table), "found": len(table) - table["value"].null_count}


@dataclass(frozen=True, slots=True)
class Language(Stage):
    """Language of each file as an attribute beside it."""

    version: ClassVar[int] = 3
    files: Stage

    def produce(self, work: Work) -> None:
        files = work.input("files")
        for _, facts in work.map(
            _find_languages, {part.removesuffix(".parquet"): (files, part) for part in files.parts()}
        ):
            work.count(rows_in=facts["rows"], rows_out=facts["rows"], found=facts["found"])
        work.summary = f"{work.counts['found']:,} of {work.counts['rows_in']:,} files have a language"
