"""When what a program printed is what was expected: the published rules, compared outside the program.

`LiveCodeBench` (lcb_runner/evaluation/testing_util.py): as many lines, each equal when blanks around it are taken away, or
equal number by number as decimals. `APPS` (codeparrot/apps_metric) also passes over empty lines and takes floats that are
close. Its last resort, which compares lines and words as sets and so forgives any order, is left out: it passes wrong
programs, and verdicts here are at most stricter.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Any, Final

# np.allclose, by which APPS compares
RELATIVE: Final = 1e-5
ABSOLUTE: Final = 1e-8
LONGEST_NUMBER: Final = 1000  # letters, our choice: a longer word is compared as text


def same_lines(found: str, expected: str) -> bool:
    """LiveCodeBench's rule."""
    one, other = _lines(found), _lines(expected)
    return len(one) == len(other) and all(map(_same_line, one, other))


def same_words(found: str, expected: str) -> bool:
    """APPS' rule, but for the sets."""
    one, other = ([line for line in _lines(text) if line] for text in (found, expected))
    if len(one) == len(other) and all(map(_same_line, one, other)):
        return True
    first, second = ([_float(word) for line in lines for word in line.split()] for lines in (one, other))
    if len(first) != len(second) or [len(line.split()) for line in one] != [len(line.split()) for line in other]:
        return False
    return all(
        a is not None and b is not None and math.isclose(a, b, rel_tol=0, abs_tol=ABSOLUTE + RELATIVE * abs(b))
        for a, b in zip(first, second, strict=True)
    )


def same_value(found: Any, expected: Any) -> bool:
    """A method's result: tuples count as lists."""
    return bool(_listed(found) == _listed(expected))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(found: str, expected: str) -> bool:
    if found == expected:
        return True
    one, other = _decimals(found), _decimals(expected)
    return one is not None and one == other


def _decimals(line: str) -> list[Decimal] | None:
    words = line.split()
    if any(len(word) > LONGEST_NUMBER for word in words):
        return None
    try:
        found = [Decimal(word) for word in words]
    except InvalidOperation:
        return None
    return found if all(number.is_finite() for number in found) else None


def _float(word: str) -> float | None:
    try:
        number = float(word) if len(word) <= LONGEST_NUMBER else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value
