"""Kinds of values that travel between a program and its judge beside Python's own, and how large a value may be."""

from __future__ import annotations

import datetime
import re
from typing import Any

DEEPEST = 100  # nested containers, our choice; benchmarks nest less than ten deep
LARGEST = 1 << 25  # bytes of one value, our choice: HumanEval+'s largest answer, tri(1000000), takes 9 MB
MOST_CONTAINERS = (
    1 << 18
)  # containers in one value, our choice: an empty one takes two bytes here and hundreds in memory
DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|f16|c8|c16|c32|U\d{1,6}|S\d{1,6})\Z", re.ASCII)
WHEN: dict[str, Any] = {
    "datetime": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
}


class NotPlain(Exception):
    """A value that cannot be sent: too deep, too large, or of a kind that has no bytes."""


class BadAnswer(Exception):
    """Bytes that are no value."""


class Tagged:
    """A value that is not exactly of its plain kind: the kind's name as its program tells it, and what it is plainly.

    `kind` is for people. Equal to nothing but itself: whoever compares takes `plain` out on purpose.
    """

    __slots__ = ("kind", "plain")

    def __init__(self, kind: str, plain: Any = None) -> None:
        self.kind = kind
        self.plain = plain

    def __repr__(self) -> str:
        return f"<{self.kind}>" if self.plain is None else f"{self.kind}({self.plain!r})"


class Numpy:
    """A numpy array, or a scalar where `shape` is None, as its type, shape and bytes."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, shape: tuple[int, ...] | None, data: bytes) -> None:
        self.dtype = dtype
        self.shape = shape
        self.data = data

    def __repr__(self) -> str:
        return f"<numpy {self.dtype} {self.shape}>"


class Reference:
    """Something that stays where it is: a function, an object, a class. `here` is true in the process that holds it."""

    __slots__ = ("here", "number")

    def __init__(self, here: bool, number: int) -> None:
        self.here = here
        self.number = number
