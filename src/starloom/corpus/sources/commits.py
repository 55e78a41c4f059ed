"""The history of a git repository: one row for each commit that changed a single file, with the file before and after.

Merges, commits of several files (StarCoder's commits change one file each), and changes of links and submodules are
counted, not read. Objects are checked as `git.py` checks them; a commit whose file is damaged is a row without text.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo

from starloom.corpus.fields import Field
from starloom.corpus.license_evidence import evidence_of, is_license_file, repository_license
from starloom.corpus.license_metadata import statement
from starloom.corpus.license_texts import LONGEST_TEXT
from starloom.corpus.sources.git import DIRECTORY, LINK, SUBMODULE, Git, commit_date
from starloom.corpus.sources.git_objects import object_size
from starloom.corpus.sources.listing import Entry, Listing, Raw, Said, digest_of, printable, unsafe_name
from starloom.errors import SourceError

MOST_COMMITS = 1_000_000  # the longest public histories; our choice
_TREES_KEPT = 4096  # parsed trees that are at hand: neighbors share most of theirs
_NO_REPLY = re.compile(r"(?:\d+\+)?([\w-]+)@users\.noreply\.github\.com")
_COAUTHOR = re.compile(rb"^co-authored-by:[ \t]*([^\n\r]{1,1000})", re.IGNORECASE | re.MULTILINE)  # what GitHub reads

Items = dict[bytes, tuple[int, bytes]]  # name → (mode, object)


@dataclass(frozen=True, slots=True)
class Commits:
    """The commits that a revision leads to."""

    path: Path
    revision: str = "HEAD"

    def listing(self) -> Listing:
        git = Git(self.path, self.revision)
        skipped: Counter[str] = Counter()
        with git.opened() as repo:
            head = git.commit(repo)
            repository = git.repository(repo, head)
            entries = sorted(
                _History(git, repo, repository.name, skipped).entries(head.id),
                key=lambda entry: (entry.path, entry.revisions),
            )
        if not entries:
            said = ", ".join(f"{reason} {number}" for reason, number in sorted(skipped.items()))
            raise SourceError(
                f"the history of git repository {self.path} has no commit of a single file ({said or 'none at all'}); "
                f"read its files with git:{self.path}"
            )
        digest = digest_of([repository.name.encode(), head.id, b"commits"])
        return Listing(f"commits {repository.name} {digest}", {repository.name: repository}, entries, dict(skipped))

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        git = Git(self.path, self.revision)
        with git.opened() as repo:
            stated = license_at_root(git, repo)
            for entry in entries:
                yield self._raw(git, repo, entry, max_bytes, stated)

    def _raw(self, git: Git, repo: Repo, entry: Entry, max_bytes: int, stated: tuple[str, ...]) -> Raw:
        if entry.size > max_bytes:
            return Raw(None, None, entry.size, unread="too_large")
        commit = git.parsed(repo, Commit, entry.revisions[0][0].encode(), "history")
        lines = (commit.author, commit.committer, *_COAUTHOR.findall(commit.message))
        people = tuple(dict.fromkeys(name for line in lines for name in people_of(line)))
        said = Said(authors=people, licenses=stated)
        try:
            data = [git.content(repo, Blob, side, printable(entry.path)) if side else b"" for side in entry.place]
            before, after = (one.decode("utf-8") for one in data)
            message = commit.message.decode(_encoding(commit))
        except UnicodeDecodeError:
            return Raw(None, None, entry.size, unread="not_utf8", said=said)
        except SourceError:
            return Raw(None, None, entry.size, unread="damaged", said=said)
        author = people[0] if people else None
        fields = (Field("before", before), Field("message", message, author), Field("after", after))
        return Raw(None, None, entry.size, fields=fields, said=said)


def license_at_root(git: Git, repo: Repo) -> tuple[str, ...]:
    """What the files at the root of the revision say of the repository's license: its commits are under it too."""
    tree = git.commit(repo).tree
    found = []
    for item in git.items(tree, git.content(repo, Tree, tree, "the root folder")):
        name = printable(item.path)
        asked = is_license_file(name) or statement(name, "") is not None
        if not asked or item.mode & 0o170000 in (DIRECTORY, LINK, SUBMODULE):
            continue
        try:
            data = git.content(repo, Blob, item.sha, name) if object_size(repo, item.sha) <= LONGEST_TEXT else b""
        except (KeyError, SourceError):  # missing or damaged: it tells nothing
            continue
        evidence = evidence_of("", name, data.decode("utf-8", "replace"))
        found += [evidence] if evidence is not None else []
    value = repository_license(found, "").value
    return (value,) if value is not None else ()


