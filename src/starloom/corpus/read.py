"""REPOSITORY FILE → rows of raw facts: what was there, where, at which revision; nothing is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from starloom.corpus.schemas import READ, table_of
from starloom.corpus.sources import Entry, Listing, Raw, Repository, Source, open_source
from starloom.errors import ConfigError, SourceError
from starloom.records import document_id
from starloom.stage import Facts, Stage, Work, external
from starloom.store import write_table

_ROW_BYTES = 512  # what a row without text counts towards a shard, so that empty files fill shards too; our choice


def text_of(data: bytes) -> tuple[str | None, str | None]:
    """(text, None) of UTF-8 without NUL bytes, a byte order mark included; else (None, the reason).

    `nul_bytes`: UTF-8 but for its NUL bytes; `binary`: NUL bytes and no UTF-8; `not_utf8`: no NUL bytes and no UTF-8,
    or a byte order mark of UTF-16.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        return None, "binary" if b"\0" in data and not utf16 else "not_utf8"
    return (None, "nul_bytes") if b"\0" in data else (text, None)


def cut_into_shards(entries: Sequence[Entry], max_bytes: int, shard_bytes: int) -> Iterator[Sequence[Entry]]:
    """Consecutive entries whose texts have about `shard_bytes` together; a shard holds at least one."""
    begin = size = 0
    for position, entry in enumerate(entries):
        own = _ROW_BYTES + (entry.size if entry.size <= max_bytes else 0)
        if position > begin and size + own > shard_bytes:
            yield entries[begin:position]
            begin, size = position, 0
        size += own
    if entries:
        yield entries[begin:]


def row_of(entry: Entry, repository: Repository, raw: Raw) -> dict[str, Any]:
    """The row of one file."""
    text, unread = None, entry.unread
    if raw.data is not None:
        text, unread = text_of(raw.data)
    elif unread is None:
        unread = "too_large"
    return {
        "id": document_id("file", entry.repository, entry.path, raw.blob or ""),
        "kind": "file",
        "repository": entry.repository,
        "owner": repository.owner,
        "authors": [],
        "path": entry.path,
        "blob": raw.blob,
        "revisions": [repository.revision] if repository.revision is not None else [],
        "dates": [repository.date] if repository.date is not None else [],
        "size": raw.size,
        "text": text,
        "unread": unread,
    }


@dataclass(frozen=True, slots=True)
class _Shard:
    source: Source
    repositories: dict[str, Repository]
    entries: Sequence[Entry]
    max_bytes: int


def _read_shard(shard: _Shard, folder: Path) -> Facts:
    rows = [
        row_of(entry, shard.repositories[entry.repository], raw)
        for entry, raw in zip(shard.entries, shard.source.read(shard.entries, shard.max_bytes), strict=True)
    ]
    write_table(folder / f"{folder.name}.parquet", table_of(rows, READ))
    unread = Counter(row["unread"] for row in rows if row["unread"] is not None)
    return {"rows": len(rows), "bytes": sum(row["size"] for row in rows), "unread": dict(sorted(unread.items()))}


@dataclass(frozen=True, slots=True)
class Read(Stage):
    """Every file of a source as a row, sorted by repository and path.

    `source` is spelled `python:stdlib`, `python:site-packages`, `folder:PATH`, `git:PATH@REV`, `archive:PATH` or a
    bare path. Files above `max_bytes` are rows without text. Shards hold about `shard_bytes` of text.
    """

    source: str = external()
    max_bytes: int = 1 << 20  # longer files are data more often than code; our choice
    shard_bytes: int = 16 << 20  # what one worker holds at a time; our choice

    def __post_init__(self) -> None:
        for name, value in (("max_bytes", self.max_bytes), ("shard_bytes", self.shard_bytes)):
            if value < 1:
                raise ConfigError(f"{name} of read is {value}; it is a number of bytes, at least 1")

    def external_digests(self) -> dict[str, str]:
        return {"source": open_source(self.source).listing().digest}

    def produce(self, work: Work) -> None:
        source = open_source(self.source)
        listing = source.listing()
        if listing.digest != work.externals["source"]:
            raise SourceError(f"source {self.source} changed while being read; run again when nothing writes to it")
        check_order(listing)
        shards = {}
        for number, entries in enumerate(cut_into_shards(listing.entries, self.max_bytes, self.shard_bytes)):
            names = {entry.repository for entry in entries}
            repositories = {name: listing.repositories[name] for name in names}
            shards[f"part-{number:05d}"] = _Shard(source, repositories, entries, self.max_bytes)
        unread: Counter[str] = Counter()
        rows = 0
        for _, facts in work.map(_read_shard, shards):
            rows += facts["rows"]
            unread.update(facts["unread"])
            work.count(bytes_out=facts["bytes"])
        if unread.total() == rows:
            said = ", ".join(f"{reason} {number}" for reason, number in sorted(unread.items()))
            raise SourceError(f"source {self.source} holds no readable text: {said} of {rows} files; name another")
        work.count(
            rows_in=rows + sum(listing.skipped.values()),
            rows_out=rows,
            dropped=dict(sorted(listing.skipped.items())),
            unread=dict(sorted(unread.items())),
            repositories=len(listing.repositories),
        )
        work.summary = f"{rows:,} files in {len(listing.repositories):,} repositories"
        if unread:
            work.summary += f" ({', '.join(f'{reason} {number:,}' for reason, number in sorted(unread.items()))})"


def check_order(listing: Listing) -> None:
    """A listing is sorted and names each path of a repository once: then ids are unique."""
    places = [(entry.repository, entry.path) for entry in listing.entries]
    assert all(one < other for one, other in pairwise(places)), "a listing out of order"
