"""Published models by name: `me/santacoder@no-fim` is a model folder inside a hub folder, in the Hugging Face cache's layout.

    HUB/models--me--santacoder/refs/REVISION          the commit that a revision stands at: 40 hexadecimal digits
    HUB/models--me--santacoder/snapshots/COMMIT/      a model folder, its files links to ../../blobs/DIGEST

Names are checked here before they become paths, for those who read and for `starloom.hub`, which writes. Nothing here asks a
server: what is not in the folder does not exist, and the error says what does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starloom.errors import DamagedError, HubError, suggestion

DEFAULT_HUB: Final = Path("starloom-store") / "hub"
HUB_VARIABLE: Final = "HF_HUB_CACHE"  # what huggingface_hub and transformers read
MAIN: Final = "main"
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# The rules of huggingface_hub's validate_repo_id, with an owner always; git's check-ref-format, without its odd characters.
_PART: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_LONGEST_NAME: Final = 96
_LONGEST_PART: Final = 100  # of a revision; our choice, below every file system's 255
_MOST_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Name:
    """`owner/model`, fit to be a folder here and a repository on a hub."""

    owner: str
    model: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """Raises HubError for what is no such name."""
        parts = text.split("/")
        fit = len(parts) == 2 and all(_PART.fullmatch(part) for part in parts) and len(text) <= _LONGEST_NAME
        if not fit or "--" in text or ".." in text or text.lower().endswith(".git"):
            raise HubError(
                f"{text[:120]!r} is no name of a model: a name is OWNER/MODEL, such as me/santacoder, of letters, digits, "
                f"'-', '_' and '.' inside, without '--', '..' or '.git' at its end, at most {_LONGEST_NAME} characters"
            )
        return cls(*parts)

    @property
    def folder(self) -> str:
        """Its folder in the cache's layout."""
        return f"models--{self.owner}--{self.model}"

    def __str__(self) -> str:
        return f"{self.owner}/{self.model}"


def check_revision(text: str) -> str:
    """The name of a revision, fit to be a file here and a branch on a hub. Raises HubError."""
    parts = text.split("/")
    fit = all(_PART.fullmatch(part) and len(part) <= _LONGEST_PART and ".." not in part for part in parts)
    if not fit or len(text) > 2 * _LONGEST_PART or any(part.lower().endswith(".lock") for part in parts):
        raise HubError(
            f"{text[:120]!r} is no name of a revision: use letters, digits, and '-', '_', '.' inside, such as no-fim; parts "
            "may be divided by '/'"
        )
    if COMMIT.fullmatch(text.lower()) or text == "HEAD" or parts[0] == "refs":
        raise HubError(
            f"{text!r} cannot be the name of a revision: it reads as a commit or as a place in git; choose another"
        )
    return text


def hub_folder(given: str | Path | None = None) -> Path:
    """The hub folder: the one given, else what HF_HUB_CACHE names, else that of the default store."""
    return Path(given or os.environ.get(HUB_VARIABLE) or DEFAULT_HUB).expanduser()


def names(hub: Path) -> list[str]:
    """The models in a hub folder, whoever wrote them."""
    found = (path.name.split("--") for path in hub.glob("models--*--*") if (path / "snapshots").is_dir())
    return sorted("/".join(parts[1:]) for parts in found if len(parts) == 3)


def is_published(text: str, hub: str | Path | None = None) -> bool:
    """Whether a text can only mean a published model: `OWNER/MODEL@REVISION`, or an `OWNER/MODEL` that the hub folder holds."""
    bare, at, _ = text.partition("@")
    try:
        name = Name.parse(bare)
    except HubError:
        return False
    return bool(at) or name.folder in _entries(hub_folder(hub))


def revisions(repository: Path) -> dict[str, str]:
    """Revision → the commit that it stands at, by name. Raises DamagedError for one that leads nowhere."""
    refs = repository / "refs"
    paths = sorted(path for path in refs.rglob("*") if path.is_file() and path.name != ".DS_Store")
    return {path.relative_to(refs).as_posix(): commit_of(path, repository) for path in paths}


def commit_of(ref: Path, repository: Path) -> str:
    """The commit that a ref's file names, whose snapshot is there. Raises DamagedError."""
    text = ref.read_bytes()[:80].decode("latin-1")
    if not COMMIT.fullmatch(text):
        raise DamagedError(f"{ref} holds {text!r}, which is no commit; publish the revision again, or remove that file")
    if not (repository / "snapshots" / text).is_dir():
        raise DamagedError(
            f"{ref} stands at {text}, whose snapshot is gone; publish the revision again, or remove that file"
        )
    return text


def locate(text: str, revision: str | None = None, hub: str | Path | None = None) -> Path:
    """The model folder of `OWNER/MODEL` or `OWNER/MODEL@REVISION`, a revision being a name or a commit; `main` without one.

    Raises HubError naming what exists where the hub folder has no such model or revision.
    """
    bare, at, behind = text.partition("@")
    if at and revision is not None and behind != revision:
        raise HubError(f"'{text}' names a revision, and revision={revision!r} another; give one")
    name, folder = Name.parse(bare), hub_folder(hub)
    if name.folder not in _entries(folder):
        known = names(folder)
        there = suggestion(str(name), known) if known else "nothing is published there"
        raise HubError(
            f"there is no model '{name}' in the hub folder {folder}; {there} (--hub or hub= names another folder)"
        )
    repository = folder / name.folder
    wanted = revision if revision is not None else behind if at else MAIN
    if COMMIT.fullmatch(wanted) and wanted in _entries(repository / "snapshots"):
        return repository / "snapshots" / wanted
    known_revisions = revisions(repository)
    if wanted not in known_revisions:
        commits = [one for one in _entries(repository / "snapshots") if len(wanted) > 3 and one.startswith(wanted)]
        near = f"did you mean the commit {commits[0]}? " if len(commits) == 1 else _nearest(wanted, known_revisions)
        raise HubError(f"{name} has no revision {wanted[:120]!r} in {folder}; {near}{_listed(known_revisions)}")
    return repository / "snapshots" / known_revisions[wanted]


def _entries(folder: Path) -> list[str]:
    """Names in a folder, as they are spelled (a file system may take other cases for the same)."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208  (names, not paths)


def _nearest(wanted: str, known: Iterable[str]) -> str:
    said = suggestion(wanted, known)
    return f"{said} " if said.startswith("did") else ""


def _listed(known: Iterable[str]) -> str:
    listed = sorted(known)
    more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    return f"its revisions: {', '.join(listed[:_MOST_LISTED])}{more}" if listed else "it has none"
