"""The codec: what goes through comes out the same; hostile bytes come out as values or as BadAnswer."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import fractions
import math
import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.sandbox.answers import DEEPEST, BadAnswer, NotPlain, Numpy, Reference, Tagged, decode, encode

any_text = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too
any_float = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    any_float,
    st.builds(complex, any_float, any_float),
    any_text,
    st.binary(max_size=8),
    st.binary(max_size=8).map(bytearray),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.fractions(),
    st.decimals(),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.timedeltas(),
)
keys = st.one_of(st.integers(), any_text, st.tuples(any_text, st.integers()), st.frozensets(st.integers(), max_size=3))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(collections.deque),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(collections.OrderedDict),
        st.dictionaries(keys, inner, max_size=4).map(lambda items: collections.defaultdict(None, items)),
        st.dictionaries(keys, st.integers(), max_size=4).map(collections.Counter),
    ),
    max_leaves=12,
)


def bits(value: Any) -> Any:
    """A value with its kinds, its orders and the bits of its floats, for comparing."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind is complex:
        return kind, struct.pack(">dd", value.real, value.imag)
    if kind in (list, tuple, collections.deque):
        return kind, [bits(one) for one in value]
    if isinstance(value, dict):
        return kind, [(bits(key), bits(one)) for key, one in value.items()]
    return kind, repr(value) if kind is decimal.Decimal else value


@given(values)
def test_a_plain_value_comes_back_as_it_was_sent(value: Any) -> None:
    assert bits(decode(encode(value))) == bits(value)


many_alike = st.one_of(
    st.lists(st.one_of(st.integers(-(2**70), 2**70), any_float, st.booleans()), min_size=8, max_size=30),
    st.lists(any_float, min_size=8, max_size=30),
    st.lists(any_text, min_size=8, max_size=30),
)


@given(many_alike, st.booleans())
def test_many_numbers_or_strings_come_back_as_they_were_sent(value: list[Any], as_tuple: bool) -> None:
    sent = tuple(value) if as_tuple else value
    got = decode(encode(sent))
    assert type(got) is type(sent) and [bits(one) for one in got] == [bits(one) for one in sent]


@given(st.one_of(values, many_alike), st.randoms(use_true_random=False))
def test_damaged_bytes_are_a_value_or_a_bad_answer(value: Any, chance: random.Random) -> None:
    data = bytearray(encode(value))
    for _ in range(chance.randint(1, 4)):
        match chance.randint(0, 2):
            case 0 if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
            case 1:
                data.insert(chance.randint(0, len(data)), chance.choice(b"NTFifcsbyltSZdr:.DQWOECqnkhvw\x00\x7f\xff"))
            case _:
                del data[chance.randint(0, len(data)) :]
    with contextlib.suppress(BadAnswer):
        encode(decode(bytes(data)))


@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_bad_answer(data: bytes) -> None:
    with contextlib.suppress(BadAnswer):
        decode(data)


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Sly(str):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __str__(self) -> str:
        return "another"

    def encode(self, *args: Any) -> bytes:  # type: ignore[override]
        return b"another"


Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "kind", "plain"),
    [
        (Liar(3), "Liar", 3),
        (Sly("told"), "Sly", "told"),
        (Pair(1, 2), "Pair", (1, 2)),
        (type("Half", (float,), {"__float__": lambda self: 1.0})(0.5), "Half", 0.5),
        (type("Rows", (list,), {"__iter__": lambda self: iter(())})([1, 2]), "Rows", [1, 2]),
        (type("Data", (bytes,), {})(b"ab"), "Data", b"ab"),
        (type("Map", (dict,), {"items": lambda self: []})({1: 2}), "Map", {1: 2}),
        (type("Z", (complex,), {})(1 - 0j), "Z", 1 - 0j),
    ],
)
def test_a_subclass_arrives_as_what_it_is_plainly(value: Any, kind: str, plain: Any) -> None:
    got = decode(encode(value))
    assert type(got) is Tagged and got.kind == kind
    assert type(got.plain) is type(plain) and got.plain == plain


