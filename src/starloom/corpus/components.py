"""Connected components of duplicates, and the one row of each that stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Edge = tuple[int, int, float]  # two rows, and their Jaccard similarity


class Duplicates(NamedTuple):
    """The verified edges of one de-duplication, and the reason that a dropped row then has.

    Without `same_content` its components are of rows of which one is wanted, such as the commits of a file, whatever
    they hold: such a component joins its kept rows, and says nothing about what else is like them.
    """

    reason: str
    edges: Sequence[Edge]
    same_content: bool = True


class Forest:
    """Union-find over rows 0 … size - 1."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def find(self, row: int) -> int:
        above = self._above
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    def join(self, one: int, other: int) -> None:
        a, b = self.find(one), self.find(other)
        if a != b:
            self._above[max(a, b)] = min(a, b)


def reasons_to_drop(kept: Sequence[bool], ranks: Sequence[Any], every: Iterable[Duplicates]) -> list[str | None]:
    """For each row the reason why another stands for it, or None: it is the least rank of its component, or not kept.

    Components are taken over the kept rows alone: an edge through a dropped row joins nobody. Equality is the
    exception, because it is transitive: rows joined by edges of similarity 1 are one thing, of which a dropped row
    only was a copy. A row's reason is that of the first de-duplication by which, with those before it, a better row
    stands beside it.
    """
    reasons: list[str | None] = [None] * len(kept)
    joined = Forest(len(kept))
    equal = Forest(len(kept))
    others: list[Edge] = []
    for reason, edges, same_content in every:
        if not same_content:
            _join_kept(joined, edges, kept)
        for one, other, similarity in edges if same_content else ():
            if similarity == 1.0:
                equal.join(one, other)
                joined.join(one, other)
            else:
                others.append((one, other, similarity))
        alive = {equal.find(row) for row, keep in enumerate(kept) if keep}
        for one, other, _ in others:
            if equal.find(one) in alive and equal.find(other) in alive:
                joined.join(one, other)
        best: dict[int, int] = {}
        for row, keep in enumerate(kept):
            if keep:
                root = joined.find(row)
                if root not in best or ranks[row] < ranks[best[root]]:
                    best[root] = row
        survivors = set(best.values())
        for row, keep in enumerate(kept):
            if keep and row not in survivors and reasons[row] is None:
                reasons[row] = reason
    return reasons


def _join_kept(joined: Forest, edges: Sequence[Edge], kept: Sequence[bool]) -> None:
    """Join the kept rows of each component, also of those that only a dropped row connects."""
    whole = Forest(len(kept))
    for one, other, _ in edges:
        whole.join(one, other)
    first: dict[int, int] = {}
    for row in sorted({row for one, other, _ in edges for row in (one, other)}):
        if kept[row]:
            joined.join(first.setdefault(whole.find(row), row), row)
