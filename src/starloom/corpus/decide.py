"""The one decision about every document: why it goes, or in which split, validation set and weight it stays.

In this order, each over what the one before left: verdicts, duplicates, hold-out groups, what is too like something held
out, and the amounts of the training split. Nothing here reads a text.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from starloom.corpus.components import Duplicates, Edge, Forest, reasons_to_drop
from starloom.corpus.license_expressions import LICENSE_TYPES, license_type
from starloom.corpus.selectors import Selector
from starloom.corpus.split import groups_of, held_out
from starloom.records import uniform

DOWN_SAMPLED = "down_sampled"
NEAR_HELDOUT = "near_duplicate_of_heldout"
ELSEWHERE = "held_out_elsewhere"


class Candidate(NamedTuple):
    """What is decided upon: a document, without its text."""

    part: str
    row: int  # in its part
    id: bytes
    repository: str
    path: bytes
    size: int
    kind: str
    language: str | None
    rank: tuple[Any, ...]  # the least of a component stays
    reason: str | None  # the first reason against it, in recipe order


class Kept(NamedTuple):
    """A document that stays, where it goes."""

    row: int
    group: str
    split: str
    weight: float = 1.0
    validation: str | None = None


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of what: weights multiply; caps are bytes of the training split; the first set that matches names."""

    weights: tuple[tuple[Selector, float], ...] = ()
    caps: tuple[tuple[Selector, float], ...] = ()
    validation: tuple[Selector, ...] = ()


def rank(
    license_: str | None, stars: int | None, forks: int | None, dates: Sequence[Any], document: bytes
) -> tuple[Any, ...]:
    """Who stands for a component: the most permissive, then most stars, most forks, latest (The Stack v2), then by id."""
    latest = max((date.timestamp() for date in dates), default=float("-inf"))
    unknown = -1
    return (
        LICENSE_TYPES.index(license_type(license_)),
        -(unknown if stars is None else stars),
        -(unknown if forks is None else forks),
        -latest,
        document,
    )


@dataclass(frozen=True, slots=True)
class Fixed:
    """What another mix holds out: its documents, and the groups that they are of."""

    ids: frozenset[bytes]
    groups: frozenset[str]


def first_reason(unread: str | None, verdicts: Sequence[tuple[bool, Sequence[str]]]) -> str | None:
    """Why a document is dropped, by the first verdict against it in recipe order; None when all keep it."""
    for keep, reasons in verdicts:
        if not keep:
            return reasons[0]
    return unread


def decide(
    candidates: Sequence[Candidate],
    duplicates: Sequence[Duplicates],
    heldout: float,
    seed: int,
    apart: Sequence[Sequence[Edge]] = (),
    amounts: Amounts | None = None,
    fixed: Fixed | None = None,
) -> tuple[list[str | None], dict[str, list[Kept]]]:
    """(reason to drop each candidate, or None; part → its documents that stay, in order).

    `fixed` are held out whatever is said against them here, and nothing of their groups is trained on.
    """
    amounts = amounts or Amounts()
    reasons = [one.reason for one in candidates]
    twins = reasons_to_drop([reason is None for reason in reasons], [one.rank for one in candidates], duplicates)
    reasons = [reason or twin for reason, twin in zip(reasons, twins, strict=True)]
    if fixed is not None:
        reasons = [None if one.id in fixed.ids else said for one, said in zip(candidates, reasons, strict=True)]
    alive = [number for number, reason in enumerate(reasons) if reason is None]
    groups = groups_of([(candidates[number].repository, candidates[number].path) for number in alive]) if alive else []
    sizes: Counter[str] = Counter()
    for number, group in zip(alive, groups, strict=True):
        sizes[group] += candidates[number].size
    out = held_out(sizes, heldout, seed) if fixed is None else fixed.groups
    measured = {number for number, group in zip(alive, groups, strict=True) if group in out}
    if fixed is not None:
        for number in [number for number in measured if candidates[number].id not in fixed.ids]:
            reasons[number] = ELSEWHERE
            measured.remove(number)
    for number in near_any(measured, len(candidates), apart):
        if reasons[number] is None and number not in measured:
            reasons[number] = NEAR_HELDOUT
    training = [number for number in alive if reasons[number] is None and number not in measured]
    weights = weights_of([candidates[number] for number in training], amounts)
    for number, weight in zip(training, weights, strict=True):
        if uniform(seed, candidates[number].id, "down-sampled") >= weight:
            reasons[number] = DOWN_SAMPLED
    weight_of = dict(zip(training, weights, strict=True))
    kept: dict[str, list[Kept]] = {one.part: [] for one in candidates}
    for number, group in zip(alive, groups, strict=True):
        one = candidates[number]
        if number in measured:
            kept[one.part].append(Kept(one.row, group, "heldout", 1.0, validation_set(one, amounts.validation)))
        elif reasons[number] is None:
            kept[one.part].append(Kept(one.row, group, "train", max(1.0, weight_of[number])))
    return reasons, kept


def near_any(chosen: set[int], size: int, every: Sequence[Sequence[Edge]]) -> set[int]:
    """Rows that equal a chosen one, or have an edge to one or to its equals: the chosen themselves among them."""
    found: set[int] = set()
    for edges in every:
        equal = Forest(size)
        for one, other, similarity in edges:
            if similarity == 1.0:
                equal.join(one, other)
        roots = {equal.find(row) for row in chosen}
        near = set(roots)
        for one, other, _ in edges:
            a, b = equal.find(one), equal.find(other)
            near |= {b} if a in roots else set()
            near |= {a} if b in roots else set()
        found |= {row for row in range(size) if equal.find(row) in near}
    return found


def weights_of(candidates: Sequence[Candidate], amounts: Amounts) -> list[float]:
    """How often each document of the training split is to be seen; a cap scales what it selects down to its bytes."""
    weights = []
    for one in candidates:
        weight = 1.0
        for selector, factor in amounts.weights:
            if selector.matches(one.language, one.kind, one.repository):
                weight *= factor
        weights.append(weight)
    for selector, most in amounts.caps:
        rows = [row for row, one in enumerate(candidates) if selector.matches(one.language, one.kind, one.repository)]
        size = sum(candidates[row].size * weights[row] for row in rows)
        for row in rows:
            weights[row] *= min(1.0, most / size) if size else 1.0
    return weights


def validation_set(one: Candidate, sets: Sequence[Selector]) -> str | None:
    """The first named set that a held-out document belongs to."""
    return next((str(name) for name in sets if name.matches(one.language, one.kind, one.repository)), None)


def joined_weight(weights: Sequence[float], sizes: Sequence[int]) -> float:
    """Of a row of several documents: their mean by bytes, so that each is seen as often as it should be on average."""
    total = sum(sizes)
    return sum(weight * size for weight, size in zip(weights, sizes, strict=True)) / total if total else 1.0


def counted(kept: dict[str, list[Kept]]) -> dict[str, int]:
    """Documents of each named validation set."""
    found: dict[str, int] = defaultdict(int)
    for part in kept.values():
        for one in part:
            if one.validation is not None:
                found[one.validation] += 1
    return dict(sorted(found.items()))


def matched(candidates: Sequence[Candidate], reasons: Sequence[str | None], amounts: Amounts) -> dict[str, int]:
    """How many documents each selector of weights meets among those that stay, or would but for it."""
    alive = [one for one, reason in zip(candidates, reasons, strict=True) if reason in (None, DOWN_SAMPLED)]
    return {
        str(selector): sum(selector.matches(one.language, one.kind, one.repository) for one in alive)
        for selector, _ in amounts.weights
    }
