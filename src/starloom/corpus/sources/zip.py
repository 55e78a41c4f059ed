"""Zip archives, by the standard library's reader, after checks that it does not make."""

from __future__ import annotations

import itertools
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO

from starloom.corpus.sources.archive import Bounds, Member, checked_name, chunks_from

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA may ask for 4 GB of memory
_LOCAL_HEADER = 30  # bytes before an entry's name and data (APPNOTE 4.3.7)
_END, _END_BYTES = b"PK\5\6", 22  # end of central directory (APPNOTE 4.3.16)
_END64, _END64_BYTES = b"PK\6\6", 56
_BYTES_PER_ENTRY = 1024  # of central directory on average: names are at most 65,535 bytes, and usually 60; our choice


class ZipReader:
    """Reads the regular files of a zip archive."""

    def __init__(self, file: BinaryIO, bounds: Bounds) -> None:
        self.skipped: Counter[str] = Counter()
        self._file = file
        self._bounds = bounds

    def members(self, wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, Iterator[bytes] | None]]:
        self._check_directory_size()
        try:
            archive = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, OverflowError) as error:
            raise self._bounds.broken(f"is no sound zip archive ({error})") from None
        with archive:
            infos = archive.infolist()
            self._check_overlap(infos)
            for place, info in enumerate(infos):
                raw = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
                self._bounds.entry(raw, info.file_size)
                if raw.endswith(b"/"):
                    continue
                reason = _reason_to_skip(info)
                if reason is not None:
                    self.skipped[reason] += 1
                    continue
                self._bounds.unpacked(raw, info.file_size)
                path = checked_name(raw, self.skipped)
                if path is None:
                    continue
                member = Member(place, path, info.file_size)
                yield member, self._content(archive, info, path) if wanted(member) else None

    def _content(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: bytes) -> Iterator[bytes]:
        """The bytes of an entry: as many as it says, and with the checksum that it says, or an error."""
        try:
            with archive.open(info) as content:
                seen = 0
                for chunk in chunks_from(content.read, info.file_size + 1):
                    seen += len(chunk)
                    yield chunk
        except (
            zipfile.BadZipFile,
            EOFError,
            zlib.error,
            OSError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise self._bounds.broken(f"is damaged, or lies about its size ({error})", path) from None
        if seen != info.file_size:
            raise self._bounds.broken(f"says {info.file_size:,} bytes and holds {seen:,}", path)

    def _check_directory_size(self) -> None:
        """Refuse a central directory that would not fit the memory, before it is parsed."""
        size = self._file.seek(0, 2)
        self._file.seek(max(0, size - (1 << 16) - _END_BYTES - _END64_BYTES - 64))
        tail = self._file.read()
        sizes = [
            int.from_bytes(tail[at + 12 : at + 16], "little") for at in _places(tail, _END) if at + 16 <= len(tail)
        ] + [int.from_bytes(tail[at + 40 : at + 48], "little") for at in _places(tail, _END64) if at + 48 <= len(tail)]
        most = self._bounds.limits.entries * _BYTES_PER_ENTRY
        directory = max((one for one in sizes if one != 0xFFFFFFFF and one <= size), default=0)
        if directory > most:
            raise self._bounds.broken(f"has a directory of {directory:,} bytes, more than {most:,}")
        self._file.seek(0)

    def _check_overlap(self, infos: list[zipfile.ZipInfo]) -> None:
        """Entries that share bytes unpack to more than any ratio shows (Fifield 2019)."""
        placed = sorted(infos, key=lambda info: info.header_offset)
        for info, following in itertools.pairwise(placed):
            if info.header_offset + _LOCAL_HEADER + info.compress_size > following.header_offset:
                name = following.orig_filename.encode("utf-8", "replace")
                raise self._bounds.broken("shares its bytes with another entry; is it a bomb?", name)


def _reason_to_skip(info: zipfile.ZipInfo) -> str | None:
    mode = info.external_attr >> 16
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(mode):
        return "symbolic_link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "no_regular_file"
    return None if info.compress_type in _METHODS else "unsupported_compression"


def _places(data: bytes, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)
