"""Tables in the schemas of The Stack, v1 and v2: Parquet files or JSON lines, one file or a folder of them.

What is covered: files that are no Parquet or are cut off, missing and wrong columns (named, with their file, all of them
at once and before anything is built), rows without content, row groups of any size in bounded batches, names of
repositories that lead elsewhere. What is not covered: The Stack v2 without its contents, which have to be fetched first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from starloom.corpus.fields import sound
from starloom.corpus.sources import json_lines
from starloom.corpus.sources.exports import lines_files
from starloom.corpus.sources.listing import (
    Entry,
    Listing,
    Raw,
    Repository,
    Said,
    changed,
    digest_of,
    github_repository,
    unsafe_name,
)
from starloom.corpus.sources.stack_columns import TYPES, Columns, columns_of, fits, json_columns
from starloom.errors import SourceError
from starloom.records import blob_id

_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
_ROWS = 64  # of a batch: with the largest files that are kept, 64 MB; our choice


class Row(NamedTuple):
    """A row as it is stored, by our names; what it lacks is None."""

    content: Any
    repository: Any
    path: Any
    stars: Any
    forks: Any
    licenses: Any
    revision: Any
    date: Any


@dataclass(frozen=True, slots=True)
class Stack:
    """The rows of a file or of a folder of files, in their order."""

    path: Path

    def files(self) -> list[Path]:
        """The files in a fixed order. Raises SourceError when there are none."""
        if not self.path.exists():
            raise SourceError(f"{self.path} does not exist; name a file or folder of {', '.join(_SUFFIXES)}")
        found = lines_files(self.path, _SUFFIXES)
        if not found or not found[0].name.endswith(_SUFFIXES):
            raise SourceError(f"{self.path} holds no {' or '.join(_SUFFIXES)} file")
        return found

    def listing(self) -> Listing:
        files = self.files()
        problems: list[str] = []
        skipped: Counter[str] = Counter()
        repositories: dict[str, Repository] = {}
        entries: dict[tuple[str, bytes, str], Entry] = {}
        for number, path in enumerate(files):
            for place, row in _rows(path, problems):
                entry = self._entry(row, (number, place), repositories, skipped)
                if entry is None:
                    continue
                key = (entry.repository, entry.path, entry.blob or f"{number} {place}")
                if key in entries:
                    skipped["row_twice"] += 1
                else:
                    entries[key] = entry
        json_lines.check(problems)
        if not entries:
            said = ", ".join(f"{reason} {count}" for reason, count in sorted(skipped.items()))
            raise SourceError(f"{self.path} holds no rows" + (f" ({said})" if said else ""))
        digest = digest_of(json_lines.sha256_of(path).encode() for path in files)
        return Listing(f"stack {digest}", repositories, list(entries.values()), dict(skipped))

    def _entry(
        self, row: Row, place: tuple[int, Any], repositories: dict[str, Repository], skipped: Counter[str]
    ) -> Entry | None:
        if row.repository is None or row.path is None:
            skipped["null_repository_name" if row.repository is None else "null_path"] += 1
            return None
        repository = github_repository(row.repository)
        if repository is None:
            skipped["unsafe_repository_name"] += 1
            return None
        path = sound(row.path).encode().lstrip(b"/")
        if unsafe_name(path):
            skipped["unsafe_name"] += 1
            return None
        repositories.setdefault(repository.name, repository)
        revisions = ((str(row.revision), _date(row.date)),) if row.revision else ()
        if row.content is None:
            return Entry(repository.name, path, 0, place=place, unread="null_content", revisions=revisions)
        data = _bytes(row.content)
        return Entry(repository.name, path, len(data), blob=blob_id(data), place=place, revisions=revisions)

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        files = self.files()
        found: dict[int, Raw] = {}  # place in `entries`; a shard's worth, read file by file in the files' own order
        by_file: dict[int, list[int]] = {}
        for position in sorted(range(len(entries)), key=lambda position: entries[position].place):
            by_file.setdefault(entries[position].place[0], []).append(position)
        for number, positions in by_file.items():
            places = [entries[position].place[1] for position in positions]
            for position, row in zip(positions, _rows_at(files[number], places), strict=True):
                found[position] = _raw(row, entries[position], max_bytes, files[number])
        for position in range(len(entries)):
            yield found.pop(position)


def _raw(row: Row, entry: Entry, max_bytes: int, path: Path) -> Raw:
    data = None if row.content is None else _bytes(row.content)
    if (None if data is None else blob_id(data)) != entry.blob:
        raise changed(str(path))
    licenses = row.licenses if isinstance(row.licenses, (list, tuple)) else ()
    said = Said(_count(row.stars), _count(row.forks), tuple(one for one in licenses if isinstance(one, str)))
    return Raw(entry.blob, data if data is not None and len(data) <= max_bytes else None, entry.size, said=said)


def _bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else sound(content).encode()


def _count(value: Any) -> int | None:
    """A count; tables with gaps hold whole numbers as floats."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or not 0 <= value < 1 << 31:
        return None
    return int(value)


