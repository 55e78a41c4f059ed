"""The real code that every machine with Python has: its standard library, and the packages installed beside it."""

from __future__ import annotations

import base64
import csv
import email.parser
import hashlib
import os
import platform
import stat
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from starloom.corpus.sources.folder import Folder, Tree, chunks_of, read_regular
from starloom.corpus.sources.listing import (
    Entry,
    Listing,
    Raw,
    Repository,
    changed,
    digest_of,
    printable,
    pypi_repository,
    take,
    unsafe_name,
)
from starloom.errors import SourceError

STDLIB = "python:stdlib"
_NOT_STDLIB = frozenset({b"site-packages", b"dist-packages"})
_RECORD_BYTES = 64 << 20  # of a RECORD or METADATA file; the largest on PyPI are a few MB; our choice


def standard_library() -> Folder:
    """The standard library of the running Python, one repository whose revision is its version."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return Folder(root, Repository(STDLIB, revision=platform.python_version()), _NOT_STDLIB)


def site_packages() -> SitePackages:
    """The packages installed for the running Python."""
    paths = sysconfig.get_paths()
    return SitePackages(tuple(dict.fromkeys(Path(paths[name]) for name in ("purelib", "platlib"))))


@dataclass(frozen=True, slots=True)
class SitePackages:
    """Installed distributions, each a repository `pypi:NAME` at its version, with the files of its RECORD.

    A file enters the digest by the hash that its RECORD states, so that nothing but the RECORDs is read to know
    whether something changed; where its size is not the stated one, by its own content.
    """

    roots: tuple[Path, ...]

    def listing(self) -> Listing:
        skipped: Counter[str] = Counter()
        repositories: dict[str, Repository] = {}
        entries: dict[tuple[str, bytes], Entry] = {}
        for number, root in enumerate(self.roots):
            with Tree(root) as tree:
                for folder in sorted(os.fsencode(path.name) for path in root.iterdir()):
                    if not folder.endswith(b".dist-info"):
                        continue
                    repository = self._repository(tree, folder)
                    if repository is None or repository.name in repositories:
                        skipped["no_package" if repository is None else "installed_twice"] += 1
                        continue
                    repositories[repository.name] = repository
                    for entry in self._files(tree, folder, repository.name, number, skipped):
                        entries.setdefault((entry.repository, entry.path), entry)
        if not entries:
            raise SourceError(
                f"no packages with a RECORD are installed in {', '.join(map(str, self.roots))}; "
                "install some with pip, or name another source"
            )
        ordered = [entries[key] for key in sorted(entries)]
        fields = []
        for name in sorted(repositories):
            fields += [name.encode(), (repositories[name].revision or "").encode()]
        for entry in ordered:
            fields += [entry.repository.encode(), entry.path, str(entry.place).partition(":")[2].encode()]
        return Listing(f"python:site-packages {digest_of(fields)}", repositories, ordered, dict(skipped))

    def _repository(self, tree: Tree, folder: bytes) -> Repository | None:
        metadata = _small_file(tree, (folder, b"METADATA"))
        if metadata is None:
            return None
        headers = email.parser.BytesHeaderParser().parsebytes(metadata)
        return pypi_repository(str(headers["Name"] or ""), str(headers["Version"] or "") or None)

    def _files(self, tree: Tree, folder: bytes, repository: str, root: int, skipped: Counter[str]) -> Iterator[Entry]:
        record = _small_file(tree, (folder, b"RECORD"))
        if record is None:
            skipped["no_record"] += 1
            return
        try:
            lines = list(csv.reader(record.decode("utf-8", "surrogateescape").splitlines(), strict=True))
        except csv.Error:
            skipped["malformed_record"] += 1
            return
        for row in lines:
            path = row[0].encode("utf-8", "surrogateescape") if row else b""
            parts = tuple(path.split(b"/"))
            if unsafe_name(path):  # scripts lie in ../../../bin
                skipped["outside"] += 1
                continue
            if b"__pycache__" in parts:
                skipped["bytecode_cache"] += 1
                continue
            try:
                info = os.stat(parts[-1], dir_fd=tree.directory(parts[:-1]), follow_symlinks=False)
            except OSError:
                skipped["missing"] += 1
                continue
            if not stat.S_ISREG(info.st_mode):
                skipped["no_regular_file"] += 1
                continue
            stated = row[1] if len(row) > 2 and row[2] == str(info.st_size) and row[1].startswith("sha256=") else None
            if stated is None:
                stated = _hash_of(tree, parts)
                if stated is None:
                    yield Entry(repository, path, info.st_size, place=f"{root}:unreadable", unread="unreadable")
                    continue
            yield Entry(repository, path, info.st_size, place=f"{root}:{stated}")

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        with ExitStack() as stack:
            trees = [stack.enter_context(Tree(root)) for root in self.roots]
            for entry in entries:
                number, _, stated = str(entry.place).partition(":")
                if entry.unread is not None:
                    yield Raw(None, None, entry.size)
                    continue
                raw = read_regular(trees[int(number)], entry, max_bytes)
                if raw is None:
                    found = None
                elif raw.data is None:
                    found = _hash_of(trees[int(number)], tuple(entry.path.split(b"/")))
                else:
                    found = _stated(hashlib.sha256(raw.data))
                if raw is None or found != stated:
                    where = printable(str(self.roots[int(number)] / os.fsdecode(entry.path)))
                    name = entry.repository.removeprefix("pypi:")
                    raise SourceError(
                        f"{where} is not what the RECORD of {name} says; if it was edited, "
                        f"`pip install --force-reinstall {name}`, else run again"
                    )
                yield raw


def _stated(digest: hashlib._Hash) -> str:
    """A hash as RECORD files write it."""
    return "sha256=" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _hash_of(tree: Tree, parts: tuple[bytes, ...]) -> str | None:
    """The SHA-256 of a file; None when it cannot be read."""
    digest = hashlib.sha256()
    try:
        descriptor = tree.file(parts)
    except OSError:
        return None
    try:
        for chunk in chunks_of(descriptor):
            digest.update(chunk)
    finally:
        os.close(descriptor)
    return _stated(digest)


def _small_file(tree: Tree, parts: tuple[bytes, ...]) -> bytes | None:
    """A metadata file; None when it is missing, no regular file, or too large to be one."""
    try:
        descriptor = tree.file(parts)
    except OSError:
        return None
    try:
        size = os.fstat(descriptor).st_size
        if size > _RECORD_BYTES:
            return None
        raw = take(chunks_of(descriptor), size, _RECORD_BYTES)
    finally:
        os.close(descriptor)
    if raw is None:
        raise changed(printable(b"/".join(parts)))
    return raw.data
