"""Names for what is called after a folder or a file, because nothing says what it is: told apart within one list by the
folders that it lies in, and by no more of them than that takes.

What is covered: one base name in several places, whatever the order of the list. What is not covered: two lists, read
one without the other; a name tells apart what is read together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from starloom.corpus.sources.listing import Home, printable


def told_apart(homes: Iterable[Home]) -> dict[tuple[str, tuple[str, ...]], str]:
    """(name, path) of every home → the name that it has among them; that of a path of its own is as it was."""
    least: dict[tuple[str, tuple[str, ...]], int] = {}
    for home in homes:
        key = home.name, home.path
        least[key] = min(home.least, least.get(key, home.least))
    parts = dict.fromkeys(least, 1)
    while True:
        alike: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        for key in least:
            alike[_called(*key, parts[key])].append(key)
        clashes = [keys for keys in alike.values() if len({path for _, path in keys}) > 1]
        if not clashes:
            return {key: name for name, keys in alike.items() for key in keys}
        for keys in clashes:
            short = [key for key in keys if parts[key] < least[key]]
            for key in short or keys:  # whole paths differ: this ends
                parts[key] = parts[key] + 1 if not short else least[key]


def _called(name: str, path: tuple[str, ...], parts: int) -> str:
    """`folder:src`, `folder:x/src`, `folder:a/x/src`, …; a file keeps its suffix there, for x.zip may lie beside x.tar."""
    if parts == 1:
        return name
    words = (printable(part.replace("\\", "\\\\")) for part in path[-parts:])
    return f"{name.partition(':')[0]}:{'/'.join(words)}"
