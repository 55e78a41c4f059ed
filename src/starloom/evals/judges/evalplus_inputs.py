"""MBPP+'s inputs as its functions take them: JSON has neither tuples nor sets nor complex numbers (EvalPlus, data/mbpp.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Arguments = list[Any]


def _within(depth: int) -> Callable[[Arguments], Arguments]:
    """Every list that lies this deep in an argument is a tuple; 0: the arguments themselves."""

    def turn(value: Any, left: int) -> Any:
        return tuple(value) if left == 0 else [turn(one, left - 1) for one in value]

    return lambda given: [turn(one, depth) for one in given]


def _all(value: Any) -> Any:
    return tuple(_all(one) for one in value) if isinstance(value, list) else value


def _rows_then_one(given: Arguments) -> Arguments:
    return [[tuple(row) for row in given[0]], given[1]]


def _one_then_tuple(given: Arguments) -> Arguments:
    return [given[0], tuple(given[1])]


def _sets(given: Arguments) -> Arguments:
    return [[set(one) if isinstance(one, list) and one else {} for one in given[0]]]  # an empty one is a dict there


def _complex_pair(given: Arguments) -> Arguments:
    return [float(given[0]), complex(given[1])]


def _tuple_then_one(given: Arguments) -> Arguments:
    return [tuple(given[0]), given[1]]


def _tuple_then_two(given: Arguments) -> Arguments:
    return [tuple(given[0]), given[1], given[2]]


def _tuple_of_tuples(given: Arguments) -> Arguments:
    return [tuple(tuple(row) for row in one) for one in given]


def _tuple_of_mixed(given: Arguments) -> Arguments:
    return [tuple(tuple(one) if isinstance(one, list) else one for one in given[0])]


def _values(given: Arguments) -> Arguments:
    return [{key: tuple(value) for key, value in given[0].items()}, *given[1:]]


_SHAPES: Final[tuple[tuple[Callable[[Arguments], Arguments], str], ...]] = (
    (_within(0), "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"),
    (_within(1), "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    (_rows_then_one, "75 413 444 753"),
    (_one_then_tuple, "106 750"),
    (_sets, "115"),
    (_complex_pair, "124"),
    (_tuple_then_one, "250 405 446 617 720 763 808"),
    (_tuple_of_tuples, "259 401 445"),
    (_tuple_of_mixed, "278"),
    (_tuple_then_two, "307"),
    (_values, "722"),
    (lambda given: [complex(given[0])], "252"),
    (lambda given: [_all(one) for one in given], "580 615 791"),
)
_SHAPE: Final[Mapping[int, Callable[[Arguments], Arguments]]] = {
    int(number): shape for shape, numbers in _SHAPES for number in numbers.split()
}


def arguments(task_id: str, given: Arguments) -> Arguments:
    """One input of a problem as its function takes it."""
    dataset, _, number = task_id.partition("/")
    shape = _SHAPE.get(int(number)) if dataset == "Mbpp" else None
    return given if shape is None else shape(given)
