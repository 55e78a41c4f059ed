"""The text that a page shows: outside of tags, comments, scripts and styles. One pass, whatever the page."""

from __future__ import annotations

import html
import re

_MARK = re.compile(r"<(?:!--|/?[a-zA-Z]|[!?])")
_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)")
_TAG_END = re.compile(r"(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+>")
_CLOSE = {name: re.compile(f"</{name}\\b", re.IGNORECASE) for name in ("script", "style")}


def visible_text(page: str) -> str:
    """Text outside of markup, entities resolved. What is opened and never closed swallows the rest."""
    shown = []
    position = 0
    while (found := _MARK.search(page, position)) is not None:
        shown.append(page[position : found.start()])
        position = _behind(page, found)
        name = _NAME.match(page, found.start())
        if name is not None and page[found.start() + 1] != "/" and name[1].lower() in _CLOSE:
            closing = _CLOSE[name[1].lower()].search(page, position)
            position = len(page) if closing is None else closing.start()
    shown.append(page[position:])
    return html.unescape("".join(shown))


def _behind(page: str, mark: re.Match[str]) -> int:
    if mark[0] == "<!--":
        end = page.find("-->", mark.end())
        return len(page) if end < 0 else end + 3
    tag = _TAG_END.match(page, mark.end())
    if tag is not None:
        return tag.end()
    end = page.find(">", mark.end())  # a quote that nothing closes
    return len(page) if end < 0 else end + 1
