"""Several sources as one: a list file, or a folder with thousands of git repositories.

A file that two of them hold alike, in one repository under one path, is one row with both revisions.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from starloom.corpus.sources.folder import Tree
from starloom.corpus.sources.git import Git
from starloom.corpus.sources.homes import told_apart
from starloom.corpus.sources.listing import Entry, Listing, Raw, Repository, Source, digest_of, printable
from starloom.corpus.sources.packages import Package, cache
from starloom.corpus.sources.starred import Starred
from starloom.errors import SourceError

_NAMED = 5  # packages that an error names; our choice
_DEEPEST = 4  # folders below the one that is named: HOST/OWNER/NAME, and one to spare; our choice


class Place(NamedTuple):
    """A document in one of several sources."""

    source: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Several:
    """Sources in the order of a list."""

    sources: tuple[Source, ...]
    name: str
    lenient: bool = False  # a source that cannot be read is named, not raised, while another can
    lines: tuple[str, ...] = ()  # FILE:NUMBER of each source, where a file lists them

    def listing(self) -> Listing:
        found, broken = self._found()
        names = told_apart(one.home for _, listing in found for one in listing.repositories.values() if one.home)
        skipped: Counter[str] = Counter()
        repositories: dict[str, Repository] = {}
        places: dict[tuple[str, bytes, str], list[Place]] = defaultdict(list)
        digests = []
        while found:  # each is let go of once it is gathered
            number, listing = found.popleft()
            called = {
                name: replace(one, name=names[one.home[:2]] if one.home else name)
                for name, one in listing.repositories.items()
            }
            other = sorted((name, one.name) for name, one in called.items() if name != one.name)
            digests += [(listing.digest + (f" {other}" if other else "")).encode()]
            skipped.update(listing.skipped)
            for one in called.values():
                repositories.setdefault(one.name, one)
            for entry in listing.entries:
                one = called[entry.repository]
                if one.name != entry.repository:
                    entry = replace(entry, repository=one.name)
                if not entry.revisions and one.revision is not None:
                    entry = replace(entry, revisions=((one.revision, one.date),))
                places[entry.repository, entry.path, entry.kind].append(Place(number, entry))
        if not places:
            raise SourceError(
                f"{self.name} holds nothing to read" + (f"; the first reason: {broken[0]}" if broken else "")
            )
        entries: list[Entry] = []
        for key in sorted(places):
            entries += self._merged(places[key]) if len(places[key]) > 1 else [_entry(places[key][0], None)]
        return Listing(f"several {digest_of(sorted(digests))}", repositories, entries, dict(skipped), broken)

    def _found(self) -> tuple[deque[tuple[int, Listing]], list[str]]:
        """The listing of each source that has one, and why the others have none."""
        found: deque[tuple[int, Listing]] = deque()
        broken: list[str] = []
        for number, source in enumerate(self.sources):
            try:
                listing = source.listing()
            except SourceError as error:
                if not self.lenient:
                    raise SourceError(f"{self._line(number)}{error}{self._kept(number)}") from None
                broken.append(str(error))
                continue
            broken += listing.broken
            found.append((number, listing))
        return found, broken

    def _line(self, number: int) -> str:
        return f"{self.lines[number]}: " if self.lines else ""

    def _kept(self, number: int) -> str:
        """Where fetching a package failed: what was fetched before it is not fetched again."""
        *before, failed = (one.source if isinstance(one, Starred) else one for one in self.sources[: number + 1])
        fetched = [str(one) for one in before if isinstance(one, Package)]
        if not fetched or not isinstance(failed, Package):
            return ""
        more = f" and {len(fetched) - _NAMED:,} more" if len(fetched) > _NAMED else ""
        return f"; kept in {cache()}, and not fetched again: {', '.join(fetched[:_NAMED])}{more}"

    def _merged(self, found: Sequence[Place]) -> Iterator[Entry]:
        """Documents of one name: those of one content as one, with every revision."""
        alike: dict[tuple[str | None, object], list[Place]] = {}
        for place in found:
            entry = place.entry
            blob = entry.blob
            if blob is None and entry.kind == "file" and entry.unread is None:
                (raw,) = self.sources[place.source].read([entry], 0)
                blob = raw.blob
            apart = entry.revisions if entry.kind == "commit" else None
            alike.setdefault((blob, apart), []).append(place)
        for (blob, _), places in alike.items():
            yield _entry(
                places[0], tuple(dict.fromkeys(one for place in places for one in place.entry.revisions)), blob
            )

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        for number, run in groupby(entries, key=lambda entry: entry.place.source):
            own = [entry.place.entry for entry in run]
            if not self.lenient:
                yield from self.sources[number].read(own, max_bytes)
                continue
            for _, of_one in groupby(own, key=lambda entry: entry.repository):
                yield from _leniently(self.sources[number], list(of_one), max_bytes)


def _entry(place: Place, revisions: tuple[tuple[str, int | None], ...] | None, blob: str | None = None) -> Entry:
    entry = place.entry
    own = entry.revisions if revisions is None else revisions
    return replace(entry, place=place, revisions=own, blob=entry.blob or blob)


def _leniently(source: Source, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
    """The documents of one repository; one that cannot be read has no text, and does not stop the others."""
    done = 0
    while done < len(entries):
        try:
            for raw in source.read(entries[done:], max_bytes):
                yield raw
                done += 1
        except SourceError:
            yield Raw(entries[done].blob, None, entries[done].size, unread="damaged")
            done += 1


def repositories_below(root: Path) -> Several:
    """Every git repository, bare or not, in a folder and a few levels below; links are not followed.

    Raises SourceError when there is none.
    """
    found: list[Path] = []
    with Tree(root):  # says why it cannot be opened
        pass
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        if is_repository(folder):
            found.append(folder)
        elif depth < _DEEPEST:
            try:
                below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
            except PermissionError:
                continue
            waiting += [(path, depth + 1) for path in below]
    if not found:
        raise SourceError(f"no git repositories in {printable(str(root))}; a plain folder is read with folder:{root}")
    return Several(tuple(Git(path, lenient=True, below=root) for path in sorted(found)), f"folder {root}", lenient=True)


def is_repository(path: Path) -> bool:
    """Whether a folder is a bare repository, or a work tree with one."""
    bare = (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
    return bare or (path / ".git").exists()
