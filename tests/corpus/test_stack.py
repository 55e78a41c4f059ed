"""The Stack's tables: facts beside each file, bounded batches, and every fault named with its file and column."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.planted import by_path, made, rows
from starloom.corpus import Read
from starloom.corpus.sources.stack import Stack
from starloom.errors import SourceError
from starloom.records import blob_id

V1 = {
    "hexsha": ["x"] * 3, "content": ["x = 1\n", None, "ü\n"], "lang": ["Python"] * 3,
    "max_stars_repo_name": ["Owner/Name", "Owner/Name", "b/c"], "max_stars_repo_path": ["a.py", "null.py", "dir/ü.py"],
    "max_stars_repo_licenses": [["MIT", "Apache-2.0"], ["MIT"], None], "max_stars_count": [5.0, None, float("nan")],
    "max_forks_count": pa.array([1, None, 0], pa.int64()), "max_stars_repo_head_hexsha": ["r1", "r1", "r2"],
}  # fmt: skip
V2 = {
    "blob_id": ["x"] * 2, "repo_name": ["Owner/Name", "b/c"], "path": ["/a.py", "/b.ipynb"], "content": ["x = 1\n", "{}"],
    "star_events_count": [3, 4], "fork_events_count": [1, 2], "detected_licenses": [["MIT"], []], "license_type": ["permissive"] * 2,
    "revision_id": ["r1", "r2"], "revision_date": pa.array([datetime(2020, 1, 2)] * 2, pa.timestamp("us")),
}  # fmt: skip


def table(path: Path, columns: dict[str, Any], **settings: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, **settings)
    return path


def test_the_first_version_is_read_with_its_facts(tmp_path: Path) -> None:
    built = made(Read(f"stack:{table(tmp_path / 'a.parquet', V1)}"), tmp_path / "store")
    found = by_path(built)
    a = found[b"a.py"]
    assert (a["repository"], a["owner"], a["text"], a["blob"]) == (
        "github.com/owner/name",
        "owner",
        "x = 1\n",
        blob_id(b"x = 1\n"),
    )
    assert (a["stars"], a["forks"], a["licenses"], a["revisions"]) == (5, 1, ["MIT", "Apache-2.0"], ["r1"])
    assert (found[b"null.py"]["text"], found[b"null.py"]["unread"]) == (None, "null_content")
    last = found["dir/ü.py".encode()]
    assert (last["stars"], last["forks"], last["licenses"], last["text"]) == (None, 0, [], "ü\n")


def test_the_second_version_is_read_with_its_facts(tmp_path: Path) -> None:
    found = by_path(made(Read(f"stack:{table(tmp_path / 'a.parquet', V2)}"), tmp_path / "store"))
    a = found[b"a.py"]
    assert (a["stars"], a["forks"], a["licenses"], a["revisions"]) == (3, 1, ["MIT"], ["r1"])
    assert a["dates"] == [datetime(2020, 1, 2, tzinfo=UTC)]
    assert (found[b"b.ipynb"]["kind"], found[b"b.ipynb"]["unread"]) == ("notebook", "not_a_notebook")


def test_json_lines_are_the_same_rows_as_parquet(tmp_path: Path) -> None:
    plain = {name: column.to_pylist() if isinstance(column, pa.Array) else column for name, column in V2.items()}
    lines = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line, default=str) + "\n" for line in lines))
    one = rows(made(Read(f"stack:{tmp_path / 'a.jsonl'}"), tmp_path / "store"))
    other = rows(made(Read(f"stack:{table(tmp_path / 'a.parquet', V2)}"), tmp_path / "store"))
    assert one == other


def test_shards_row_groups_and_workers_do_not_change_the_rows(tmp_path: Path) -> None:
    columns = {
        "repo_name": [f"o/r{n // 40}" for n in range(300)], "path": [f"f{n}.py" for n in range(300)],
        "content": [f"value = {n}\n" * 20 for n in range(300)],
    }  # fmt: skip
    table(tmp_path / "a" / "0.parquet", {k: v[:150] for k, v in columns.items()}, row_group_size=1000)
    table(tmp_path / "a" / "1.parquet", {k: v[150:] for k, v in columns.items()}, row_group_size=7)
    one = made(Read(f"stack:{tmp_path / 'a'}", shard_bytes=9000), tmp_path / "one")
    two = made(Read(f"stack:{tmp_path / 'a'}", shard_bytes=9000), tmp_path / "two", workers=2)
    assert len(one.parts()) > 5
    assert one.manifest["files"] == two.manifest["files"]
    assert [row["text"] for row in rows(one)] == columns["content"]


def test_a_row_twice_is_one_row_and_hostile_names_are_counted(tmp_path: Path) -> None:
    columns = {
        "repo_name": ["o/n", "O/N", "o/n", "../../x", "a\n/b", "a/b/c", None, "", "o/n", "o/..", "o/n"],
        "path": ["a.py", "a.py", "a.py", "x", "x", "x", "x", "x", "../x", "x", None],
        "content": ["1\n", "1\n", "2\n", *["x"] * 8],
    }
    built = made(Read(f"stack:{table(tmp_path / 'a.parquet', columns)}"), tmp_path / "store")
    assert [row["text"] for row in rows(built)] == ["1\n", "2\n"]
    assert built.counts["dropped"] == {
        "row_twice": 1, "unsafe_name": 1, "unsafe_repository_name": 5, "null_path": 1, "null_repository_name": 1,
    }  # fmt: skip
    assert len({row["id"] for row in rows(built)}) == 2


def without(columns: dict[str, Any], *names: str, **others: Any) -> dict[str, Any]:
    return {name: column for name, column in (columns | others).items() if name not in names}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            without(V2, "content"),
            "has no column 'content' of The Stack v2; The Stack v2 has ids there; fetch the contents first",
        ),
        (without(V2, "path", "blob_id", pth=["a", "b"]), "has no column 'path' of The Stack v2; did you mean 'pth'"),
        (without(V1, "max_stars_repo_path"), "has no column 'max_stars_repo_path' of The Stack v1; did you mean"),
        (without(V2, "blob_id", content=[1, 2]), "column 'content' is int64, not string"),
        (without(V2, repo_name=[b"a/b"] * 2), "column 'repo_name' is binary, not string"),
        (without(V2, star_events_count=["many"] * 2), "column 'star_events_count' is string, not a number"),
        (without(V2, detected_licenses=["MIT"] * 2), "column 'detected_licenses' is string, not list<string>"),
        ({"x": [1]}, "has no column 'content' of The Stack v2; known: x"),
    ],
)
def test_a_wrong_schema_names_the_shard_and_the_column(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    table(tmp_path / "a" / "0.parquet", V2)
    path = table(tmp_path / "a" / "1.parquet", columns)
    with pytest.raises(SourceError) as caught:
        made(Read(f"stack:{tmp_path / 'a'}"), tmp_path / "store")
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_all_broken_shards_are_named_at_once_before_anything_is_built(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    whole = table(folder / "0.parquet", V2).read_bytes()
    (folder / "1.parquet").write_bytes(whole[:-5])
    (folder / "2.parquet").write_bytes(b"")
    (folder / "3.parquet").write_bytes(whole[:4] + bytes(len(whole) - 12) + whole[-8:])
    (folder / "4.jsonl").write_bytes(b'{"repo_name": "a/b"}\n')
    with pytest.raises(SourceError) as caught:
        made(Read(f"stack:{folder}"), tmp_path / "store")
    for name in (
        "1.parquet is no sound Parquet",
        "2.parquet is no sound",
        "3.parquet is no sound",
        "4.jsonl:1 has no column 'content'",
    ):
        assert name in str(caught.value)
    assert "0.parquet" not in str(caught.value)
    assert not list((tmp_path / "store").glob("read-*/part*"))


def test_damage_within_a_shard_says_behind_which_row(tmp_path: Path) -> None:
    columns = {
        "repo_name": ["o/n"] * 2000,
        "path": [f"{n}.py" for n in range(2000)],
        "content": [f"{n}" * 50 for n in range(2000)],
    }
    path = table(tmp_path / "a.parquet", columns, row_group_size=500, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"a\.parquet is damaged behind row [\d,]+ \("):
        Stack(path).listing()


def test_tables_without_rows_are_passed_over_and_nothing_else_is_an_error(tmp_path: Path) -> None:
    empty = {name: pa.array([], pa.string()) for name in ("repo_name", "path", "content")}
    table(tmp_path / "a" / "0.parquet", empty)
    with pytest.raises(SourceError, match="holds no rows"):
        made(Read(f"stack:{tmp_path / 'a'}"), tmp_path / "store")
    table(tmp_path / "a" / "1.parquet", V2)
    assert made(Read(f"stack:{tmp_path / 'a'}"), tmp_path / "store").counts["rows_out"] == 2
    with pytest.raises(SourceError, match=r"holds no .parquet"):
        Stack(tmp_path / "store" / "x").files() if (tmp_path / "store" / "x").mkdir() else Stack(
            tmp_path / "store" / "x"
        ).listing()


def test_a_dictionary_that_unpacks_to_much_is_read_in_batches(tmp_path: Path) -> None:
    """One string of a megabyte, stored once and named by 250 rows of one row group."""
    content = pa.DictionaryArray.from_arrays(pa.array([0] * 250, pa.int32()), pa.array(["x" * (1 << 20)]))
    columns = {"repo_name": ["o/n"] * 250, "path": [f"{n}.py" for n in range(250)], "content": content}
    path = table(tmp_path / "a.parquet", columns)
    assert path.stat().st_size < 1 << 20
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        assert len(Stack(path).listing().entries) == 250
    finally:
        pa.set_memory_pool(usual)
    assert pool.max_memory() < 200 << 20
