"""Where files come from, and how a user spells it."""

from __future__ import annotations

import re
from pathlib import Path

from starloom.corpus.sources.archive import Archive, suffix_of
from starloom.corpus.sources.folder import Folder
from starloom.corpus.sources.listing import Entry, Listing, Raw, Repository, Source, printable
from starloom.errors import ConfigError, SourceError, suggestion

__all__ = ["Archive", "Entry", "Folder", "Listing", "Raw", "Repository", "Source", "open_source"]

_PYTHON = ("stdlib", "site-packages")
_SCHEMES = ("archive", "folder", "git", "python")


def open_source(spelling: str) -> Source:
    """The source that a spelling names: `python:stdlib`, `python:site-packages`, `folder:PATH`, `git:PATH[@REV]`,
    `archive:PATH`, or a bare PATH, decided by what is there.

    Raises ConfigError for a spelling that names nothing, SourceError for a place that cannot be.
    """
    scheme, colon, rest = spelling.partition(":")
    if not spelling.strip() or (colon and scheme in _SCHEMES and not rest):
        raise ConfigError(
            f"source '{spelling}' names nothing; write python:stdlib, folder:PATH, git:PATH@REV, archive:PATH or a path"
        )
    if "\0" in spelling:
        raise ConfigError(f"source '{printable(spelling)}' holds a NUL character; no path does")
    if scheme == "python" and colon:
        return _python(rest)
    if scheme == "folder" and colon:
        return _folder(_path(rest))
    if scheme == "git" and colon:
        return _git(rest)
    if scheme == "archive" and colon:
        return Archive(_path(rest))
    if not _path(spelling).exists() and re.match(r"[A-Za-z][A-Za-z-]*:", spelling):
        if "://" in spelling:
            raise ConfigError(
                f"source '{printable(spelling)}' is an address; nothing is fetched: clone or download "
                "it, then name the folder or file"
            )
        if scheme in ("stdlib", "site-packages"):
            scheme = f"python:{scheme}"
        raise ConfigError(f"no kind of source '{printable(scheme)}'; {suggestion(scheme, _SCHEMES)}")
    return _bare(spelling)


def _path(text: str) -> Path:
    return Path(text).expanduser() if text.startswith("~/") else Path(text)


def _python(name: str) -> Source:
    from starloom.corpus.sources.python import site_packages, standard_library

    if name == "stdlib":
        return standard_library()
    if name == "site-packages":
        return site_packages()
    known = [f"python:{one}" for one in _PYTHON]
    raise ConfigError(f"no source 'python:{printable(name)}'; {suggestion(f'python:{name}', known)}")


def _folder(path: Path) -> Folder:
    return Folder(path, Repository(f"folder:{printable(path.resolve().name) or 'root'}"))


def _git(rest: str) -> Source:
    from starloom.corpus.sources.git import Git

    if _path(rest).exists():  # also a path that holds an @
        return Git(_path(rest))
    for at in (match.start() for match in re.finditer("@", rest)):
        if at and _path(rest[:at]).exists():
            if at + 1 == len(rest):
                raise ConfigError(f"source 'git:{printable(rest)}' names no revision after the @")
            return Git(_path(rest[:at]), rest[at + 1 :])
    raise SourceError(f"git repository {printable(rest.rpartition('@')[0] or rest)} does not exist")


def _bare(spelling: str) -> Source:
    path = _path(spelling)
    if path.is_dir():
        bare = (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
        return _git(spelling) if bare or (path / ".git").exists() else _folder(path)
    if path.exists():
        if suffix_of(path) is None:
            raise SourceError(
                f"{printable(spelling)} is one file, and no archive by its name; name the folder that it lies in"
            )
        return Archive(path)
    if spelling in _PYTHON:
        raise ConfigError(f"no source '{spelling}'; did you mean 'python:{spelling}'?")
    if "@" in spelling and any(_path(spelling[: m.start()]).is_dir() for m in re.finditer("@", spelling) if m.start()):
        return _git(spelling)
    if suffix_of(path) is not None:
        return Archive(path)
    raise SourceError(
        f"source {printable(spelling)} does not exist; name python:stdlib, a folder, a git repository or an archive"
    )
