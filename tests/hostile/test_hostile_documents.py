"""Hostile documents: names that lead elsewhere, text that reads backwards, bait for patterns, and sizes that lie."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.planted import by_path, made, plant, plant_git, plant_zip, rows
from starloom.corpus import KindRules, Mix, Read
from starloom.corpus.sources import open_source
from starloom.errors import SourceError

BIDI = "if access != 'user\u202e \u2066// only admins\u2069 \u2066':\n    pass\u200b\u200d\ufeff\n"


def test_bidirectional_and_invisible_characters_are_read_byte_by_byte(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": BIDI.encode(), "\u202egpj.py": b"1\n", "new\nline.py": b"1\n"})
    built = made(Read(f"folder:{folder}"), tmp_path / "store")
    found = by_path(built)
    assert found[b"a.py"]["text"] == BIDI
    assert set(found) == {b"a.py", "\u202egpj.py".encode(), b"new\nline.py"}
    mixed = made(Mix(Read(f"folder:{folder}"), metadata=1.0, heldout=0.0), tmp_path / "store")
    assert len(rows(mixed)) == 3


def test_mixed_encodings_are_rows_with_their_reason(tmp_path: Path) -> None:
    files = {
        "utf8.py": "ü\n".encode(), "latin.py": "ü\n".encode("latin-1"), "utf16.py": "ü\n".encode("utf-16"),
        "bom.py": "ü\n".encode("utf-8-sig"), "shift.py": "日本\n".encode("shift_jis"), "half.py": b"ok\n\xe6\x97",
        "surrogate.py": b"\xed\xa0\x80\n", "nul.py": b"a\0b\n",
    }  # fmt: skip
    found = by_path(made(Read(f"folder:{plant(tmp_path / 'code', files)}"), tmp_path / "store"))
    unread = {name: row["unread"] for name, row in found.items()}
    assert unread == {
        b"utf8.py": None, b"bom.py": None, b"nul.py": "nul_bytes", b"latin.py": "not_utf8", b"utf16.py": "not_utf8",
        b"shift.py": "not_utf8", b"half.py": "not_utf8", b"surrogate.py": "not_utf8",
    }  # fmt: skip


HOSTILE = [
    "../../x",
    "..",
    "a/../b",
    "/etc/passwd",
    "a\nb/c",
    "a/b\0",
    "a/b/c",
    "o/..",
    "./n",
    "",
    "ü/n",
    "a b/c",
    "o/" + "n" * 500,
]


@pytest.mark.parametrize("kind", ["stack", "issues", "pull_requests"])
def test_no_hostile_repository_name_becomes_a_row(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.jsonl"
    lines: list[dict[str, object]] = []
    for number, name in enumerate([*HOSTILE, "Good.One/n-1_x"]):
        if kind == "stack":
            lines.append({"repo_name": name, "path": f"{number}.py", "content": "x\n"})
        elif kind == "issues" and name:
            lines.append({"repo": name, "issue_id": number, "events": [{"author": "a", "text": "x"}]})
        elif kind == "pull_requests" and not set(name) & set(" \n") and name:
            events = [{"type": "PullRequestEvent", "text": "x"}]
            lines.append({"pull_request.guid": f"{name}/pull/{number}", "events": events})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    built = made(Read(f"{kind}:{path}"), tmp_path / "store")
    assert [row["repository"] for row in rows(built)] == ["github.com/good.one/n-1_x"]
    assert built.counts["dropped"] == {"unsafe_repository_name": len(lines) - 1}


def test_paths_that_are_not_utf8_and_hostile_remotes_stay_names_only(tmp_path: Path) -> None:
    ids = plant_git(
        tmp_path / "repo", {b"\xff\xfe.py": b"1\n", b"ok\n.py": b"1\n"}, {b"\xff\xfe.py": b"2\n", b"ok\n.py": b"1\n"}
    )
    config = tmp_path / "repo" / ".git" / "config"
    config.write_text(config.read_text() + '[remote "origin"]\n\turl = https://github.com/../../x\n')
    (tmp_path / "list").write_text("git:repo\ncommits:repo\n")
    built = made(Read(f"list:{tmp_path / 'list'}"), tmp_path / "store")
    assert sorted({row["path"] for row in rows(built)}) == [b"ok\n.py", b"\xff\xfe.py"]
    assert {row["repository"] for row in rows(built)} == {"folder:repo"}
    assert ids[1].decode() in {revision for row in rows(built) for revision in row["revisions"]}
    made(Mix(Read(f"list:{tmp_path / 'list'}"), metadata=1.0, heldout=0.0), tmp_path / "store")


def test_a_notebook_is_whatever_it_is(tmp_path: Path) -> None:
    files = {
        "text.ipynb": b"not json", "deep.ipynb": b"[" * 900_000, "latin.ipynb": b'{"cells": ["\xe9"]}', "empty.ipynb": b"",
        "nul.ipynb": b'{"cells": [{"cell_type": "code", "source": "a\\u0000b"}]}', "binary.ipynb": b"\xff\0\xfe",
        "odd.ipynb": b'{"cells": [{"cell_type": "code", "source": {"a": 1}, "outputs": "x"}, 7]}',
        "fine.ipynb": b'{"cells": [{"cell_type": "code", "source": "x", "outputs": [{"text": null}, {"data": []}]}]}',
    }  # fmt: skip
    built = made(Read(f"folder:{plant(tmp_path / 'code', files)}"), tmp_path / "store")
    assert {row["path"]: row["unread"] for row in rows(built)} == {
        b"text.ipynb": "not_a_notebook", b"deep.ipynb": "not_a_notebook", b"latin.ipynb": "not_utf8",
        b"empty.ipynb": "not_a_notebook", b"nul.ipynb": "nul_bytes", b"binary.ipynb": "binary",
        b"odd.ipynb": "notebook_without_cells", b"fine.ipynb": None,
    }  # fmt: skip
    assert {row["kind"] for row in rows(built)} == {"notebook"}
    verdicts = made(KindRules(Read(f"folder:{tmp_path / 'code'}")), tmp_path / "store")
    assert verdicts.counts["rows_out"] == 0


def test_a_tree_nested_deeper_than_any_stack_is_compared(tmp_path: Path) -> None:
    deep = b"d/" * 1500 + b"a.py"
    repo = tmp_path / "repo"
    sys.setrecursionlimit(10_000)  # of the planting only
    try:
        plant_git(repo, {deep: b"1\n"}, {deep: b"2\n"})
    finally:
        sys.setrecursionlimit(1000)
    assert [entry.path for entry in open_source(f"commits:{repo}").listing().entries] == [deep, deep]


@pytest.mark.slow
def test_an_archive_of_a_hundred_thousand_entries_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    body = io.BytesIO()
    info = tarfile.TarInfo("a")
    block = info.tobuf(tarfile.USTAR_FORMAT)
    for number in range(100_000):
        name = b"%06d.py" % number
        head = bytearray(name.ljust(100, b"\0") + block[100:148] + b" " * 8 + block[156:])
        head[148:156] = b"%06o\0 " % sum(head)
        body.write(head)
    path.write_bytes(body.getvalue() + bytes(1024))
    assert len(open_source(str(path)).listing().entries) == 100_000


def test_a_ratio_of_one_to_ten_thousand_is_refused_from_every_kind_of_source(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive, archive.open("zeros.bin", "w") as entry:
        for _ in range(100):
            entry.write(bytes(1 << 20))
    assert (100 << 20) / path.stat().st_size > 10_000
    plant_zip(tmp_path / "fine.zip", {"a.py": b"1\n"})
    (tmp_path / "list").write_text("fine.zip\nx.zip\n")
    for source in (str(path), f"list:{tmp_path / 'list'}"):
        with pytest.raises(SourceError, match=r"unpacks to more than 200 times its own"):
            open_source(source).listing()


@pytest.mark.slow  # hashing 2 GB takes seconds
def test_a_file_of_two_gigabytes_is_a_row_without_text_in_little_memory(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n"})
    with (folder / "large.py").open("wb") as file:
        file.truncate(2 << 30)
    program = f"""
        import resource
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
    assert said == "{'too_large': 1}"
    assert int(megabytes) < 100


def test_a_table_of_one_huge_row_is_a_row_without_text(tmp_path: Path) -> None:
    columns = {"repo_name": ["o/n"] * 2, "path": ["big.py", "a.py"], "content": ["x" * (8 << 20), "1\n"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = by_path(made(Read(f"stack:{tmp_path / 'a.parquet'}"), tmp_path / "store"))
    assert (found[b"big.py"]["unread"], found[b"big.py"]["size"]) == ("too_large", 8 << 20)
    assert found[b"a.py"]["text"] == "1\n"
