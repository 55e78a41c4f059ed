"""Tar archives in one forward pass: headers by the standard library, one at a time, and nothing held but the header.

The library's own loop reads extended headers of any size into memory and recurses once for each; ours bounds both.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from starloom.corpus.sources.archive import Bounds, Member, checked_name, chunks_from
from starloom.corpus.sources.listing import CHUNK

_HEADER_BYTES = 1 << 20  # of an extended header: a name has at most 4,096 bytes on Linux; our choice
_HEADERS_IN_A_ROW = 16  # extended headers before one file; real archives have one or two; our choice
_XZ_MEMORY = 256 << 20  # bytes that an xz dictionary may take: `xz -9` needs 65 MiB; our choice
_NO_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
_MODE_OR_ID = rb"[0-7]{6}[0-7 ][\0 ]"
_PLAIN = re.compile(_MODE_OR_ID * 3 + rb"([0-7]{11})[\0 ][0-7]{11}[\0 ]([0-7]{6})\0 ([0\0x])")  # from mode to type
_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)


class Header(NamedTuple):
    """What decides of a header."""

    name: bytes
    kind: bytes
    size: int


class TarReader:
    """Reads the regular files of a tar archive, compressed or not."""

    def __init__(self, file: BinaryIO, suffix: str, bounds: Bounds) -> None:
        self.skipped: Counter[str] = Counter()
        self._bounds = bounds
        self._at: bytes | None = None  # the entry being read, for messages
        file.seek(0)
        self._stream = _unpacked(file, suffix)

    def members(self, wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, Iterator[bytes] | None]]:
        place = 0
        for path, info, sparse in self._headers():
            self._at = path
            size = 0 if info.kind in _NO_DATA else info.size
            left = [size]
            self._bounds.entry(path, size)
            if info.kind == tarfile.DIRTYPE:
                pass
            elif (reason := "sparse_file" if sparse else _reason_to_skip(info)) is not None:
                self.skipped[reason] += 1
            elif (name := checked_name(path, self.skipped)) is not None:
                member = Member(place, name, size)
                place += 1
                yield member, self._content(left) if wanted(member) else None
            self._skip(left[0] + -size % tarfile.BLOCKSIZE)
        while self._some(CHUNK):  # to the end, where the compressed stream has its checksum
            pass

    def _headers(self) -> Iterator[tuple[bytes, Header, bool]]:
        """(name, header, whether it is sparse) of every entry; the stream stands at its data."""
        first = True
        while True:
            name: bytes | None = None
            size: int | None = None
            sparse = False
            for _ in range(_HEADERS_IN_A_ROW):
                block = self._read(tarfile.BLOCKSIZE)
                if not block:
                    what = "is empty" if first else "has no end mark; is it cut off?"
                    raise self._bounds.broken(what, self._at)
                if not block.strip(b"\0"):
                    return
                try:
                    info = header_of(block)
                except (tarfile.HeaderError, ValueError) as error:
                    raise self._bounds.broken(f"is no sound tar archive ({error})", self._at) from None
                if info.size < 0:
                    raise self._bounds.broken("has an entry of negative size", self._at)
                first = False
                if info.kind == tarfile.GNUTYPE_LONGNAME:
                    name = self._extended(info).split(b"\0")[0]
                elif info.kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                    fields = _pax_fields(self._extended(info))
                    name = fields.get(b"path", name)
                    said = fields.get(b"size", b"")
                    size = int(said) if said.isdigit() and len(said) < 20 else size
                    sparse = sparse or any(key.startswith(b"GNU.sparse.") for key in fields)
                elif info.kind in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
                    self._extended(info)
                else:
                    break
            else:
                raise self._bounds.broken(f"has more than {_HEADERS_IN_A_ROW} extended headers in a row", self._at)
            if info.kind == tarfile.GNUTYPE_SPARSE:
                self._skip_sparse_map(block)
                sparse = True
            info = info if size is None else info._replace(size=size)
            yield info.name if name is None else name.rstrip(b"/"), info, sparse

    def _extended(self, info: Header) -> bytes:
        if info.size > _HEADER_BYTES:
            raise self._bounds.broken(f"has a header of {info.size:,} bytes, more than {_HEADER_BYTES:,}", self._at)
        content = self._read(info.size)
        self._skip(-info.size % tarfile.BLOCKSIZE)
        return content

    def _skip_sparse_map(self, block: bytes) -> None:
        more = block[482]  # isextended of the old GNU format
        while more:
            more = self._read(tarfile.BLOCKSIZE)[504]

    def _read(self, size: int) -> bytes:
        """Exactly `size` bytes; fewer only where the stream ends before the first of them."""
        data = self._some(size)
        if data and len(data) < size:
            raise self._bounds.broken("ends in the middle of an entry; is it cut off?", self._at)
        return data

    def _some(self, size: int) -> bytes:
        """`size` bytes, or fewer where the stream ends."""
        try:
            data = self._stream.read(min(size, CHUNK))
            if 0 < len(data) < size:
                data += b"".join(chunks_from(self._stream.read, size - len(data)))
        except _DAMAGE as error:
            raise self._bounds.broken(f"is damaged ({error})", self._at) from None
        self._bounds.unpacked(self._at, len(data))
        return data

    def _skip(self, size: int) -> None:
        while size > 0:
            data = self._read(min(CHUNK, size))
            if not data:
                raise self._bounds.broken("ends in the middle of an entry; is it cut off?", self._at)
            size -= len(data)

    def _content(self, left: list[int]) -> Iterator[bytes]:
        while left[0] > 0:
            data = self._read(min(CHUNK, left[0]))
            if not data:
                raise self._bounds.broken("ends in the middle of an entry; is it cut off?", self._at)
            left[0] -= len(data)
            yield data


def header_of(block: bytes) -> Header:
    """A header as the standard library reads it; one of the usual spelling, of a file, without the library's whole
    work. Raises tarfile.HeaderError."""
    found = _PLAIN.match(block, 100)
    name = block[:100].split(b"\0", 1)[0]
    if found is None or name.endswith(b"/") or int(found[2], 8) != 256 + sum(block) - sum(block[148:156]):
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        return Header(os.fsencode(info.name), info.type, info.size)
    prefix = block[345:500].split(b"\0", 1)[0]
    return Header(prefix + b"/" + name if prefix else name, found[3], int(found[1], 8))


def _reason_to_skip(info: Header) -> str | None:
    if info.kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        return "symbolic_link" if info.kind == tarfile.SYMTYPE else "hard_link"
    return None if info.kind in tarfile.REGULAR_TYPES else "no_regular_file"


def _pax_fields(data: bytes) -> dict[bytes, bytes]:
    """The fields of a pax header, records `LENGTH KEY=VALUE\\n`; what is malformed ends the list."""
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        length, space, _ = data[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or int(length) <= len(length) + 1:
            break
        key, _, value = data[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        fields[key] = value
        at += int(length)
    return fields


def _unpacked(file: BinaryIO, suffix: str) -> io.BufferedIOBase | BinaryIO:
    if suffix in (".tar.gz", ".tgz"):
        return gzip.GzipFile(fileobj=file, mode="rb")
    if suffix == ".tar.bz2":
        return bz2.BZ2File(file)
    if suffix == ".tar.xz":
        return io.BufferedReader(_Xz(file), CHUNK)
    return file


class _Xz(io.RawIOBase):
    """An xz stream whose memory is bounded, which the standard library's file object cannot ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decoder.eof:
                rest = (self._decoder.unused_data or self._file.read(CHUNK)).lstrip(b"\0")  # padding between streams
                if not rest:
                    return 0
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
                packed = rest
            else:
                packed = self._file.read(1 << 16) if self._decoder.needs_input else b""
                if not packed and self._decoder.needs_input:
                    raise EOFError("compressed file ended before the end-of-stream marker")
            data = self._decoder.decompress(packed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
