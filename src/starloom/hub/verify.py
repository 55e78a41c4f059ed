"""Whether what is published is whole: every ref, record, link and byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from starloom import records, store
from starloom.errors import DamagedError
from starloom.hub.commit import Commit
from starloom.hub.layout import Repository, tree_listing
from starloom.models import revisions
from starloom.models.revisions import COMMIT

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def verify(repository: Repository) -> list[str]:
    """Every fault of a published model, one sentence each; none means sound. A model from elsewhere has its bytes checked only."""
    return list(_faults(repository))


def _faults(repository: Repository) -> Iterator[str]:
    yield from _refs(repository.root)
    yield from _blobs(repository.root)
    if not repository.own.is_dir():
        for snapshot in sorted((repository.root / "snapshots").glob("*")):
            yield from _links(snapshot, repository.root)
        return
    commits: dict[str, Commit] = {}
    for path in sorted((repository.own / "commits").glob("*.json")):
        try:
            commits[path.stem] = repository.read(path.stem)
        except DamagedError as error:
            yield str(error)
    used = _reached(repository, commits)
    for identity, commit in commits.items():
        if identity not in used and not repository.snapshot(identity).is_dir():
            continue  # left by a process that was stopped while it published: nothing leads there
        if commit.parent is not None and commit.parent not in commits:
            yield f"{identity} comes after {commit.parent}, whose record is missing or damaged; publish its revision again"
        yield from _snapshot(repository, identity, commit)
    for path in sorted((repository.root / "snapshots").glob("*")):
        if path.name not in commits and not repository.record(path.name).exists():
            yield f"{path} was not published by starloom: no record says what belongs there; remove it"
    for path in sorted((repository.own / "pushed").glob("*.json")):
        try:
            store.read_sealed_json(path)
        except DamagedError:
            yield f"{path} is damaged; remove it, and the next `starloom hub push` asks the hub what it has"


def _reached(repository: Repository, commits: Mapping[str, Commit]) -> set[str]:
    """The commits that revisions lead to."""
    found: set[str] = set()
    for head in repository.heads().values():
        at = head
        while at is not None and at in commits and at not in found:
            found.add(at)
            at = commits[at].parent
    return found


def _refs(root: Path) -> Iterator[str]:
    for path in sorted(path for path in (root / "refs").rglob("*") if path.is_file()):
        try:
            revisions.commit_of(path, root)
        except DamagedError as error:
            yield str(error)


def _blobs(root: Path) -> Iterator[str]:
    """Content whose digest is not its name."""
    for path in sorted((root / "blobs").glob("*")):
        if _SHA256.fullmatch(path.name):
            sound = store.sha256_of(path)[1] == path.name
        elif COMMIT.fullmatch(path.name):
            sound = records.blob_id(path.read_bytes()) == path.name
        else:
            if not path.name.endswith(".incomplete"):  # a download by huggingface_hub that was cut short
                yield f"{path} is no content: its name is no digest; remove it"
            continue
        if not sound:
            users = sorted({f"{link.parent.name}/{link.name}" for link in _linking(root, path.name)})
            more = f" and {len(users) - 3} more" if len(users) > 3 else ""
            yield (
                f"{path} differs from the digest that is its name; it is {', '.join(users[:3]) or 'used by no commit'}{more}: "
                "publish the revision again"
            )


def _linking(root: Path, blob: str) -> Iterator[Path]:
    for link in (root / "snapshots").glob("*/*"):
        if link.is_symlink() and link.readlink().name == blob:
            yield link


def _snapshot(repository: Repository, identity: str, commit: Commit) -> Iterator[str]:
    folder = repository.snapshot(identity)
    if not folder.is_dir():
        yield f"{folder} is missing; publish its revision again"
        return
    held = {path.name for path in folder.iterdir()}
    for name in sorted(held - set(commit.files)):
        yield f"{folder / name} is no file of that commit; remove it"
    for name, file in sorted(commit.files.items()):
        link = folder / name
        if name not in held:
            yield f"{link} is missing; publish its revision again"
        elif not link.is_symlink() or link.readlink() != Path("..") / ".." / "blobs" / file.blob:
            yield f"{link} is not the link to blobs/{file.blob} that its record says; publish its revision again"
    yield from _links(folder, repository.root)
    path = repository.root / "trees" / f"{identity}.json"
    try:
        sound = json.loads(path.read_bytes()) == tree_listing(commit.files)
    except (OSError, ValueError):
        sound = False
    if not sound:
        yield f"{path} is not the listing of its commit; publish its revision again"


def _links(folder: Path, root: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.exists():
            yield f"{path} leads to {path.readlink()}, which is missing; publish its revision again"
        elif path.is_symlink() and path.resolve().parent != (root / "blobs").resolve():
            yield f"{path} leads out of the model, to {path.resolve()}; do not trust it"
