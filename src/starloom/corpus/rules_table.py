"""StarCoder's limits by extension: data that `tools/extension_limits.py` derives from BigCode's inspection."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """What a file of one extension must keep to; None is no limit."""

    longest_line: int | None
    alphanumeric: float | None  # least share of letters and digits
    alphabetic: float | None  # least share of letters
    xml: bool  # whether an XML declaration counts against the file


@cache
def table() -> dict[str, Any]:
    file = resources.files("starloom.corpus") / "data" / "extension_limits.json"
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


@cache
def selected() -> frozenset[str]:
    """Every language, by linguist's name, of which the table includes some extension."""
    return frozenset(name for names in table()["languages"].values() for name in names)


def limits_of(language: str | None, path: bytes) -> Limits | None:
    """The limits of a file; None for one that the table does not include.

    BigCode's table is keyed by (language, extension), with one language per extension. Our languages come from the
    content too: a C++ header named `.h` is judged by the row of `.h`, and an Objective-C file named `.m` is out,
    because no row includes Objective-C. A file without extension (Makefile, Dockerfile) has its language's own row.
    """
    if language not in selected():
        return None
    name = path.rpartition(b"/")[2].decode("utf-8", "replace")
    rows = table()["extensions"]
    row = rows.get(name.rpartition(".")[2].lower()) if "." in name[1:] else None
    if row is None:
        row = rows.get(_own_row(language or ""))
        if row is None or "." in name[1:]:
            return None
    if not row["included"]:
        return None
    longest = row["longest_line"]
    return Limits(None if longest is None else int(longest), row["alphanumeric"], row["alphabetic"], row["xml"])


@cache
def _own_row(language: str) -> str | None:
    """The extension whose row stands for a language's files without one: the first of it that is included."""
    names = [name for name, ours in table()["languages"].items() if language in ours]
    found = sorted(
        extension for extension, row in table()["extensions"].items() if row["language"] in names and row["included"]
    )
    return found[0] if found else None
