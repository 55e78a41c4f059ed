"""Repositories, archives and folders planted for tests, and a short way to build stages."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo

from starloom.cluster import Local
from starloom.stage import Runtime, Stage, build
from starloom.store import Built, Store

FILE, LINK, SUBMODULE = 0o100644, 0o120000, 0o160000


def plant(root: Path, files: Mapping[str, bytes]) -> Path:
    """Files below a folder."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def plant_git(
    root: Path, *commits: Mapping[bytes, bytes], bare: bool = False, special: Mapping[bytes, tuple[int, bytes]] = {}
) -> list[bytes]:
    """A repository with one commit on `main` for each mapping of path to content; returns the commit ids.

    `special` adds entries (mode, object id or link target) to the root of every commit.
    """
    root.mkdir(parents=True, exist_ok=True)
    repo = Repo.init_bare(str(root)) if bare else Repo.init(str(root))
    repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")
    ids: list[bytes] = []
    for number, files in enumerate(commits):
        commit = Commit()
        commit.tree = _tree(repo, files, special)
        commit.parents = ids[-1:]
        commit.author = commit.committer = b"A <a@example.org>"
        commit.author_time = commit.commit_time = 1_700_000_000 + number
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"change %d" % number
        repo.object_store.add_object(commit)
        ids.append(commit.id)
        repo.refs[b"refs/heads/main"] = commit.id
    repo.close()
    return ids


def _tree(repo: Any, files: Mapping[bytes, bytes], special: Mapping[bytes, tuple[int, bytes]] = {}) -> bytes:
    tree = Tree()
    below: dict[bytes, dict[bytes, bytes]] = {}
    for path, data in files.items():
        head, slash, rest = path.partition(b"/")
        if slash:
            below.setdefault(head, {})[rest] = data
        else:
            blob = Blob.from_string(data)
            repo.object_store.add_object(blob)
            tree.add(head, FILE, blob.id)
    for name, inner in below.items():
        tree.add(name, 0o040000, _tree(repo, inner))
    for name, (mode, target) in special.items():
        if mode == LINK:
            blob = Blob.from_string(target)
            repo.object_store.add_object(blob)
            target = blob.id
        tree.add(name, mode, target)
    repo.object_store.add_object(tree)
    return tree.id


def plant_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def plant_tar(
    path: Path, files: Mapping[str, bytes], *extra: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT
) -> Path:
    mode: Any = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode, format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return path


def made(stage: Stage, store: Path, workers: int = 1) -> Built:
    """A stage built."""
    cluster = Local(workers)
    try:
        return build(stage, Store(store), Runtime(workers=workers, cluster=cluster))
    finally:
        cluster.close()


def whole(built: Built) -> pa.Table:
    """All shards as one table."""
    return pa.concat_tables(built.tables())


def rows(built: Built) -> list[dict[str, Any]]:
    return list(whole(built).to_pylist())


def by_path(built: Built) -> dict[bytes, dict[str, Any]]:
    """Path → row of a Read."""
    return {row["path"]: row for row in rows(built)}
