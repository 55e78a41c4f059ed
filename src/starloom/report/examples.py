"""Documents to look at: why one was dropped, how a row is rendered. Chosen by their ids.

Ids are hashes, so the smallest are a sample by chance that is the same in every build.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starloom.store import Built, aligned_part

EXAMPLES = 4  # documents shown for each reason
EXCERPT = 400  # characters of each
BEFORE = 80  # of them in front of the place that decided
ROWS = 2  # rendered rows shown
PERSONAL = frozenset(("EMAIL", "IP_ADDRESS", "KEY", "NAME", "USERNAME", "PASSWORD"))  # reasons of `FindPII`'s spans
Place = tuple[bytes, str, int]  # id, part, row


@dataclass(frozen=True, slots=True)
class Example:
    """A document with an excerpt: what stands before the marked place, the place, and what follows."""

    repository: str
    path: bytes
    size_bytes: int
    reasons: tuple[str, ...]
    attributes: tuple[str, ...] = ()  # such as its language
    before: str = ""
    marked: str = ""
    after: str = ""
    unread: str | None = None


def examples(
    read: Built, attributes: Sequence[Built], verdicts: Sequence[Built], smallest: Mapping[str, Sequence[Place]]
) -> dict[str, list[Example]]:
    """Reason → excerpts of the documents at some places."""
    wanted: dict[str, list[tuple[str, int]]] = defaultdict(list)  # part → (reason, row)
    for reason, rows in smallest.items():
        for _, part, row in rows:
            wanted[part].append((reason, row))
    found: dict[str, list[tuple[bytes, Example]]] = defaultdict(list)
    for part, places in wanted.items():
        columns = [["repository", "path", "size", "text", "unread", "fields"], *[["value"]] * len(attributes)]
        columns += [["reasons", "spans"]] * len(verdicts)
        tables = aligned_part(part, [read, *attributes, *verdicts], columns)
        for reason, row in places:
            facts, *said = (table.slice(row, 1).to_pylist()[0] for table in tables)
            values = tuple(one["value"] for one in said[: len(attributes)] if one["value"])
            found[reason].append((facts["id"], example(facts, reason, said[len(attributes) :], values)))
    return {reason: [one for _, one in sorted(rows, key=lambda item: item[0])] for reason, rows in found.items()}


def example(
    facts: Mapping[str, Any], reason: str, said: Sequence[Mapping[str, Any]], attributes: Sequence[str] = ()
) -> Example:
    """A document's excerpt: around the first span that the reason names in its text, else from its beginning."""
    reasons = tuple(dict.fromkeys(one for verdict in said for one in verdict["reasons"] or ()))
    spans = [span for verdict in said for span in verdict["spans"] or ()]
    data = masked((facts["text"] or "").encode(), facts.get("fields"), spans)
    start, end = next(
        ((one["start"], one["end"]) for one in spans if one["reason"] == reason and one["field"] == "text"), (0, 0)
    )
    before = data[max(0, start - 4 * BEFORE) : start].decode(errors="ignore")[-BEFORE:]
    marked = data[start : min(end, start + 4 * EXCERPT)].decode(errors="ignore")[: EXCERPT - len(before)]
    room = EXCERPT - len(before) - len(marked)
    after = data[end : end + 4 * room].decode(errors="ignore")[:room]
    return Example(
        facts["repository"] or "",
        facts["path"] or b"",
        facts["size"] or 0,
        reasons or (reason,),
        tuple(attributes),
        ("…" if start > len(before.encode()) else "") + before,
        marked,
        after + ("…" if end + len(after.encode()) < len(data) else ""),
        facts["unread"],
    )


def masked(data: bytes, fields: Sequence[Mapping[str, Any]] | None, spans: Sequence[Mapping[str, Any]]) -> bytes:
    """A document's text with asterisks for personal data, so that a page never shows what was found."""
    begins = {one["name"]: one["start"] for one in fields or ()}
    hidden = bytearray(data)
    for span in spans:
        if span["reason"] in PERSONAL and span["field"] != "path":
            begin = begins.get(span["field"], 0)
            hidden[begin + span["start"] : begin + span["end"]] = b"*" * (span["end"] - span["start"])
    return bytes(hidden)


def rendered(mix: Built) -> list[list[tuple[str | None, str]]]:
    """How the rows of smallest id are rendered for training: their controls and the beginnings of their texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    best: list[Place] = []
    for name in mix.parts():
        table = mix.table(name, ["id", "split"])
        rows = pa.table({"id": table["id"].cast("binary"), "row": pa.array(range(table.num_rows), pa.int64())})
        rows = rows.filter(pc.equal(table["split"], "train"))
        rows = rows.take(pc.sort_indices(rows["id"])[:ROWS])
        best += [(id_, name, row) for id_, row in zip(rows["id"].to_pylist(), rows["row"].to_pylist(), strict=True)]
    shown = []
    for _, name, row in sorted(best)[:ROWS]:
        parts = mix.table(name, ["parts"]).slice(row, 1).to_pylist()[0]["parts"]
        room, pieces = EXCERPT, []
        for one in parts:
            text = one["text"][: max(room, 0)]
            pieces.append((one["control"], text + ("…" if len(text) < len(one["text"]) else "")))
            room -= len(text)
        shown.append(pieces)
    return shown
