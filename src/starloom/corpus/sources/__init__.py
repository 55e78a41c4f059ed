"""Where documents come from, and how a user spells it.

python:stdlib   python:site-packages   what every machine with Python has
folder:PATH   archive:PATH   git:PATH@REV   repositories:PATH   files of a folder, an archive, a git repository, many
pypi:NAME==VERSION   npm:NAME@VERSION   debian:NAME=VERSION   packages, fetched without running anything of theirs
commits:PATH@REV   issues:PATH   pull_requests:PATH   history of a git repository; files of JSON lines
stack:PATH   tables in the schemas of The Stack v1 and v2, Parquet or JSON lines
list:FILE   several of these, one a line, paths from the list's folder, # begins a comment; `stars=120` behind one says
            how many stars its files have where the source does not say it

A folder, an archive, or a git repository without a remote is called after its own name; where several in one list have
that name, each gets as many of the folders above it as tell them apart: folder:x/src, folder:y/src.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from starloom.corpus.sources.archive import Archive, suffix_of
from starloom.corpus.sources.folder import Folder
from starloom.corpus.sources.listing import Entry, Listing, Raw, Repository, Source, called_after, printable, regular
from starloom.corpus.sources.starred import Starred
from starloom.errors import ConfigError, SourceError, suggestion

__all__ = ["Archive", "Entry", "Folder", "Listing", "Raw", "Repository", "Source", "open_source"]

_PYTHON = ("stdlib", "site-packages")
_LIST_BYTES = 64 << 20  # of a list file; our choice


def open_source(spelling: str, base: Path = Path()) -> Source:
    """The source that a spelling names, or a bare PATH, decided by what is there; paths are seen from `base`.

    Raises ConfigError for a spelling that names nothing, SourceError for a place that cannot be.
    """
    scheme, colon, rest = spelling.partition(":")
    if not spelling.strip() or (colon and scheme in _SCHEMES and not rest):
        raise ConfigError(
            f"source '{spelling}' names nothing; write python:stdlib, folder:PATH, git:PATH@REV, archive:PATH, "
            "pypi:NAME==VERSION, list:FILE or a path"
        )
    if "\0" in spelling:
        raise ConfigError(f"source '{printable(spelling)}' holds a NUL character; no path does")
    if colon and scheme in _SCHEMES:
        return _SCHEMES[scheme](rest, base)
    if not _path(spelling, base).exists() and re.match(r"[A-Za-z][A-Za-z_-]*:", spelling):
        if "://" in spelling:
            raise ConfigError(
                f"source '{printable(spelling)}' is an address; nothing is fetched: clone or download "
                "it, then name the folder or file"
            )
        if scheme in ("stdlib", "site-packages"):
            scheme = f"python:{scheme}"
        raise ConfigError(f"no kind of source '{printable(scheme)}'; {suggestion(scheme, _SCHEMES)}")
    return _bare(spelling, base)


def _path(text: str, base: Path) -> Path:
    return base / (Path(text).expanduser() if text.startswith("~/") else Path(text))


def _python(name: str, base: Path) -> Source:
    from starloom.corpus.sources.python import site_packages, standard_library

    if name == "stdlib":
        return standard_library()
    if name == "site-packages":
        return site_packages()
    known = [f"python:{one}" for one in _PYTHON]
    raise ConfigError(f"no source 'python:{printable(name)}'; {suggestion(f'python:{name}', known)}")


def _folder(text: str, base: Path) -> Source:
    path = _path(text, base)
    return Folder(path, called_after(path, "folder"))


def _archive(text: str, base: Path) -> Source:
    return Archive(_path(text, base))


def _git(rest: str, base: Path) -> Source:
    from starloom.corpus.sources.git import Git

    return Git(*_at_revision(rest, base, "git"))


def _commits(rest: str, base: Path) -> Source:
    from starloom.corpus.sources.commits import Commits

    return Commits(*_at_revision(rest, base, "commits"))


def _at_revision(rest: str, base: Path, scheme: str) -> tuple[Path, str]:
    """The path and the revision of PATH[@REV]; a path may hold an @ too."""
    if _path(rest, base).exists():
        return _path(rest, base), "HEAD"
    for at in (match.start() for match in re.finditer("@", rest)):
        if at and _path(rest[:at], base).exists():
            if at + 1 == len(rest):
                raise ConfigError(f"source '{scheme}:{printable(rest)}' names no revision after the @")
            return _path(rest[:at], base), rest[at + 1 :]
    raise SourceError(f"git repository {printable(rest.rpartition('@')[0] or rest)} does not exist")


def _repositories(text: str, base: Path) -> Source:
    from starloom.corpus.sources.several import repositories_below

    return repositories_below(_path(text, base))


def _stack(text: str, base: Path) -> Source:
    from starloom.corpus.sources.stack import Stack

    return Stack(_path(text, base))


def _issues(text: str, base: Path) -> Source:
    from starloom.corpus.sources.exports import Export

    return Export(_path(text, base), "issue")


def _pull_requests(text: str, base: Path) -> Source:
    from starloom.corpus.sources.exports import Export

    return Export(_path(text, base), "pull_request")


def _pypi(text: str, base: Path) -> Source:
    from starloom.corpus.sources.packages import Package

    return Package.spelled("pypi", text)


def _npm(text: str, base: Path) -> Source:
    from starloom.corpus.sources.packages import Package

    return Package.spelled("npm", text)


def _debian(text: str, base: Path) -> Source:
    from starloom.corpus.sources.packages import Package

    return Package.spelled("debian", text)


def _list(text: str, base: Path) -> Source:
    """The sources that a file lists. Raises ConfigError with the line of one that cannot be."""
    from starloom.corpus.sources.several import Several

    path = _path(text, base)
    regular(path)
    try:
        if path.stat().st_size > _LIST_BYTES:
            raise SourceError(f"list {path} is larger than {_LIST_BYTES:,} bytes; it names one source a line")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SourceError(f"list {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"list {path} is not UTF-8; it names one source a line") from None
    sources: list[Source] = []
    places: list[str] = []
    for number, line in enumerate(lines, 1):
        spelling = re.sub(r"(^|\s)#.*", "", line).strip()
        if not spelling:
            continue
        if spelling.startswith("list:"):
            raise ConfigError(f"{path}:{number} names another list; write its lines here")
        spelling, *stars = re.split(r"\s+stars=", spelling, maxsplit=1)
        try:
            source = open_source(spelling, path.parent)
            sources.append(Starred(source, _stars(stars[0])) if stars else source)
            places.append(f"{path}:{number}")
        except (ConfigError, SourceError) as error:
            raise type(error)(f"{path}:{number}: {error}") from None
    if not sources:
        raise ConfigError(f"list {path} names no source; write one a line, such as pypi:attrs==25.3.0")
    return Several(tuple(sources), f"list {path}", lines=tuple(places))


def _stars(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text) < 1 << 31):
        raise ConfigError(f"stars={text} is no number of stars; write stars=120")
    return int(text)


def _bare(spelling: str, base: Path) -> Source:
    path = _path(spelling, base)
    if path.is_dir():
        bare = (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
        return _git(spelling, base) if bare or (path / ".git").exists() else _folder(spelling, base)
    if path.exists():
        if path.name.endswith(".parquet"):
            return _stack(spelling, base)
        if suffix_of(path) is None:
            raise SourceError(
                f"{printable(spelling)} is one file, and no archive by its name; name the folder that it lies in"
            )
        return Archive(path)
    if spelling in _PYTHON:
        raise ConfigError(f"no source '{spelling}'; did you mean 'python:{spelling}'?")
    known = (match.start() for match in re.finditer("@", spelling))
    if any(_path(spelling[:at], base).is_dir() for at in known if at):
        return _git(spelling, base)
    if suffix_of(path) is not None:
        return Archive(path)
    raise SourceError(
        f"source {printable(spelling)} does not exist; name python:stdlib, a folder, a git repository or an archive"
    )


_SCHEMES: dict[str, Callable[[str, Path], Source]] = {
    "archive": _archive,
    "commits": _commits,
    "debian": _debian,
    "folder": _folder,
    "git": _git,
    "issues": _issues,
    "list": _list,
    "npm": _npm,
    "pull_requests": _pull_requests,
    "pypi": _pypi,
    "python": _python,
    "repositories": _repositories,
    "stack": _stack,
}
