"""The files that a `Mix` holds out: which they are, in an order of chance, and what was read of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from starloom.records import uniform
from starloom.report.facts import kind_of
from starloom.store import Built, Store

LANGUAGE = "language"  # step of the attribute that names a file's language
UNKNOWN = "unknown"  # language of a file that none was found for


@dataclass(frozen=True, slots=True)
class HeldOutFile:
    """A file that no training saw, as it is rendered: its text, what was redacted in it already gone."""

    id: bytes
    repository: str
    path: bytes
    language: str
    text: str

    @property
    def size_bytes(self) -> int:
        return len(self.text.encode())


def upstream(built: Built) -> Iterator[Built]:
    """The directories that one was built from directly; they lie in the same store."""
    store = Store(built.directory.parent)
    for value in built.manifest["inputs"].values():
        for fingerprint in value if isinstance(value, list) else [value]:
            yield Built.open(store.directory("", fingerprint))


def in_order_of_chance(clean: Built, seed: int) -> list[tuple[bytes, int]]:
    """(id, bytes of text) of every held-out file, in an order that is a function of the seed and the ids."""
    sizes: dict[bytes, int] = {}
    for _, texts in _texts(clean):
        for source, text in texts.items():
            sizes[source] = sizes.get(source, 0) + len(text.encode())
    return sorted(sizes.items(), key=lambda item: (uniform(seed, "held out", item[0]), item[0]))


def held_out_files(clean: Built, chosen: Collection[bytes]) -> list[HeldOutFile]:
    """The chosen files, by path. Their names and languages come from what the mix was made of."""
    texts: dict[bytes, str] = {}
    for _, found in _texts(clean):
        for source in found.keys() & set(chosen):
            texts[source] = texts.get(source, "") + found[source]
    names: dict[bytes, tuple[str, bytes]] = {}
    languages: dict[bytes, str] = {}
    for built in upstream(clean):
        kind = kind_of(built)
        if kind == "read":
            for row in _rows(built, ["id", "repository", "path"], texts):
                names[row["id"]] = (row["repository"] or "", row["path"] or b"")
        elif kind == "attribute" and built.name.partition(":")[0] == LANGUAGE:
            for row in _rows(built, ["id", "value"], texts):
                languages[row["id"]] = row["value"] or UNKNOWN
    files = [
        HeldOutFile(id_, *names.get(id_, ("", b"")), languages.get(id_, UNKNOWN), text) for id_, text in texts.items()
    ]
    return sorted(files, key=lambda file: (file.repository, file.path, file.id))


def _texts(clean: Built) -> Iterator[tuple[bytes, dict[bytes, str]]]:
    """(row id, source id → text) of every held-out row."""
    import pyarrow.compute as pc

    for name in clean.parts():
        table = clean.table(name, ["id", "parts", "split"])
        for row in table.filter(pc.equal(table["split"], "heldout")).to_pylist():
            texts: dict[bytes, str] = {}
            for part in row["parts"]:
                if part["source"] is not None and part["field"] == "text":
                    texts[part["source"]] = texts.get(part["source"], "") + part["text"]
            yield row["id"], texts


def _rows(built: Built, columns: list[str], wanted: Collection[bytes]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in built.parts():
        table = built.table(name, columns)
        yield from table.filter(pc.is_in(table["id"], value_set=pa.array(wanted, table["id"].type))).to_pylist()
