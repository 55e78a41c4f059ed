"""Foreign text in Markdown and YAML stays text, whatever it says."""

from __future__ import annotations

import re

import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from starloom.report import plain
from starloom.report.markdown import block, front_matter, inline, table

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
NASTY = st.text(st.sampled_from("ab1 \\`*_[]()<>|~&@#$^={}+-.!:/\"'\n\r\t;xX\u202e\u2028\x85\x00é,") | st.characters())
HOSTILE = [
    "![x](http://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "a|b\n| c | d |",
    "</td></tr>",
    "\n---\nlicense: mit\n---\n",
    "`` ` ``",
    "&lt;b&gt;&#60;",
    "\\|\\",
    "../../x",
    "**bold** _it_ __x__ ~~no~~",
    "# heading #",
    "1. item",
    "$$x$$ \\(y\\)",
]


def shown(text: str) -> str:
    """What a reader of the source text sees: nothing hidden, white space as one space."""
    return " ".join(plain.visible(text).split())


def tokens(source: str) -> list[Token]:
    found = []
    for one in READER.parse(source):
        found += [one, *(one.children or ())]
    return found


def texts(source: str) -> list[str]:
    """The text of each cell or paragraph."""
    return [
        "".join(child.content for child in one.children or ()) for one in READER.parse(source) if one.type == "inline"
    ]


def hostile(test):  # type: ignore[no-untyped-def]
    for text in HOSTILE:
        test = example(text)(test)
    return test


@given(NASTY)
@hostile
def test_a_cell_is_read_as_its_text_and_as_nothing_else(text: str) -> None:
    source = "\n".join(table(["what", "more"], [[text, "end"]]))
    assert texts(source) == ["what", "more", shown(text), "end"]
    allowed = {"table", "thead", "tbody", "tr", "th", "td", "inline", "text", "text_special"}
    assert {one.type.removesuffix("_open").removesuffix("_close") for one in tokens(source)} <= allowed


@given(NASTY)
@hostile
def test_a_heading_is_read_as_its_text(text: str) -> None:
    source = f"# {inline(text)}"
    kinds = [one.type for one in tokens(source) if not one.type.startswith("text")]
    assert kinds == ["heading_open", "inline", "heading_close"]
    assert texts(source) == [shown(text)]


@given(NASTY)
def test_no_later_pass_can_make_a_link_or_a_mention(text: str) -> None:
    source = inline(f"www.{text}http://{text}https://x me@{text}")
    assert not re.search(r"://|www\.|@|[<>`|\[\]]", source, re.IGNORECASE)


@given(NASTY)
@hostile
@example("```\n````x\n")
def test_a_block_ends_where_it_should(text: str) -> None:
    source = "\n".join(["before", *block(text), "after"])
    found = READER.parse(source)
    assert [one.type for one in found if one.type in ("fence", "inline")] == ["inline", "fence", "inline"]
    assert next(one.content for one in found if one.type == "fence") == plain.visible(text) + "\n"


@given(NASTY, st.lists(NASTY, min_size=1, max_size=3))
@example("true", ["no", "null", "on"])
@example("\n---\nx: y", ["- a", "# b", "1e3"])
def test_yaml_reads_a_header_as_it_was_written(text: str, several: list[str]) -> None:
    lines = list(front_matter({"title": text, "tags": several}))
    assert (lines[0], lines[-1]) == ("---", "---")
    assert not any(line.startswith("---") for line in lines[1:-1])
    read = yaml.safe_load("\n".join(lines[1:-1]))
    assert read == {"title": plain.visible(text), "tags": list(map(plain.visible, several))}


def test_ordinary_names_stay_readable() -> None:
    for text in (
        "pypi:NAME==1.0".replace("=", ""),
        "github.com/a-b/c_d.e",
        "near_duplicate",
        "45.9 kB",
        "C#x",
        "MIT OR (X)",
    ):
        assert inline(text) == text
