"""A folder of everything that hurts, through every step of a corpus, to its report and back by `starloom follow`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from corpus.planted import plant
from starloom.cli import dispatch
from starloom.corpus.sources.listing import printable
from starloom.store import Built

BIDI = "if access != 'user\u202e \u2066// only admins\u2069 \u2066':\n    pass\u200b\n\n\n"
MIT = """MIT License

Copyright (c) 2020 Jo

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
NAMES = [
    b"a.py", b"esc\x1b[31m\x07.py", b"new\nline.py", "\u202egpj.py".encode(), b"\xff\xfe.py", b"Case.py", b"case.py",
    b"colon:s.py", b"<script>alert(1)</script.py", b"n" * 240 + b".py", b"d/" * 100 + b"x.py", b"-rf.py", b"$(id).py",
]  # fmt: skip
HUGE = b'{"cells": [{"cell_type": "code", "source": "x", "execution_count": 1e999}], "n": ' + b"9" * 5000 + b"}"


def body(number: int) -> bytes:
    lines = "".join(f"def f{number}_{n}(x):\n    return x + {n}\n\n" for n in range(20))
    return f"{lines}# <fim_prefix> jo.miller{number}@acme.dev\n".encode()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    root = tmp_path_factory.mktemp("hostile")
    code = plant(
        root / "code",
        {
            "LICENSE": MIT.encode(), "bidi.py": BIDI.encode() + body(90), "bom.py": b"\xef\xbb\xbf" + body(91),
            "utf16.py": "x = 1\n".encode("utf-16"), "latin.py": b"# caf\xe9\n" + body(92), "nul.py": b"a\0b\n",
            "bad.ipynb": b"not json", "deep.ipynb": b"[" * 200_000, "huge.ipynb": HUGE, "list.ipynb": b'{"cells": {"a": 1}}',
            "package.json": b'{"license": {"type": [[[{}]]]}, "author": 7}', "pyproject.toml": b"[project\nlicense = \xff",
            "setup.cfg": b"\0", "empty.py": b"", "bait.py": b"token='\"" * 20_000,
        },
    )  # fmt: skip
    for number, name in enumerate(NAMES):
        path = os.fsencode(code) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - names that are not UTF-8
        Path(os.fsdecode(path)).write_bytes(body(number))
    os.mkfifo(code / "pipe.py")
    (code / "loop").symlink_to(code)
    (code / "self").symlink_to("self")
    here = Path.cwd()
    os.chdir(code)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.py")
    os.chdir(here)
    (root / "wishes.jsonl").write_text('{"request": "1", "date": "2026-01-01", "accounts": ["nobody"]}\n')
    settings = ["--vocab-size", "300", "--context", "64", "--opt-out", str(root / "wishes.jsonl")]
    done = dispatch(["run", "corpus", "--sources", f"folder:{code}", *settings, "--store", str(root / "store")])
    return root, done


def step(root: Path, name: str) -> Built:
    (directory,) = (root / "store").glob(f"{name}-*")
    return Built.open(directory)


def test_every_file_ends_with_a_reason_or_in_the_mix(ran: tuple[Path, int]) -> None:
    root, done = ran
    assert done == 0
    read = step(root, "read")
    assert read.counts["dropped"] == {"no_regular_file": 2, "symbolic_link": 2}
    unread = {"not_utf8": 3, "nul_bytes": 2, "not_a_notebook": 4}
    assert read.counts["unread"] == unread
    paths = {row["path"] for part in read.parts() for row in read.table(part, ["path"]).to_pylist()}
    assert paths >= set(NAMES)


def test_what_is_kept_is_kept_as_it_was_read(ran: tuple[Path, int]) -> None:
    mix = step(ran[0], "mix")
    texts = ["".join(p["text"] for p in row["parts"]) for part in mix.parts() for row in mix.table(part).to_pylist()]
    assert sum(BIDI in text for text in texts) == 1
    assert not any("acme.dev" in text for text in texts)
    assert sum("<fim_prefix>" in text for text in texts) >= len(NAMES)


def test_the_report_shows_what_steers_a_reader_and_is_not_steered(ran: tuple[Path, int]) -> None:
    page = step(ran[0], "report").directory / "report.html"
    text = page.read_text("utf-8")
    assert {letter for letter in text if not letter.isprintable()} <= {"\n"}
    assert ("U+202E" in text or r"\u202e" in text) and "<script>alert" not in text


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_name_can_be_followed_and_is_printed_on_one_line(
    ran: tuple[Path, int], name: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "folder:code:" + os.fsdecode(name)
    capsys.readouterr()
    assert dispatch(["follow", asked, "--store", str(ran[0] / "store")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"folder:code:{printable(name)}  id ")
    assert {letter for letter in out if not letter.isprintable()} <= {"\n"}
    assert dispatch(["follow", asked, "--store", str(ran[0] / "store"), "--json"]) == 0
    (way,) = json.loads(capsys.readouterr().out)["ways"]
    assert way["path"].encode("utf-8", "surrogateescape") == name


def test_a_name_that_is_not_there_is_answered_on_one_line(
    ran: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    from starloom.errors import StoreError

    with pytest.raises(StoreError) as error:
        dispatch(["follow", "folder:code:new\nlime\x1b.py", "--store", str(ran[0] / "store")])
    assert str(error.value).isprintable()
