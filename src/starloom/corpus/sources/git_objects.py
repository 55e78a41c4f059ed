"""The size of a git object, told from its header and those of the deltas below it, before anything is unpacked."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

from dulwich.config import ConfigFile
from dulwich.objects import hex_to_sha
from dulwich.pack import Pack
from dulwich.repo import Repo

from starloom.corpus.sources.listing import printable
from starloom.errors import SourceError

LARGEST_OBJECT = 512 << 20  # bytes of a tree, or of any object that one which is read is a delta to; our choice
_OFFSET_DELTA, _REFERENCE_DELTA = 6, 7  # gitformat-pack: the two kinds of delta
_FARTHEST = 5  # repositories that borrow from one another in a row: git's own limit
_DEEPEST = 4096  # links in a chain of deltas: git itself makes at most 4095 (pack.depth)


def check_alternates(objects: Path, above: tuple[Path, ...] = ()) -> None:
    """Raises SourceError for a repository that borrows its objects from itself, by way of whomever, or too far away."""
    objects = objects.resolve()
    if objects in above or len(above) > _FARTHEST:
        raise SourceError(
            f"git repository {above[0].parent} borrows objects from itself (objects/info/alternates); "
            "clone it, and read the clone"
        )
    try:
        lines = (objects / "info" / "alternates").read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        if line and not line.startswith(b"#"):
            check_alternates(objects / os.fsdecode(line), (*above, objects))


class Enclosed(Repo):  # type: ignore[misc]  # dulwich has no types here
    """A repository whose settings are its own file: they include no other, which could be any file of this machine."""

    def get_config(self) -> ConfigFile:
        try:
            return ConfigFile.from_path(Path(self.commondir()) / "config", expand_includes=False)
        except FileNotFoundError:
            return ConfigFile()


def check_regular(place: Path) -> None:
    """Raises SourceError for a repository with a pipe or a device among its files: a reader would wait for it."""
    inside = place / ".git"
    waiting = [inside if inside.is_dir() else place] if not inside.exists() or inside.is_dir() else []
    if not waiting and not inside.is_file():
        raise SourceError(f"git repository {place}: .git is no regular file or folder; it is not read")
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting += [] if entry.name == ".git" else [Path(entry.path)]
                    elif not entry.is_file(follow_symlinks=False) and _blocks(entry):
                        raise SourceError(
                            f"git repository {place}: {printable(entry.path)} is a pipe or a device; it is not read"
                        )
        except OSError:  # what needs it says why it cannot be read
            continue


def _blocks(entry: os.DirEntry[str]) -> bool:
    try:
        mode = entry.stat().st_mode
    except OSError:  # a link to nowhere, or to itself
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def object_size(repo: Repo, name: bytes) -> int:
    """Bytes of an object once unpacked. Raises KeyError when it is missing, SourceError when unpacking it would need
    an object above LARGEST_OBJECT, zlib.error or IndexError when its header is damaged."""
    store = repo.object_store
    for pack in store.packs:
        try:
            offset = pack.index.object_offset(hex_to_sha(name))
        except KeyError:
            continue
        return _packed_size(repo, pack, offset, name)
    loose = Path(repo.commondir()) / "objects" / name[:2].decode() / name[2:].decode()
    if loose.is_file():
        with loose.open("rb") as file:
            header = zlib.decompressobj().decompress(file.read(256), 64)  # "blob 123\0"
        return int(header[: header.index(b"\0")].split(b" ")[1])
    _, data = store.get_raw(name)  # borrowed from another repository by objects/info/alternates
    return len(data)


def _packed_size(repo: Repo, pack: Pack, offset: int, name: bytes) -> int:
    """Follow the deltas below an object: its size is what its delta says; each link is measured."""
    size: int | None = None
    with Path(pack.data.path).open("rb") as file:
        for _ in range(_DEEPEST):
            file.seek(offset)
            head = file.read(512)
            kind, stored, at = _entry_header(head)
            if kind not in (_OFFSET_DELTA, _REFERENCE_DELTA):
                if size is not None and stored > LARGEST_OBJECT:
                    break
                return stored if size is None else size
            if stored > LARGEST_OBJECT:
                break
            base: bytes | None = None
            if kind == _OFFSET_DELTA:
                distance, at = _offset(head, at)
                offset -= distance
            else:
                base, at = head[at : at + 20], at + 20
            delta = zlib.decompressobj().decompress(head[at:], 32)
            below, at = _number(delta, 0)
            above, at = _number(delta, at)
            size = above if size is None else size
            if below > LARGEST_OBJECT or (size is not above and above > LARGEST_OBJECT):
                break
            if base is not None:  # in the same pack: git completes the packs that it stores
                offset = pack.index.object_offset(base)
    raise SourceError(
        f"git repository {repo.path}: object {name.decode()} is stored as a change to one of more than "
        f"{LARGEST_OBJECT:,} bytes; it is not read"
    )


def _entry_header(data: bytes) -> tuple[int, int, int]:
    """(kind, unpacked size, where the header ends)."""
    kind, size = data[0] >> 4 & 7, data[0] & 15
    at, shift = 1, 4
    while data[at - 1] & 0x80:
        size |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return kind, size, at


def _offset(data: bytes, at: int) -> tuple[int, int]:
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = (value + 1) << 7 | data[at] & 0x7F
    return value, at + 1


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at
