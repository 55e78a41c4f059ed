"""What lies in the shards of the corpus: one Arrow schema per kind of table, and how to make a table of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from starloom.records import ID_BYTES

_ID = pa.binary(ID_BYTES)


class Attribute(NamedTuple):
    """What was found out about a document, how, and how sure that is (0 to 1)."""

    value: str | None
    how: str | None
    confidence: float


READ = pa.schema(
    [
        ("id", _ID),
        ("kind", pa.string()),
        ("repository", pa.string()),
        ("owner", pa.string()),  # case-folded; null where the repository has none
        ("authors", pa.list_(pa.string())),
        ("path", pa.binary()),  # as the source spells it: not every path is UTF-8
        ("blob", pa.string()),  # git's blob id; null when the file could not be opened
        ("revisions", pa.list_(pa.string())),
        ("stars", pa.int32()),
        ("forks", pa.int32()),
        ("dates", pa.list_(pa.timestamp("s", tz="UTC"))),  # parallel to revisions, or empty
        ("size", pa.int64()),  # bytes of the file, also where its text is null
        ("text", pa.string()),
        ("unread", pa.string()),  # why text is null
        ("licenses", pa.list_(pa.string())),  # what the source itself says of this file, as it spells it
        (
            "fields",  # null for a file; else the named byte ranges of `text` (`corpus/fields.py`)
            pa.list_(
                pa.struct([("name", pa.string()), ("author", pa.string()), ("start", pa.int64()), ("end", pa.int64())])
            ),
        ),
    ]
)

ATTRIBUTE = pa.schema([("id", _ID), ("value", pa.string()), ("how", pa.string()), ("confidence", pa.float32())])

VERDICT = pa.schema(
    [
        ("id", _ID),
        ("keep", pa.bool_()),
        ("reasons", pa.list_(pa.string())),  # every one that applies, in recipe order
        (
            "spans",
            pa.list_(
                pa.struct([("field", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("reason", pa.string())])
            ),
        ),
    ]
)

GROUP = pa.schema([("id", _ID), ("group", pa.int64())])

EDGES = pa.schema([("a", _ID), ("b", _ID), ("jaccard", pa.float32())])

MIX = pa.schema(
    [
        ("id", _ID),  # of the row's first source
        (
            "parts",
            pa.list_(
                pa.struct([("control", pa.string()), ("text", pa.string()), ("source", _ID), ("field", pa.string())])
            ),
        ),
        (
            "edits",  # byte ranges of a part's text that are not copied one to one from its source's field
            pa.list_(
                pa.struct(
                    [
                        ("part", pa.int32()),
                        ("start", pa.int64()),
                        ("end", pa.int64()),
                        ("source_start", pa.int64()),
                        ("source_end", pa.int64()),
                    ]
                )
            ),
        ),
        ("group", pa.string()),
        ("split", pa.string()),
        ("validation", pa.string()),  # the named set that a held-out row belongs to
        ("weight", pa.float32()),
    ]
)

OUTCOME = pa.schema([("id", _ID), ("reason", pa.string())])  # why `Mix` dropped a document; null: it stays


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; a missing key is null, an unknown one is an error of ours."""
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for row in rows:
        assert row.keys() <= columns.keys(), f"no columns {row.keys() - columns.keys()}"
        for name, column in columns.items():
            column.append(row.get(name))
    return pa.Table.from_pydict(columns, schema=schema)
