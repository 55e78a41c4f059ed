"""The published rules: each limit where it was published, each reason true as read, and linear in the file."""

from __future__ import annotations

import dataclasses
import html.parser
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.planted import made, plant, rows
from corpus.test_rules import a_file
from starloom.corpus import RULE_SETS, Language, License, Origin, Read, Rules, SourceFile, rule, rule_set
from starloom.corpus.html_text import visible_text
from starloom.corpus.origin import AUTO_GENERATED, documentation
from starloom.corpus.origin import generated as how_generated
from starloom.corpus.origin import vendored as are_vendored
from starloom.corpus.rules import reasons_against, verdicts_of
from starloom.corpus.rules_published import (
    alphabetic,
    comments,
    encoded_data,
    extension_table,
    few_alphabetic,
    few_stars,
    generated,
    little_visible_text,
    long_data,
    long_lines_by_language,
    many_lines,
    size_window,
    text_not_about_code,
    vendored,
    xml_header,
)
from starloom.corpus.rules_table import limits_of, table
from starloom.errors import ConfigError


def named(path: bytes, text: str = "x = 1\n", language: str | None = "Python", **more: object) -> SourceFile:
    return dataclasses.replace(a_file(text, language), path=path, **more)  # type: ignore[arg-type]


def test_more_than_five_stars_are_asked_and_unknown_is_none() -> None:
    assert few_stars(named(b"a.py", stars=6)) is None
    assert few_stars(named(b"a.py", stars=5)) == few_stars(named(b"a.py", stars=None)) == "few_stars"


def test_comments_are_neither_missing_nor_all_there_is() -> None:
    assert comments(a_file("x = 1\n" * 30)) == "few_comments"
    assert comments(a_file("# only words\n" * 30)) == "mostly_comments"
    assert comments(a_file("# some words\n" + "x = 1\n" * 10)) is None
    assert comments(a_file("x = 1\n" * 30, "Text")) is None, "a language without comments is not asked"


@pytest.mark.parametrize(("share", "reason"), [(1, "few_comments"), (2, None), (79, None), (80, "mostly_comments")])
def test_both_limits_of_comments_are_strict(share: int, reason: str | None) -> None:
    text = "//" + "c" * (share - 2) + "\n" if share > 1 else ""
    text = ("//" if share == 1 else "") + text
    body = "/*" + "c" * (10 * share - 4) + "*/" + "x" * (1000 - 10 * share)
    assert len(body) == 1000 and comments(a_file(body, "C")) == reason


def test_xml_shows_in_the_first_hundred_characters_only() -> None:
    assert xml_header(a_file("\n" * 80 + '<?xml version="1.0"?>')) == "xml"
    assert xml_header(a_file("\n" * 90 + '<?xml version="1.0"?>')) is None


def test_a_page_must_show_a_fifth_and_a_hundred_characters() -> None:
    assert little_visible_text(a_file("<p>" + "word " * 30 + "</p>", "HTML")) is None
    assert little_visible_text(a_file("<p>" + "w" * 100 + "</p>", "HTML")) == "little_visible_text"
    assert little_visible_text(a_file("<p>" + "w" * 101 + "</p>", "HTML")) is None
    page = "<script>" + "x" * 1000 + "</script>" + "word " * 30
    assert little_visible_text(a_file(page, "HTML")) == "little_visible_text"
    assert little_visible_text(a_file("<p></p>", "Python")) is None


