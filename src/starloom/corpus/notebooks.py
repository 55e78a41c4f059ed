"""Jupyter notebooks: their cells and outputs as named fields, and the two forms in which BigCode trained on them.

Structured: groups of Markdown and code take turns, each with the output of its last code cell (bigcode-dataset
`preprocessing/jupyter-structured/`). Script: code with the Markdown as comments, as jupytext writes one. Both keep the
way back to the cells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from starloom.corpus.fields import Field, sound
from starloom.corpus.traced import Parts, Traced

LONGEST_OUTPUT = 1000  # characters of an output that are kept (jupyter-structured.ipynb)
CUT = "[...]"  # what stands for the rest
_MOST_CELLS = 100_000  # our choice

# What a line comment begins with in the languages that BigCode's scripts were written in
# (jupyter_script_conversion.py, `lang2ext`); linguist's names in lower case, and Jupyter's own.
_COMMENTS = {
    "#": "python python3 ipython qsharp coconut r julia bash powershell robotframework sage tcl gnuplot perl ruby sos",
    "//": "c++ javascript typescript scala rust csharp c# fsharp f# java groovy go kotlin php swift",
    ";": "scheme clojure idl",
    "%": "matlab octave",
    "--": "haskell lua sql",
    "/": "q",
}  # fmt: skip
COMMENT_OF = {language: mark for mark, names in _COMMENTS.items() for language in names.split()}

_TAG = re.compile(r"<[^<>\n]*>")
_LINE_BREAKS = re.compile(r"\n+")
_MAGIC = re.compile(r"\s*(?:%{1,2}[A-Za-z]|![A-Za-z./]|\?\w|[\w.]+\?{1,2}\s*$)")  # IPython's; in no other language
_CELL_MAGIC = re.compile(r"\s*%%(?!time|capture|prun)")  # the cell is another language


class Cell(NamedTuple):
    """A cell, and what its code printed first; None where it printed nothing."""

    kind: str  # markdown, code, raw
    field: str
    text: str
    output: Field | None = None


class Notebook(NamedTuple):
    """Cells in their order."""

    language: str | None  # in lower case, as the notebook's metadata say
    cells: tuple[Cell, ...]


def is_notebook(path: bytes) -> bool:
    """Whether a file of that name is a notebook."""
    return path.lower().endswith(b".ipynb")


def notebook_fields(text: str) -> tuple[tuple[Field, ...] | None, str | None]:
    """(fields, None) of a notebook of format 3 or 4, or (None, the reason): `not_a_notebook`, `notebook_without_cells`.

    Fields: `language`, then `markdown:N`, `code:N`, `raw:N`, `output:N:M` (what was printed) and `result:N:M` (a value's
    plain text), N counting cells. What is not of the format is left out rather than guessed.
    """
    try:
        content = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None, "not_a_notebook"
    if not isinstance(content, dict):
        return None, "not_a_notebook"
    sheets = content.get("worksheets")
    if isinstance(sheets, list):  # format 3
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in _list(sheet.get("cells"))]
    elif isinstance(content.get("cells"), list):
        cells = content["cells"]
    else:
        return None, "not_a_notebook"
    fields = [
        field
        for number, cell in enumerate(cells[:_MOST_CELLS])
        if isinstance(cell, dict)
        for field in _cell(number, cell)
    ]
    if not any(field.text.strip() for field in fields):
        return None, "notebook_without_cells"
    language = _language(content, cells)
    return tuple([Field("language", language), *fields] if language else fields), None


def _cell(number: int, cell: dict[str, Any]) -> Iterator[Field]:
    kind = cell.get("cell_type")
    if kind == "heading":  # format 3
        kind = "markdown"
    if kind not in ("markdown", "code", "raw"):
        return
    yield Field(f"{kind}:{number}", _text(cell.get("source", cell.get("input"))))
    if kind != "code":
        return
    for place, output in enumerate(_list(cell.get("outputs"))):
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        if isinstance(data, dict) and "text/plain" in data:
            yield Field(f"result:{number}:{place}", _text(data["text/plain"]))
        elif "text" in output:
            yield Field(f"output:{number}:{place}", _text(output["text"]))


def _language(content: dict[str, Any], cells: Sequence[Any]) -> str | None:
    metadata = content.get("metadata")
    if isinstance(metadata, dict):
        for table, key in (("language_info", "name"), ("kernelspec", "language"), ("kernelspec", "name")):
            value = metadata.get(table, {}).get(key) if isinstance(metadata.get(table), dict) else None
            if isinstance(value, str) and value.strip():
                return sound(value.strip().lower()[:64])
    for cell in cells:  # format 3 says it in each cell
        if isinstance(cell, dict) and isinstance(cell.get("language"), str) and cell["language"].strip():
            return sound(cell["language"].strip().lower()[:64])
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    if isinstance(value, list):
        value = "".join(piece for piece in value if isinstance(piece, str))
    return sound(value) if isinstance(value, str) else ""


def notebook_of(fields: Sequence[Field]) -> Notebook:
    """The cells of a stored row; those without text are left out."""
    outputs: dict[str, Field] = {}
    for field in fields:
        kind, _, rest = field.name.partition(":")
        cell, _, place = rest.partition(":")
        if (
            kind == "output" and place == "0"
        ):  # the first of a cell's outputs, where it was printed (segment-notebooks.py)
            outputs[cell] = field
    language = next((field.text for field in fields if field.name == "language"), None)
    cells = []
    for field in fields:
        kind, _, number = field.name.partition(":")
        if kind in ("markdown", "code", "raw") and field.text:
            cells.append(Cell(kind, field.name, field.text, outputs.get(number) if kind == "code" else None))
    return Notebook(language, tuple(cells))


def pairs(notebook: Notebook) -> list[tuple[list[Cell], list[Cell]]]:
    """Groups of Markdown, each with the group of code behind it: leading code and trailing Markdown left out.

    Raw cells belong to neither; BigCode's pairs fell apart at them.
    """
    groups = [
        (kind, list(cells))
        for kind, cells in groupby((one for one in notebook.cells if one.kind != "raw"), key=lambda one: one.kind)
    ]
    if groups and groups[0][0] == "code":
        groups = groups[1:]
    if groups and groups[-1][0] == "markdown":
        groups = groups[:-1]
    return [(groups[place][1], groups[place + 1][1]) for place in range(0, len(groups), 2)]


def reasons_against_notebook(notebook: Notebook) -> list[str]:
    """Why neither form of a notebook is training text."""
    structured = bool(pairs(notebook)) and is_python(notebook)
    return [] if structured or script_comment(notebook) is not None else ["notebook_without_form"]


def is_python(notebook: Notebook) -> bool:
    """Structured notebooks were Python's only: "py" in their metadata (segment-notebooks.py)."""
    return "py" in (notebook.language or "")


