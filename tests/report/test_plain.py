"""Figures and foreign text as people read them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.report import plain


@given(st.text())
def test_nothing_hidden_is_left_and_nothing_seen_is_changed(text: str) -> None:
    shown = plain.visible(text)
    assert all(unicodedata.category(sign)[0] not in "C" or sign in "\n\t" for sign in shown)
    seen = [sign for sign in text if sign in "\n\t" or unicodedata.category(sign)[0] not in "CZ"]
    remaining = iter(shown)
    assert all(sign in remaining for sign in seen)  # in their order
    assert plain.visible(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a^[[31mb"),
        ("a\r\n", "a^M\n"),
        ("\x7f", "^?"),
        ("\u202eexe.txt", "⟨U+202E⟩exe.txt"),
        ("\u2028", "⟨U+2028⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("naïve – 名前\t1", "naïve – 名前\t1"),
    ],
)
def test_controls_are_written_out(text: str, shown: str) -> None:
    assert plain.visible(text) == shown


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (1_234_567, "1.23 MB"),
        (31_500_000, "31.5 MB"),
        (102_400_000, "102 MB"),
        (5e13, "50 TB"),
    ],
)
def test_sizes_have_three_digits(number: float, text: str) -> None:
    assert plain.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.012, "12 ms"), (4.13, "4.1 s"), (59.97, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_in_the_unit_that_one_would_say(seconds: float, text: str) -> None:
    assert plain.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (9_999, "9,999"),
        (10_000, "10.0 k"),
        (99_949, "99.9 k"),
        (99_951, "100 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (42_000_000, "42.0 M"),
        (1.5e12, "1.5 T"),
    ],
)
def test_large_numbers_have_three_digits(number: float, text: str) -> None:
    assert plain.amount(number) == text


def test_a_path_of_any_bytes_can_be_written() -> None:
    assert plain.path_text(b"a/\xff\xe2\x80\xae.py") == "a/\\xff⟨U+202E⟩.py"


def test_a_long_path_keeps_its_end() -> None:
    assert plain.shortened("very/long/" * 10 + "name.py", 40).endswith("name.py")
    assert len(plain.shortened("x" * 100, 40)) == 40


def test_a_share_of_nothing_is_a_dash() -> None:
    assert plain.share(0, 0) == "–"
    assert plain.share(1, 2450) == "0.041 %"
