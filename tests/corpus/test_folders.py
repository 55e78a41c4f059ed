"""Reading folders: what is a file, what is left out, what a name is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.planted import by_path, made, plant
from starloom.corpus.read import Read, cut_into_shards, text_of
from starloom.corpus.sources import Entry, Raw, open_source
from starloom.corpus.sources.listing import take
from starloom.errors import ConfigError, SourceError
from starloom.records import blob_id, document_id
from starloom.stage import Identities, Runtime, build
from starloom.store import MARKER, Store


def listed(spelling: str) -> dict[bytes, int]:
    return {entry.path: entry.size for entry in open_source(spelling).listing().entries}


def test_a_file_is_a_row_with_its_text_size_and_blob(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"x = 1\n", "deep/er/b.py": "é\n".encode()})
    found = by_path(made(Read(f"folder:{folder}"), tmp_path / "store"))
    assert set(found) == {b"a.py", b"deep/er/b.py"}
    row = found[b"deep/er/b.py"]
    assert (row["text"], row["size"], row["unread"]) == ("é\n", 3, None)
    assert row["blob"] == blob_id("é\n".encode())
    assert row["id"] == document_id("file", "folder:code", b"deep/er/b.py", row["blob"])
    assert (row["repository"], row["owner"], row["revisions"], row["dates"]) == ("folder:code", None, [], [])


def test_ids_stay_when_a_folder_is_moved(tmp_path: Path) -> None:
    plant(tmp_path / "here" / "code", {"a.py": b"1\n", "b/c.py": b"2\n"})
    before = made(Read(f"folder:{tmp_path / 'here' / 'code'}"), tmp_path / "one")
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "code").rename(tmp_path / "there" / "code")
    after = made(Read(f"folder:{tmp_path / 'there' / 'code'}"), tmp_path / "two")
    assert before.fingerprint == after.fingerprint
    assert {row["id"] for row in by_path(before).values()} == {row["id"] for row in by_path(after).values()}


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename_folder"])
def test_any_change_of_a_folder_is_a_new_fingerprint(tmp_path: Path, change: str) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n", "b.py": b"2\n"})
    before = open_source(f"folder:{folder}").listing().digest
    if change == "edit":
        (folder / "a.py").write_bytes(b"3\n")
    elif change == "add":
        (folder / "c.py").write_bytes(b"")
    elif change == "remove":
        (folder / "b.py").unlink()
    else:
        folder = folder.rename(tmp_path / "other")
    assert open_source(f"folder:{folder}").listing().digest != before


def test_touching_a_file_changes_nothing(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n"})
    before = open_source(f"folder:{folder}").listing().digest
    os.utime(folder / "a.py", (1, 1))
    assert open_source(f"folder:{folder}").listing().digest == before


def test_links_pipes_sockets_and_machinery_are_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plant(
        tmp_path / "code",
        {
            "a.py": b"1\n",
            ".git/config": b"",
            "sub/.hg/x": b"",
            "old/.svn/x": b"",
            "__pycache__/a.pyc": b"",
            f"made/{MARKER}": b"{}",
            "made/read-1/part.parquet": b"",
            "venv/pyvenv.cfg": b"",
            "venv/lib/x.py": b"",
            "module/.git": b"gitdir: ../.git/modules/module\n",
        },
    )
    (folder / "loop").symlink_to(folder)
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        listing = open_source(f"folder:{folder}").listing()
    assert [entry.path for entry in listing.entries] == [b"a.py"]
    assert listing.skipped == {
        "symbolic_link": 3,
        "no_regular_file": 2,
        "version_control": 4,
        "bytecode_cache": 1,
        "starloom_store": 1,
        "virtual_environment": 1,
    }


def test_a_root_that_is_a_virtual_environment_is_read_when_it_is_named(tmp_path: Path) -> None:
    folder = plant(tmp_path / "env", {"pyvenv.cfg": b"", "lib/a.py": b"1\n"})
    assert b"lib/a.py" in listed(f"folder:{folder}")


def test_a_path_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n"})
    names = [b"\xff\xfe.py", b"new\nline.py", "\u202egnp.py".encode(), b"x" * 255]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"2\n")
    found = by_path(made(Read(f"folder:{folder}"), tmp_path / "store"))
    assert set(names) <= set(found)
    assert len({row["id"] for row in found.values()}) == 5


def test_a_file_that_cannot_be_opened_is_a_row_without_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n", "secret.py": b"2\n"})
    real = os.open

    def refusing(path: object, *arguments: object, **names: object) -> int:  # root may open anything: refuse by hand
        if path == b"secret.py":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    built = made(Read(f"folder:{folder}"), tmp_path / "store")
    row = by_path(built)[b"secret.py"]
    assert (row["text"], row["unread"], row["blob"], row["size"]) == (None, "unreadable", None, 2)
    assert built.counts["unread"] == {"unreadable": 1}


def test_a_file_that_changes_after_listing_is_an_error_and_not_a_lie(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n", "b.py": b"2\n"})
    source = open_source(f"folder:{folder}")
    entries = source.listing().entries
    for new in (b"9\n", b"longer than before\n", b""):
        (folder / "b.py").write_bytes(new)
        with pytest.raises(SourceError, match=r"b\.py changed while being read; run again"):
            list(source.read(entries, 1 << 20))
    (folder / "b.py").unlink()
    (folder / "b.py").symlink_to("a.py")
    with pytest.raises(SourceError, match="changed while being read"):
        list(source.read(entries, 1 << 20))


def test_a_folder_that_changes_between_fingerprint_and_build_is_not_built(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n"})
    stage, known, store = Read(f"folder:{folder}"), Identities(), Store(tmp_path / "store")
    known.of(stage)
    (folder / "b.py").write_bytes(b"2\n")
    with pytest.raises(SourceError, match="changed while being read; run again"):
        build(stage, store, Runtime(), known)
    assert len(by_path(build(stage, store, Runtime()))) == 2


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("folder:{0}/nowhere", "does not exist"),
        ("{0}/nowhere", "does not exist"),
        ("git:{0}/nowhere", "does not exist"),
        ("archive:{0}/nowhere.zip", "does not exist"),
        ("folder:{0}/file.py", "is a file, not a folder"),
        ("{0}/file.py", "is one file, and no archive by its name"),
        ("folder:{0}/empty", "holds no files to read"),
        ("{0}/empty", "holds no files to read"),
        ("{0}/only_link", r"holds no files to read \(skipped: symbolic_link 1\)"),
        ("git:{0}/empty", "is no git repository"),
        ("{0}/store", "is a starloom store"),
    ],
)
def test_a_place_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, spelling: str, said: str) -> None:
    plant(tmp_path, {"file.py": b"", f"store/{MARKER}": b"{}"})
    (tmp_path / "empty").mkdir()
    (tmp_path / "only_link").mkdir()
    (tmp_path / "only_link" / "x").symlink_to("/")
    with pytest.raises(SourceError, match=said) as caught:
        open_source(spelling.format(tmp_path)).listing()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("", "names nothing"),
        ("folder:", "names nothing"),
        ("foder:x", "did you mean 'folder'"),
        ("gti:x", "did you mean 'git'"),
        ("python:stdlb", "did you mean 'python:stdlib'"),
        ("python:site_packages", "did you mean 'python:site-packages'"),
        ("stdlib", "did you mean 'python:stdlib'"),
        ("https://github.com/a/b", "nothing is fetched"),
        ("a\0b", "NUL"),
    ],
)
def test_a_misspelt_source_says_what_was_meant(spelling: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_source(spelling)


def test_a_folder_without_readable_text_is_an_error(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.bin": b"\0\xff", "b.txt": b"\xff"})
    with pytest.raises(SourceError, match="no readable text: binary 1, not_utf8 1 of 2 files"):
        made(Read(f"folder:{folder}"), tmp_path / "store")


def test_one_worker_and_two_make_the_same_bytes(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {f"d{n % 7}/f{n}.py": b"# %d\n" % n * (n + 1) for n in range(200)})
    one, two = (
        made(Read(f"folder:{folder}", shard_bytes=40_000), tmp_path / str(workers), workers) for workers in (1, 2)
    )
    assert len(one.parts()) > 3
    assert one.manifest["files"] == two.manifest["files"]


def test_a_link_in_a_files_place_is_not_followed_even_to_the_same_content(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n"})
    plant(tmp_path / "elsewhere", {"a.py": b"1\n"})
    source = open_source(f"folder:{folder}")
    entries = source.listing().entries
    (folder / "a.py").unlink()
    (folder / "a.py").symlink_to(tmp_path / "elsewhere" / "a.py")
    with pytest.raises(SourceError, match="changed while being read"):
        list(source.read(entries, 100))


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60), st.integers(1, 9))
def test_a_file_is_taken_whole_or_not_at_all(data: bytes, size: int, max_bytes: int, step: int) -> None:
    raw = take((data[at : at + step] for at in range(0, len(data), step)), size, max_bytes)
    if size != len(data):
        assert raw is None
    else:
        assert raw == Raw(blob_id(data), data if size <= max_bytes else None, size)


@given(st.lists(st.integers(0, 4000), max_size=60), st.integers(1, 3000), st.integers(1, 20_000))
def test_shards_hold_every_entry_once_in_order_and_stay_small(
    sizes: list[int], max_bytes: int, shard_bytes: int
) -> None:
    entries = [Entry("r", b"%05d" % number, size) for number, size in enumerate(sizes)]
    shards = list(cut_into_shards(entries, max_bytes, shard_bytes))
    assert [entry for shard in shards for entry in shard] == entries
    assert all(shards)
    for shard in shards:
        assert len(shard) == 1 or sum(one.size for one in shard if one.size <= max_bytes) <= shard_bytes


@given(st.binary(max_size=60))
def test_text_is_what_python_decodes_and_holds_no_nul(data: bytes) -> None:
    text, unread = text_of(data)
    assert (text is None) != (unread is None)
    if text is not None:
        assert text.encode() == data and "\0" not in text
    else:
        assert {"binary": b"\0" in data, "nul_bytes": b"\0" in data, "not_utf8": True}[str(unread)]


@pytest.mark.parametrize(
    ("data", "unread"),
    [
        (b"", None),
        (b"\xef\xbb\xbfx = 1\n", None),
        (b"a\0b", "nul_bytes"),
        (b"\x7fELF\0\0\xff", "binary"),
        ("é".encode("latin-1"), "not_utf8"),
        ("x = 1".encode("utf-16"), "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),  # a lone surrogate
    ],
)
def test_bytes_that_are_no_text_say_why(data: bytes, unread: str | None) -> None:
    text, why = text_of(data)
    assert why == unread
    assert text is None or text.encode() == data  # a byte order mark stays


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.lists(st.sampled_from(["a", "b", "c.py"]), min_size=1, max_size=4), min_size=1, max_size=12))
def test_a_listing_holds_what_os_walk_finds(tmp_path_factory: pytest.TempPathFactory, names: list[list[str]]) -> None:
    root = tmp_path_factory.mktemp("tree")
    for parts in names:
        path = root.joinpath(*parts)
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    expected = sorted(
        os.fsencode(os.path.relpath(os.path.join(at, name), root))  # noqa: PTH118
        for at, _, files in os.walk(root)
        for name in files
    )
    assert [entry.path for entry in open_source(f"folder:{root}").listing().entries] == expected


def test_settings_of_read_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_bytes of read is 0"):
        Read("x", max_bytes=0)
