"""REPOSITORY FILE → rows of raw facts: what was there, where, at which revision; nothing is judged.

A file has its text; a notebook, a commit, an issue and a pull request are named fields (`corpus/fields.py`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from starloom.corpus.fields import FieldRange, joined
from starloom.corpus.notebooks import is_notebook, notebook_fields
from starloom.corpus.schemas import READ, table_of
from starloom.corpus.sources import Entry, Listing, Raw, Repository, Source, open_source
from starloom.errors import ConfigError, SourceError
from starloom.records import blob_id, document_id
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


def row_of(entry: Entry, repository: Repository, raw: Raw, max_bytes: int) -> dict[str, Any]:
    """The row of one document: a file, or its named fields one after the other."""
    kind, fields = entry.kind, raw.fields
    text, unread = None, entry.unread or raw.unread
    if kind == "file" and is_notebook(entry.path):
        kind = "notebook"
    if raw.data is not None:
        text, unread = text_of(raw.data)
        if kind == "notebook" and text is not None:
            fields, unread = notebook_fields(text)
    elif unread is None and fields is None:
        unread = "too_large"
    size, blob = raw.size, raw.blob
    ranges: list[FieldRange] | None = None
    if kind != "file":
        text, ranges = joined(fields) if fields is not None else (None, None)
        if text is not None and ("\0" in text or len(text.encode()) > max_bytes):
            unread = "nul_bytes" if "\0" in text else "too_large"
            text = ranges = None
        if text is not None and kind != "notebook":
            size, blob = len(text.encode()), blob_id(text.encode())
    revisions = entry.revisions or (((repository.revision, repository.date),) if repository.revision else ())
    dates = [date for _, date in revisions if date is not None]
    identity = revisions[0][0] if kind == "commit" else blob  # one change may be made twice
    return {
        "id": document_id(kind, entry.repository, entry.path, identity or ""),
        "kind": kind,
        "repository": entry.repository,
        "owner": repository.owner,
        "authors": list(raw.said.authors),
        "path": entry.path,
        "blob": blob,
        "revisions": [revision for revision, _ in revisions],
        "stars": raw.said.stars,
        "forks": raw.said.forks,
        "dates": dates if len(dates) == len(revisions) else [],
        "size": size,
        "text": text,
        "unread": unread,
        "licenses": list(raw.said.licenses),
        "fields": None if ranges is None else [one._asdict() for one in ranges],
    }


@dataclass(frozen=True, slots=True)
class _Shard:
    source: Source
    repositories: dict[str, Repository]
    entries: Sequence[Entry]
    max_bytes: int


def _read_shard(shard: _Shard, folder: Path) -> Facts:
    rows = [
        row_of(entry, shard.repositories[entry.repository], raw, shard.max_bytes)
        for entry, raw in zip(shard.entries, shard.source.read(shard.entries, shard.max_bytes), strict=True)
    ]
    write_table(folder / f"{folder.name}.parquet", table_of(rows, READ))
    unread = Counter(row["unread"] for row in rows if row["unread"] is not None)
    kinds = Counter(row["kind"] for row in rows)
    return {
        "rows": len(rows),
        "bytes": sum(row["size"] for row in rows),
        "unread": dict(sorted(unread.items())),
        "kinds": dict(sorted(kinds.items())),
    }


@dataclass(frozen=True, slots=True)
class Read(Stage):
    """Every document of a source as a row; files sorted by repository and path.

    `source` is spelled as `corpus/sources` says: `python:stdlib`, `folder:PATH`, `git:PATH@REV`, `commits:PATH`,
    `archive:PATH`, `pypi:NAME==VERSION`, `stack:PATH`, `issues:PATH`, `list:FILE`, a bare path, …. Documents above
    `max_bytes` are rows without text. Shards hold about `shard_bytes` of text.
    """

    version: ClassVar[int] = 4
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
        check_unique(listing)
        for reason in listing.broken:
            logging.getLogger("starloom").warning("a repository is left out: %s", reason)
        shards = {}
        for number, entries in enumerate(cut_into_shards(listing.entries, self.max_bytes, self.shard_bytes)):
            names = {entry.repository for entry in entries}
            repositories = {name: listing.repositories[name] for name in names}
            shards[f"part-{number:05d}"] = _Shard(source, repositories, entries, self.max_bytes)
        unread: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for _, facts in work.map(_read_shard, shards):
            kinds.update(facts["kinds"])
            unread.update(facts["unread"])
            work.count(bytes_out=facts["bytes"])
        rows = kinds.total()
        if unread.total() == rows:
            said = ", ".join(f"{reason} {number}" for reason, number in sorted(unread.items()))
            raise SourceError(f"source {self.source} holds no readable text: {said} of {rows} files; name another")
        work.count(
            rows_in=rows + sum(listing.skipped.values()),
            rows_out=rows,
            dropped=dict(sorted(listing.skipped.items())),
            unread=dict(sorted(unread.items())),
            kinds=dict(sorted(kinds.items())),
            repositories=len(listing.repositories),
            **({"unreadable_repositories": len(listing.broken)} if listing.broken else {}),
        )
        named = ", ".join(f"{number:,} {kind.replace('_', ' ')}s" for kind, number in sorted(kinds.items()))
        work.summary = f"{named} in {len(listing.repositories):,} repositories"
        if listing.broken:
            work.summary += f", {len(listing.broken):,} more unreadable"
        if unread:
            work.summary += f" ({', '.join(f'{reason} {number:,}' for reason, number in sorted(unread.items()))})"
        if listing.skipped:
            said = ", ".join(f"{reason} {number:,}" for reason, number in sorted(listing.skipped.items()))
            work.summary += f"; passed over: {said}"


def check_unique(listing: Listing) -> None:
    """A listing names each document once: then ids are unique."""
    places = {(one.kind, one.repository, one.path, one.blob, one.revisions) for one in listing.entries}
    assert len(places) == len(listing.entries), "a listing with a document twice"
