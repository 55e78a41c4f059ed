"""How files become rows of training text: which parts, in which order, behind which controls (by abstract name).

Names of controls only: `tokens/special.py` is the one place that knows how a family spells them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from starloom.corpus.fields import Field
from starloom.corpus.rendered import Edit, Part, Rendered
from starloom.records import uniform

Layout = Literal["santacoder", "starcoder", "starcoder2"]
METADATA: dict[str, float] = {
    "santacoder": 0.0,
    "starcoder": 0.2,  # BigCode add_content_with_meta.py: each control by itself
    "starcoder2": 0.5,  # StarCoder2: whether a repository's row has names at all
}
CONTEXT_BYTES = 1 << 20  # of text in a row of repository context; the longest published context is 16,384 tokens
_GITHUB = b"github.com/"
_END = Part("end_of_document", "")


class Document(NamedTuple):
    """What a layout needs of a kept file."""

    id: bytes
    repository: str
    path: bytes
    text: str
    stars: int | None
    group: str  # hold-out group: a row never mixes two
    kind: str = "file"
    fields: Sequence[Field] = ()  # of another kind than a file


class Row(NamedTuple):
    """One row of training text, and the files that it is made of."""

    documents: Sequence[Document]
    rendered: Rendered


def stars_bucket(stars: int) -> str:
    """The published buckets, `0`, `1-10`, `10-100`, `100-1000`, `1000+` (BigCode add_content_with_meta.py)."""
    for most, bucket in ((0, "0"), (10, "1-10"), (100, "10-100"), (1000, "100-1000")):
        if stars <= most:
            return bucket
    return "1000+"


def santacoder(documents: Sequence[Document], metadata: float, seed: int) -> Iterator[Row]:
    """`TEXT<end>`: SantaCoder has no controls for what is around a file."""
    for one in documents:
        yield Row([one], Rendered((Part(None, one.text, one.id, "text"), _END)))


def starcoder(documents: Sequence[Document], metadata: float, seed: int) -> Iterator[Row]:
    """`<repository>R<file_name>P<stars>S\\nTEXT<end>`, each control with the chance `metadata`, in this order.

    The line break is there only behind a control. Stars are left out where nobody knows them.
    """
    for one in documents:
        parts: list[Part] = []
        edits: list[Edit] = []
        if uniform(seed, one.id, "repository") < metadata:
            _add(parts, edits, *_repository(one, len(parts)))
        if uniform(seed, one.id, "file_name") < metadata:
            _add(parts, edits, *_path(one, "file_name", len(parts)))
        if one.stars is not None and uniform(seed, one.id, "stars") < metadata:
            parts.append(Part("stars", stars_bucket(one.stars)))
        if parts:
            parts.append(Part(None, "\n"))
        parts += [Part(None, one.text, one.id, "text"), _END]
        yield Row([one], Rendered(tuple(parts), tuple(edits)))


def starcoder2(documents: Sequence[Document], metadata: float, seed: int) -> Iterator[Row]:
    """`<repository>R<file_separator>P\\nTEXT<file_separator>P\\nTEXT…<end>`, or with the chance 1 - `metadata`
    `<file_separator>TEXT<file_separator>TEXT…<end>`.

    The consecutive documents of one hold-out group make a row, up to CONTEXT_BYTES of text.
    """
    for members in _contexts(documents):
        parts: list[Part] = []
        edits: list[Edit] = []
        names = uniform(seed, members[0].id, "repository") < metadata
        if names:
            _add(parts, edits, *_repository(members[0], 0))
        for one in members:
            if names:
                _add(parts, edits, *_path(one, "file_separator", len(parts)))
                parts += [Part(None, "\n"), Part(None, one.text, one.id, "text")]
            else:
                parts.append(Part("file_separator", one.text, one.id, "text"))
        yield Row(members, Rendered((*parts, _END), tuple(edits)))


LAYOUTS: dict[str, Callable[[Sequence[Document], float, int], Iterator[Row]]] = {
    "santacoder": santacoder,
    "starcoder": starcoder,
    "starcoder2": starcoder2,
}


def _contexts(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    begin = size = 0
    for position, one in enumerate(documents):
        own = len(one.text.encode())
        first = documents[begin]
        apart = (one.repository, one.group) != (first.repository, first.group)
        if position > begin and (apart or size + own > CONTEXT_BYTES):
            yield documents[begin:position]
            begin, size = position, 0
        size += own
    if documents:
        yield documents[begin:]


def _add(parts: list[Part], edits: list[Edit], part: Part, own: Sequence[Edit]) -> None:
    parts.append(part)
    edits += own


def _repository(one: Document, number: int) -> tuple[Part, Sequence[Edit]]:
    """`owner/name` of a GitHub repository, as published; any other by its canonical name."""
    whole = one.repository.encode()
    if not whole.startswith(_GITHUB):
        return Part("repository", one.repository, one.id, "repository"), ()
    name = whole.removeprefix(_GITHUB).decode()
    return Part("repository", name, one.id, "repository"), [Edit(number, 0, 0, 0, len(_GITHUB))]


def _path(one: Document, control: str, number: int) -> tuple[Part, Sequence[Edit]]:
    """A path as text; bytes that are not UTF-8 become U+FFFD, and an edit says where."""
    pieces: list[str] = []
    edits: list[Edit] = []
    done = size = 0
    while done < len(one.path):
        try:
            piece = one.path[done:].decode()
            stop = skip = len(one.path)
        except UnicodeDecodeError as error:
            piece = one.path[done : done + error.start].decode()
            stop, skip = done + error.start, done + error.end
        pieces.append(piece)
        size += stop - done
        if skip > stop:
            pieces.append("\ufffd")
            edits.append(Edit(number, size, size + 3, stop, skip))
            size += 3
        done = skip
    return Part(control, "".join(pieces), one.id, "path"), edits
