"""A folder of files, read through directory descriptors: no link is followed, nothing but regular files is opened.

What is covered: links, loops, pipes, sockets, devices, any depth and any bytes in a name, files that cannot be opened,
files that change between being listed and being read. What is not covered: a file that is written to and set back
within one read.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from starloom.corpus.sources.listing import (
    CHUNK,
    Entry,
    Listing,
    Raw,
    Repository,
    changed,
    digest_of,
    printable,
    take,
)
from starloom.errors import SourceError
from starloom.store import MARKER

KEPT_EVERY = 64  # levels between descriptors that stay open: any depth in few descriptors; our choice
_VERSION_CONTROL = frozenset({b".git", b".hg", b".svn"})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a fifo that took a file's place does not block


class Tree:
    """Directories below one root, opened step by step from their parents, so that no link and no path limit matters."""

    def __init__(self, root: Path) -> None:
        try:
            self._open = [(0, os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))]  # (depth, descriptor)
        except FileNotFoundError:
            raise SourceError(f"folder {root} does not exist") from None
        except NotADirectoryError:
            raise SourceError(f"{root} is a file, not a folder; an archive is read with archive:{root}") from None
        except PermissionError:
            raise SourceError(f"folder {root} cannot be read: permission denied") from None
        self._at: tuple[bytes, ...] = ()

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self._open:
            os.close(self._open.pop()[1])

    def directory(self, parts: tuple[bytes, ...]) -> int:
        """Descriptor of a directory, valid until the next call. Raises OSError, also where a part is a link."""
        common = 0
        for mine, other in zip(self._at, parts, strict=False):
            if mine != other:
                break
            common += 1
        while self._open[-1][0] > common:
            os.close(self._open.pop()[1])
        depth, descriptor = self._open[-1]
        self._at = parts[:depth]
        while depth < len(parts):
            below = os.open(parts[depth], _DIRECTORY, dir_fd=descriptor)
            depth += 1
            if self._open[-1][0] == depth - 1 and (depth - 1) % KEPT_EVERY:
                os.close(self._open.pop()[1])
            self._open.append((depth, below))
            descriptor = below
            self._at = parts[:depth]
        return descriptor

    def file(self, parts: tuple[bytes, ...]) -> int:
        """Descriptor of a regular file, for the caller to close. Raises OSError; for what is no regular file too."""
        descriptor = os.open(parts[-1], _FILE, dir_fd=self.directory(parts[:-1]))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError("no regular file")
        return descriptor


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """The bytes of a descriptor from where it stands."""
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


@dataclass(frozen=True, slots=True)
class Folder:
    """The regular files below a root."""

    root: Path
    repository: Repository
    left_out: frozenset[bytes] = frozenset()  # names of directories that are not entered

    def listing(self) -> Listing:
        skipped: Counter[str] = Counter()
        with Tree(self.root) as tree:
            entries = [self._entry(tree, parts, size) for parts, size in self._files(tree, skipped)]
        if not entries:
            said = ", ".join(f"{reason} {number}" for reason, number in sorted(skipped.items()))
            raise SourceError(f"folder {self.root} holds no files to read" + (f" (skipped: {said})" if said else ""))
        entries.sort(key=lambda entry: entry.path)
        fields = [self.repository.name.encode(), (self.repository.revision or "").encode()]
        for entry in entries:
            fields += [entry.path, (entry.blob or entry.unread or "").encode()]
        digest = f"{self.repository.name} {digest_of(fields)}"
        return Listing(digest, {self.repository.name: self.repository}, entries, dict(skipped))

    def _files(self, tree: Tree, skipped: Counter[str]) -> Iterator[tuple[tuple[bytes, ...], int]]:
        """(path in parts, size) of every regular file, directory by directory."""
        waiting: list[tuple[bytes, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                descriptor = tree.directory(parts)
                names = sorted(map(os.fsencode, os.listdir(descriptor)))  # noqa: PTH208 (a descriptor, not a path)
                infos = [os.stat(name, dir_fd=descriptor, follow_symlinks=False) for name in names]
            except PermissionError:
                skipped["unreadable_directory"] += 1
                continue
            except OSError:
                raise changed(f"folder {self.root}: {printable(b'/'.join(parts))}") from None
            if os.fsencode(MARKER) in names:
                if not parts:
                    raise SourceError(f"folder {self.root} is a starloom store, not source code; name another")
                skipped["starloom_store"] += 1
                continue
            if parts and b"pyvenv.cfg" in names:
                skipped["virtual_environment"] += 1
                continue
            below = []
            for name, info in zip(names, infos, strict=True):
                reason = self._reason_to_skip(name, info.st_mode)
                if reason is not None:
                    skipped[reason] += 1
                elif stat.S_ISDIR(info.st_mode):
                    below.append((*parts, name))
                else:
                    yield (*parts, name), info.st_size
            waiting += reversed(below)

    def _reason_to_skip(self, name: bytes, mode: int) -> str | None:
        if name in _VERSION_CONTROL:  # a file of that name is a submodule's or a work tree's pointer
            return "version_control"
        if stat.S_ISLNK(mode):
            return "symbolic_link"
        if stat.S_ISDIR(mode):
            if name == b"__pycache__":
                return "bytecode_cache"
            return "left_out" if name in self.left_out else None
        return None if stat.S_ISREG(mode) else "no_regular_file"

    def _entry(self, tree: Tree, parts: tuple[bytes, ...], size: int) -> Entry:
        path = b"/".join(parts)
        try:
            descriptor = tree.file(parts)
        except PermissionError:
            return Entry(self.repository.name, path, size, unread="unreadable")
        except OSError:
            raise changed(f"{self.root}: {printable(path)}") from None
        try:
            raw = take(chunks_of(descriptor), size, max_bytes=-1)
        except OSError:  # the disk itself refuses
            return Entry(self.repository.name, path, size, unread="unreadable")
        finally:
            os.close(descriptor)
        if raw is None:
            raise changed(f"{self.root}: {printable(path)}")
        return Entry(self.repository.name, path, size, blob=raw.blob)

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        with Tree(self.root) as tree:
            for entry in entries:
                if entry.unread is not None or entry.size > max_bytes:  # hashed when it was listed
                    yield Raw(entry.blob, None, entry.size)
                    continue
                raw = read_regular(tree, entry, max_bytes)
                if raw is None or raw.blob != entry.blob:
                    raise changed(f"{self.root}: {printable(entry.path)}")
                yield raw


def read_regular(tree: Tree, entry: Entry, max_bytes: int) -> Raw | None:
    """The bytes of an entry below a tree; None when it is no longer the file that was listed."""
    try:
        descriptor = tree.file(tuple(entry.path.split(b"/")))
    except OSError:
        return None
    try:
        return take(chunks_of(descriptor), entry.size, max_bytes)
    finally:
        os.close(descriptor)
