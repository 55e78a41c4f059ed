"""Hold-out groups, and which of them are held out: by group, so that what belongs together is on one side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from starloom.corpus.sources.listing import printable
from starloom.records import uniform


def groups_of(places: Sequence[tuple[str, bytes]]) -> list[str]:
    """Hold-out group of each (repository, path): the repository.

    Where all files are of one repository, it is the repository and the first name below the folder that they share,
    a top-level package or module: `python:stdlib/json`, `python:stdlib/abc`.
    """
    if len({repository for repository, _ in places}) != 1:
        return [repository for repository, _ in places]
    folders = [path.split(b"/")[:-1] for _, path in places]
    shared = min(map(len, folders))
    first, last = min(folders), max(folders)  # what the least and the greatest share, all share
    while first[:shared] != last[:shared]:
        shared -= 1
    names = []
    for repository, path in places:
        parts = path.split(b"/")[shared:]
        name = parts[0] if len(parts) > 1 else parts[0].rpartition(b".")[0] or parts[0]
        names.append(f"{repository}/{printable(name)}")
    return names


def held_out(sizes: Mapping[str, int], share: float, seed: int) -> frozenset[str]:
    """The groups whose number is below `share`, a number being a function of seed and group.

    Where there are none, the one with the smallest number, so that there is something to measure on. Never so many
    that they hold more than half of the bytes, the smallest numbers first; of one group alone, none.
    """
    if share <= 0 or len(sizes) < 2:
        return frozenset()
    numbers = {group: uniform(seed, group) for group in sizes}
    ordered = sorted(sizes, key=lambda group: (numbers[group], group))
    chosen = [group for group in ordered if numbers[group] < share]
    return _within_half(chosen, sizes, most=len(sizes) - 1) or _within_half(ordered, sizes, most=1)


def _within_half(groups: Iterable[str], sizes: Mapping[str, int], most: int) -> frozenset[str]:
    left = sum(sizes.values()) // 2
    taken: list[str] = []
    for group in groups:
        if len(taken) < most and sizes[group] <= left:
            taken.append(group)
            left -= sizes[group]
    return frozenset(taken)
