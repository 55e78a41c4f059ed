"""What a commit of a published model is: git's own ids of a tree of files, its parent and a message, without a clock.

The id is the one that git computes for this commit, of `starloom` at second 0, whose large files are git LFS pointers. So it is a
function of the content alone: publishing twice makes no second commit, and whoever has git can recompute it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from starloom import records, store
from starloom.errors import DamagedError

_WHO: Final = "starloom <> 0 +0000"
_LARGE_BYTES: Final = 10 * 2**20  # a hub keeps files from 10 MiB on in LFS, whatever they are
_LARGE_SUFFIX: Final = ".safetensors"  # … and these always (`.gitattributes` of a new repository)
TRAILER: Final = "Starloom-Commit"  # names the local commit in the message of the one on a hub


@dataclass(frozen=True, slots=True)
class File:
    """A file of a commit."""

    bytes: int
    sha256: str
    git: str  # git's id of the blob in a tree: of the file, or of its LFS pointer
    large: bool  # kept in LFS

    @property
    def blob(self) -> str:
        """Its name under `blobs/`: the ETag that a hub serves it with."""
        return self.sha256 if self.large else self.git


def file_of(name: str, source: Path | bytes) -> File:
    """Read a file once, and say what it is."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    sha256, git = hashlib.sha256(), records.BlobHasher(size)
    if isinstance(source, bytes):
        sha256.update(source)
        git.update(source)
    else:
        read = 0
        with source.open("rb") as file:
            while chunk := file.read(store.CHUNK):
                sha256.update(chunk)
                git.update(chunk)
                read += len(chunk)
        if read != size:
            raise DamagedError(f"{source} was changed while it was read; publish again when nothing writes there")
    if name.endswith(_LARGE_SUFFIX) or size >= _LARGE_BYTES:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256.hexdigest()}\nsize {size}\n"
        return File(size, sha256.hexdigest(), records.blob_id(pointer.encode()), large=True)
    return File(size, sha256.hexdigest(), git.hexdigest(), large=False)


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a model: its files, and where it comes from."""

    parent: str | None
    files: Mapping[str, File]
    made_by: str  # the step that trained it, such as `pretrain:no-fim`
    fingerprint: str
    directory: str  # of the run, in its store
    step: int | None  # optimizer steps done
    final: bool  # the finished model, not a checkpoint on the way

    @property
    def title(self) -> str:
        at = "" if self.step is None else f", step {self.step:,}"
        return f"{self.made_by}{at}" + (", final" if self.final else "")

    @property
    def message(self) -> str:
        lines = [f"Stage: {self.made_by}", f"Fingerprint: {self.fingerprint}", f"Directory: {self.directory}"]
        return "\n".join([self.title, "", *lines, *([] if self.step is None else [f"Step: {self.step}"])]) + "\n"

    @property
    def tree(self) -> str:
        """Git's id of the folder."""
        entries = sorted((name.encode(), file.git) for name, file in self.files.items())
        return _git_id(b"tree", b"".join(b"100644 " + name + b"\0" + bytes.fromhex(git) for name, git in entries))

    @property
    def content(self) -> tuple[str, str]:
        """What it says, whatever came before it."""
        return self.tree, self.message

    @property
    def id(self) -> str:
        """Git's id of the commit: 40 hexadecimal digits."""
        parents = [] if self.parent is None else [f"parent {self.parent}"]
        lines = [f"tree {self.tree}", *parents, f"author {_WHO}", f"committer {_WHO}", "", self.message]
        return _git_id(b"commit", "\n".join(lines).encode())

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "files": {name: asdict(file) for name, file in self.files.items()}, "id": self.id}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Commit:
        fields = {key: value[key] for key in cls.__dataclass_fields__}
        return cls(**{**fields, "files": {name: File(**file) for name, file in value["files"].items()}})


def _git_id(kind: bytes, body: bytes) -> str:
    return hashlib.sha1(b"%s %d\0" % (kind, len(body)) + body, usedforsecurity=False).hexdigest()
