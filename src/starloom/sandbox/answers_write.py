"""Plain values to bytes. Runs where the program runs, too: what is covered and what is not stands in answers.py."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

from starloom.sandbox.answers_kinds import DEEPEST, DTYPE, LARGEST, WHEN, NotPlain, Numpy, Reference, Tagged

_CODES: dict[type, str] = {int: "q", float: "d", bool: "?"}  # struct's
_FEW = 8  # values of a list or tuple that are not worth looking for a kind that they share
_SUBCLASSED = (
    list,
    tuple,
    dict,
    set,
    frozenset,
    str,
    bytes,
    int,
    float,
    complex,
)  # bool, range, slice have no subclasses


def encode(value: Any, refer: Callable[[Any], Any] | None = None, largest: int = LARGEST) -> bytes:
    """The bytes of a value. `refer(value)` stands in for what is not plain: a Reference or Tagged. Raises NotPlain."""
    out = _Writer(refer, largest)
    out.put(value, DEEPEST)
    return bytes(out.data)


class _Writer:
    def __init__(self, refer: Callable[[Any], Any] | None, largest: int) -> None:
        self.data = bytearray()
        self.refer = refer
        self.largest = largest

    def size(self, number: int) -> None:
        data = self.data
        while number > 127:
            data.append(number & 127 | 128)
            number >>= 7
        data.append(number)

    def chunk(self, tag: bytes, body: bytes) -> None:
        if len(self.data) + len(body) > self.largest:
            raise NotPlain(f"larger than {self.largest} bytes")
        self.data += tag
        self.size(len(body))
        self.data += body

    def items(self, tag: bytes, values: Iterable[Any], count: int, depth: int) -> None:
        self.data += tag
        self.size(count)
        for value in values:
            self.put(value, depth)

    def put(self, value: Any, depth: int) -> None:
        if depth < 0:
            raise NotPlain(f"nested more than {DEEPEST} deep")
        if len(self.data) > self.largest:
            raise NotPlain(f"larger than {self.largest} bytes")
        kind = type(value)
        if value is None:
            self.data += b"N"
        elif kind is bool:
            self.data += b"T" if value else b"F"
        elif kind is int:
            self.chunk(b"i", value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
        elif kind is float:
            self.data += b"f" + struct.pack(">d", value)
        elif kind is str:
            self.chunk(b"s", value.encode("utf-8", "surrogatepass"))
        elif kind is list or kind is tuple:
            if len(value) < _FEW or not self.alike(b"l" if kind is list else b"t", value):
                self.items(b"l" if kind is list else b"t", value, len(value), depth - 1)
        elif kind is dict:
            self.pairs(b"d", value, depth)
        elif kind is bytes:
            self.chunk(b"b", value)
        else:
            self.other(value, kind, depth)

    def alike(self, tag: bytes, value: Any) -> bool:
        """Many numbers, or many strings, at once: an order of magnitude faster than one by one."""
        kinds = set(map(type, value))
        if kinds == {str}:
            texts = [one.encode("utf-8", "surrogatepass") for one in value]
            self.chunk(b"w" + tag, struct.pack(f">{len(texts)}I", *map(len, texts)))
            self.chunk(b"", b"".join(texts))
        elif kinds <= _CODES.keys():
            codes = (
                "".join([_CODES[type(one)] for one in value]) if len(kinds) > 1 else _CODES[kinds.pop()] * len(value)
            )
            form = f">{len(value)}{codes[0]}" if codes.count(codes[0]) == len(codes) else f">{codes}"
            try:
                data = struct.pack(form, *value)
            except struct.error:  # an integer of more than 64 bits
                return False
            self.chunk(b"v" + tag, codes.encode())
            self.chunk(b"", data)
        else:
            return False
        return True

    def pairs(self, tag: bytes, value: dict[Any, Any], depth: int) -> None:
        self.items(tag, (one for pair in dict.items(value) for one in pair), dict.__len__(value), depth - 1)

    def other(self, value: Any, kind: type, depth: int) -> None:
        if kind is complex:
            self.data += b"c" + struct.pack(">dd", value.real, value.imag)
        elif kind is bytearray:
            self.chunk(b"y", bytes(value))
        elif kind is set:
            self.items(b"S", value, len(value), depth - 1)
        elif kind is frozenset:
            self.items(b"Z", value, len(value), depth - 1)
        elif kind is range:
            self.items(b"r", (value.start, value.stop, value.step), 3, depth - 1)
        elif kind is slice:
            self.items(b":", (value.start, value.stop, value.step), 3, depth - 1)
        elif value is Ellipsis:
            self.data += b"."
        elif kind is Reference:
            self.data += b"hT" if value.here else b"hF"
            self.size(value.number)
        elif kind is Tagged:
            self.chunk(b"k", str(value.kind)[:200].encode("utf-8", "backslashreplace"))
            self.put(value.plain, depth - 1)
        elif kind is Numpy:
            self.numpy(value)
        else:
            self.library(value, kind, depth)

    def numpy(self, value: Numpy) -> None:
        self.data += b"n"
        self.put(value.dtype, 1)
        self.put(value.shape, 1)
        self.chunk(b"", value.data)

    def library(self, value: Any, kind: type, depth: int) -> None:
        """Kinds of the standard library and numpy, then what is some kind's subclass, then what is no value."""
        if kind is collections.OrderedDict:
            self.items(b"O", (one for pair in value.items() for one in pair), len(value), depth - 1)
        elif kind is collections.defaultdict:
            self.pairs(b"E", value, depth)
        elif kind is collections.Counter:
            self.pairs(b"C", value, depth)
        elif kind is collections.deque:
            self.data += b"q"
            self.put(value.maxlen, 1)
            self.items(b"", value, len(value), depth - 1)
        elif kind is decimal.Decimal:
            sign, digits, exponent = value.as_tuple()
            text = (
                str(value) if not isinstance(exponent, int) else f"{'-' * sign}{''.join(map(str, digits))}E{exponent}"
            )
            self.chunk(b"D", text.encode())
        elif kind is fractions.Fraction:
            self.items(b"Q", (value.numerator, value.denominator), 2, depth - 1)
        elif kind is datetime.timedelta:
            self.chunk(b"W", b"timedelta")
            self.items(b"t", (value.days, value.seconds, value.microseconds), 3, depth - 1)
        elif kind in WHEN.values() and getattr(value, "tzinfo", None) is None:
            self.chunk(b"W", kind.__name__.encode())
            self.put(value.isoformat(), 1)
        elif "numpy" in sys.modules and self.from_numpy(sys.modules["numpy"], value, kind):
            pass
        elif issubclass(kind, _SUBCLASSED):
            self.put(Tagged(kind.__name__, plainly(value)), depth)
        elif self.refer is not None:
            self.put(self.refer(value), depth)
        else:
            raise NotPlain(f"of kind {kind.__name__}")

    def from_numpy(self, numpy: Any, value: Any, kind: type) -> bool:
        if not isinstance(value, (numpy.ndarray, numpy.generic)):
            return False
        array = numpy.asarray(value)
        scalar = isinstance(value, numpy.generic)
        if DTYPE.match(array.dtype.str):
            data = numpy.ascontiguousarray(array).tobytes()
            if len(data) > self.largest:
                raise NotPlain(f"larger than {self.largest} bytes")
            shape = None if scalar else tuple(int(size) for size in array.shape)
            self.numpy(Numpy(array.dtype.str, shape, data))
        else:
            self.put(Tagged(kind.__name__), 1)
        return True


def plainly(value: Any) -> Any:
    """What an instance of a subclass is without what the subclass changed."""
    base: Any = next(kind for kind in _SUBCLASSED if isinstance(value, kind))
    if base is int:
        return int.__int__(value)
    if base is float:
        return float.__float__(value)
    if base is complex:
        return complex(complex.real.__get__(value), complex.imag.__get__(value))
    if base is dict:
        return dict(dict.items(value))
    if base is str:
        return str.__str__(value)
    if base is bytes:
        return b"".join([bytes.__getitem__(value, slice(None))])[:]
    return base(base.__iter__(value))


def encode_size(number: int) -> bytes:
    """A size as it stands before items."""
    out = _Writer(None, LARGEST)
    out.size(number)
    return bytes(out.data)