def script_comment(notebook: Notebook) -> str | None:
    """What begins a comment in a notebook's language; None where the language or code is missing."""
    has_code = any(cell.kind == "code" and cell.text.strip() for cell in notebook.cells)
    return COMMENT_OF.get(notebook.language or "") if has_code else None


def structured(notebook: Notebook, source: bytes) -> Parts | None:
    """`<jupyter_start>` and for each pair `<jupyter_text>M<jupyter_code>C<jupyter_output>O`; None without pairs."""
    found = pairs(notebook)
    if not found or not is_python(notebook):
        return None
    parts = Parts()
    parts.control("jupyter_start")
    for prose, code in found:
        cleaned = [(cell, _plain(Traced.of(cell.text))) for cell in prose]
        _group(parts, "jupyter_text", cleaned, " ", source)
        _group(parts, "jupyter_code", [(cell, Traced.of(cell.text)) for cell in code], "\n", source)
        parts.control("jupyter_output")
        output = code[-1].output
        if output is None:
            parts.control("empty_output")
        else:
            text = Traced.of(output.text)
            if len(text) > LONGEST_OUTPUT:
                text = text.replaced([(LONGEST_OUTPUT, len(text), CUT)])
            parts.add(None, text.stripped(), source, output.name)
    return parts


def _group(parts: Parts, control: str, cells: Sequence[tuple[Cell, Traced]], between: str, source: bytes) -> None:
    """Cells behind one control, without white space before the first and behind the last."""
    kept = [(cell, text) for cell, text in cells if text.text.strip()]
    parts.control(control)
    for place, (cell, text) in enumerate(kept):
        if place:
            parts.insert(between)
        start = len(text.text) - len(text.text.lstrip()) if place == 0 else 0
        end = len(text.text.rstrip()) if place == len(kept) - 1 else len(text)
        parts.add(None, text.cut(start, end), source, cell.field)


def _plain(text: Traced) -> Traced:
    """Markdown without tags, line breaks and number signs (jupyter-generate-triplets.py); a tag ends in its line."""
    return text.substituted(_TAG, "").substituted(_LINE_BREAKS, "").substituted(re.compile("#"), "")


def script(notebook: Notebook, source: bytes, control: str | None = None) -> Parts | None:
    """Code cells as they are, with magics, Markdown and raw cells as comments, a blank line between two cells."""
    mark = script_comment(notebook)
    if mark is None:
        return None
    parts = Parts()
    if control is not None:
        parts.control(control)
    for place, cell in enumerate(one for one in notebook.cells if one.text.strip()):
        if place:
            parts.insert("\n\n")
        text = Traced.of(cell.text.rstrip())
        prose = cell.kind != "code" or (is_python(notebook) and _CELL_MAGIC.match(cell.text) is not None)
        commented = [
            (at, at, f"{mark} " if line.strip() else mark)
            for at, line in _lines(cell.text.rstrip())
            if prose or (is_python(notebook) and _MAGIC.match(line))
        ]
        parts.add(None, text.replaced(commented), source, cell.field)
    parts.insert("\n")
    return parts


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(first character, line) of every line."""
    at = 0
    for line in text.split("\n"):
        yield at, line
        at += len(line) + 1
