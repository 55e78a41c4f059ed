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
    if "." in name[1:]:
        row = table()["extensions"].get(name.rpartition(".")[2].lower())
    else:
        row = _without_extension(language)
    if row is None or not row["included"]:
        return None
    longest = row["longest_line"]
    return Limits(None if longest is None else int(longest), row["alphanumeric"], row["alphabetic"], row["xml"])


@cache
def _without_extension(language: str | None) -> dict[str, Any] | None:
    """The row of a language's files without an extension: the table's own, else that of its first included extension."""
    names = [name for name, ours in table()["languages"].items() if language in ours]
    rows = sorted(table()["extensions"].items())
    found = [table()["without_extension"][name] for name in names if name in table()["without_extension"]]
    found += [row for _, row in rows if row["language"] in names and row["included"]]
    return found[0] if found else None
