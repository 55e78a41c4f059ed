"""What a program answered, as values that can be compared: here, in our process, by our own Python's rules."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from starloom.sandbox.answers import Numpy, Tagged
from starloom.sandbox.calls_side import as_numpy


class Unknown:
    """Something that was no value; equal to nothing."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{self.kind}>"

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__


def is_several(value: Any) -> bool:
    """Whether it is an array of several items. Compared, it gives an array, which is neither true nor false, and by stretching
    one over the other may take the product of both sizes: it is not to be compared."""
    return isinstance(value, np.ndarray) and value.size > 1


def lively(value: Any) -> tuple[Any, bool]:
    """A decoded value with numpy's kinds made and subclasses taken plainly, arrays of several items inside it as unknown;
    whether its outermost kind is exactly what it was in the program. Raises TypeError and ValueError where that cannot be
    (a list as a key)."""
    return _lively(value), type(value) is not Tagged


def _lively(value: Any) -> Any:
    kind = type(value)
    if kind is Tagged:
        return Unknown(value.kind) if value.plain is None else _lively(value.plain)
    if kind is Numpy:
        return as_numpy(value)
    if kind in (list, tuple, set, frozenset):
        return kind(map(_inside, value))
    if kind is collections.deque:
        return collections.deque(map(_inside, value), value.maxlen)
    if isinstance(value, dict):
        pairs = {_inside(key): _inside(one) for key, one in value.items()}
        return collections.defaultdict(None, pairs) if kind is collections.defaultdict else kind(pairs)
    return value


def _inside(value: Any) -> Any:
    found = _lively(value)
    return Unknown("ndarray") if is_several(found) else found