class Oracle(html.parser.HTMLParser):
    """The standard library's parser, with what lies in scripts and styles left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.hidden = "", 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


PIECE = st.sampled_from(
    ["<p>", "</p>", "<a href='>'>", '<b class="x>y">', "<br/>", "word ", "&amp;", "&lt;", "<!-- a > b -->", "1 < 2 ",
     "<script>if (a < b) {}</script>", "<STYLE>p {}</STYLE>", "\n"]
)  # fmt: skip


@given(st.lists(PIECE, max_size=12))
def test_visible_text_is_what_the_standard_parser_finds_outside_of_markup(pieces: list[str]) -> None:
    page = "".join(pieces)
    oracle = Oracle()
    oracle.feed(page)
    oracle.close()
    assert visible_text(page) == oracle.text


@given(st.text(alphabet="<>/!-ab\"'scriptyle ", max_size=200))
def test_visible_text_is_never_longer_than_the_page(page: str) -> None:
    assert len(visible_text(page)) <= len(page)


def test_sizes_of_json_and_yaml_have_a_window() -> None:
    for length, reason in ((99, "too_short"), (100, None), (5000, None), (5001, "too_long")):
        assert size_window(a_file("x" * length, "JSON")) == reason
    assert size_window(a_file("x", "Python")) is None


def test_letters_are_counted_as_python_counts_them() -> None:
    for text in ("", "abc1 2é漢!", "abcXYZ 123_\n", "é" * 9):
        assert alphabetic(text) == sum(map(str.isalpha, text))


def test_a_quarter_of_letters_is_asked_but_in_two_assembly_languages_digits_count() -> None:
    assert few_alphabetic(a_file("a111")) is None and few_alphabetic(a_file("a1111")) == "few_alphabetic"
    assert few_alphabetic(a_file("a1111", "WebAssembly")) is None
    assert few_alphabetic(a_file("1" + "-" * 9, "WebAssembly")) == "few_alphabetic"


def test_lengths_of_starcoder2() -> None:
    assert many_lines(a_file("\n" * 100_000)) is None and many_lines(a_file("\n" * 100_001)) == "many_lines"
    assert long_lines_by_language(a_file("x" * 1001)) == "line_too_long"
    assert long_lines_by_language(a_file(("x" * 101 + "\n") * 3)) == "lines_long_on_average"
    assert long_lines_by_language(a_file("x" * 100_000, "Markdown")) is None
    assert long_lines_by_language(a_file("x" * 100_001, "Markdown")) == "line_too_long"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A" * 1025, "encoded_data"),
        ("A" * 1024 + " word" * 300, None),
        ("x = '" + "QUJD" * 20 + "'", "encoded_data"),  # most of the file
        ("x = '" + "QUJD" * 15 + "'" + "\nsome words here" * 9, None),
        ("0x12, 0x34, " * 4, "encoded_data"),
        ("\\x12" * 8, "encoded_data"),
        ("0x12, 0x34\n" + "some words here\n" * 9, None),
        ("\\u0041" * 8, "encoded_data"),
        ("\\u0041" * 7, None),
        ("def f(x):\n    return x\n", None),
    ],
)
def test_encoded_data_is_seen_by_one_long_run_or_by_most_of_the_file(text: str, reason: str | None) -> None:
    assert encoded_data(a_file(text)) == reason


def test_plain_text_and_data_of_many_lines() -> None:
    assert long_data(a_file("a\n" * 513, "YAML")) == "many_lines_of_data"
    assert long_data(a_file("a\n" * 512, "YAML")) is None and long_data(a_file("a\n" * 513)) is None
    for name in (b"requirements-dev.txt", b"README.txt", b"a/notes.txt", b"CMakeLists.txt", b"TODO"):
        assert text_not_about_code(named(name, language="Text")) is None
    assert text_not_about_code(named(b"novel.txt", language="Text")) == "text_not_about_code"


@pytest.mark.parametrize(
    ("path", "text", "language", "how"),
    [
        (b"a_pb2.py", "x", "Python", "file_name"),
        (b"web/package-lock.json", "{}", "JSON", "file_name"),
        (b"a/node_modules/b/index.js", "x", "JavaScript", "file_name"),
        (b"a.go", "// Code generated by stringer -type=T; DO NOT EDIT.\npackage a\n", "Go", "mark"),
        (b"a.go", "package a\n" * 60 + "// Code generated by x. DO NOT EDIT.\n", "Go", None),
        (b"a.py", "# Generated by the protocol buffer compiler.  DO NOT EDIT!\n", "Python", "mark"),
        (b"a.c", "/* Generated by Cython 3.0 */\n", "C", "mark"),
        (b"a.js", "var a=1;" * 30, "JavaScript", "minified"),
        (b"a.js", "var a = 1;\n//# sourceMappingURL=a.js.map\n", "JavaScript", "source_map"),
        (b"a.py", "# we generated this idea by talking\n", "Python", None),
        (b"a.cs", "// <auto-generated>\n//     This code was written by a tool.\n", "C#", "mark"),
    ],
)
def test_generated_files_are_known_by_name_mark_or_shape(
    path: bytes, text: str, language: str, how: str | None
) -> None:
    assert how_generated(path.decode(), text, language) == how
    assert generated(named(path, text, language)) == ("generated" if how else None)


@pytest.mark.parametrize("phrase", AUTO_GENERATED)
def test_a_phrase_counts_in_the_first_five_lines(phrase: str) -> None:
    assert generated(a_file("\n" * 4 + f"# {phrase.upper()}\n")) == "generated"
    assert generated(a_file("\n" * 5 + f"# {phrase}\n")) is None


def test_vendored_and_documentation_paths_are_linguists() -> None:
    paths = [
        "vendor/a.c",
        "src/vendor/a.c",
        "third_party/x.py",
        "a/jquery.min.js",
        "src/main.c",
        "docs/a.md",
        "README.md",
    ]
    assert are_vendored(paths) == [True, True, True, True, False, False, False]
    assert documentation(paths) == [False] * 5 + [True, True]
    assert vendored(named(b"deps/a.c")) == "vendored" and vendored(named(b"src/a.c")) is None


def test_vendored_paths_are_judged_in_a_shard_as_alone(tmp_path: Path) -> None:
    paths = ["vendor/a.c", "src/a.c", "dist/x.js", "a/jquery.js", "deps/b.py", "cache/c.py", "d.py"]
    files = Read(f"folder:{plant(tmp_path / 'code', dict.fromkeys(paths, b'x = 1'))}")
    built = made(Rules(files, Language(files), rules=(rule(vendored),)), tmp_path / "store")
    read = rows(made(files, tmp_path / "store"))
    said = [(one["path"].decode(), "vendored" in row["reasons"]) for one, row in zip(read, rows(built), strict=True)]
    assert said == [(path, are_vendored([path])[0]) for path, _ in said] and len(said) == len(paths)


def test_origin_lies_beside_every_file(tmp_path: Path) -> None:
    body = {"vendor/a.c": b"int x;\n", "docs/b.md": b"# hi\n", "c_pb2.py": b"x\n", "d.py": b"x\n", "e.py": b"\xff"}
    files = Read(f"folder:{plant(tmp_path / 'code', body)}")
    found = rows(made(Origin(files, Language(files)), tmp_path / "store"))
    read = rows(made(files, tmp_path / "store"))
    said = {one["path"]: row["value"] for one, row in zip(read, found, strict=True)}
    assert said == {
        b"vendor/a.c": "vendored",
        b"docs/b.md": "documentation",
        b"c_pb2.py": "generated",
        b"d.py": None,
        b"e.py": None,
    }


def test_the_table_has_the_included_rows_of_88_languages() -> None:
    """267 rows, of which two have no extension (Dockerfile, Makefile) and two an extension that came before."""
    included = [row for row in table()["extensions"].values() if row["included"]]
    assert len(table()["languages"]) == 88 and len(included) == 263


@pytest.mark.parametrize(
    ("path", "language", "limits"),
    [
        (b"a.py", "Python", (1000, 0.25, None, True)),
        (b"a.md", "Markdown", (None, 0.25, None, True)),
        (b"a.json", "JSON", (None, 0.25, 0.5, True)),
        (b"a.fsh", "GLSL", (500, 0.25, None, True)),
        (b"a.sas", "SAS", (1000, None, None, True)),
        (b"a.h", "C++", (1000, 0.25, None, True)),  # by its extension's row, whatever the content says
        (b"a.m", "Objective-C", None),  # a language that the table does not select
        (b"a.f90", "Fortran Free Form", (1000, 0.25, None, True)),
        (b"a.bib", "BibTeX", (None, 0.25, None, True)),
        (b"a.swift", "Swift", None),
        (b"a.nosuch", "Python", None),
        (b"a.csx", "C#", None),  # a row that is not included
        (b"Makefile", "Makefile", (1000, 0.25, None, True)),
        (b"a.py", None, None),
    ],
)
def test_limits_are_the_tables(path: bytes, language: str | None, limits: tuple[object, ...] | None) -> None:
    found = limits_of(language, path)
    assert (None if found is None else tuple(found)) == limits


def test_the_table_gives_its_reasons() -> None:
    assert extension_table(named(b"a.swift", language="Swift")) == "extension_not_selected"
    assert extension_table(named(b"a.py", "x" * 1001)) == "line_too_long"
    assert extension_table(named(b"a.py", ("x" * 101 + "\n") * 3)) == "lines_long_on_average"
    assert extension_table(named(b"a.md", "x" * 3000, "Markdown")) is None
    assert extension_table(named(b"a.py", "-" * 90)) == "few_alphanumeric"
    assert extension_table(named(b"a.json", '{"1": 12345678}', "JSON")) == "few_alphabetic"
    assert extension_table(named(b"a.py", '<?xml version="1.0"?>')) == "xml"
    assert extension_table(named(b"a.py")) is None


def test_named_sets_are_the_published_ones() -> None:
    base = rule_set("santacoder")
    assert [one.name for one in rule_set("santacoder-stars")][-1] == "few_stars"
    assert [one.name for one in rule_set("santacoder-comments")][-1] == "comments"
    assert rule_set("santacoder-stars")[:-1] == base == rule_set("santacoder-fertility")
    with pytest.raises(ConfigError, match="did you mean 'starcoder'"):
        rule_set("starcodr")


@pytest.mark.parametrize("name", sorted(RULE_SETS))
def test_every_set_builds_over_real_files_and_each_reason_is_a_word(name: str, tmp_path: Path) -> None:
    body = {
        "a.py": b"# one\nx = 1\n" * 9, "b.json": b"{}", "c.md": b"# hi\n", "d.bin": b"\x00\xff", "e.html": b"<p>",
        "f.h": b"class A {};\n", "LICENSE": b"MIT License", "g": b"#!/bin/sh\n", "h.txt": b"words\n",
    }  # fmt: skip
    files = Read(f"folder:{plant(tmp_path / 'code', body)}")
    built = made(Rules(files, Language(files), License(files), rules=rule_set(name)), tmp_path / "store")
    for row in rows(built):
        assert row["keep"] == (not row["reasons"])
        assert all(reason.replace("_", "").isalnum() and reason == reason.lower() for reason in row["reasons"])


HOSTILE = [
    "a" * 50,
    "\n",
    " ",
    "\t\n",
    "0x12 ",
    "\\u0041",
    "<",
    "<a ",
    "<!--",
    "<script>",
    '"',
    "'",
    "/*",
    "{",
    "A",
    "=\n",
    "é",
    "12,",
    "--",
]


@given(st.lists(st.sampled_from(HOSTILE), max_size=30), st.sampled_from(["Python", "HTML", "JSON", "Text", "C", None]))
def test_rules_are_functions_of_the_file_alone(pieces: list[str], language: str | None) -> None:
    file = named(b"a.py", "".join(pieces), language, stars=None)
    for name in RULE_SETS:
        once, twice = reasons_against(file, rule_set(name)), reasons_against(dataclasses.replace(file), rule_set(name))
        assert once == twice
    everything = reasons_against(file, rule_set("everything"))
    for one in rule_set("everything"):
        assert (one(file) in everything) or one(file) is None


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_rule_takes_more_than_linear_time(piece: str) -> None:
    """Half a megabyte of what a rule might try again and again: minutes, if one did."""
    text = piece * (500_000 // len(piece))
    for language in ("HTML", "Python"):
        reasons_against(named(b"a.py", text, language), rule_set("everything"))
        reasons_against(named(b"a.py", text, language), rule_set("starcoder2"))


def test_a_rule_of_the_set_can_be_set_from_the_command_line() -> None:
    assert rule(comments).with_setting("least", "0.05").settings == (("least", 0.05), ("most", 0.8))


def test_an_issue_is_not_asked_for_a_license_and_a_commit_is() -> None:
    columns = {"id": [b"0" * 16] * 3, "unread": [None] * 3, "repository": ["r"] * 3, "path": [b"p"] * 3,
               "text": ["words"] * 3, "kind": ["issue", "pull_request", "commit"]}  # fmt: skip
    nothing = pa.table({"value": pa.nulls(3, pa.string())})
    table = verdicts_of(pa.table(columns), nothing, nothing, rule_set("starcoder"))
    assert table["reasons"].to_pylist() == [[], [], ["no_license"]]
