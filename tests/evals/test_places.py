"""Functions and gaps are found by lines alone, and put back together they are the file."""

from __future__ import annotations

import inspect
import textwrap

import pytest
import untrained
from hypothesis import given
from hypothesis import strategies as st

from starloom.evals.places import first_lines, functions, gap, within_block

LIBRARY = inspect.getsource(textwrap)


@pytest.mark.parametrize("text", [LIBRARY, untrained.PYTHON.format(n=1), untrained.SCRIPT.format(n=1)])
def test_a_function_is_a_stretch_of_the_text(text: str) -> None:
    found = list(functions(text))
    assert found
    for one in found:
        assert one.given + one.rest in text
        assert text.split("\n")[one.line - 1] == one.head[0]


@pytest.mark.parametrize("seed", range(20))
def test_a_gap_and_what_is_around_it_are_the_function(seed: int) -> None:
    for one in functions(LIBRARY):
        inside = gap(one, seed, one.line)
        if inside is not None:
            assert inside.prefix + inside.middle + inside.suffix == one.given + one.rest
            assert inside.middle.count("\n") in (1, 2)
            assert inside.middle.startswith("\n")
            assert LIBRARY.split("\n")[inside.line - 1] == inside.middle.split("\n")[1]
            assert inside.suffix.strip()


def test_descriptions_are_given_and_bodies_are_asked_for() -> None:
    add, init = functions(untrained.PYTHON.format(n=7))
    assert add.given.endswith('The sum of two numbers,\n    or 7."""')
    assert add.rest.startswith("\n    total = one + other\n")
    assert add.rest.endswith("\n    return doubled")
    assert add.described
    assert not init.described


def test_a_block_in_braces_ends_before_its_brace() -> None:
    (double,) = functions(untrained.SCRIPT.format(n=3))
    assert double.given == "export function double3(value) {"
    assert double.rest.endswith("  return more;")


def test_no_prompt_ends_in_a_line_break() -> None:
    for one in functions(LIBRARY):
        assert not one.given.endswith("\n")


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x\n",  # too short to be asked for
        "def f(x): return x\n",
        "if (x) {\n  a();\n  b();\n  c();\n}\n",  # no function
        "definitely = (\n    1,\n    2,\n    3,\n)\n",
        "def f(\n",
        "",
    ],
)
def test_what_is_no_function_of_a_size_to_ask_for_is_left(text: str) -> None:
    assert list(functions(text)) == []


def test_a_completion_ends_where_the_block_does() -> None:
    text = "\n    return 1\n\n    # still inside\n\ndef g():\n    pass\n"
    assert within_block(text, "") == "\n    return 1\n\n    # still inside\n\n"
    assert within_block("\n        x = 1\n    y = 2\n", "    ") == "\n        x = 1\n"
    assert within_block(" -> int:\n    return 1\nx = 2\n", "") == " -> int:\n    return 1\n"  # the head's own line


@given(st.text(alphabet="ab \n\t", max_size=60), st.sampled_from(["", "  ", "\t"]))
def test_a_block_is_the_beginning_of_its_text(text: str, indent: str) -> None:
    block = within_block(text, indent)
    assert text.startswith(block)
    assert within_block(block, indent) == block


@given(st.text(alphabet="ab\n", max_size=40), st.integers(0, 5))
def test_first_lines_are_bounded_by_their_line_breaks(text: str, most: int) -> None:
    short = first_lines(text, most)
    assert text.startswith(short)
    assert short.count("\n") == min(most, text.count("\n"))


@given(st.text(alphabet="def (x):{}\n \t\"'", max_size=200))
def test_any_text_can_be_looked_through(text: str) -> None:
    for one in functions(text):
        gap(one, 0, one.line)
