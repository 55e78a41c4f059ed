"""Reading archives: every format, package identity, what is refused and what is skipped."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.planted import by_path, made, plant_tar, plant_zip
from starloom.corpus.read import Read
from starloom.corpus.sources import open_source
from starloom.corpus.sources.archive import SUFFIXES, Archive, suffix_of
from starloom.corpus.sources.tar import header_of
from starloom.errors import SourceError

FILES = {"a.py": b"a\n", "pkg/b.py": "é\n".encode(), "pkg/empty.py": b"", "data.bin": bytes(range(256)) * 30}


def archived(folder: Path, suffix: str, files: dict[str, bytes] = FILES) -> Path:
    path = folder / f"thing{suffix}"
    return (plant_zip if suffix in (".zip", ".whl", ".jar") else plant_tar)(path, files)


def contents(path: Path) -> dict[bytes, bytes | None]:
    source = open_source(str(path))
    entries = source.listing().entries
    return {entry.path: raw.data for entry, raw in zip(entries, source.read(entries, 1 << 20), strict=True)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_archive_holds_its_files(tmp_path: Path, suffix: str) -> None:
    path = archived(tmp_path, suffix)
    assert contents(path) == {os.fsencode(name): data for name, data in FILES.items()}
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208 (nothing was extracted)


def test_a_row_of_an_archive_carries_its_hash_as_revision(tmp_path: Path) -> None:
    path = archived(tmp_path, ".tar.gz")
    row = by_path(made(Read(str(path)), tmp_path / "store"))[b"pkg/b.py"]
    assert row["repository"] == "archive:thing"
    assert row["revisions"][0].startswith("sha256:")
    assert row["text"] == "é\n"


def test_an_archive_that_was_moved_keeps_ids_and_fingerprint(tmp_path: Path) -> None:
    path = archived(tmp_path, ".zip")
    before = made(Read(str(path)), tmp_path / "one")
    (tmp_path / "there").mkdir()
    moved = path.rename(tmp_path / "there" / path.name)
    after = made(Read(f"archive:{moved}"), tmp_path / "two")
    assert before.fingerprint == after.fingerprint


def test_a_wheel_is_the_package_that_its_metadata_names(tmp_path: Path) -> None:
    files = {
        "some_thing/__init__.py": b"",
        "some_thing-1.2.dist-info/METADATA": b"Name: Some.Thing\nVersion: 1.2\n\nText",
    }
    path = plant_zip(tmp_path / "some_thing-1.2-py3-none-any.whl", files)
    listing = open_source(str(path)).listing()
    repository = listing.repositories["pypi:some-thing"]
    assert repository.revision == "1.2"
    assert {entry.path.decode() for entry in listing.entries} == set(files)


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_source_distribution_is_its_package_without_the_folder_around_it(tmp_path: Path, suffix: str) -> None:
    files = {"thing-2/PKG-INFO": b"Name: thing\nVersion: 2\n", "thing-2/src/thing.py": b"1\n"}
    listing = open_source(str(archived(tmp_path, suffix, files))).listing()
    assert [entry.path for entry in listing.entries] == [b"PKG-INFO", b"src/thing.py"]
    assert listing.repositories["pypi:thing"].revision == "2"


@pytest.mark.parametrize("name", ["../../etc", "a\nb", "", "x" * 300])
def test_a_package_with_a_hostile_name_stays_an_archive(tmp_path: Path, name: str) -> None:
    files = {"thing-2/PKG-INFO": f"Name: {name}\nVersion: 2\n".encode(), "thing-2/a.py": b"1\n"}
    listing = open_source(str(archived(tmp_path, ".tar", files))).listing()
    expected = ["pypi:a"] if name == "a\nb" else ["archive:thing"]  # a header ends with its line
    assert list(listing.repositories) == expected


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@settings(max_examples=40)
@given(
    names=st.sets(
        st.text("abé/漢. \u202e", min_size=1, max_size=300).filter(
            lambda name: not {"", ".", ".."} & set(name.split("/"))
        ),
        min_size=1,
        max_size=5,
    )
)
def test_tar_names_read_as_the_standard_library_reads_them(
    tmp_path_factory: pytest.TempPathFactory, format: int, names: set[str]
) -> None:
    path = plant_tar(tmp_path_factory.mktemp("tar") / "x.tar", {name: name.encode() for name in names}, format=format)
    with tarfile.open(path) as archive:
        expected = {os.fsencode(info.name): archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    assert contents(path) == expected


@settings(max_examples=400)
@given(st.data())
def test_tar_headers_read_as_the_standard_library_reads_them(data: st.DataObject) -> None:
    info = tarfile.TarInfo(data.draw(st.text("ab/é", min_size=1, max_size=120)))
    info.type = data.draw(
        st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CONTTYPE])
    )
    info.size, info.mtime = data.draw(st.integers(0, 1 << 40)), data.draw(st.integers(0, 1 << 34))
    info.uid, info.mode = data.draw(st.integers(0, 1 << 22)), data.draw(st.integers(0, 0o7777))
    format = data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    block = bytearray(info.tobuf(format)[-tarfile.BLOCKSIZE :])
    block[345:500] = data.draw(st.one_of(st.just(b""), st.binary(max_size=155))).ljust(155, b"\0")
    for _ in range(data.draw(st.integers(0, 2))):
        block[data.draw(st.integers(0, 160))] = data.draw(st.sampled_from([*b"07 \0/9x\xff"]))
    if data.draw(st.integers(0, 3)):
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    try:
        expected = tarfile.TarInfo.frombuf(bytes(block), "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        with pytest.raises(type(error)):
            header_of(bytes(block))
    else:
        assert header_of(bytes(block)) == (os.fsencode(expected.name), expected.type, expected.size)


def test_names_that_are_not_utf8_keep_their_bytes_in_tar_and_zip(tmp_path: Path) -> None:
    plain = plant_tar(tmp_path / "x.tar", {"a\udcff.py": b"1\n"}, format=tarfile.GNU_FORMAT)
    assert list(contents(plain)) == [b"a\xff.py"]
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a\u00e9.py"), b"1\n")
    raw = path.read_bytes().replace("a\u00e9.py".encode(), b"a\xff\xfe.py")
    unflagged = bytearray(raw)
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = raw.index(mark) + offset
        unflagged[at : at + 2] = b"\0\0"  # no claim to be UTF-8
    path.write_bytes(bytes(unflagged))
    assert list(contents(path)) == [b"a\xff\xfe.py"]


def test_links_devices_pipes_and_unsafe_names_of_a_tar_are_skipped_and_counted(tmp_path: Path) -> None:
    special = []
    for name, kind, target in (
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("hard", tarfile.LNKTYPE, "a.py"),
        ("device", tarfile.CHRTYPE, ""),
        ("pipe", tarfile.FIFOTYPE, ""),
        ("folder", tarfile.DIRTYPE, ""),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        special.append(info)
    files = {
        "a.py": b"1\n",
        "../up.py": b"2\n",
        "/etc/x.py": b"3\n",
        "b/../../c.py": b"4\n",
        "C:\\x.py": b"5\n",
        "./d.py": b"6\n",
    }
    path = plant_tar(tmp_path / "x.tar.gz", files, *special)
    listing = open_source(str(path)).listing()
    assert [entry.path for entry in listing.entries] == [b"a.py", b"d.py"]
    assert listing.skipped == {"symbolic_link": 1, "hard_link": 1, "no_regular_file": 2, "unsafe_name": 4}


def test_links_encrypted_entries_and_unsafe_names_of_a_zip_are_skipped_and_counted(tmp_path: Path) -> None:
    path = plant_zip(tmp_path / "x.zip", {"a.py": b"1\n", "../up.py": b"2\n", "/abs.py": b"3\n", "..\\win.py": b"4\n"})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("folder/", b"")
        packed = zipfile.ZipInfo("packed.py")
        packed.compress_type = zipfile.ZIP_LZMA
        archive.writestr(packed, b"x" * 100)
    listing = open_source(str(path)).listing()
    assert [entry.path for entry in listing.entries] == [b"a.py"]
    assert listing.skipped == {"unsafe_name": 3, "symbolic_link": 1, "unsupported_compression": 1}


def test_of_two_entries_with_one_name_the_later_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for data in (b"first", b"second"):
            import io

            info = tarfile.TarInfo("a.py")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert contents(path) == {b"a.py": b"second"}
    assert open_source(str(path)).listing().skipped == {"name_twice": 1}


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_damaged_archive_is_named_and_never_read_as_something_else(tmp_path: Path, suffix: str) -> None:
    path = archived(tmp_path, suffix, {"a.py": b"print('a')\n" * 20, "b.py": b"print('b')\n" * 20})
    sound, expected = path.read_bytes(), contents(path)
    for cut in range(0, len(sound), 97):
        path.write_bytes(sound[:cut])
        try:
            assert contents(path) == expected  # only padding is gone
        except SourceError as error:
            assert f"archive {path}" in str(error)
    checked = suffix != ".tar"  # a plain tar has no checksum over its data
    for at in range(0, len(sound), 53):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x10]) + sound[at + 1 :])
        try:
            found = contents(path)
        except SourceError as error:
            assert "\n" not in str(error)
            continue
        assert not checked or set(found.values()) <= set(expected.values())


def test_the_checksum_at_the_end_of_a_compressed_tar_is_read(tmp_path: Path) -> None:
    path = archived(tmp_path, ".tar.gz")
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
    with pytest.raises(SourceError, match=r"is damaged .*CRC"):
        open_source(str(path)).listing()


def test_a_large_entry_is_hashed_and_has_no_text(tmp_path: Path) -> None:
    path = archived(tmp_path, ".tar.xz", {"big.py": b"x = 1\n" * 300_000, "a.py": b"1\n"})
    row = by_path(made(Read(str(path)), tmp_path / "store"))[b"big.py"]
    assert (row["unread"], row["size"], len(row["blob"])) == ("too_large", 1_800_000, 40)


def test_an_archive_is_read_shard_by_shard_alike_for_any_number_of_workers(tmp_path: Path) -> None:
    files = {f"d{n % 5}/f{n}.py": b"# %d\n" % n * (n + 1) for n in range(120)}
    path = archived(tmp_path, ".tar.gz", files)
    one, two = (made(Read(str(path), shard_bytes=20_000), tmp_path / str(workers), workers) for workers in (1, 2))
    assert len(one.parts()) > 3
    assert one.manifest["files"] == two.manifest["files"]


def test_an_archive_that_changes_after_listing_is_an_error(tmp_path: Path) -> None:
    path = archived(tmp_path, ".tar", {"a.py": b"1\n", "b.py": b"2\n"})
    source = Archive(path)
    entries = source.listing().entries
    archived(tmp_path, ".tar", {"a.py": b"1\n"})
    with pytest.raises(SourceError, match="changed while being read"):
        list(source.read(entries, 100))


@pytest.mark.parametrize(
    ("name", "suffix"), [("A.TGZ", ".tgz"), ("a.tar.gz", ".tar.gz"), ("a.b.whl", ".whl"), ("a.gz", None), ("tar", None)]
)
def test_a_suffix_is_the_longest_known_one(name: str, suffix: str | None) -> None:
    assert suffix_of(Path(name)) == suffix
