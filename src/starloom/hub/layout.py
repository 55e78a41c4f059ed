"""One published model on disk, in the layout of the Hugging Face cache, and how it changes: whole, or not at all.

    models--me--santacoder/
      blobs/DIGEST                    content, named as the ETags of a hub: SHA-256 of large files, git's blob id of small ones
      snapshots/COMMIT/NAME           links to ../../blobs/DIGEST
      refs/REVISION                   the commit that a revision stands at
      trees/COMMIT.json               what a commit holds, as huggingface_hub keeps it, so that it knows when a file is missing
      .starloom/commits/COMMIT.json   our record of a commit, sealed: parent, files with SHA-256, step, stage, run directory
      .starloom/pushed/…              which commits of a hub are which of these
      .starloom/tmp/                  half-written files; nothing in it counts

A commit's blobs come first, then its record, its snapshot, and last of all the ref; each appears by one rename. A process that
dies leaves the revision where it was, and at most files that the next `publish` takes up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from starloom import store
from starloom.errors import BusyError, DamagedError, HubError
from starloom.hub.commit import Commit, File
from starloom.models import revisions
from starloom.models.revisions import Name

OWN: Final = ".starloom"


class Repository:
    """The folder of one published model."""

    def __init__(self, hub: Path, name: Name) -> None:
        self.hub, self.name = hub, name
        self.root = hub / name.folder
        self.own = self.root / OWN

    def prepare(self) -> None:
        """Make the folder. Raises HubError where a model of the name, or nearly of it, lies that was not published here."""
        if self.hub.exists() and not self.hub.is_dir():
            raise HubError(f"{self.hub} is not a folder; choose another --hub")
        for path in self.hub.glob("models--*"):
            if path.name != self.root.name and path.name.lower() == self.root.name.lower():
                other = path.name.removeprefix("models--").replace("--", "/", 1)
                raise HubError(
                    f"'{self.name}' and the '{other}' that is published differ in upper and lower case only, which hubs and "
                    "some file systems take for one name; use that one"
                )
        if self.root.exists() and not self.own.is_dir() and any(self.root.iterdir()):
            raise HubError(
                f"{self.root} holds a model that was not published by starloom, perhaps a downloaded one; choose another name "
                "or another --hub"
            )
        with store.disk_errors(self.hub), _writable(self.hub):
            for folder in ("blobs", "snapshots", "refs", "trees", f"{OWN}/commits", f"{OWN}/tmp"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """The right to write. Raises BusyError."""
        with self.alone("publishing"):
            shutil.rmtree(self.own / "tmp", ignore_errors=True)
            (self.own / "tmp").mkdir()
            yield

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Do something that one process does at a time; the kernel ends it when the process dies. Raises BusyError.

        Pushing takes long and is no reason not to publish: what was published does not change under it.
        """
        descriptor = os.open(self.own / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    f"another process is {what} {self.name} in {self.hub}; run the same command again when it is done"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def temporary(self, name: str) -> Path:
        return self.own / "tmp" / name

    def blob(self, file: File) -> Path:
        return self.root / "blobs" / file.blob

    def record(self, commit: str) -> Path:
        return self.own / "commits" / f"{commit}.json"

    def snapshot(self, commit: str) -> Path:
        return self.root / "snapshots" / commit

    # Reading

    def revisions(self) -> dict[str, str]:
        """Revision → commit. Raises HubError when nothing of the name is published."""
        if not self.own.is_dir():
            if self.root.is_dir():
                raise HubError(
                    f"'{self.name}' in {self.hub} was not published by starloom, which knows nothing of its commits"
                )
            known = revisions.names(self.hub)
            there = f"published there: {', '.join(known)}" if known else "nothing is published there"
            raise HubError(f"no '{self.name}' was published in the hub folder {self.hub}; {there}")
        return revisions.revisions(self.root)

    def heads(self) -> dict[str, str | None]:
        """Revision → commit for those who write, and will mend what is damaged: None where a ref names no commit of ours."""
        refs = self.root / "refs"
        paths = sorted(path for path in refs.rglob("*") if path.is_file())
        texts = {path.relative_to(refs).as_posix(): path.read_bytes()[:80].decode("latin-1") for path in paths}
        return {
            name: text if revisions.COMMIT.fullmatch(text) and self.record(text).is_file() else None
            for name, text in texts.items()
        }

    def read(self, commit: str) -> Commit:
        """The record of a commit. Raises DamagedError when it is missing or says something else than its id does."""
        path = self.record(commit)
        try:
            found = Commit.from_json(store.read_sealed_json(path))
        except (FileNotFoundError, DamagedError, KeyError, TypeError, AttributeError, ValueError):
            found = None
        if found is None or found.id != commit:
            raise DamagedError(
                f"{path}, the record of a commit, is missing or damaged; publish its revision again, or remove "
                "the revision's file in refs/ and publish it anew"
            )
        return found

    def log(self, commit: str | None) -> list[Commit]:
        """A commit and all before it, the newest first."""
        found = []
        while commit is not None:
            found.append(self.read(commit))
            commit = found[-1].parent
        return found

    # Writing, under the lock

    def put(self, file: File, source: Path | bytes) -> None:
        """Bring content in: large files as hard links where the file system allows it, small ones as copies."""
        target = self.blob(file)
        if target.exists() and not target.is_symlink() and _holds(target, file, source):
            return
        fresh = self.temporary(file.blob)
        fresh.unlink(missing_ok=True)
        if isinstance(source, bytes):
            fresh.write_bytes(source)
        elif not (file.large and _linked(source, fresh)):
            shutil.copyfile(source, fresh)
        if not _holds(fresh, file, source):
            raise DamagedError(
                f"{source!s:.200} was changed while it was published; publish again when nothing writes there"
            )
        store.fsync(fresh)
        _replace(fresh, target)

    def write(self, commit: Commit) -> None:
        """The record and the snapshot of a commit whose blobs are there; what is there and wrong is put right."""
        identity = commit.id
        self._write(self.record(identity), store.sealed_json(commit.to_json()))
        self._write(self.root / "trees" / f"{identity}.json", json.dumps(tree_listing(commit.files), indent=1).encode())
        target, fresh = self.snapshot(identity), self.temporary(identity)
        fresh.mkdir()
        for name, file in commit.files.items():
            (fresh / name).symlink_to(Path("..") / ".." / "blobs" / file.blob)
        store.fsync(fresh)
        if not target.exists():
            _replace(fresh, target)
            return
        for name in commit.files:
            if not (target / name).is_symlink() or (target / name).readlink() != (fresh / name).readlink():
                _replace(fresh / name, target / name)
        shutil.rmtree(fresh)

    def point(self, revision: str, commit: str) -> None:
        """Let a revision stand at a commit."""
        assert self.snapshot(commit).is_dir(), f"a ref to {commit}, which is not there"
        path = self.root / "refs" / revision
        if path.is_dir():
            path.rmdir()  # an empty one, left when making `REVISION/x` was cut short: check_free saw no revision in it
        self._write(path, commit.encode())

    def check_free(self, revision: str) -> None:
        """Raises HubError for a revision beside which another would not fit: `main/x` beside `main`, `Main` beside `main`."""
        for other in self.heads():
            if other != revision and other.lower() == revision.lower():
                raise HubError(
                    f"revision '{revision}' and the '{other}' that {self.name} has differ in upper and lower case only; use that one"
                )
            longer, shorter = sorted((f"{other.lower()}/", f"{revision.lower()}/"), key=len, reverse=True)
            if other != revision and longer.startswith(shorter):
                raise HubError(
                    f"{self.name} has a revision '{other}', beside which there can be no '{revision}': one would be a file and "
                    "a folder at once, here and in git; choose another name"
                )

    def _write(self, path: Path, data: bytes) -> None:
        """Replace a small file; its half-written form never lies beside others, where it would count as one of them."""
        if path.is_file() and path.read_bytes() == data:
            return
        fresh = self.temporary("file")
        fresh.write_bytes(data)
        store.fsync(fresh)
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(fresh, path)


@contextlib.contextmanager
def _writable(hub: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError) as error:
        raise HubError(f"{hub} cannot be written ({error.strerror}); choose another --hub") from None


def _replace(fresh: Path, target: Path) -> None:
    fresh.replace(target)
    store.fsync(target.parent)


def _linked(source: Path, target: Path) -> bool:
    """Whether a hard link could be made."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            return False
        raise
    return True


def _holds(path: Path, file: File, source: Path | bytes) -> bool:
    """Whether a blob is sound: the source itself by another name, or a file with its hash."""
    if isinstance(source, Path) and path.samefile(source):
        return True  # which was read just before
    return path.stat().st_size == file.bytes and store.sha256_of(path)[1] == file.sha256


def tree_listing(files: Mapping[str, File]) -> dict[str, Any]:
    """huggingface_hub's listing of a commit (`_tree_cache.py`, format 1)."""
    listed = {
        name: {
            "size": file.bytes,
            "blob_id": file.git,
            **({"lfs_sha256": file.sha256, "lfs_size": file.bytes} if file.large else {}),
        }
        for name, file in sorted(files.items())
    }
    return {"format_version": 1, "files": listed}
