"""A git repository at one revision, bare or not: its objects are parsed, git is not run, and no work tree is touched.

What is covered: hooks, filters, submodules, symbolic links, unsafe names, objects that are damaged or unpack to more
than they may. What is not covered: dulwich's own parsing of packs, indexes, refs and the configuration file.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from dulwich.errors import ChecksumMismatch, FileFormatException, NotGitRepository
from dulwich.objects import Blob, Commit, ShaFile, Tag, Tree
from dulwich.pack import ApplyDeltaError, PackFileDisappeared, UnresolvedDeltas
from dulwich.repo import InvalidWorktreeConfiguration, Repo, UnsupportedExtension, UnsupportedVersion

from starloom.corpus.sources.git_objects import LARGEST_OBJECT, Enclosed, check_alternates, check_regular, object_size
from starloom.corpus.sources.listing import (
    Entry,
    Listing,
    Raw,
    Repository,
    called_after,
    canonical_remote,
    printable,
    take,
    unsafe_name,
)
from starloom.errors import SourceError

MOST_FILES = 5_000_000  # the largest public trees hold half a million; a tree of trees can name 10^10; our choice
_YEAR_10000 = 253_402_300_800  # seconds: a date that anybody could set, and no calendar holds
_HEADER_BYTES = 64  # `commit SIZE NUL` and some
DIRECTORY, LINK, SUBMODULE = 0o040000, 0o120000, 0o160000
_DAMAGE = (
    ApplyDeltaError,
    AssertionError,  # dulwich asserts on damaged packs
    ChecksumMismatch,
    FileFormatException,
    PackFileDisappeared,
    UnresolvedDeltas,
    KeyError,
    IndexError,
    ValueError,
    zlib.error,
    struct.error,
    TypeError,  # of a damaged index
    OSError,
)


@dataclass(frozen=True, slots=True)
class Git:
    """The files of one commit."""

    path: Path
    revision: str = "HEAD"
    lenient: bool = False  # a file that is missing (a partial clone) or damaged is listed, without text
    below: Path | None = None  # the folder of repositories in which it was found

    def listing(self) -> Listing:
        with self.opened() as repo:
            commit = self.commit(repo)
            repository = self.repository(repo, commit)
            skipped: Counter[str] = Counter()
            entries = sorted(self._entries(repo, commit, repository.name, skipped), key=lambda entry: entry.path)
        if not entries:
            raise SourceError(f"{self._where(commit.id)} holds no files; choose another revision with git:PATH@REV")
        digest = f"{repository.name} {commit.id.decode()}"
        return Listing(digest, {repository.name: repository}, entries, dict(skipped))

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        with self.opened() as repo:
            for entry in entries:
                if entry.unread is not None or entry.size > max_bytes:
                    yield Raw(entry.blob, None, entry.size)
                    continue
                assert entry.blob is not None
                data = self.content(repo, Blob, entry.blob.encode(), printable(entry.path))
                raw = take([data], entry.size, max_bytes)
                assert raw is not None, "the size of an object is in its header, and its header is in its id"
                yield raw

    def _where(self, commit: bytes) -> str:
        return f"git repository {self.path} at {commit.decode()[:12]}"

    @contextmanager
    def opened(self) -> Iterator[Repo]:
        check_regular(self.path)
        try:
            repo = Enclosed(str(self.path))
        except NotGitRepository:
            raise SourceError(
                f"{self.path} is no git repository; a plain folder is read with folder:{self.path}"
            ) from None
        except (UnsupportedVersion, UnsupportedExtension, InvalidWorktreeConfiguration, ValueError, OSError) as error:
            raise SourceError(f"git repository {self.path} cannot be opened: {_said(error)}") from None
        try:
            if repo.object_format.hex_length != 40:
                raise SourceError(
                    f"git repository {self.path} names objects by SHA-256, which is not read yet; "
                    f"export it with `git archive` and read archive:FILE.tar"
                )
            check_alternates(Path(repo.commondir()) / "objects")
            repo.object_store.loose_object_size_limit = LARGEST_OBJECT  # its own settings could raise it
            yield repo
        finally:
            with suppress(BufferError):  # of a damaged pack, of which an error still holds a piece
                repo.close()

    @contextmanager
    def _damage(self, what: str) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            missing = isinstance(error, KeyError)
            why = "is missing (a partial clone?)" if missing else f"is damaged ({type(error).__name__})"
            raise SourceError(f"git repository {self.path}: {what} {why}; run `git fsck` there") from None

    def commit(self, repo: Repo) -> Commit:
        """The commit that the revision names: HEAD, a branch, a tag, or the start of a commit id."""
        with self._damage("its refs"):
            refs = {name: repo.refs[name] for name in repo.refs.allkeys() if self._exists(repo, name)}
        named, steps = _ancestry(self.revision)
        spelled = named.encode("utf-8", "surrogateescape")
        found = next(
            (
                refs[name]
                for form in (
                    b"%s",
                    b"refs/%s",
                    b"refs/tags/%s",
                    b"refs/heads/%s",
                    b"refs/remotes/%s",
                    b"refs/remotes/origin/%s",
                )
                if (name := form % spelled) in refs
            ),
            None,
        )
        if found is None and re.fullmatch(rb"[0-9a-fA-F]{4,40}", spelled):
            found = self._abbreviated(repo, spelled.lower())
        if found is None:
            if not refs:
                raise SourceError(
                    f"git repository {self.path} has no commits; commit something, or read folder:{self.path}"
                )
            short = sorted(
                {re.sub(rb"^refs/(tags|heads|remotes)/", b"", name).decode("utf-8", "replace") for name in refs}
                - {"HEAD"}
            )
            near = difflib.get_close_matches(named, short, n=3, cutoff=0.5) or short[:5]
            hint = (
                "; name a branch, a tag or a commit, with ~N or ^N behind it" if re.search(r"[\^~@:{]", named) else ""
            )
            raise SourceError(
                f"git repository {self.path} has no revision '{named}'; there are {', '.join(near)}{hint}"
            )
        with self._damage(f"object {found.decode()}"):
            if object_size(repo, found) > LARGEST_OBJECT:
                raise SourceError(f"git repository {self.path}: '{self.revision}' is no commit")
            kind: type[ShaFile] = type(repo.object_store[found])
            for _ in range(8):  # a tag may name a tag
                if kind is not Tag:
                    break
                kind, found = Tag.from_string(self.content(repo, Tag, found, self.revision)).object
        if kind is not Commit:
            raise SourceError(
                f"git repository {self.path}: '{self.revision}' is a {kind.type_name.decode()}, "
                "not a commit; name a branch, a tag or a commit"
            )
        commit = self.parsed(repo, Commit, found, self.revision)
        for parent in steps:
            if parent > len(commit.parents):
                raise SourceError(
                    f"git repository {self.path} has no revision '{self.revision}': commit {commit.id.decode()[:12]} has "
                    f"no parent {parent}"
                )
            commit = self.parsed(repo, Commit, commit.parents[parent - 1], self.revision)
        return commit

    def parsed(self, repo: Repo, kind: type[Commit], name: bytes, where: str) -> Commit:
        """A commit, every field of it read. Raises SourceError for one that is damaged."""
        data = self.content(repo, kind, name, where)
        with self._damage(f"commit {name.decode()}"):
            commit = kind.from_string(data)
            _ = commit.tree, commit.parents, commit.author, commit.committer, commit.message  # parsed when asked for
            return commit

    def items(self, name: bytes, content: bytes, where: str = "history") -> list[Any]:
        """The entries of a tree."""
        with self._damage(f"tree {name.decode()} ({where})"):
            return list(Tree.from_string(content).iteritems())

    def content(self, repo: Repo, kind: type[ShaFile], name: bytes, where: str) -> bytes:
        """The content of an object, checked to be what its id says."""
        what = f"{kind.type_name.decode()} {name.decode()} ({where})"
        with self._damage(what):
            size = object_size(repo, name)
            if size > LARGEST_OBJECT:
                raise SourceError(
                    f"git repository {self.path}: {what} is larger than {LARGEST_OBJECT:,} bytes; it is not read"
                )
            repo.object_store.loose_object_size_limit = (
                size + _HEADER_BYTES
            )  # it unpacks to what it says, or not at all
            number, data = repo.object_store.get_raw(name)
        content: bytes = data
        header = b"%s %d\0" % (kind.type_name, len(content))
        if (
            number != kind.type_num
            or hashlib.sha1(header + content, usedforsecurity=False).hexdigest() != name.decode()
        ):
            raise SourceError(
                f"git repository {self.path}: {what} is damaged: its content is not its id; run `git fsck` there"
            )
        return content

    @staticmethod
    def _exists(repo: Repo, name: bytes) -> bool:
        try:
            return bool(repo.refs[name])
        except KeyError:  # HEAD of a repository without commits
            return False

    def _abbreviated(self, repo: Repo, prefix: bytes) -> bytes | None:
        with self._damage("its object index"):
            found = sorted(set(repo.object_store.iter_prefix(prefix)))
            commits = [one for one in found if repo.object_store.get_raw(one)[0] in (Commit.type_num, Tag.type_num)]
        if len(commits) > 1:
            raise SourceError(
                f"git repository {self.path}: '{self.revision}' begins {len(commits)} commits; give more digits"
            )
        return next(iter(commits or found), None)

    def _entries(self, repo: Repo, commit: Commit, repository: str, skipped: Counter[str]) -> Iterator[Entry]:
        waiting: list[tuple[bytes, bytes]] = [(b"", commit.tree)]
        seen = 0
        while waiting:
            base, tree_id = waiting.pop()
            where = printable(base) or "/"
            content = self.content(repo, Tree, tree_id, where)
            items = self.items(tree_id, content, where)
            seen += len(items)
            if seen > MOST_FILES:
                raise SourceError(f"git repository {self.path} names more than {MOST_FILES:,} files; it is not read")
            for item in items:
                kind = item.mode & 0o170000
                if unsafe_name(item.path) or b"/" in item.path:
                    skipped["unsafe_name"] += 1
                elif kind == DIRECTORY:
                    waiting.append((base + item.path + b"/", item.sha))
                elif kind in (LINK, SUBMODULE):
                    skipped["symbolic_link" if kind == LINK else "submodule"] += 1
                else:
                    yield self._entry(repo, repository, base + item.path, item.sha)

    def _entry(self, repo: Repo, repository: str, path: bytes, blob: bytes) -> Entry:
        try:
            with self._damage(f"blob {blob.decode()} ({printable(path)})"):
                return Entry(repository, path, object_size(repo, blob), blob=blob.decode())
        except SourceError:
            if not self.lenient:
                raise
            return Entry(repository, path, 0, blob=blob.decode(), unread="damaged")

    def repository(self, repo: Repo, commit: Commit) -> Repository:
        """What it is: the remote that it was cloned from; else it is called after its folder."""
        try:
            url = repo.get_config().get((b"remote", b"origin"), b"url").decode("utf-8", "replace")
        except KeyError:
            url = ""
        known = canonical_remote(url)
        if known is not None:
            return Repository(*known, commit.id.decode(), commit_date(commit))
        folder = self.path.resolve()
        folder = folder.parent if folder.name == ".git" else folder
        called = called_after(folder, "folder", folder.name.removesuffix(".git"), self.below)
        return replace(called, revision=commit.id.decode(), date=commit_date(commit))


def _ancestry(revision: str) -> tuple[str, Iterator[int]]:
    """`v1~2^2` as `v1` and the parents to go to, 1, 1, 2 (gitrevisions(7)); no ref has a ~ or ^ in its name."""
    found = re.fullmatch(r"([^~^]+)((?:[~^]\d{0,9})+)", revision)
    if found is None:
        return revision, iter(())
    steps = [(sign, int(digits or 1)) for sign, digits in re.findall(r"([~^])(\d*)", found[2])]
    return found[1], chain.from_iterable(
        repeat(1, number) if sign == "~" else (number,) * (number > 0) for sign, number in steps
    )


def _said(error: Exception) -> str:
    return printable(f"{type(error).__name__} {error}")


def commit_date(commit: Commit) -> int | None:
    """Seconds since 1970 when a commit was made; None for a date that no calendar holds."""
    return commit.commit_time if 0 <= commit.commit_time < _YEAR_10000 else None