def _date(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[Any, Row]]:
    """(where it is found again, row) of every row of a file; what is wrong with the file goes to `problems`."""
    if path.name.endswith(".parquet"):
        yield from _parquet_rows(path, problems)
        return
    for line in json_lines.lines(path, problems):
        names, wrong = json_columns(line.value)
        if wrong is not None:
            problems.append(f"{path}:{line.number} {wrong}")
            continue
        yield (line.offset, line.size), Row(*(line.value.get(name) for name in names))


def _parquet_file(path: Path, problems: list[str]) -> tuple[pq.ParquetFile, Columns] | None:
    try:
        file = pq.ParquetFile(path, memory_map=False, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        problems.append(f"{path} is no sound Parquet file ({_line(error)})")
        return None
    schema = file.schema_arrow
    names, missing = columns_of(schema.names)
    if missing is not None:
        problems.append(f"{path} {missing}")
        return None
    for role, name in names._asdict().items():
        if name in schema.names and not fits(role, schema.field(name).type):
            problems.append(f"{path}: column '{name}' is {schema.field(name).type}, not {TYPES[role]}")
            return None
    return file, names


def _batches(file: pq.ParquetFile, names: Columns, groups: Sequence[int]) -> Iterator[list[Row]]:
    present = [name for name in names if name in file.schema_arrow.names]
    for batch in file.iter_batches(_ROWS, row_groups=list(groups), columns=present, use_threads=False):
        columns = [batch.column(name).to_pylist() if name in present else [None] * len(batch) for name in names]
        yield [Row(*values) for values in zip(*columns, strict=True)]


def _parquet_rows(path: Path, problems: list[str]) -> Iterator[tuple[int, Row]]:
    found = _parquet_file(path, problems)
    if found is None:
        return
    file, names = found
    with file:
        place = 0
        try:
            for batch in _batches(file, names, range(file.num_row_groups)):
                for row in batch:
                    yield place, row
                    place += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            problems.append(f"{path} is damaged behind row {place:,} ({_line(error)})")


def _rows_at(path: Path, places: Sequence[Any]) -> Iterator[Row]:
    """The rows at ascending places of a file."""
    problems: list[str] = []
    if not path.name.endswith(".parquet"):
        with json_lines.opened(path) as lines:
            for offset, size in places:
                value = json_lines.at(lines, offset, size)
                yield Row(*(value.get(name) for name in columns_of(list(value))[0]))
        return
    found = _parquet_file(path, problems)
    json_lines.check(problems)
    assert found is not None
    file, names = found
    with file:
        waiting = iter(places)
        wanted = next(waiting, None)
        first = 0
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            if wanted is not None and wanted < end:
                at = first
                for batch in _batches(file, names, [group]):
                    while wanted is not None and wanted < at + len(batch):
                        yield batch[wanted - at]
                        wanted = next(waiting, None)
                    at += len(batch)
                    if wanted is None:
                        return
            first = end


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
