"""Language by name, extension and shebang."""

from __future__ import annotations

import importlib.util
import json
import sysconfig
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.labeled_languages import LABELED, WRITTEN_AFTERWARDS
from corpus.planted import made, plant, rows
from starloom.corpus import Language, Read
from starloom.corpus.language import check_languages, language_of, languages, languages_of, shebang
from starloom.corpus.language_rules import BEHIND, FIRST
from starloom.errors import ConfigError

TABLE = json.loads((resources.files("starloom.corpus") / "data" / "languages.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("path", "language", "how"),
    [
        (b"a.py", "Python", "extension"),
        (b"deep.er/a.PY", "Python", "extension"),
        (b"a.pyi", "Python", "extension"),
        (b"a.h", "C", "extension"),
        (b"a.C", "C++", "extension"),
        (b"a.c", "C", "extension"),
        (b"a.ts", "TypeScript", "extension"),
        (b"a.tsx", "TSX", "extension"),
        (b"a.blade.php", "Blade", "extension"),
        (b"a.inc.php", "PHP", "extension"),
        (b"Makefile", "Makefile", "file_name"),
        (b"CMakeLists.txt", "CMake", "file_name"),
        (b".bashrc", "Shell", "file_name"),
        (b"a.m", None, None),  # Objective-C, MATLAB, …: the content must tell
        (b"a.nosuchextension", None, None),
        (b"run", None, None),
        (b"\xff.py", "Python", "extension"),
        (b"", None, None),
    ],
)
def test_a_name_leads_to_a_language(path: bytes, language: str | None, how: str | None) -> None:
    assert language_of(path)[:2] == (language, how)


def test_every_unambiguous_extension_of_the_table_is_found_behind_any_name() -> None:
    for extension, language in TABLE["extensions"].items():
        found = language_of(b"some/file" + extension.encode())
        assert found.value == language and found.how == "extension"
        assert found.confidence == 1 / TABLE["claimed_by"].get(extension, 1)


def test_an_ambiguous_extension_belongs_to_nobody() -> None:
    for extension in TABLE["ambiguous"]:
        assert extension not in TABLE["extensions"]
        assert len(TABLE["ambiguous"][extension]) > 1


@pytest.mark.parametrize(
    ("line", "interpreter"),
    [
        ("#!/usr/bin/python3\n", "python3"),
        ("#!/usr/bin/env python3.11\n", "python3"),
        ("#! /usr/bin/env -S A=1 B=2 node --flag\n", "node"),
        ("#!/bin/sh -e\nexit", "sh"),
        ("\ufeff#!/bin/bash\n", "bash"),
        ("#!\n", None),
        ("#!/usr/bin/env\n", None),
        ("# !/bin/sh\n", None),
        ("", None),
    ],
)
def test_a_shebang_names_its_interpreter(line: str, interpreter: str | None) -> None:
    assert shebang(line) == interpreter


def test_a_shebang_counts_only_without_an_extension() -> None:
    text = "#!/usr/bin/env python3\n"
    assert language_of(b"bin/run", text)[:2] == ("Python", "shebang")
    assert language_of(b".hidden", text)[:2] == ("Python", "shebang")
    assert language_of(b"run.txt", text).value == "Text"
    assert language_of(b"run.m", text).value is None


@pytest.mark.parametrize(("name", "language", "text"), [*LABELED, *WRITTEN_AFTERWARDS])
def test_content_tells_what_the_extension_does_not(name: str, language: str, text: str) -> None:
    assert language_of(name.encode(), text).value == language


def test_a_shard_is_told_apart_as_each_of_its_files_is() -> None:
    """Files are asked by extension, many at once: no file may have its neighbor's answer."""
    samples = [*LABELED, *WRITTEN_AFTERWARDS, ("none.py", "Python", "x"), ("unread.h", "C", None)]
    files = pa.table(
        {
            "id": pa.array([number.to_bytes(16, "big") for number in range(len(samples))], pa.binary(16)),
            "path": pa.array([name.encode() for name, _, _ in samples], pa.binary()),
            "text": pa.array([text for _, _, text in samples], pa.string()),
        }
    )
    found = languages_of(files)["value"].to_pylist()
    assert found == [language for _, language, _ in samples]


def test_rules_of_ours_name_languages_that_linguist_knows() -> None:
    for rules in [*FIRST.values(), *BEHIND.values()]:
        assert {language for language, _ in rules} <= set(languages())


COMMENT = st.lists(
    st.sampled_from(["class of", "try to", "namespace std::string", "template <int>", "private:", "#include <vector>"])
)


@given(COMMENT, st.sampled_from(["/* {} */", "// {}", "/*\n * {}\n */"]))
def test_comments_make_no_c_header_cpp(words: list[str], form: str) -> None:
    comment = form.replace("{}", "\n{}\n".join(words) if form[1] == "*" else " ".join(words))
    assert language_of(b"a.h", f"#ifndef A\n#define A\n{comment}\nint f(int x);\n#endif\n").value == "C"


def test_headers_of_python_are_c() -> None:
    folder = Path(sysconfig.get_paths()["include"])
    headers = [path for path in folder.glob("**/*.h") if "internal" not in path.parts]
    if len(headers) < 20:
        pytest.skip("this Python carries no headers")
    other = [path.name for path in headers if language_of(b"x.h", path.read_text("utf-8")).value != "C"]
    assert len(other) <= len(headers) // 50, other


@given(st.binary(max_size=40), st.text(max_size=40))
def test_any_name_and_text_have_a_language_or_none(path: bytes, text: str) -> None:
    value, how, confidence = language_of(path, text)
    assert (value is None) == (how is None) == (confidence == 0)
    assert value is None or value in languages()


def test_a_misspelt_language_is_refused_with_the_right_one() -> None:
    check_languages(("Python", "C++"))
    with pytest.raises(ConfigError, match="no language 'python'; did you mean 'Python'"):
        check_languages(("python",))
    with pytest.raises(ConfigError, match="did you mean 'JavaScript'"):
        check_languages(("Javascripte",))


def test_the_attribute_lies_beside_every_file_also_without_text(tmp_path: Path) -> None:
    plant(tmp_path / "code", {"a.py": b"1\n", "b.py": b"\xff", "run": b"#!/bin/sh\n", "x.unknown": b"1"})
    files = Read(f"folder:{tmp_path / 'code'}")
    found, read = rows(made(Language(files), tmp_path / "store")), rows(made(files, tmp_path / "store"))
    assert [row["id"] for row in found] == [row["id"] for row in read]
    assert [row["value"] for row in found] == ["Python", "Python", "Shell", None]


def test_the_tool_makes_the_table_that_is_there() -> None:
    """The table's own rules, on a linguist and a BigCode list of a few lines."""
    spec = importlib.util.spec_from_file_location("tool", Path(__file__).parents[2] / "tools" / "language_table.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(tool)
    except ModuleNotFoundError:
        pytest.skip("PyYAML, which only the tool needs, is not installed")
    linguist = {
        "C": {"type": "programming", "extensions": [".c", ".h"]},
        "C++": {"type": "programming", "extensions": [".h"]},
        "Roff": {"type": "markup", "extensions": [".1", ".n"], "aliases": ["groff"]},
        "Man": {"type": "markup", "extensions": [".1"], "group": "Roff"},
        "Nemerle": {"type": "programming", "extensions": [".n"]},
    }
    made_table = tool.table(linguist, {"C": [".c", ".h"], "Groff": [".1"], "Nobody": [".x"]})
    assert made_table["extensions"] == {".c": "C", ".h": "C", ".1": "Roff"}
    assert made_table["ambiguous"] == {".n": ["Nemerle", "Roff"]}
    assert made_table["claimed_by"] == {".h": 2, ".1": 2}
