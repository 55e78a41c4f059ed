"""The kernels in NumPy: what C is tested beside, and what computes where there is no library."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from starloom.native.alphanumeric import CODE_POINTS, alphanumeric

Int64s = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

# Where str.splitlines ends a line; \r\n counts once.
ENDS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
_IS_END = np.zeros(CODE_POINTS, np.bool_)
_IS_END[[ord(end) for end in ENDS]] = True


def line_statistics(data: Bytes, offsets: Int64s) -> Int64s:
    """[5, documents]: lines, longest line, line characters, characters, alphanumeric characters."""
    result = np.empty((5, len(offsets) - 1), np.int64)
    for document, (start, end) in enumerate(itertools.pairwise(offsets)):
        result[:, document] = _one_document(data[start:end])
    return result


def _one_document(text: Bytes) -> tuple[int, int, int, int, int]:
    codes = _code_points(text)
    ends = np.flatnonzero(_IS_END[codes])
    lengths = np.diff(ends, prepend=-1, append=len(codes)) - 1  # of each line; between \r and \n an empty one
    pairs = int(np.count_nonzero((codes[:-1] == ord("\r")) & (codes[1:] == ord("\n"))))
    return (
        len(ends) - pairs + int(lengths[-1] > 0),
        int(lengths.max()),
        len(codes) - len(ends),
        len(codes),
        int(np.count_nonzero(alphanumeric()[codes])),
    )


def _code_points(text: Bytes) -> np.ndarray[Any, Any]:
    """Characters as numbers; bytes that are not UTF-8 become U+FFFD as Python replaces them."""
    if text.size == 0 or text.max() < 0x80:
        return text
    return np.frombuffer(text.tobytes().decode("utf-8", "replace").encode("utf-32-le"), "<u4")
