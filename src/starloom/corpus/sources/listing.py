"""What a source says before it is read: its repositories, its files in order, what it leaves out, and a digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from starloom.corpus.fields import Field
from starloom.errors import SourceError
from starloom.records import BlobHasher

CHUNK = 1 << 20  # bytes read at a time, so that a file of any size fits
_UNSAFE = re.compile(rb"\A[A-Za-z]:|\0|(?:\A|[/\\])\.{0,2}(?:[/\\]|\Z)")  # drive, NUL, a part that is empty, . or ..


class Home(NamedTuple):
    """Where something lies that is called after its folder or file. It never enters an identity whole."""

    name: str  # `folder:NAME` or `archive:NAME`, from the last part of the path
    path: tuple[str, ...]  # links followed; begins with `root`
    least: int = 2  # names of folders that it gets where another has its name


@dataclass(frozen=True, slots=True)
class Repository:
    """A canonical repository, and the one revision of it that is read."""

    name: str  # `github.com/owner/name`, `pypi:NAME`, `python:stdlib`, `folder:NAME`, `archive:NAME`: never a path
    owner: str | None = None  # case-folded
    revision: str | None = None
    date: int | None = None  # seconds since 1970, UTC
    home: Home | None = None  # where it is called after its place


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source, not yet read."""

    repository: str
    path: bytes
    size: int  # bytes
    blob: str | None = None  # git's blob id, where listing the source has told it
    place: Any = None  # how the source finds it again, or what it must hash to
    unread: str | None = None  # why it cannot be read, where that is known already
    kind: str = "file"  # or commit, issue, pull_request; a notebook is a file until it is read
    revisions: tuple[tuple[str, int | None], ...] = ()  # (revision, date) where they are not its repository's one


@dataclass(frozen=True, slots=True)
class Listing:
    """Every document of a source in an order of its own, each once, and a digest of all that is read from it.

    Files are sorted by (repository, path).
    """

    digest: str
    repositories: Mapping[str, Repository]
    entries: Sequence[Entry]
    skipped: Mapping[str, int] = field(default_factory=dict)  # reason → how many entries are no rows
    broken: Sequence[str] = ()  # repositories that could not be listed beside others that could: name and reason


@dataclass(frozen=True, slots=True)
class Said:
    """What a source says of one document beside its content."""

    stars: int | None = None
    forks: int | None = None
    licenses: tuple[str, ...] = ()  # as the source spells them
    authors: tuple[str, ...] = ()  # case-folded


@dataclass(frozen=True, slots=True)
class Raw:
    """A file's blob id, and its bytes unless it is larger than was asked for or cannot be opened.

    Another kind of document has fields instead of bytes.
    """

    blob: str | None
    data: bytes | None
    size: int
    fields: tuple[Field, ...] | None = None
    unread: str | None = None  # why there is no content, where it is not the size
    said: Said = Said()


class Source(Protocol):
    """Somewhere that files come from. A source can be sent to another process."""

    def listing(self) -> Listing:
        """Look at everything once. Raises SourceError."""
        ...

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        """The files of some entries, in their order. Raises SourceError when one is not what was listed."""
        ...


def take(chunks: Iterable[bytes], size: int, max_bytes: int) -> Raw | None:
    """Hash a file in chunks, keeping its bytes when it has at most `max_bytes`; None when it has not `size` bytes."""
    hasher = BlobHasher(size)
    kept: list[bytes] = []
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            return None
        hasher.update(chunk)
        if size <= max_bytes:
            kept.append(chunk)
    if seen != size:
        return None
    return Raw(hasher.hexdigest(), b"".join(kept) if size <= max_bytes else None, size)


def called_after(place: Path, scheme: str, stem: str | None = None, below: Path | None = None) -> Repository:
    """A repository that is called after its place, or its `stem`.

    Where others have that name, it gets the path that leads to it from `below`, else its folder's name.
    """
    path = place.resolve()
    name = f"{scheme}:{printable(path.name if stem is None else stem) or 'root'}"
    least = 2 if below is None else max(1, len(path.parts) - len(below.resolve().parts))
    return Repository(name, home=Home(name, ("root", *path.parts[1:]), least))


def changed(where: str) -> SourceError:
    return SourceError(f"{where} changed while being read; run again when nothing writes to it")


def digest_of(fields: Iterable[bytes]) -> str:
    """SHA-256 over length-prefixed fields, 32 digits."""
    digest = hashlib.sha256()
    for item in fields:
        digest.update(len(item).to_bytes(8, "little") + item)
    return digest.hexdigest()[:32]


def printable(name: str | bytes) -> str:
    """A name as text that can stand in an identifier or a message: what cannot be printed is escaped."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def regular(path: Path) -> None:
    """Raises SourceError for a pipe, a socket or a device, which a reader would wait for, or read without end."""
    if path.exists() and not path.is_file():
        raise SourceError(f"{printable(str(path))} is no regular file; name a file that was written out")


def pypi_repository(name: str, version: str | None) -> Repository | None:
    """`pypi:NAME` with the name as PyPI compares them (PEP 503); None for what is no package name."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,200}[A-Za-z0-9])?", name):
        return None
    return Repository("pypi:" + re.sub(r"[-_.]+", "-", name).lower(), revision=version)


def github_repository(name: str) -> Repository | None:
    """`github.com/owner/name`, case-folded, of `Owner/Name`; None for what no GitHub repository can be called."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}", name) or {".", ".."} & set(name.split("/")):
        return None
    return Repository(f"github.com/{name}".casefold(), name.partition("/")[0].casefold())


def canonical_remote(url: str) -> tuple[str, str] | None:
    """(`github.com/owner/name`, `owner`), case-folded, of an ssh or https URL; None for a path, or what is no such URL.

    User names, passwords and ports are dropped.
    """
    scp = re.fullmatch(r"(?:[^@/\s]+@)?([A-Za-z0-9.-]+):(?!/)(?!\d+/)([^\s]+)", url)  # git@github.com:owner/name.git
    if "://" in url:
        try:
            parts = urlsplit(url)
            host, path = parts.hostname or "", parts.path
        except ValueError:
            return None
        if parts.scheme not in ("https", "http", "ssh", "git", "git+ssh"):
            return None
    elif scp:
        host, path = scp.groups()
    else:
        return None
    path = path.strip("/").removesuffix(".git")
    words = path.split("/")
    sound = all(re.fullmatch(r"[\w.~+-]+", word) and word not in (".", "..") for word in words)
    if not host or len(words) < 2 or not sound:
        return None
    return f"{host}/{path}".casefold(), words[0].casefold()


def unsafe_name(path: bytes) -> bool:
    """Whether a name from an archive or a tree could point outside of it, or is no name at all."""
    return _UNSAFE.search(path) is not None
