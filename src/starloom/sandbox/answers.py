"""Plain Python values as bytes and back, across the line between a trusted process and a program nobody trusts.

What is covered: `decode` is total. Whatever bytes it is given, it returns plain values or raises BadAnswer; it runs no
code of the sender, calls no method of the sender's, and its work is bounded by the bytes given, hash collisions included.
A value of a subclass arrives as what it is plainly, inside `Tagged`, so that no overridden method arrives with it.
What is not covered: whether the values are right. And `encode` runs where the program runs and may be deceived by it.

The text of this file is also sent into sandboxes: standard library only, and nothing from the package.

    None N · bool T F · int i · float f · complex c · str s · bytes b · bytearray y · list l · tuple t · set S · frozenset Z ·
    dict d · range r · slice : · Ellipsis . · Decimal D · Fraction Q · datetime and its kin W · OrderedDict O · defaultdict E ·
    Counter C · deque q · numpy n · Tagged k · Reference h · many numbers v · many strings w (in a list or tuple)
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import re
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

DEEPEST = 100  # nested containers, our choice; benchmarks nest less than ten deep
LARGEST = 1 << 25  # bytes of one value, our choice: HumanEval+'s largest answer, tri(1000000), takes 9 MB
MOST_CONTAINERS = (
    1 << 18
)  # containers in one value, our choice: an empty one takes two bytes here and hundreds in memory
_SAME_HASH = 50  # items of equal hash in one set or dict: more is an attack on hashing
_LONG_INT = 1 << 16  # bits of an integer beside a Decimal: comparing the two costs the square
_FRACTION_BITS = 1 << 16  # numerator and denominator together: reducing a fraction costs the square
_DECIMAL = re.compile(r"-?(?:\d{1,65536}(?:E[+-]?\d{1,6})?|Infinity|s?NaN\d{0,20})\Z", re.ASCII)
_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|f16|c8|c16|c32|U\d{1,6}|S\d{1,6})\Z", re.ASCII)
_WHEN: dict[str, Any] = {
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
        elif kind in _WHEN.values() and getattr(value, "tzinfo", None) is None:
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
        if _DTYPE.match(array.dtype.str):
            data = numpy.ascontiguousarray(array).tobytes()
            if len(data) > self.largest:
                raise NotPlain(f"larger than {self.largest} bytes")
            shape = None if scalar else tuple(int(size) for size in array.shape)
            self.numpy(Numpy(array.dtype.str, shape, data))
        elif array.dtype == object and not scalar:
            self.put(Tagged("numpy.ndarray", array.tolist()), DEEPEST // 2)
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
    if name not in _WHEN or type(value) is not str or len(value) > 40:
        raise BadAnswer("no date or time")
    return _WHEN[name].fromisoformat(value)


def _deque(reader: _Reader, depth: int) -> collections.deque[Any]:
    longest = reader.take(1)
    if longest is not None and (type(longest) is not int or not 0 <= longest < 1 << 40):
        raise BadAnswer("no length of a deque")
    return collections.deque(reader.many(depth), longest)


def _numpy(reader: _Reader, depth: int) -> Numpy:
    reader.plain = False
    dtype, shape, data = reader.take(1), reader.take(1), reader.chunk()
    if type(dtype) is not str or not _DTYPE.match(dtype):
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
