"""Tables and lists made to hurt: each wrong value is named with its file, line or column; nothing blocks, nothing bursts."""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.planted import made, plant, rows
from starloom.corpus import OptOut, Read
from starloom.corpus.sources import open_source
from starloom.errors import ConfigError, SourceError

ROW = {"max_stars_repo_name": "o/n", "max_stars_repo_path": "a.py", "content": "x\n"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_stars_repo_name": 1}, "column 'max_stars_repo_name' is a int, not text"),
        ({"max_stars_repo_path": ["a"]}, "column 'max_stars_repo_path' is a list, not text"),
        ({"content": {"x": 1}}, "column 'content' is a dict, not text"),
        ({"max_stars_count": "many"}, "column 'max_stars_count' is a str, not a number"),
        ({"max_forks_count": True}, "column 'max_forks_count' is True, not a number"),
        ({"max_stars_repo_licenses": "MIT"}, "column 'max_stars_repo_licenses' is a str, not list<string>"),
        ({"max_stars_repo_licenses": [7]}, "column 'max_stars_repo_licenses' is a list, not list<string>"),
        ({"max_stars_repo_head_hexsha": 7}, "column 'max_stars_repo_head_hexsha' is 7, not string"),
    ],
)
def test_a_row_of_wrong_types_is_named_by_file_line_and_column(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW | change)}\n")
    with pytest.raises(SourceError) as error:
        open_source(f"stack:{path}").listing()
    assert str(error.value).startswith(f"{path}:2 {said}")


def test_null_contents_are_rows_with_their_reason_in_both_formats(tmp_path: Path) -> None:
    found = [ROW, ROW | {"max_stars_repo_path": "b.py", "content": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        built = made(Read(f"stack:{tmp_path / name}"), tmp_path / "store")
        assert {row["path"]: row["unread"] for row in rows(built)} == {b"a.py": None, b"b.py": "null_content"}


def test_rows_without_a_path_or_a_repository_are_counted_in_both_formats(tmp_path: Path) -> None:
    found = [ROW, ROW | {"max_stars_repo_path": None}, ROW | {"max_stars_repo_name": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        built = made(Read(f"stack:{tmp_path / name}"), tmp_path / "store")
        assert [row["path"] for row in rows(built)] == [b"a.py"]
        assert built.counts["dropped"] == {"null_path": 1, "null_repository_name": 1}


@pytest.mark.parametrize("scheme", ["stack", "issues", "pull_requests", "list", "archive", ""])
@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.parquet", "x.tar.gz", "x.zip", "x"])
def test_a_pipe_in_the_place_of_a_file_does_not_block(tmp_path: Path, scheme: str, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises((SourceError, ConfigError)) as error:
        open_source(f"{scheme}:{tmp_path / name}" if scheme else str(tmp_path / name)).listing()
    assert str(tmp_path / name) in str(error.value)


def test_a_pipe_in_the_place_of_an_opt_out_list_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    with pytest.raises(SourceError, match="no regular file"):
        OptOut(Read("python:stdlib"), str(tmp_path / "list")).external_digests()


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz"])
def test_a_compressed_tar_of_one_to_a_thousand_and_more_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    with tarfile.open(path, "w:gz" if suffix == "tar.gz" else "w:xz") as archive:
        info = tarfile.TarInfo("zeros.py")
        info.size = 64 << 20
        with Path("/dev/zero").open("rb") as zeros:
            archive.addfile(info, zeros)
    assert (64 << 20) / path.stat().st_size > 900
    with pytest.raises(SourceError, match=r"zeros\.py unpacks to more than 200 times"):
        open_source(str(path)).listing()


def test_a_bomb_within_an_archive_is_a_binary_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as inner:
        inner.writestr("zeros.py", bytes(16 << 20))
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as outer:
        outer.write(tmp_path / "in.zip", "in.zip")
        outer.writestr("a.py", "1\n")
    built = made(Read(str(tmp_path / "out.zip")), tmp_path / "store")
    assert {row["path"]: row["unread"] for row in rows(built)} == {b"a.py": None, b"in.zip": "binary"}


def test_lists_within_lists_are_refused_with_their_line_and_a_source_twice_is_one(tmp_path: Path) -> None:
    plant(tmp_path / "code", {"a.py": b"1\n"})
    places = {"own": "# me\nlist:own\n", "other": "folder:code\nlist:own\n", "gone": "list:nowhere\n"}
    for name, text in places.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match=f"{name}:{1 if name == 'gone' else 2} names another list"):
            open_source(f"list:{tmp_path / name}")
    (tmp_path / "twice").write_text("folder:code\nfolder:code\n")
    assert len(rows(made(Read(f"list:{tmp_path / 'twice'}"), tmp_path / "store"))) == 1
    for name, data in {"nul": bytes(100), "latin": b"folder:\xff\n", "empty": b"# none\n"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises((ConfigError, SourceError)) as error:
            open_source(f"list:{tmp_path / name}").listing()
        assert str(error.value).isprintable() and str(tmp_path / name) in str(error.value)
