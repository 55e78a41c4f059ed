"""Per language: files, bytes and tokens as they were read and after each step, and how much text a token holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from starloom.report import plain
from starloom.report.outcomes import station_title

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = "none found"
SPLITS = ("train", "heldout")
LARGEST = 30  # languages with a line of their own on the page; our choice


class Tally(NamedTuple):
    """Documents, their bytes as files, and what a census counted of their texts."""

    files: int = 0
    size_bytes: int = 0
    tokens: int = 0
    text_bytes: int = 0
    characters: int = 0

    def plus(self, other: Tally, sign: int = 1) -> Tally:
        return Tally(*(one + sign * two for one, two in zip(self, other, strict=True)))

    @property
    def bytes_per_token(self) -> float | None:
        return self.text_bytes / self.tokens if self.tokens else None

    @property
    def characters_per_token(self) -> float | None:
        return self.characters / self.tokens if self.tokens else None


def total(tallies: Iterable[Tally]) -> Tally:
    found = Tally()
    for one in tallies:
        found = found.plus(one)
    return found


@dataclass(slots=True)
class Languages:
    """How many documents of each language ended where: at a station that dropped them, or in a split."""

    stations: Sequence[str]
    census: bool = False  # whether tokens were counted
    ends: dict[str, dict[str, Tally]] = field(default_factory=dict)

    def add(self, table: pa.Table, column: str) -> None:
        """Count a shard by its languages, in `column`, and by where its documents ended (`end`)."""
        names = ("size", "tokens", "text_bytes", "characters")
        grouped = table.group_by([column, "end"]).aggregate([([], "count_all"), *((name, "sum") for name in names)])
        columns = (column, "end", "count_all", *(f"{name}_sum" for name in names))
        for language, end, *figures in zip(*(grouped[name].to_pylist() for name in columns), strict=True):
            counted = self.ends.setdefault(language or UNKNOWN, {})
            counted[end or ""] = counted.get(end or "", Tally()).plus(Tally(*(one or 0 for one in figures)))

    def place(self, station: str) -> int:
        """Where in the order a station comes."""
        return self.stations.index(station) if station in self.stations else len(self.stations)

    def used(self) -> list[str]:
        """The stations that dropped anything, in order."""
        dropping = {end for counted in self.ends.values() for end in counted}
        return [name for name in self.stations if name in dropping]

    def ordered(self) -> list[str]:
        """Languages by the bytes that are kept, then by those that were read, then by name."""

        def weight(language: str) -> tuple[int, int, str]:
            counted = self.ends[language]
            return (-kept(counted).size_bytes, -total(counted.values()).size_bytes, language)

        return sorted(self.ends, key=weight)

    def folded(self, most: int) -> list[tuple[str, dict[str, Tally]]]:
        """(language, its ends), at most `most` of them; the others are one line that says how many they are."""
        order = self.ordered()
        shown = order if len(order) <= most else order[: most - 1]
        lines = [(language, self.ends[language]) for language in shown]
        rest = order[len(shown) :]
        if rest:
            lines.append((f"{len(rest)} more", merged(self.ends[language] for language in rest)))
        return lines

    def as_json(self) -> dict[str, Any]:
        """The complete table; of each language what was left after each step, also after those that dropped nothing."""
        return {
            "steps": list(self.stations),
            "tokens_counted": self.census,
            "languages": {
                language: {
                    "read": self._figures(total(counted.values())),
                    "after": {name: self._figures(left) for name, left in after(counted, self.stations)},
                    **{split: self._figures(counted.get(split, Tally())) for split in SPLITS},
                }
                for language, counted in ((one, self.ends[one]) for one in self.ordered())
            },
        }

    def _figures(self, tally: Tally) -> dict[str, Any]:
        found: dict[str, Any] = {"files": tally.files, "bytes": tally.size_bytes}
        if self.census:
            found |= {"tokens": tally.tokens, "text_bytes": tally.text_bytes, "characters": tally.characters}
        return found


def step_tables(languages: Languages, most: int = LARGEST) -> list[dict[str, Any]]:
    """For the page, a table of each measure: its columns, and lines of (text, whether a step changed nothing)."""
    if not languages.ends or not languages.used():
        return []
    used = languages.used()
    lines = [("all", merged(languages.ends.values())), *languages.folded(most)]
    measures: list[tuple[str, str, Callable[[Tally], float], Callable[[float], str]]] = [
        ("bytes", "of the files", lambda one: one.size_bytes, plain.size),
        ("files", "of every kind", lambda one: one.files, plain.count),
    ]
    if languages.census:
        measures.insert(0, ("tokens", "under the vocabulary trained here", lambda one: one.tokens, plain.amount))
    return [
        {
            "measure": measure,
            "note": note,
            "columns": ["read", *(f"after {station_title(name)}" for name in used), "training", "held out"],
            "lines": [(name, _cells(counted, used, figure, written)) for name, counted in lines],
        }
        for measure, note, figure, written in measures
    ]


def _cells(
    counted: Mapping[str, Tally],
    used: Sequence[str],
    figure: Callable[[Tally], float],
    written: Callable[[float], str],
) -> list[tuple[str, bool]]:
    steps = [figure(total(counted.values())), *(figure(left) for _, left in after(counted, used))]
    cells = [(written(value), place > 0 and value == steps[place - 1]) for place, value in enumerate(steps)]
    return [*cells, *((written(figure(counted.get(split, Tally()))), False) for split in SPLITS)]


def token_lengths(languages: Languages, most: int = LARGEST) -> list[tuple[str, Tally, Tally]]:
    """(language, all of its files, those that were kept), the sum of all languages first; empty without a census."""
    if not languages.census or not languages.ends:
        return []
    lines = [("all", merged(languages.ends.values())), *languages.folded(most)]
    return [(name, total(counted.values()), kept(counted)) for name, counted in lines]


def after(counted: Mapping[str, Tally], stations: Sequence[str]) -> list[tuple[str, Tally]]:
    """What is left of a language after each station."""
    left, found = total(counted.values()), []
    for name in stations:
        left = left.plus(counted.get(name, Tally()), -1)
        found.append((name, left))
    return found


def kept(counted: Mapping[str, Tally]) -> Tally:
    return total(counted.get(split, Tally()) for split in SPLITS)


def merged(every: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for counted in every:
        for end, tally in counted.items():
            found[end] = found.get(end, Tally()).plus(tally)
    return found
