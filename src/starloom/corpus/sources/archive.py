"""An archive (.zip .whl .jar .tar .tar.gz .tgz .tar.bz2 .tar.xz), read in memory: nothing is extracted to the disk.

What is covered: names that lead outside, links, devices, encrypted and overlapping entries, lying sizes, bombs by
total, entry, ratio and number. What is not covered: archives within archives, which stay binary files.
"""

from __future__ import annotations

import email.parser
import hashlib
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from starloom.corpus.sources.listing import (
    CHUNK,
    Entry,
    Listing,
    Raw,
    Repository,
    called_after,
    changed,
    digest_of,
    printable,
    pypi_repository,
    take,
    unsafe_name,
)
from starloom.errors import SourceError

SUFFIXES = (".zip", ".whl", ".jar", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_ZIP = (".zip", ".whl", ".jar")
_METADATA_BYTES = 1 << 20  # of a METADATA or PKG-INFO file; the largest on PyPI are a few hundred KB


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may unpack to. All four are our choice: real source trees stay far below, bombs far above."""

    entries: int = 500_000  # the largest public source trees
    entry_bytes: int = 2 << 30
    total_bytes: int = 16 << 30
    ratio: int = 200  # unpacked to packed; source code reaches 10, generated tables 50, zeros 1,000 and more
    free_bytes: int = 64 << 20  # up to here no ratio is asked


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in an archive."""

    place: int  # position in the archive
    path: bytes
    size: int


class Reader(Protocol):
    """One pass over the regular files of an archive."""

    skipped: Counter[str]

    def members(self, wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, Iterator[bytes] | None]]:
        """Every member, with its content in chunks where it is wanted; chunks are read before the next member."""
        ...


def suffix_of(path: Path) -> str | None:
    """The archive suffix of a name, longest first; None when it has none."""
    name = path.name.lower()
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)


@dataclass(frozen=True, slots=True)
class Archive:
    """The regular files in one archive."""

    path: Path
    limits: Limits = Limits()
    repository: Repository | None = None  # what it is known to be; else what it says it is

    def listing(self) -> Listing:
        with self._opened() as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            reader = self._reader(file)
            metadata: dict[bytes, bytes] = {}
            members: dict[bytes, Member] = {}
            for member, chunks in reader.members(_describes_package):
                if chunks is not None:
                    metadata[member.path] = b"".join(chunks)
                if member.path in members:
                    reader.skipped["name_twice"] += 1  # the later one is what unpacking would leave
                members[member.path] = member
        if not members:
            raise SourceError(f"archive {self.path} holds no files")
        repository, top = self._identity(sha256, members, metadata)
        entries = [
            Entry(repository.name, path.removeprefix(top), member.size, place=member.place)
            for path, member in members.items()
        ]
        entries.sort(key=lambda entry: entry.path)
        digest = f"{repository.name} {digest_of([repository.name.encode(), sha256.encode()])}"
        return Listing(digest, {repository.name: repository}, entries, dict(reader.skipped))

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        wanted = {entry.place: entry for entry in entries}
        found: dict[int, Raw] = {}
        with self._opened() as file:
            for member, chunks in self._reader(file).members(lambda member: member.place in wanted):
                if chunks is None:
                    continue
                raw = take(chunks, member.size, max_bytes)
                if raw is None or member.size != wanted[member.place].size:
                    raise changed(f"archive {self.path}: entry {printable(member.path)}")
                found[member.place] = raw
                if len(found) == len(wanted):
                    break
        for entry in entries:
            assert isinstance(entry.place, int)
            if entry.place not in found:
                raise changed(f"archive {self.path}")
            yield found.pop(entry.place)

    def _opened(self) -> io.BufferedReader:
        try:
            if stat.S_ISFIFO(self.path.stat().st_mode):  # opening one would wait for its writer
                raise SourceError(f"{self.path} is a pipe, not an archive")
            return self.path.open("rb")
        except FileNotFoundError:
            raise SourceError(f"archive {self.path} does not exist") from None
        except IsADirectoryError:
            raise SourceError(f"{self.path} is a folder, not an archive; it is read with folder:{self.path}") from None
        except PermissionError:
            raise SourceError(f"archive {self.path} cannot be read: permission denied") from None

    def _reader(self, file: io.BufferedReader) -> Reader:
        from starloom.corpus.sources.tar import TarReader
        from starloom.corpus.sources.zip import ZipReader

        suffix = suffix_of(self.path)
        if suffix is None:
            raise SourceError(f"{self.path} has none of the suffixes of archives: {' '.join(SUFFIXES)}")
        bounds = Bounds(str(self.path), self.limits, os.fstat(file.fileno()).st_size)
        return ZipReader(file, bounds) if suffix in _ZIP else TarReader(file, suffix, bounds)

    def _identity(
        self, sha256: str, members: dict[bytes, Member], metadata: dict[bytes, bytes]
    ) -> tuple[Repository, bytes]:
        """The package that a wheel or a source distribution says it is, and the folder that all its files are in."""
        suffix = suffix_of(self.path) or ""
        if self.repository is not None:
            tops = {path.partition(b"/")[0] + b"/" if b"/" in path else b"" for path in members}
            return self.repository, tops.pop() if suffix != ".whl" and len(tops) == 1 else b""
        for path, content in sorted(metadata.items()):
            wheel = path.endswith(b".dist-info/METADATA")
            if wheel != (suffix == ".whl"):
                continue
            top = b"" if wheel else path.split(b"/")[0] + b"/"
            headers = email.parser.BytesHeaderParser().parsebytes(content)
            package = pypi_repository(str(headers["Name"] or ""), str(headers["Version"] or "") or None)
            if package is not None and all(other.startswith(top) for other in members):
                return package, top
        name = self.path.name[: len(self.path.name) - len(suffix)]
        return replace(called_after(self.path, "archive", name), revision=f"sha256:{sha256}"), b""


