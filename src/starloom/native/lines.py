"""Line and character statistics of many documents at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from starloom.native import library, twin
from starloom.native.alphanumeric import table
from starloom.native.twin import Bytes, Int64s

if TYPE_CHECKING:
    import pyarrow as pa

    Buffer: TypeAlias = bytes | bytearray | memoryview[int] | np.ndarray[Any, Any] | pa.Buffer

# Arrow's columns of text or bytes that have one offset per row, and the type of their offsets.
OFFSET_TYPES = {"string": np.int32, "large_string": np.int64, "binary": np.int32, "large_binary": np.int64}


@dataclass(frozen=True, slots=True)
class LineStatistics:
    """One number per document, in characters as Python counts them.

    Bytes that are not UTF-8 count as `bytes.decode("utf-8", "replace")` makes them.
    """

    lines: Int64s  # len(text.splitlines())
    longest_line: Int64s  # max(map(len, text.splitlines()), default=0)
    line_characters: Int64s  # sum(map(len, text.splitlines())): without what ends the lines
    characters: Int64s  # len(text)
    alphanumeric: Int64s  # sum(map(str.isalnum, text))


def line_statistics(data: Buffer, offsets: np.ndarray[Any, np.dtype[Any]], threads: int = 1) -> LineStatistics:
    """Statistics of the documents `data[offsets[d]:offsets[d + 1]]`, UTF-8 each.

    `offsets` holds one integer more than there are documents. The work is shared out by documents over `threads`
    threads; the result does not depend on their number. Raises ValueError for offsets that do not rise or lie outside
    the data, before any of it is read.
    """
    octets = np.frombuffer(data, np.uint8)
    offsets = _checked(offsets, octets.size)
    if threads < 1:
        raise ValueError(f"threads is {threads}; give 1 or more")
    return LineStatistics(*_compute(octets, offsets, threads))


def arrow_line_statistics(array: pa.Array | pa.ChunkedArray, threads: int = 1) -> LineStatistics:
    """The same for a pyarrow column of type string, large_string, binary or large_binary; a null counts as empty."""
    chunks = array.chunks if hasattr(array, "chunks") else [array]
    found = [_one_array(chunk, threads) for chunk in chunks]
    if not found:
        found = [np.zeros((5, 0), np.int64)]
    return LineStatistics(*np.concatenate(found, axis=1))


def _one_array(array: pa.Array, threads: int) -> Int64s:
    if str(array.type) not in OFFSET_TYPES:
        raise TypeError(f"line statistics of a column of type {array.type}; cast it to string or large_string")
    if len(array) == 0:
        return np.zeros((5, 0), np.int64)
    _, offsets, data = array.buffers()
    octets = np.frombuffer(data if data is not None else b"", np.uint8)
    whole = np.frombuffer(offsets, OFFSET_TYPES[str(array.type)])
    result = _compute(octets, _checked(whole[array.offset : array.offset + len(array) + 1], octets.size), threads)
    if array.null_count:  # a null row may have bytes below it
        result[:, array.is_null().to_numpy(zero_copy_only=False)] = 0
    return result


def _checked(offsets: np.ndarray[Any, np.dtype[Any]], size: int) -> Int64s:
    """The offsets as 64-bit integers side by side in memory, if they may be followed."""
    if offsets.ndim != 1 or offsets.size == 0 or offsets.dtype.kind not in "iu":
        shape = "x".join(map(str, offsets.shape)) or "scalar"
        raise ValueError(f"offsets are {shape} of {offsets.dtype}; give one row of integers, one more than documents")
    offsets = np.ascontiguousarray(offsets, np.int64)
    falls = np.flatnonzero(offsets[1:] < offsets[:-1])
    if falls.size:
        at = int(falls[0])
        raise ValueError(f"offsets fall from {offsets[at]} to {offsets[at + 1]} at document {at}; they must rise")
    if offsets[0] < 0 or offsets[-1] > size:
        raise ValueError(f"offsets reach from {offsets[0]} to {offsets[-1]}, but the data has bytes 0 to {size}")
    return offsets


def _compute(data: Bytes, offsets: Int64s, threads: int) -> Int64s:
    """[5, documents], of checked offsets."""
    chosen = library.chosen()
    if chosen is None:
        return twin.line_statistics(data, offsets)
    functions, instruction_set = chosen
    index, blocks = table().index, table().blocks
    result = np.empty((5, len(offsets) - 1), np.int64)
    failed = functions.starloom_line_statistics(
        instruction_set,
        data.ctypes.data,
        offsets.ctypes.data,
        len(offsets) - 1,
        index.ctypes.data,
        blocks.ctypes.data,
        min(threads, len(offsets)),
        result.ctypes.data,
    )
    assert not failed, "library.choices() names what the library has"
    return result
