"""Exact duplicates as groups: files of one content, whatever their names. Nobody is chosen here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from starloom.corpus.schemas import EDGES, GROUP
from starloom.stage import Stage, Work
from starloom.store import write_table


class ContentGroups:
    """Numbers groups of equal blobs in the order of their first files."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._last: list[bytes] = []  # last document of each group

    def add(self, ids: Sequence[bytes], blobs: Sequence[str | None]) -> tuple[list[int], list[tuple[bytes, bytes]]]:
        """(group of each document, an edge from each document to the one before it in its group).

        A document without a blob could not be read: it equals nothing.
        """
        groups, edges = [], []
        for document, blob in zip(ids, blobs, strict=True):
            fresh = len(self._last)
            number = fresh if blob is None else self._number.setdefault(bytes.fromhex(blob), fresh)
            if number == fresh:
                self._last.append(document)
            else:
                edges.append((self._last[number], document))
                self._last[number] = document
            groups.append(number)
        return groups, edges

    def __len__(self) -> int:
        return len(self._last)


def exact_duplicates(documents: Iterable[tuple[bytes, str | None]]) -> Iterator[tuple[bytes, bytes]]:
    """Edges that join the (id, blob) pairs of one blob in a chain, in their order."""
    ids, blobs = zip(*documents, strict=True)
    yield from ContentGroups().add(ids, blobs)[1]


@dataclass(frozen=True, slots=True)
class ExactDedup(Stage):
    """Groups of files with the same content, and a chain of edges through each."""

    reason: ClassVar[str] = "exact_duplicate"  # why `Mix` drops all but one of a group
    files: Stage

    def produce(self, work: Work) -> None:
        found = ContentGroups()
        chain: list[tuple[bytes, bytes]] = []
        files = work.input("files")
        for part in files.parts():
            table = files.table(part, ["id", "blob"])
            groups, edges = found.add(table["id"].to_pylist(), table["blob"].to_pylist())
            chain += edges
            unit = part.removesuffix(".parquet")
            if work.finished(unit) is None:
                with work.unit(unit) as writing:
                    columns = {"id": table["id"], "group": pa.array(groups, pa.int64())}
                    write_table(writing.path(part), pa.table(columns, schema=GROUP))
            work.count(rows_in=len(table), rows_out=len(table))
        if work.finished("edges") is None:
            with work.unit("edges") as writing:
                columns = {
                    "a": [a for a, _ in chain],
                    "b": [b for _, b in chain],
                    "jaccard": [1.0] * len(chain),
                }
                write_table(writing.path("edges.parquet"), pa.table(columns, schema=EDGES))
        work.count(groups=len(found), duplicates=len(chain))
        work.summary = f"{work.counts.get('rows_in', 0):,} files, {len(chain):,} of them copies of another"
