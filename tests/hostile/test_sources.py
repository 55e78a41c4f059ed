"""Input made to hurt: each is refused or skipped with its reason in one line, in bounded memory and time."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from corpus.planted import by_path, made, plant, plant_tar, plant_zip
from starloom.corpus.read import Read
from starloom.corpus.sources import open_source
from starloom.corpus.sources.archive import Archive, Limits
from starloom.errors import SourceError

SMALL = Limits(entries=100, entry_bytes=1 << 20, total_bytes=4 << 20, ratio=50, free_bytes=1 << 20)


def refused(path: Path, said: str, limits: Limits = SMALL) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        Archive(path, limits).listing()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_too_many_entries_are_refused_at_the_first_too_many(tmp_path: Path, suffix: str) -> None:
    files = {f"f{number:03}.py": b"" for number in range(101)}
    path = (plant_zip if suffix == ".zip" else plant_tar)(tmp_path / f"x{suffix}", files)
    refused(path, r"entry f100\.py is one more than the 100 entries")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_bomb_by_ratio_is_refused(tmp_path: Path, suffix: str) -> None:
    files = {"a.py": b"1\n", "zeros.bin": bytes(1_000_000), "more.bin": bytes(1_000_000)}
    path = (plant_zip if suffix == ".zip" else plant_tar)(tmp_path / f"x{suffix}", files)
    refused(path, r"unpacks to more than 50 times its own [\d,]+ bytes; is it a bomb\?")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_bomb_by_total_is_refused(tmp_path: Path, suffix: str) -> None:
    files = {f"{number}.bin": os.urandom(900_000) for number in range(5)}
    path = (plant_zip if suffix == ".zip" else plant_tar)(tmp_path / f"x{suffix}", files)
    refused(path, r"entry 4\.bin unpacks to more than 4,194,304 bytes")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_giant_entry_is_refused_by_what_it_says(tmp_path: Path, suffix: str) -> None:
    path = (plant_zip if suffix == ".zip" else plant_tar)(tmp_path / f"x{suffix}", {"a.bin": bytes((1 << 20) + 1)})
    refused(path, r"entry a\.bin says it has 1,048,577 bytes, more than the 1,048,576")


def test_a_zip_whose_entries_share_their_bytes_is_refused(tmp_path: Path) -> None:
    path = plant_zip(tmp_path / "x.zip", {f"{number}.bin": os.urandom(500) for number in range(4)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    while at >= 0:  # every entry of the directory points to the first local header
        struct.pack_into("<I", data, at + 42, 0)
        at = data.find(b"PK\1\2", at + 4)
    path.write_bytes(bytes(data))
    refused(path, "shares its bytes with another entry; is it a bomb")


@pytest.mark.parametrize("stated", [10, 5000])
def test_a_zip_entry_that_lies_about_its_size_is_refused(tmp_path: Path, stated: int) -> None:
    path = plant_zip(tmp_path / "x.zip", {"a.py": b"x = 1\n" * 100})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, stated)
    path.write_bytes(bytes(data))
    source = Archive(path, SMALL)
    with pytest.raises(SourceError, match=r"entry a\.py (is damaged, or lies about its size|says)"):
        list(source.read(source.listing().entries, 1 << 20))


def test_a_directory_of_a_zip_that_would_fill_the_memory_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    size = 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 50, 50, size, 0, 0)
    path.write_bytes(bytes(size) + end)
    refused(path, "has a directory of 1,000,000 bytes, more than 102,400")


def test_an_extended_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.py")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(100_000)))
    refused(path, "has a header of 3,221,225,472 bytes")


def test_an_endless_row_of_extended_headers_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 0
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) * 5000)
    refused(path, "more than 16 extended headers in a row")


def test_sparse_and_negative_sizes_of_a_tar_are_not_believed(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("sparse.bin")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 0
    listing = Archive(plant_tar(tmp_path / "s.tar", {"a.py": b"1\n"}, sparse), SMALL).listing()
    assert listing.skipped == {"sparse_file": 1}
    header = bytearray(tarfile.TarInfo("a.py").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # -1 in base 256
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    (tmp_path / "n.tar").write_bytes(bytes(header) + bytes(1024))
    refused(tmp_path / "n.tar", "negative size")


def test_an_xz_stream_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    import lzma

    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.py"))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(body.getvalue(), format=lzma.FORMAT_XZ, filters=filters))
    at = data.index(b"\x21\x01")  # LZMA2, one byte of properties: the dictionary's size
    data[at + 2] = 40  # 4 GiB - 1
    import zlib

    header_end = 12 + (data[12] + 1) * 4
    data[header_end - 4 : header_end] = zlib.crc32(bytes(data[12 : header_end - 4])).to_bytes(4, "little")
    path = tmp_path / "x.tar.xz"
    path.write_bytes(bytes(data))
    refused(path, "is damaged .*[Mm]emory")


def test_archives_within_archives_stay_binary_files(tmp_path: Path) -> None:
    inner = plant_zip(tmp_path / "inner.zip", {"bomb.bin": bytes(5_000_000)}).read_bytes()
    path = plant_zip(tmp_path / "x.zip", {"inner.zip": inner, "a.py": b"1\n"})
    assert by_path(made(Read(str(path)), tmp_path / "store"))[b"inner.zip"]["unread"] == "binary"


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    for name in ("x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.whl"):
        for data in (b"", b"no archive at all", b"\0" * 2000):
            path = tmp_path / name
            path.write_bytes(data)
            with pytest.raises(SourceError, match=f"archive {path}") as caught:
                open_source(str(path)).listing()
            assert "\n" not in str(caught.value)


def test_a_pipe_under_an_archives_name_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.zip")
    with pytest.raises(SourceError, match="is a pipe"):
        open_source(f"archive:{tmp_path / 'x.zip'}").listing()


def test_a_source_distribution_that_claims_to_be_a_wheel_says_so(tmp_path: Path) -> None:
    tar = plant_tar(tmp_path / "x.tar.gz", {"x-1/PKG-INFO": b"Name: x\n"})
    wheel = tar.rename(tmp_path / "x-1-py3-none-any.whl")
    with pytest.raises(SourceError, match="is no sound zip archive"):
        open_source(str(wheel)).listing()


@pytest.mark.parametrize("depth", [1200, pytest.param(3000, marks=pytest.mark.slow)])  # removing them takes the time
def test_folders_deeper_than_any_stack_are_read_with_few_descriptors(tmp_path: Path, depth: int) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    file = os.open("deep.py", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    os.write(file, b"deep = True\n")
    os.close(file)
    os.close(descriptor)
    try:
        source = open_source(f"folder:{tmp_path}")
        entries = source.listing().entries
        assert [entry.path for entry in entries] == [b"d/" * depth + b"deep.py"]
        assert [raw.data for raw in source.read(entries, 100)] == [b"deep = True\n"]
    finally:
        while (tmp_path / "d" / "d").exists():  # from the top: shutil.rmtree recurses
            (tmp_path / "d" / "d").rename(tmp_path / "next")
            (tmp_path / "d").rmdir()
            (tmp_path / "next").rename(tmp_path / "d")


def test_one_line_of_two_hundred_megabytes_is_a_row_without_text_in_little_memory(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n", "nul.py": b"x\0y", "latin.py": b"\xe9"})
    with (folder / "line.py").open("wb") as file:
        file.truncate(200 << 20)
    program = f"""
        import resource, sys
        from pathlib import Path
        from starloom.corpus.read import Read
        from starloom.stage import Runtime, build
        from starloom.store import Store
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        built = build(Read({str(folder)!r}), Store(Path({str(tmp_path / "store")!r})), Runtime())
        print(built.counts["unread"], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    ).stdout
    said, _, megabytes = done.strip().rpartition(" ")
    assert said == "{'not_utf8': 1, 'nul_bytes': 1, 'too_large': 1}"
    assert int(megabytes) < 100


def test_bombs_are_refused_by_the_limits_that_a_user_gets(tmp_path: Path) -> None:
    """The default limits, on an archive of the size of a real one: 300 MB of zeros in 300 KB."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b"1\n")
        with archive.open("zeros.bin", "w") as entry:
            for _ in range(300):
                entry.write(bytes(1 << 20))
    with pytest.raises(SourceError, match=r"zeros\.bin unpacks to more than 200 times"):
        open_source(str(path)).listing()
    assert replace(Limits(), ratio=2000).ratio == 2000
