"""The code in an answer that is written in Markdown."""

from __future__ import annotations

import re
from typing import NamedTuple

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)
NAMES = {
    "Python": ("python", "py", "python3"),
    "JavaScript": ("javascript", "js", "node"),
    "TypeScript": ("typescript", "ts"),
    "C++": ("cpp", "c++", "cc"),
    "C#": ("csharp", "cs", "c#"),
}


class Block(NamedTuple):
    tag: str
    code: str


def blocks(text: str) -> list[Block]:
    """Every fenced block in order; one that is not closed goes on to the end."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif not fence[1]:
            found.append(Block(opening[1].lower(), text[opening.end() + 1 : fence.start()]))
            opening = None
    if opening is not None:
        found.append(Block(opening[1].lower(), text[opening.end() + 1 :]))
    return found


def code_of(text: str, language: str, *, which: int = 0) -> str:
    """The first block (`which` 0; the last: -1) in a language, else of any kind; a text without fences is all code."""
    found = blocks(text)
    names = NAMES.get(language, (language.lower(),))
    of_language = [block for block in found if block.tag in names]
    untagged = [block for block in found if not block.tag]
    for among in (of_language, untagged, found):
        if among:
            return among[which].code
    return text