def _encoding(commit: Commit) -> str:
    """The encoding that a commit states for its message, where Python knows it; else UTF-8."""
    named = (commit.encoding or b"utf-8").decode("ascii", "replace")
    try:
        "".encode(named)
    except LookupError:
        return "utf-8"
    return named


def people_of(line: bytes) -> Iterator[str]:
    """Who a commit's author line names, case-folded: the name, the mail address, and the GitHub account that a
    no-reply address tells."""
    name, _, rest = line.decode("utf-8", "replace").partition("<")
    mail = rest.partition(">")[0]
    for one in (name.strip(), mail.strip()):
        if one:
            yield one.casefold()
    account = _NO_REPLY.fullmatch(mail.strip())
    if account:
        yield account[1].casefold()


class _History:
    def __init__(self, git: Git, repo: Repo, repository: str, skipped: Counter[str]) -> None:
        self.git, self.repo, self.repository, self.skipped = git, repo, repository, skipped
        self.items = lru_cache(_TREES_KEPT)(self._items)

    def entries(self, head: bytes) -> Iterator[Entry]:
        """An entry for each commit of one file, from the newest on."""
        waiting, seen = [head], {head}
        while waiting:
            name = waiting.pop()
            commit = self.git.parsed(self.repo, Commit, name, "history")
            for parent in commit.parents:
                if parent not in seen:
                    seen.add(parent)
                    if self._size(parent) is not None:
                        waiting.append(parent)
                    else:
                        self.skipped["shallow_history"] += 1
            if len(seen) > MOST_COMMITS:
                raise SourceError(
                    f"git repository {self.git.path} has more than {MOST_COMMITS:,} commits; it is not read"
                )
            entry = self._entry(commit)
            if entry is not None:
                yield entry

    def _entry(self, commit: Commit) -> Entry | None:
        if len(commit.parents) > 1:
            self.skipped["merge"] += 1
            return None
        old = None
        if commit.parents:
            if self._size(commit.parents[0]) is None:
                return None
            old = self.git.parsed(self.repo, Commit, commit.parents[0], "history").tree
        changes = self._changes(old, commit.tree)
        one, another = next(changes, None), next(changes, None)
        if one is None or another is not None:
            self.skipped["several_files" if another else "no_change"] += 1
            return None
        path, before, after = one
        reason = self._reason(path, before, after)
        if reason is not None:
            self.skipped[reason] += 1
            return None
        sides = tuple(side[1] if side else None for side in (before, after))
        sizes = [self._size(side) for side in sides if side]
        if None in sizes:
            self.skipped["missing_file"] += 1
            return None
        revision = (commit.id.decode(), commit_date(commit))
        size = sum(size for size in sizes if size is not None) + len(commit.message)
        return Entry(self.repository, path, size, place=sides, kind="commit", revisions=(revision,))

    def _size(self, name: bytes) -> int | None:
        """Bytes of an object; None for one that is not there, 0 for one that is damaged: reading it will say so."""
        try:
            return object_size(self.repo, name)
        except KeyError:
            return None
        except (IndexError, ValueError, OSError, zlib.error):
            return 0

    def _reason(self, path: bytes, before: tuple[int, bytes] | None, after: tuple[int, bytes] | None) -> str | None:
        if after is None:
            return "removed_file"
        if unsafe_name(path):
            return "unsafe_name"
        kinds = {side[0] & 0o170000 for side in (before, after) if side}
        if LINK in kinds or SUBMODULE in kinds:
            return "submodule" if SUBMODULE in kinds else "symbolic_link"
        return "mode_only" if before is not None and before[1] == after[1] else None

    def _items(self, tree: bytes) -> Items:
        content = self.git.content(self.repo, Tree, tree, "history")
        return {item.path: (item.mode, item.sha) for item in self.git.items(tree, content)}

    def _changes(self, old: bytes | None, new: bytes | None) -> Iterator[tuple[bytes, Any, Any]]:
        """(path, before, after) of every file that differs between two trees, equal folders not entered."""
        waiting = [(b"", old, new)]
        while waiting:
            base, *trees = waiting.pop()
            olds, news = (self.items(tree) if tree else {} for tree in trees)
            for name in sorted(olds.keys() | news.keys()):
                sides = olds.get(name), news.get(name)
                if sides[0] == sides[1]:
                    continue
                folders = [side[1] if side and side[0] & 0o170000 == DIRECTORY else None for side in sides]
                files = [side if side and side[0] & 0o170000 != DIRECTORY else None for side in sides]
                if any(folders):
                    waiting.append((base + name + b"/", folders[0], folders[1]))
                if any(files):
                    yield base + name, files[0], files[1]
