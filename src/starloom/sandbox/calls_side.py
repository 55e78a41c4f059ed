"""One end of a line between two programs: messages, objects that stay where they are, and stand-ins for the other end's.

Runs inside sandboxes: standard library only. A message is a tuple of plain values (answers.py):

    ("call", whom, args, named) ("get", whom, name) ("set", whom, name, value) ("iter", whom) ("next", whom) ("len", whom)
    ("item", whom, key) ("put", whom, key, value) ("name", name)      are asked;
    ("value", value, changed) ("raised", kind, text, line) ("too_large",)      are answered.

`changed` holds the arguments that the call changed in place: (position or name, new value).
"""

from __future__ import annotations

import builtins
import collections
import os
from collections.abc import Callable
from typing import Any, Final

from starloom.sandbox.answers import LARGEST, BadAnswer, NotPlain, Numpy, Reference, Tagged, decode, encode

LONGEST_TEXT: Final = 500  # characters of an exception's text that are sent
BUILT_IN: Final = "builtins"  # the kind of a type that both ends have, such as int
ANSWERS: Final = ("value", "raised", "too_large")
_read, _write = os.read, os.write  # a program may take them out of `os`


class OtherEndGone(BaseException):
    """The line is closed, or carries no frames."""


class Raised(Exception):
    """The other end raised something that has no class here, or must not be raised as what it is."""