def _describes_package(member: Member) -> bool:
    described = re.fullmatch(rb"[^/]+\.dist-info/METADATA|[^/]+/PKG-INFO", member.path) is not None
    return described and member.size <= _METADATA_BYTES


class Bounds:
    """Counts what an archive unpacks to, and stops it at the limits."""

    def __init__(self, archive: str, limits: Limits, packed_bytes: int) -> None:
        self.archive = archive
        self.limits = limits
        self._most = min(limits.total_bytes, max(limits.free_bytes, limits.ratio * packed_bytes))
        self._packed = packed_bytes
        self._entries = 0
        self._total = 0

    def broken(self, what: str, entry: bytes | None = None) -> SourceError:
        at = f": entry {printable(entry)}" if entry is not None else ""
        return SourceError(f"archive {self.archive}{at} {what}")

    def entry(self, path: bytes, size: int) -> None:
        """Count one entry and the size that it says it has."""
        self._entries += 1
        if self._entries > self.limits.entries:
            raise self.broken(f"is one more than the {self.limits.entries:,} entries that an archive may hold", path)
        if size > self.limits.entry_bytes:
            raise self.broken(
                f"says it has {size:,} bytes, more than the {self.limits.entry_bytes:,} that an entry may have", path
            )

    def unpacked(self, path: bytes | None, count: int) -> None:
        """Count bytes that were, or will be, unpacked."""
        self._total += count
        if self._total > self._most:
            ratio = self._most < self.limits.total_bytes
            limit = f"{self.limits.ratio} times its own {self._packed:,} bytes" if ratio else f"{self._most:,} bytes"
            raise self.broken(f"unpacks to more than {limit}; is it a bomb?", path)


def checked_name(path: bytes, skipped: Counter[str]) -> bytes | None:
    """A member's name without `./` before it; None, counted, when it would lead outside."""
    while path.startswith(b"./"):
        path = path[2:]
    if not unsafe_name(path):
        return path
    skipped["unsafe_name"] += 1
    return None


def chunks_from(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Exactly `size` bytes from a reading function, or fewer where it ends."""
    while size > 0 and (chunk := read(min(CHUNK, size))):
        size -= len(chunk)
        yield chunk