@pytest.mark.parametrize(
    "value",
    [np.float64(0.1), np.int32(7), np.bool_(True), np.arange(6).reshape(2, 3), np.array(["a", "bc"]), np.zeros((0, 3))],
)
def test_numbers_of_numpy_arrive_with_type_shape_and_bytes(value: Any) -> None:
    got = decode(encode(value))
    assert type(got) is Numpy
    back = np.frombuffer(got.data, got.dtype).reshape(got.shape or ())
    assert np.array_equal(back, value) and back.dtype == np.asarray(value).dtype
    assert (got.shape is None) == isinstance(value, np.generic)


def test_an_array_that_overrides_everything_arrives_as_its_numbers() -> None:
    class Always(np.ndarray[Any, Any]):
        def __eq__(self, other: object) -> Any:
            return True

        def __array__(self, *args: Any, **named: Any) -> Any:
            return np.zeros(3)

    got = decode(encode(np.arange(3).view(Always)))
    assert np.frombuffer(got.data, got.dtype).tolist() == [0, 1, 2]


def test_what_is_no_value_is_refused_or_referred_to() -> None:
    with pytest.raises(NotPlain):
        encode([object()])
    got = decode(
        encode([len, object()], refer=lambda value: Reference(True, 7) if callable(value) else Tagged("object"))
    )
    assert (got[0].here, got[0].number, got[1].kind) == (True, 7, "object")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_depth_and_size_are_bounded_on_both_sides() -> None:
    assert decode(encode(nested(DEEPEST - 1))) == nested(DEEPEST - 1)
    loop: list[Any] = []
    loop.append(loop)
    doubled: list[Any] = []
    for _ in range(60):
        doubled = [doubled, doubled]
    for value in (loop, doubled, nested(DEEPEST + 1), "a" * (1 << 23), [0] * (1 << 21)):
        with pytest.raises(NotPlain):
            encode(value, largest=1 << 20)
    for data in (b"l\x01" * 100_000 + b"N", b"l\xff\xff\xff\x7fN", b"l\xff\xff\xff\x04" + b"S\x00" * (1 << 20)):
        with pytest.raises(BadAnswer):
            decode(data)


MODULUS = 2**61 - 1  # of CPython's hash of numbers


@pytest.mark.parametrize("tag", [b"S", b"Z", b"d", b"C", b"O"])
def test_colliding_hashes_are_refused_before_they_cost(tag: bytes) -> None:
    numbers = b"".join(encode(n * MODULUS) + (b"" if tag in (b"S", b"Z") else b"N") for n in range(60_000))
    size = bytes([60_000 & 127 | 128, 60_000 >> 7 & 127 | 128, 60_000 >> 14])
    with pytest.raises(BadAnswer, match="one hash"):
        decode(tag + size + numbers)


@pytest.mark.parametrize(
    "data",
    [
        b"D\x0c1E9999999999",  # a number with ten thousand million digits, once someone adds to it
        b"Q\x02" + encode(1) + encode(0),
        b"Q\x02" + encode(1 << 70_000) + encode(3),
        b"t\x02" + encode(1 << 70_000) + encode(decimal.Decimal(1)),
        b"r\x03" + encode(0) + encode(9) + encode(0),
        b"S\x01" + encode([]),
        b"d\x01" + encode({}) + b"N",
        b"s\x01\xff",
        b"W\x08datetime" + encode("x" * 30),
        b"n" + encode("O8") + encode((1,)) + b"\x08" + bytes(8),
        b"n" + encode("<f8") + encode((1 << 39, 1 << 39)) + b"\x00",
        b"vl\x03q1q" + b"\x10" + bytes(16),
        b"vl\x0a999999999s\x00",
        b"wt\x04\xff\xff\xff\xff\x00",
        b"wt\x03\x00\x00\x00\x00",
        b"N" + b"N",
        b"",
    ],
)
def test_malformed_values_are_bad_answers(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        decode(data)


def test_nan_is_never_the_same_object_twice() -> None:
    one, other = decode(encode([math.nan])), decode(encode([math.nan]))
    assert one != other


def test_kinds_of_dates_and_numbers_hold() -> None:
    value = [fractions.Fraction(-1, 3), decimal.Decimal("-0E+3"), datetime.timedelta(-1, 2, 3), slice(1, None, 2), ...]
    assert [bits(one) for one in decode(encode(value))] == [bits(one) for one in value]
