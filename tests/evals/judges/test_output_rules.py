"""What counts as the same output, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.evals.judges.output_rules import same_lines, same_value, same_words

texts = st.text(alphabet="ab1.0- \n", max_size=30)


@given(texts, texts)
def test_both_rules_take_equal_texts_and_apps_takes_what_livecodebench_takes(one: str, other: str) -> None:
    assert same_lines(one, one) and same_words(one, one)
    assert not same_lines(one, other) or same_words(one, other)
    assert same_lines(one, other) == same_lines(other, one)


@given(st.lists(st.integers(-99, 99), min_size=1))
def test_blanks_around_lines_and_at_the_end_do_not_count(numbers: list[int]) -> None:
    right = "\n".join(map(str, numbers))
    assert same_lines("".join(f"  {number} \n" for number in numbers) + "\n\n", right)
    wrong = "\n".join(map(str, [numbers[0] + 1, *numbers[1:]]))
    assert not same_lines(wrong, right) and not same_words(wrong, right)


@pytest.mark.parametrize(
    ("found", "expected", "lines", "words"),
    [
        ("1.50", "1.5", True, True),
        ("0.30000000000000004", "0.3", False, True),
        ("50000000000000000", "50000000000000001", False, True),  # np.isclose, by which APPS compares
        ("1\n\n2", "1\n2", False, True),
        ("1 2", "1\n2", False, False),
        ("2 1", "1 2", False, False),  # APPS' last resort, left out
        ("nan", "nan", True, True),
        ("NaN", "nan", False, False),
        ("inf", "Infinity", False, False),
        ("1e999999999", "1", False, False),
        ("9" * 5000, "9" * 5000 + ".0", False, False),
        ("yes", "YES", False, False),
    ],
)
def test_numbers_are_compared_as_each_rule_does(found: str, expected: str, lines: bool, words: bool) -> None:
    assert same_lines(found, expected) is lines
    assert same_words(found, expected) is words


def test_tuples_are_lists_at_any_depth() -> None:
    assert same_value((1, [2, (3,)]), [1, [2, [3]]]) and not same_value((1, 2), [2, 1])
