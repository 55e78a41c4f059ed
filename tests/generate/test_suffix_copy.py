from __future__ import annotations

import argparse
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from starloom.generate.suffix_copy import LINES_MORE, SURE, SuffixCopy


def trimmed(prefix: str, middle: str, suffix: str, *, broken_off: bool = False, cuts: tuple[int, ...] = ()) -> str:
    copy = SuffixCopy(prefix, suffix)
    bounds = [0, *sorted(min(cut, len(middle)) for cut in cuts), len(middle)]
    shown = "".join(copy.feed(middle[start:end]) for start, end in pairwise(bounds))
    return shown + copy.finish(broken_off=broken_off)


# Words of the suffix never occur in a middle that is meant, so what must stay and what must go is known.
indents = st.sampled_from(["", "    ", "        ", "\t"])
line_ends = st.sampled_from(["\n", "\n\n", "\n \n"])
meant = st.lists(st.tuples(indents, st.sampled_from(["x = 1", "y()", "if z:", "# 123456"]), line_ends), max_size=4)
said = st.sampled_from(["return total", "total.append(value)", "total += value", ")", "else:"])  # some say too little
suffixes = st.tuples(
    st.sampled_from(["", " ", "    ", "\n", "\n    ", "\n\n    ", "  \n\t"]),
    st.lists(st.tuples(said, line_ends, indents), min_size=1, max_size=6),
)
before = st.sampled_from(["def f():\n", "def f():\n    ", "call(", "", "\t"])


def joined(lines: list[tuple[str, str, str]]) -> str:
    return "".join(map("".join, lines))


@given(before, meant, suffixes, st.data())
def test_whole_lines_of_the_suffix_are_never_doubled_and_what_is_meant_stays(
    prefix: str, lines: list[tuple[str, str, str]], parts: tuple[str, list[tuple[str, str, str]]], data: st.DataObject
) -> None:
    suffix = parts[0] + joined(parts[1])
    ends = [at for at, character in enumerate(suffix + "\n") if character == "\n"]
    copied = suffix[: data.draw(st.sampled_from(ends))]
    enough = sum(map(str.isalnum, copied)) >= SURE
    own_line = "\n" in suffix[: len(suffix) - len(suffix.lstrip())]
    middle = joined(lines) or "x = 1" + "\n" * (not own_line)
    if not own_line and prefix != "call(":
        middle += prefix.rpartition("\n")[2]  # the copy is indented as the suffix is
    for broken_off in (False, True):
        text = trimmed(prefix, middle + copied, suffix, broken_off=broken_off)
        assert text == (middle if enough else middle + copied)
    assert trimmed("call(", "x = 1" + copied, suffix) == ("x = 1" if enough else "x = 1" + copied)


@given(
    st.text("ab1 \n", max_size=40), suffixes, st.integers(0, 12), st.lists(st.integers(0, 90)), st.booleans(), before
)
def test_any_chunking_gives_the_same_text(
    middle: str,
    parts: tuple[str, list[tuple[str, str, str]]],
    words: int,
    cuts: list[int],
    broken_off: bool,
    prefix: str,
) -> None:
    suffix = parts[0] + joined(parts[1])
    written = middle + suffix[: words * 5] + middle
    whole = trimmed(prefix, written, suffix, broken_off=broken_off)
    assert trimmed(prefix, written, suffix, broken_off=broken_off, cuts=tuple(cuts)) == whole
    assert trimmed(prefix, written, suffix, broken_off=broken_off, cuts=tuple(range(len(written)))) == whole
    assert written.startswith(whole)


@given(st.text("ab1 \n)", max_size=30), st.text("ab1 \n)", max_size=30), before)
@example("111111", "111111", "")
def test_what_is_trimmed_is_blank_or_begins_like_the_suffix(middle: str, suffix: str, prefix: str) -> None:
    text = trimmed(prefix, middle, suffix)
    gone = middle.removeprefix(text)
    assert text + gone == middle
    if gone:
        length = min(len(gone.lstrip()), len(suffix.lstrip()))
        assert gone.lstrip()[:length] == suffix.lstrip()[:length]
        assert sum(map(str.isalnum, gone)) >= SURE


TOTAL = "return total\n\n\ndef second(value):\n    return value\n"


@pytest.mark.parametrize("blanks", ["\n", "\n\n", "  \n\n", "\r\n", "\n \t\n"])
def test_blank_lines_and_carriage_returns_before_a_copy_may_differ(blanks: str) -> None:
    for suffix in ("\n    " + TOTAL, "\n\n    " + TOTAL, "\r\n    " + TOTAL.replace("\n", "\r\n")):
        text = trimmed("def f():\n    ", "total = 1" + blanks + "    return total", suffix)
        assert text.rstrip() == "total = 1"


