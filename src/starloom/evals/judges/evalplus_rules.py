"""When an answer is right for EvalPlus (0.3.1, eval/__init__.py and eval/_special_oracle.py), on plain values, outside.

Its rules are kept with their quirks, since published figures were made with them; four differ on purpose, each where a
program could have passed by what it is instead of by what it answers:

- values of a subclass are compared as what they are plainly, and what is no value equals nothing;
- find_zero (HumanEval/32): the polynomial must be zero for the coefficients as they were given, not only as the program left
  them; and a right answer passes (EvalPlus from May 2024 to 0.3.1 fails every one: its loop goes on without counting);
- what is compared as close has one shape: numpy finds [[]] close to [1.0];
- an answer that takes more than `answers.LARGEST` bytes is wrong.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from starloom.evals.judges.lively import is_several, lively
from starloom.sandbox.calls import Reply

NOT_NONE: Final = frozenset({"check_str", "text_match_three", "text_starta_endb"})  # only whether there is an answer
AS_SETS: Final = frozenset(  # order and repetition do not count
    {
        "similar_elements",
        "find_char_long",
        "common_in_nested_lists",
        "extract_singly",
        "larg_nnum",
        "intersection_array",
        "find_dissimilar",
        "Diff",
    }
)
SPECIAL: Final = NOT_NONE | AS_SETS | {"find_zero"}  # where being equal is not enough, or not asked
FLOATS_ATOL: Final = 1e-6  # where a problem names no tolerance and a float is expected
RTOL: Final = 1e-7  # numpy.testing.assert_allclose's default
LONGEST_RANGE: Final = 1 << 20  # numbers of a range that are put into a set; an answer's own bytes bound all else
# What numpy and Python raise on values that cannot be compared: such an answer is wrong
UNEQUAL: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
_one_at_a_time = threading.Lock()  # filters of warnings belong to the whole process


class Rules:
    """The rules for one problem over one list of inputs. The tolerance grows with the first float, and then stays."""

    def __init__(self, dataset: str, entry_point: str, atol: float) -> None:
        self.mbpp = dataset == "mbpp"
        self.name = entry_point
        self.atol = atol
        self.usual = entry_point not in SPECIAL
        self.as_sets = self.mbpp and entry_point in AS_SETS  # an iterator's items count then, else it equals nothing

    def agrees(self, given: Sequence[Any], reply: Reply, expected: Any) -> bool:
        """Whether an answer is right. Where it must be asked for, `reply` has the arguments as the program left them."""
        try:
            same = reply.plain and self.usual and bool(reply.value == expected)
        except UNEQUAL:  # a signaling NaN of decimal
            return False
        if same:
            if self.atol == 0 and is_floats(expected):
                self.atol = FLOATS_ATOL
            return True
        answer, after = reply.value, reply.args
        with _one_at_a_time, warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                out, exact_kind = lively(answer)
                return self._agrees(given, after, out, exact_kind, expected)
            except UNEQUAL:
                return False

    def _agrees(self, given: Sequence[Any], after: Any, out: Any, exact_kind: bool, expected: Any) -> bool:
        if not self.mbpp and self.name == "find_zero":
            left = lively(after)[0]
            return all(abs(polynomial(xs, out)) <= self.atol for xs in (given[0], left[0]))
        equal = self._equal(given, out, expected)
        if self.atol == 0 and is_floats(expected):
            self.atol = FLOATS_ATOL
        if equal or self.atol == 0:
            return bool(equal)
        if not exact_kind or type(out) is not type(expected):
            return False
        if isinstance(expected, list | tuple) and len(out) != len(expected):
            return False
        if np.shape(out) != np.shape(
            expected
        ):  # [[]] is close to [1.0] for numpy, which stretches the one over the other
            return False
        return bool(np.allclose(out, expected, rtol=RTOL, atol=self.atol))

    def _equal(self, given: Sequence[Any], out: Any, expected: Any) -> Any:
        if self.mbpp and self.name == "are_equivalent":  # Mbpp/164: the task is ambiguous, and any answer is right
            return True
        if self.usual and is_several(out):
            return False
        equal = not is_several(out) and out == expected
        if not self.mbpp:
            return equal
        if self.name == "sum_div":  # Mbpp/295: a number may have no divisors
            return equal or out == 0
        if self.name == "surface_Area":  # Mbpp/581: the height may be the pyramid's own
            return equal or abs(out - pyramid(*given)) <= self.atol
        if self.name == "digit_distance_nums":  # Mbpp/558: the numbers may be of unequal length
            return equal or out == digit_distance(*given)
        if self.name in AS_SETS:
            if type(out) is range and len(out) > LONGEST_RANGE:
                return False
            return set(out) == set(expected)
        if self.name in NOT_NONE:
            return equal if isinstance(out, bool) else expected == (out is not None)
        return equal


def is_floats(value: Any) -> bool:
    """A float, an array of floats, or a list or tuple of nothing else."""
    if isinstance(value, float):
        return True
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(one, float) for one in value)
    return isinstance(value, np.ndarray) and value.dtype in (np.float64, np.float32)


def polynomial(coefficients: Sequence[Any], x: Any) -> Any:
    """The value at x, from the constant term upwards."""
    return sum(coefficient * math.pow(x, power) for power, coefficient in enumerate(coefficients))


def pyramid(edge: Any, height: Any) -> int:
    """The surface of a square pyramid whose height is measured from its base to its apex, rounded."""
    slant = math.sqrt((edge / 2) ** 2 + height**2)
    total: int = round(edge**2 + 4 * (edge * slant) / 2)
    return total


def digit_distance(one: Any, other: Any) -> int:
    """The sum of the differences of digits that stand in one place, the shorter number filled up with zeros."""
    longest = max(len(str(one)), len(str(other)))
    pairs = zip(str(one).zfill(longest), str(other).zfill(longest), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)
