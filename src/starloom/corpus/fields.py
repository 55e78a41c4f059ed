"""Named fields: what a commit, an issue, a notebook or a pull request consists of.

`text` of such a row is its fields one after the other, a line break between two, so that whatever looks at `text`
(secrets, duplicates, benchmarks) sees all of them; `fields` says which bytes belong to which. A span may name a field,
then its bytes are counted from the field's first, or `text`, then from the text's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

SEPARATOR = "\n"  # between two fields; of no field
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


class Field(NamedTuple):
    """One named text, and who wrote it where that is known."""

    name: str
    text: str
    author: str | None = None


class FieldRange(NamedTuple):
    """The bytes of a row's `text` that a field has."""

    name: str
    author: str | None
    start: int
    end: int


def sound(text: str) -> str:
    """Text that UTF-8 can hold: JSON may spell half a character, which becomes U+FFFD."""
    return _LONE_SURROGATES.sub("\ufffd", text)


def joined(fields: Iterable[Field]) -> tuple[str, list[FieldRange]]:
    """The text of a row with these fields, and where each lies in it. Names are unique."""
    texts: list[str] = []
    ranges: list[FieldRange] = []
    at = 0
    for one in fields:
        size = len(one.text.encode())
        texts.append(one.text)
        ranges.append(FieldRange(one.name, one.author, at, at + size))
        at += size + len(SEPARATOR)
    assert len({one.name for one in ranges}) == len(ranges), "two fields of one name"
    return SEPARATOR.join(texts), ranges


def fields_of(text: str, ranges: Sequence[Mapping[str, Any]] | None) -> list[Field]:
    """The fields of a stored row."""
    data = text.encode()
    return [Field(one["name"], data[one["start"] : one["end"]].decode(), one["author"]) for one in ranges or ()]


def value_of(row: Mapping[str, Any], field: str) -> bytes:
    """The bytes of a column or of a named field of a stored row; empty where it has none."""
    for one in row.get("fields") or ():
        if one["name"] == field:
            return bytes(row["text"].encode()[one["start"] : one["end"]])
    value = row.get(field)
    return value if isinstance(value, bytes) else ("" if value is None else str(value)).encode()


def in_fields(
    ranges: Sequence[Mapping[str, Any]] | None, spans: Iterable[tuple[int, int]]
) -> Iterator[tuple[str, int, int]]:
    """Byte spans of `text` as (field, start, end) of the fields that they touch; of a file, of `text` itself."""
    for start, end in spans:
        if ranges is None:
            yield "text", start, end
            continue
        for one in ranges:
            begin, stop = max(start, one["start"]), min(end, one["end"])
            if begin < stop:
                yield one["name"], begin - one["start"], stop - one["start"]
