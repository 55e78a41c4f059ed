"""What takes the place of personal data in training text, and the way back to the original bytes.

`examples` is SantaCoder's way: one of ten made-up e-mail addresses or keys. `marks` is StarCoder's: a mark for each kind,
as a control by abstract name (a family without it gets it as text, `Rendered.with_marks`). Addresses of machines become
one of five private ones in both. The same value in a document has the same replacement everywhere.

What is not redacted although it was found: usernames, values of up to 3 characters, names of one word, keys that do not
look drawn by chance (BigCode `ner/pii_redaction/utils.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from starloom.corpus.fields import fields_of
from starloom.corpus.pii_gibberish import is_gibberish
from starloom.corpus.rendered import Edit, Part, Rendered
from starloom.records import uniform

Redaction = Literal["examples", "marks"]
REDACTION: dict[str, Redaction] = {
    "santacoder": "examples",
    "starcoder": "marks",
    "starcoder2": "marks",
}  # as published

# bigcode-dataset `pii/replacements.json` (Apache-2.0) and REPLACEMENTS_IP of `pii/pii_redaction.py`.
EMAILS = tuple(
    f"{name}@example.com" for name in str.split("ychag nnheo envkt upchh anpch lyhxr efpyi hzdkv dycjh kenaa")
)
KEYS = (
    "9jnerlff23u8ed01np9g6ysbhsh0dvcs",
    "caf86f4uutaoxfysmf7anj01xl6sv3ps",
    "vqbpgud2ghvjgm1n5hdgjnn5818fzsf2",
    "949d1u22cbffbrarjh182eig55721odj",
    "9q3vfhm7l33rus21toc8fndupq76itje",
    "ax5kh6jaqkcd2tiexxs8v6xjo8yv8a6b",
    "se2xy1bknelxn4y8xzxu3trosptip3q5",
    "74t3tndxag9o7h0890bnpfzh4olk2h9x",
    "ngw6fo1pu3tjgnp9jnlp7vnwvfqb9yn7",
    "kgfhvu9qnh3mr6eel97y6fq2hezzol8z",
)
IPV4 = ("172.16.31.10", "172.16.58.3", "172.16.17.32", "192.168.127.12", "192.168.3.11")
IPV6 = (
    "fd00:c2b6:b24b:be67:2827:688d:e6a1:6a3b",
    "fd00:a516:7c1b:17cd:6d81:2137:bd2a:2c5b",
    "fc00:e968:6179::de52:7100",
    "fc00:db20:35b:7399::5",
    "fdf8:f53e:61e4::18",
)
_EXAMPLES: dict[str, Sequence[str]] = {"EMAIL": EMAILS, "KEY": KEYS}
MARKS = {
    "EMAIL": "redacted_email",
    "KEY": "redacted_key",
    "NAME": "redacted_name",
    "PASSWORD": "redacted_password",
}
SHORTEST = 3  # characters of a value that stays; the next: of a key (both BigCode `ner/pii_redaction/utils.py`)
SHORTEST_KEY = 8


class Change(NamedTuple):
    """Bytes [start, end) of a field become text behind a control, or text alone."""

    start: int
    end: int
    control: str | None
    text: str


def worth_redacting(kind: str, value: str) -> bool:
    """Whether a value that was found is redacted (BigCode's rules)."""
    if len(value) <= SHORTEST or value in KEYS or value in EMAILS:
        return False
    if kind == "KEY":
        return len(value) > SHORTEST_KEY and ("\n" in value or is_gibberish(value.encode()))
    return len(value.split()) > 1 if kind == "NAME" else kind in ("EMAIL", "IP_ADDRESS", "PASSWORD")


def replacement(kind: str, value: str, document: bytes, style: Redaction, seed: int) -> tuple[str | None, str]:
    """(control, text) in place of a value; a function of the seed, the document and the value."""
    examples: Sequence[str] = ()
    if kind == "IP_ADDRESS":
        examples = IPV6 if ":" in value else IPV4
    elif style == "examples":
        examples = _EXAMPLES.get(kind, ())
    if examples:
        return None, examples[int(uniform(seed, document, "redaction", value) * len(examples))]
    return MARKS[kind], ""


def changes(
    spans: Iterable[Mapping[str, Any]], fields: Mapping[str, bytes], document: bytes, style: Redaction, seed: int
) -> dict[str, list[Change]]:
    """Field → what is changed in it, in order, for the spans of a verdict; `fields` are the fields' bytes."""
    found: dict[str, list[Change]] = {}
    for span in spans:
        start, end = span["start"], span["end"]
        value = fields[span["field"]][start:end].decode()
        if worth_redacting(span["reason"], value):
            control, text = replacement(span["reason"], value, document, style, seed)
            found.setdefault(span["field"], []).append(Change(start, end, control, text))
    return {field: sorted(some) for field, some in found.items()}


def changes_of(files: pa.Table, spans: pa.Table, style: Redaction, seed: int) -> dict[bytes, dict[str, list[Change]]]:
    """Document → its changes, for rows with columns id, path, text and fields and the verdict's rows about the same ones."""
    found = {}
    for document, path, text, ranges, said in zip(
        *(files[name].to_pylist() for name in ("id", "path", "text", "fields")), spans["spans"].to_pylist(), strict=True
    ):
        if said:
            fields = {one.name: one.text.encode() for one in fields_of(text, ranges)}
            fields |= {"text": text.encode(), "path": path}
            found[document] = changes(said, fields, document, style, seed)
    return found


def redacted(row: Rendered, of: Mapping[bytes, Mapping[str, Sequence[Change]]]) -> Rendered:
    """The row with the changes of its documents' fields: every byte of them that it holds is replaced."""
    if not any(of.get(part.source or b"") for part in row.parts):
        return row
    own: dict[int, list[Edit]] = {}
    for edit in row.edits:
        own.setdefault(edit.part, []).append(edit)
    parts: list[Part] = []
    edits: list[Edit] = []
    for number, part in enumerate(row.parts):
        wanted = of.get(part.source or b"", {}).get(part.field or "", ())
        pieces = _laid(part, sorted(own.get(number, []), key=lambda one: one.start), wanted)
        _split(part, pieces, parts, edits)
    return Rendered(tuple(parts), tuple(edits))


class _Piece(NamedTuple):
    """Text of a part that stands for bytes [start, end) of its field, copied or not."""

    control: str | None
    text: bytes
    start: int
    end: int
    copied: bool


def _laid(part: Part, edits: Sequence[Edit], wanted: Sequence[Change]) -> list[_Piece]:
    """A part as pieces with the changes made. A change that cuts into an edit takes the whole edit's place."""
    data = part.text.encode()
    pieces: list[_Piece] = []
    done, origin = 0, (edits[0].source_start - edits[0].start if edits else 0)
    for edit in edits:
        if edit.start > done:
            pieces.append(_Piece(None, data[done : edit.start], origin, origin + edit.start - done, True))
        pieces.append(_Piece(None, data[edit.start : edit.end], edit.source_start, edit.source_end, False))
        done, origin = edit.end, edit.source_end
    if done < len(data):
        pieces.append(_Piece(None, data[done:], origin, origin + len(data) - done, True))
    for change in wanted:
        pieces = _changed(pieces, change)
    return pieces


def _changed(pieces: Sequence[_Piece], change: Change) -> list[_Piece]:
    """Pieces with one change; pieces that hold none of its bytes stay as they are."""
    found: list[_Piece] = []
    put: int | None = None  # where the change stands
    for piece in pieces:
        inside = piece.start < change.end and change.start < piece.end
        between = not piece.copied and piece.start == piece.end and change.start < piece.start < change.end
        if not inside and not between:
            found.append(piece)
            continue
        start, end = change.start, change.end
        if piece.copied:
            start, end = max(start, piece.start), min(end, piece.end)
            if start > piece.start:
                found.append(piece._replace(text=piece.text[: start - piece.start], end=start))
        else:
            start, end = piece.start, piece.end
        if put is None:
            put = len(found)
            found.append(_Piece(change.control, change.text.encode(), start, end, False))
        else:
            found[put] = found[put]._replace(end=max(found[put].end, end))
        if piece.copied and end < piece.end:
            found.append(piece._replace(text=piece.text[end - piece.start :], start=end))
    return found


def _split(part: Part, pieces: Sequence[_Piece], parts: list[Part], edits: list[Edit]) -> None:
    """Pieces as parts, a new one at each control, and their edits."""
    starts = [number for number, piece in enumerate(pieces) if piece.control is not None]
    for number, (begin, end) in enumerate(pairwise([0, *starts, len(pieces)])):
        if number == 0 and begin == end and starts and part.control is None:
            continue  # nothing in front of a mark at the part's start
        control = pieces[begin].control if number else part.control
        size = 0
        for piece in pieces[begin:end]:
            if not piece.copied:
                edits.append(Edit(len(parts), size, size + len(piece.text), piece.start, piece.end))
            size += len(piece.text)
        text = b"".join(piece.text for piece in pieces[begin:end]).decode()
        parts.append(Part(control, text, part.source, part.field))
