"""Which code points are alphanumeric, as a table that the kernel can read.

The table is made once per process from the running Python's own `str.isalnum`, when it is first needed (about 0.1 s).
A table made when the library is built would be a little cheaper and sometimes wrong: each Python brings its own Unicode
version (3.11: 14, 3.12: 15.0, 3.13: 15.1, 3.14: 16.0, …) and one library serves them all.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

CODE_POINTS = sys.maxunicode + 1
BLOCK = 256  # code points in a block: most blocks are alike (all letters, or none), so 4,352 become about 130


@dataclass(frozen=True, slots=True)
class Table:
    """Bit c % 256 (least first) of `blocks[index[c // 256]]` says whether code point c is alphanumeric."""

    index: np.ndarray[Any, np.dtype[np.uint16]]  # [CODE_POINTS // BLOCK]
    blocks: np.ndarray[Any, np.dtype[np.uint8]]  # [distinct, BLOCK // 8]


@functools.cache
def alphanumeric() -> np.ndarray[Any, np.dtype[np.bool_]]:
    """`chr(c).isalnum()` for every code point c."""
    every = np.arange(CODE_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return np.fromiter(map(str.isalnum, every), np.bool_, CODE_POINTS)


@functools.cache
def table() -> Table:
    """The same in two levels, 12 kB that stay in a core's first cache."""
    rows = np.packbits(alphanumeric().reshape(-1, BLOCK), axis=1, bitorder="little")
    places: dict[bytes, int] = {}
    index = np.array([places.setdefault(row.tobytes(), len(places)) for row in rows], np.uint16)
    return Table(index, np.frombuffer(b"".join(places), np.uint8).reshape(-1, BLOCK // 8))