@pytest.mark.parametrize("prefix", ["def f(items):\n    ", "def f(items):"])
def test_a_line_that_is_indented_otherwise_is_another_line(prefix: str) -> None:
    middle = "if not items:\n        return total"
    assert trimmed(prefix, middle, "\n    " + TOTAL) == middle


def test_an_early_return_above_the_line_of_the_cursor_stays() -> None:
    middle = "    if not items:\n        return total\n"
    assert trimmed("def f(items):\n", middle, "    return total\n") == middle
    inner = middle.strip(" ") + "    "
    assert trimmed("def f(items):\n    ", inner, "return total\n    more()\n") == inner


def test_a_line_that_ends_in_the_same_words_is_another_line() -> None:
    suffix = "total = count(values)\n    return total\n"
    assert trimmed("def f(values):\n    ", "subtotal = count(values)\n    ", suffix) == "subtotal = count(values)\n    "
    assert trimmed("def f(values):\n    ", "sub" + suffix + "more", suffix) == "sub"  # two lines are no chance


def test_a_copy_that_the_suffix_would_join_on_one_line_goes_however_it_is_indented() -> None:
    assert trimmed("def f():\n    ", "if x:\n        return total", "return total\n") == "if x:\n        "


def test_a_middle_that_is_nothing_but_the_suffix_is_empty() -> None:
    for prefix, suffix in (("def f():\n    ", "\n    " + TOTAL), ("def f():\n", "    " + TOTAL)):
        assert trimmed(prefix, suffix.strip("\n").removeprefix(prefix.rpartition("\n")[2]), suffix) == ""


@pytest.mark.parametrize("times", range(1, 7))
def test_repeated_lines_are_not_doubled(times: int) -> None:
    suffix = "\n    total += value" * 3 + "\n"
    assert trimmed("def f():", "\n    x = 1" + "\n    total += value" * times, suffix) == "\n    x = 1"


def test_a_line_that_broke_off_is_cut_when_it_says_enough() -> None:
    for text, broken_off, kept in (
        ("x = 1\n    return tot", True, "x = 1"),
        ("x = 1\n    return tot", False, "x = 1\n    return tot"),
        ("x = 1\n    ret", True, "x = 1\n    ret"),
    ):
        assert trimmed("def f():\n    ", text, "\n    " + TOTAL, broken_off=broken_off) == kept


def test_a_copy_that_is_written_on_from_counts_only_with_more_lines() -> None:
    suffix = "\n    one_line()\n    two_line()\n    three_line()\n    four_line()\n"
    lines = suffix.rstrip("\n").split("\n")
    for count in range(1, 5):
        written = "x = 1" + "\n".join(lines[: count + 1]) + "\n    other()\n"
        text = trimmed("def f():\n    ", written, suffix)
        assert text == ("x = 1" if count > LINES_MORE else written)


def test_a_word_that_goes_on_is_no_copy() -> None:
    assert trimmed("a = ", "b\ntotals2 = 3\n", "\ntotals") == "b\ntotals2 = 3\n"


def test_a_suffix_in_one_endless_line_is_compared_as_far_as_it_is_looked_at() -> None:
    suffix = "\n" + "data, " * 1000
    assert trimmed("x = [", "1,\n" + suffix.strip()[:4000] + "and on", suffix) == "1,"


@pytest.mark.parametrize("seed", range(4))
def test_in_real_code_what_is_meant_stays_and_what_is_copied_goes(seed: int) -> None:
    """Gaps of whole lines and to the ends of lines, in a module that every Python has; then 1 to 6 lines copied."""
    chance = random.Random(seed)
    text = Path(argparse.__file__).read_text()
    starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\n")]
    for _ in range(150):
        start = chance.choice(starts[:-12])
        end = starts[starts.index(start) + chance.randint(1, 6)]
        if chance.random() < 0.5:  # from within a line to the end of one
            start, end = chance.randrange(start, end), end - 1
        prefix, middle, suffix = text[:start], text[start:end], text[end:]
        assert trimmed(prefix, middle, suffix) == middle
        copied = "\n".join(suffix.split("\n")[: chance.randint(1, 6)])
        if sum(map(str.isalnum, copied)) >= SURE:
            assert trimmed(prefix, middle + copied, suffix, cuts=(start % 7, start % 31)) == middle
