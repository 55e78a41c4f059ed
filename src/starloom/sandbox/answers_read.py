"""Bytes that anyone may have sent to plain values: total, bounded, and running nothing of the sender's (answers.py)."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any

from starloom.sandbox.answers_kinds import DEEPEST, DTYPE, MOST_CONTAINERS, WHEN, BadAnswer, Numpy, Reference, Tagged

_SAME_HASH = 50  # items of equal hash in one set or dict: more is an attack on hashing
_LONG_INT = 1 << 16  # bits of an integer beside a Decimal: comparing the two costs the square
_FRACTION_BITS = 1 << 16  # numerator and denominator together: reducing a fraction costs the square
_DECIMAL = re.compile(r"-?(?:\d{1,65536}(?:E[+-]?\d{1,6})?|Infinity|s?NaN\d{0,20})\Z", re.ASCII)


def decode(data: bytes) -> Any:
    """The value of bytes that anyone may have sent. Raises BadAnswer, and nothing else."""
    return decode_plain(data)[0]


def decode_plain(data: bytes) -> tuple[Any, bool]:
    """The same, and whether nothing of numpy, no subclass and no reference is in it."""
    reader = _Reader(bytes(data))
    try:
        value = reader.take(DEEPEST)
    except BadAnswer:
        raise
    except (ValueError, TypeError, IndexError, OverflowError, ArithmeticError, struct.error, MemoryError) as error:
        raise BadAnswer(f"{type(error).__name__}: {error}"[:200]) from None
    if reader.at != len(reader.data):
        raise BadAnswer("bytes behind the value")
    return value, reader.plain


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.containers = 0
        self.long_int = self.decimal = False
        self.plain = True

    def span(self, count: int) -> bytes:
        start = self.at
        if count > len(self.data) - start:
            raise BadAnswer("the bytes end inside a value")
        self.at = start + count
        return self.data[start : self.at]

    def size(self) -> int:
        number = shift = 0
        while True:
            (byte,) = self.span(1)
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 35:
                raise BadAnswer("a size without end")

    def chunk(self) -> bytes:
        return self.span(self.size())

    def sequence(self) -> type:
        self.containers += 1
        if self.containers > MOST_CONTAINERS:
            raise BadAnswer(f"more than {MOST_CONTAINERS} containers")
        tag = self.span(1)
        if tag not in (b"l", b"t"):
            raise BadAnswer("neither a list nor a tuple")
        return list if tag == b"l" else tuple

    def many(self, depth: int, each: int = 1) -> list[Any]:
        self.containers += 1
        if self.containers > MOST_CONTAINERS:
            raise BadAnswer(f"more than {MOST_CONTAINERS} containers")
        count = self.size() * each
        if count > len(self.data) - self.at:  # an item takes a byte or more
            raise BadAnswer("more items than bytes")
        return [self.take(depth) for _ in range(count)]

    def take(self, depth: int) -> Any:
        if depth < 0:
            raise BadAnswer(f"nested more than {DEEPEST} deep")
        tag = self.span(1)
        read = _READ.get(tag)
        if read is None:
            raise BadAnswer(f"no kind {tag!r}")
        return read(self, depth - 1)


def _hashed(values: list[Any]) -> list[Any]:
    """The same values, once it is known that putting them into a set or dict takes no more than it should."""
    if len(values) > _SAME_HASH:
        counts: dict[int, int] = {}
        for value in values:
            known = hash(value)
            counts[known] = counts.get(known, 0) + 1
        if max(counts.values()) > _SAME_HASH:
            raise BadAnswer("too many items with one hash")
    return values


def _mapping(reader: _Reader, depth: int) -> Iterable[tuple[Any, Any]]:
    flat = reader.many(depth, 2)
    return zip(_hashed(flat[::2]), flat[1::2], strict=True)


def _three(reader: _Reader, depth: int) -> list[Any]:
    found = reader.many(depth)
    if len(found) != 3 or not all(one is None or type(one) is int for one in found):
        raise BadAnswer("not three whole numbers")
    return found


def _int(reader: _Reader, depth: int) -> int:
    body = reader.chunk()
    reader.long_int |= len(body) * 8 > _LONG_INT
    if reader.long_int and reader.decimal:
        raise BadAnswer("a Decimal beside a very long integer")
    return int.from_bytes(body, "big", signed=True)


def _decimal(reader: _Reader, depth: int) -> decimal.Decimal:
    reader.decimal = True
    if reader.long_int:
        raise BadAnswer("a Decimal beside a very long integer")
    text = reader.chunk().decode("ascii")
    if not _DECIMAL.match(text):
        raise BadAnswer("no decimal number")
    return decimal.Decimal(text)


def _fraction(reader: _Reader, depth: int) -> fractions.Fraction:
    found = reader.many(depth)
    if len(found) != 2 or any(type(one) is not int or one.bit_length() > _FRACTION_BITS for one in found):
        raise BadAnswer("no fraction, or a very long one")
    return fractions.Fraction(*found)


def _when(reader: _Reader, depth: int) -> Any:
    name, value = reader.chunk().decode("ascii"), reader.take(depth)
    if name == "timedelta" and type(value) is tuple and len(value) == 3 and all(type(one) is int for one in value):
        return datetime.timedelta(*value)
    if name not in WHEN or type(value) is not str or len(value) > 40:
        raise BadAnswer("no date or time")
    return WHEN[name].fromisoformat(value)


def _deque(reader: _Reader, depth: int) -> collections.deque[Any]:
    longest = reader.take(1)
    if longest is not None and (type(longest) is not int or not 0 <= longest < 1 << 40):
        raise BadAnswer("no length of a deque")
    return collections.deque(reader.many(depth), longest)


def _numpy(reader: _Reader, depth: int) -> Numpy:
    reader.plain = False
    dtype, shape, data = reader.take(1), reader.take(1), reader.chunk()
    if type(dtype) is not str or not DTYPE.match(dtype):
        raise BadAnswer("no type of numbers")
    if shape is not None and (
        type(shape) is not tuple or len(shape) > 32 or any(type(n) is not int or not 0 <= n < 1 << 40 for n in shape)
    ):
        raise BadAnswer("no shape")
    bare = dtype.lstrip("<>|=")
    size = int(bare[1:]) * (4 if bare[0] == "U" else 1)
    for length in shape or ():
        size *= length
    if size != len(data):
        raise BadAnswer("an array whose bytes do not fit its shape")
    return Numpy(dtype, shape, data)


def _tagged(reader: _Reader, depth: int) -> Tagged:
    reader.plain = False
    return Tagged(reader.chunk().decode("utf-8")[:200], reader.take(depth))


def _reference(reader: _Reader, depth: int) -> Reference:
    reader.plain = False
    here = reader.span(1)
    if here not in (b"T", b"F"):
        raise BadAnswer("a reference to neither side")
    return Reference(here == b"T", reader.size())


def _numbers(reader: _Reader, depth: int) -> Any:
    kind, codes = reader.sequence(), reader.chunk()
    if not codes or codes.translate(None, b"qd?"):
        raise BadAnswer("no codes of numbers")
    form = f">{len(codes)}{chr(codes[0])}" if codes.count(codes[:1]) == len(codes) else f">{codes.decode()}"
    return kind(struct.unpack(form, reader.chunk()))


def _strings(reader: _Reader, depth: int) -> Any:
    kind, lengths, texts = reader.sequence(), reader.chunk(), reader.chunk()
    found, at = [], 0
    for length in struct.unpack(f">{len(lengths) // 4}I", lengths):
        found.append(texts[at : at + length].decode("utf-8", "surrogatepass"))
        at += length
    if at != len(texts):
        raise BadAnswer("strings whose bytes do not fit their lengths")
    return kind(found)


def _range(reader: _Reader, depth: int) -> range:
    start, stop, step = _three(reader, depth)
    return range(start, stop, step)


_READ: dict[bytes, Callable[[_Reader, int], Any]] = {
    b"N": lambda reader, depth: None,
    b"T": lambda reader, depth: True,
    b"F": lambda reader, depth: False,
    b".": lambda reader, depth: Ellipsis,
    b"i": _int,
    b"f": lambda reader, depth: struct.unpack(">d", reader.span(8))[0],
    b"c": lambda reader, depth: complex(*struct.unpack(">dd", reader.span(16))),
    b"s": lambda reader, depth: reader.chunk().decode("utf-8", "surrogatepass"),
    b"b": lambda reader, depth: reader.chunk(),
    b"y": lambda reader, depth: bytearray(reader.chunk()),
    b"l": lambda reader, depth: reader.many(depth),
    b"t": lambda reader, depth: tuple(reader.many(depth)),
    b"S": lambda reader, depth: set(_hashed(reader.many(depth))),
    b"Z": lambda reader, depth: frozenset(_hashed(reader.many(depth))),
    b"d": lambda reader, depth: dict(_mapping(reader, depth)),
    b"r": _range,
    b":": lambda reader, depth: slice(*_three(reader, depth)),
    b"D": _decimal,
    b"Q": _fraction,
    b"W": _when,
    b"O": lambda reader, depth: collections.OrderedDict(_mapping(reader, depth)),
    b"E": lambda reader, depth: collections.defaultdict(None, _mapping(reader, depth)),
    b"C": lambda reader, depth: collections.Counter(dict(_mapping(reader, depth))),
    b"q": _deque,
    b"n": _numpy,
    b"k": _tagged,
    b"h": _reference,
    b"v": _numbers,
    b"w": _strings,
}