class Stranger:
    """A stand-in for an object of the other end. Compared, hashed and true as any object: by what it is, never by asking."""

    def __init__(self, side: Side, number: int) -> None:
        object.__setattr__(self, "_side", side)
        object.__setattr__(self, "_number", number)

    def __repr__(self) -> str:
        return "<an object>"

    def __bool__(self) -> bool:
        return True

    def __call__(self, *args: Any, **named: Any) -> Any:
        return _ask(self, "call", args, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python looks for by itself: copy, pickle, formatting
            raise AttributeError(name)
        return _ask(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "set", name, value)

    def __iter__(self) -> Any:
        return _ask(self, "iter")

    def __next__(self) -> Any:
        return _ask(self, "next")

    def __len__(self) -> int:
        length = _ask(self, "len")
        return length if type(length) is int else 0

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _ask(self, "put", key, value)


def _ask(stranger: Stranger, what: str, *rest: Any) -> Any:
    side: Side = object.__getattribute__(stranger, "_side")
    return side.ask(what, stranger, *rest)


class Side:
    """What one end knows: the line, its own objects that were spoken of, and the other end's."""

    def __init__(self, descriptor: int, serve: Callable[[Side, tuple[Any, ...]], tuple[Any, ...]]) -> None:
        self.descriptor = descriptor
        self.serve = serve
        self.own: list[Any] = []
        self.numbers: dict[int, int] = {}  # id of an own object → its number; `own` keeps it alive
        self.others: dict[int, Stranger] = {}
        self.may_refer: Callable[[Any], bool] = lambda value: True
        self.raised: BaseException | None = None  # the last that was raised here for the other end
        self.said: tuple[Any, tuple[Any, ...], Any] | None = None  # the last call: whose, of what, and its answer

    def receive(self) -> Any:
        size = int.from_bytes(self._exactly(4), "big")
        return decode(self._exactly(size))

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = _read(self.descriptor, min(count, 1 << 20))
            if not part:
                raise OtherEndGone
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def send(self, frame: bytes) -> None:
        data = memoryview(len(frame).to_bytes(4, "big") + frame)
        while data:
            data = data[_write(self.descriptor, data) :]

    def encoded(self, message: tuple[Any, ...]) -> bytes:
        return encode(message, self.refer)

    def refer(self, value: Any) -> Reference | Tagged:
        name = type.__getattribute__(value, "__name__") if isinstance(value, type) else ""
        if name and getattr(builtins, name, None) is value:
            return Tagged(BUILT_IN, name)
        if type(value) is Stranger:
            return Reference(False, object.__getattribute__(value, "_number"))
        if not self.may_refer(value):
            raise NotPlain(f"of kind {type(value).__name__}")
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.own)
            self.own.append(value)
        return Reference(True, number)

    def revive(self, value: Any) -> Any:
        """A decoded value with objects and stand-ins in place of references, and subclasses as what they are plainly."""
        kind = type(value)
        if kind is Reference:
            if value.here:
                if value.number not in self.others:
                    self.others[value.number] = Stranger(self, value.number)
                return self.others[value.number]
            return self.own[value.number]
        if kind is Tagged:
            found = (
                getattr(builtins, value.plain, None) if value.kind == BUILT_IN and type(value.plain) is str else None
            )
            if isinstance(found, type):
                return found
            return object() if value.plain is None else self.revive(value.plain)
        if kind is Numpy:
            return as_numpy(value)
        if kind in (list, tuple, set, frozenset):
            return kind(self.revive(one) for one in value)
        if kind is collections.deque:
            return collections.deque((self.revive(one) for one in value), value.maxlen)
        if isinstance(value, dict):
            pairs = [(self.revive(key), self.revive(one)) for key, one in value.items()]
            return collections.defaultdict(None, pairs) if kind is collections.defaultdict else kind(dict(pairs))
        return value

    def ask(self, what: str, *rest: Any) -> Any:
        """Ask the other end and wait, answering what it asks meanwhile."""
        self.send(self.encoded((what, *rest)))
        while True:
            message = self.receive()
            if type(message) is not tuple or not message or type(message[0]) is not str:
                raise BadAnswer("no message")
            if message[0] in ANSWERS:
                return self._answered(message, what, rest)
            self.send(self.answer(message))

    def _answered(self, message: tuple[Any, ...], what: str, rest: tuple[Any, ...]) -> Any:
        match message:
            case ("value", value, list(changed)):
                value = self.revive(value)
                if what == "call":
                    self.said = (rest[0], rest[1], value)
                    for place, new in changed:
                        old = rest[1][place] if type(place) is int else rest[2][place]
                        adopt(old, self.revive(new))
                return value
            case ("raised", str(kind), str(text), _):
                raise self.as_raised(kind, text)
        self.raised = Raised(f"{message[0]}: the answer is larger than {LARGEST} bytes")
        raise self.raised

    def as_raised(self, kind: str, text: str) -> BaseException:
        known = getattr(builtins, kind, None)
        usual = isinstance(known, type) and issubclass(known, Exception)
        try:
            self.raised = known(text) if usual and known is not None else Raised(f"{kind}: {text}")
        except TypeError:  # UnicodeDecodeError and its kin want more
            self.raised = Raised(f"{kind}: {text}")
        return self.raised

    def answer(self, message: tuple[Any, ...]) -> bytes:
        """The frame that answers what the other end asked."""
        try:
            return self.encoded(self.serve(self, message))
        except NotPlain as problem:
            if "larger" in str(problem):
                return encode(("too_large",))
            return encode(("raised", "TypeError", f"an answer {problem}", 0))


def as_numpy(value: Numpy) -> Any:
    """The array or scalar itself; numpy is imported where the first one comes."""
    import numpy

    array = numpy.frombuffer(value.data, value.dtype)
    return array[0] if value.shape is None else array.reshape(value.shape).copy()


def adopt(old: Any, new: Any) -> Any:
    """Make a container what it became at the other end, in place as deep as its kinds stay the same."""
    if type(old) is not type(new):
        return new
    if type(old) in (list, collections.deque):
        kept = [adopt(*pair) for pair in zip(old, new, strict=False)]
        rest = list(new)[len(kept) :]
        old.clear()
        old.extend(kept + rest)
    elif isinstance(old, dict):
        values = {key: adopt(old[key], one) if key in old else one for key, one in new.items()}
        old.clear()
        old.update(values)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif type(old) is bytearray:
        old[:] = new
    else:
        return new
    return old


def text_of(error: BaseException) -> str:
    """What an exception says, whatever its __str__ does."""
    try:
        return str.__str__(str(error))[:LONGEST_TEXT]
    except BaseException:
        return "(an exception whose text cannot be read)"
