"""Foreign text in Markdown and YAML as what it says: no name or path can become markup, a link, a key or a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from starloom.report import plain

# Written as character references, which CommonMark never takes for structure, and which no later pass (autolinks,
# formulas, mentions) sees through. An underscore inside a word and a colon without slashes are text anyway.
_MARKUP = re.compile(
    r"""[\\`*\[\]<>|~&@$^={}"']|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=/)|(?<=[wW]{3})\.|^[-+#]|#$|^\d+(?=[.)](?:\s|$))"""
)


def inline(text: str) -> str:
    """Text for one line of Markdown, as it is read: a cell of a table, or within a sentence."""
    shown = " ".join(plain.visible(text).split())
    return _MARKUP.sub(_reference, shown)


def _reference(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(sign)};" for sign in found[0])


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """The lines of a table whose cells are foreign text; columns of figures, `right`, to the right."""
    yield ""
    yield _row(head)
    yield _row(["---:" if place in right else "---" for place in range(len(head))], escaped=True)
    for row in rows:
        yield _row(row)
    yield ""


def _row(cells: Sequence[str], escaped: bool = False) -> str:
    return f"| {' | '.join(cells if escaped else map(inline, cells))} |"


def block(text: str, language: str = "") -> Iterator[str]:
    """The lines of a block of code, in a fence that is longer than any in it."""
    shown = plain.visible(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    yield from ("", fence + language, *shown.split("\n"), fence, "")


def front_matter(values: Mapping[str, str | Sequence[str]]) -> Iterator[str]:
    """The lines of a YAML header: each text double-quoted, as JSON is, which YAML reads as it stands."""
    yield "---"
    for key, value in values.items():
        if isinstance(value, str):
            yield f"{key}: {_quoted(value)}"
        else:
            yield f"{key}:"
            yield from (f"- {_quoted(one)}" for one in value)
    yield "---"


def _quoted(text: str) -> str:
    shown = plain.visible(text)
    return (
        shown
        if re.fullmatch(r"[a-z][a-z0-9-]*", shown) and shown not in _WORDS
        else json.dumps(shown, ensure_ascii=False)
    )


_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))  # that YAML takes for something else
