"""What runs beside the program under test: loads it, calls it as it is asked, and answers.

What is covered: nothing needs to be. This end is the program's; all that it can do with it is to give wrong answers.
What the program prints goes nowhere; what it raises is an answer. Limits of time for single calls are kept here so that
they end calls, not runs: a program that gets around them still meets the limits of its run.

    ("load", source, options) → ("loaded", {name: kind}) or ("raised", kind, text, line)
    ("many", name, lists of args by marshal, [seconds], options) → for each: ("value", value, cpu_s, args) ("raised", …) ("too_large",) ("timed_out",),
       several in a list
    and what calls_side.py says
"""

from __future__ import annotations

import importlib
import io
import itertools
import marshal
import os
import signal
import sys
import time
import types
from collections.abc import Iterator
from typing import Any, Final

from starloom.sandbox.answers import LARGEST, NotPlain, Reference, Tagged, encode, encode_size
from starloom.sandbox.calls_side import OtherEndGone, Side, text_of

FILE: Final = "<string>"  # the name that exec gives a text; tracebacks tell lines by it
REAL_TIMES: Final = 15  # a call may take this many times its CPU limit by the clock: loaded machines, our choice
MOST_ITEMS: Final = 1 << 20  # of an iterator that is asked for all of its items
FRAME: Final = 1 << 15  # bytes of answers that are sent together
MOST_READY: Final = 200  # answers that are sent together
SOON_S: Final = 0.05  # and no answer waits longer for others
_setitimer, _signal, _cpu, _now = signal.setitimer, signal.signal, time.process_time, time.monotonic
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.items()))


class TimeUp(Exception):
    """A call took longer than it may. An Exception, as in EvalPlus: a program may catch it, and lose its time."""


class _Nowhere(io.StringIO):
    """Standard output, error and input of a program: takes everything, gives nothing."""

    def read(self, *args: Any) -> Any:
        raise OSError

    readline = readlines = read

    def readable(self) -> bool:
        return False


def main(descriptor: int) -> None:
    """Answer until the other end is gone."""
    room = _Room()
    side = Side(descriptor, lambda side, message: _served(side, room.names, message))
    try:
        while True:
            message = side.receive()
            match message:
                case ("load", source, options):
                    side.send(side.encoded(room.load(source, options)))
                case ("many", name, calls, limits, options):
                    for frame in room.many(name, calls, limits, options):
                        side.send(frame)
                case _:
                    side.send(side.answer(message))
    except (OtherEndGone, OSError):
        os._exit(0)


class _Room:
    """The program's names, as it left them."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.left: int | None = None

    def load(self, source: str, options: dict[str, Any]) -> tuple[Any, ...]:
        for where, name in options.get("absent", ()):
            if where == "sys.modules":
                sys.modules[name] = None  # type: ignore[assignment]
            else:
                setattr(importlib.import_module(where), name, None)
        self.left = options.get("depth")
        _signal(signal.SIGPROF, _time_up)
        _signal(signal.SIGALRM, _time_up)
        _be_silent()
        self._allow_depth()
        try:
            code = compile(source, FILE, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            return (
                "raised",
                "DoesNotCompile",
                f"{type(error).__name__}: {text_of(error)}",
                getattr(error, "lineno", 0) or 0,
            )
        try:
            exec(code, self.names)
        except BaseException as error:
            return _raised(error)
        return ("loaded", {name: _kind(self.names[name]) for name in options.get("names", ()) if name in self.names})

    def _allow_depth(self) -> None:
        """As many calls may be nested as where published verdicts were made."""
        if self.left is not None:
            frame, depth = sys._getframe(), 0
            while frame is not None:
                frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
            sys.setrecursionlimit(depth + self.left)

    def many(self, name: str, calls: bytes, limits: list[float], options: dict[str, Any]) -> Iterator[bytes]:
        """Frames of answers: many short ones, or one long one, or what took some time."""
        back, spread = bool(options.get("args")), bool(options.get("spread"))
        ready: list[bytes] = []
        size, since = 0, _now()
        for args, limit in zip(marshal.loads(calls), limits, strict=True):
            ready.append(self._one(name, args, limit, back, spread))
            size += len(ready[-1])
            if size > FRAME or len(ready) == MOST_READY or _now() - since > SOON_S:
                yield _joined(ready)
                ready, size, since = [], 0, _now()
        if ready:
            yield _joined(ready)

    def _one(self, name: str, args: Any, limit: float | None, back: bool, spread: bool) -> bytes:
        sys.stdout = sys.stderr = sys.stdin = _Nowhere()
        try:
            function = self.names[name]
            self._allow_depth()
            began = _cpu()
            try:
                _start(limit)
                value = function(*args)
                if spread:
                    value = _items(value)
            finally:
                _stop(limit)
            cpu_s = _cpu() - began
            return encode(("value", value, cpu_s, args if back else None), _told)
        except TimeUp:
            return encode(("timed_out",))
        except NotPlain as problem:
            return encode(("too_large",) if "larger" in str(problem) else ("raised", "NotPlain", str(problem), 0))
        except BaseException as error:
            return encode(_raised(error))


def _joined(ready: list[bytes]) -> bytes:
    """The frame of a list of values that are encoded already."""
    return b"l" + encode_size(len(ready)) + b"".join(ready)


def _stop(limit: float | None) -> None:
    if limit is not None:
        _setitimer(signal.ITIMER_PROF, 0)
        _setitimer(signal.ITIMER_REAL, 0)


def _start(limit: float | None) -> None:
    if limit is not None:
        _setitimer(signal.ITIMER_PROF, limit)
        _setitimer(signal.ITIMER_REAL, limit * REAL_TIMES)


def _time_up(number: int, frame: Any) -> None:
    raise TimeUp("Timed out!")


def _be_silent() -> None:
    sys.stdout = sys.stderr = sys.stdin = _Nowhere()


def _raised(error: BaseException) -> tuple[Any, ...]:
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return ("raised", type(error).__name__[:100], text_of(error), line)


def _kind(value: Any) -> str:
    return f"module {value.__name__}" if isinstance(value, types.ModuleType) else "object"


def _told(value: Any) -> Any:
    """What is sent for something that has no bytes, where nothing will be asked of it: its kind, or a view's items."""
    kind = type(value)
    if kind in _VIEWS:
        try:
            return Tagged(kind.__name__, frozenset(value))
        except TypeError:
            pass
    return Tagged(kind.__name__)


def _items(value: Any) -> Any:
    """An iterator's items in its place, where an answer is judged as a set."""
    if isinstance(value, (list, tuple, set, frozenset, dict, str, bytes, range)) or not hasattr(
        type(value), "__iter__"
    ):
        return value
    if "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].ndarray):
        return value
    return Tagged(type(value).__name__, list(itertools.islice(value, MOST_ITEMS)))


def _served(side: Side, names: dict[str, Any], message: tuple[Any, ...]) -> tuple[Any, ...]:
    """An answer to the tests: they may do with the program's objects what Python lets them."""
    try:
        match message:
            case ("name", str(name)):
                return ("value", names[name], [])
            case ("call", whom, tuple(args), dict(named)):
                called, args, named = side.revive(whom), side.revive(args), side.revive(named)
                places = [*enumerate(args), *named.items()]
                before = [_bytes(side, one) for _, one in places]
                _be_silent()
                value = called(*args, **named)
                pairs = zip(places, before, strict=True)
                changed = [place for place, old in pairs if old and _bytes(side, place[1]) != old]
                return ("value", value, changed)
            case ("get", whom, str(name)):
                return ("value", getattr(side.revive(whom), name), [])
            case ("set", whom, str(name), value):
                setattr(side.revive(whom), name, side.revive(value))
            case ("iter", whom):
                return ("value", iter(side.revive(whom)), [])
            case ("next", whom):
                return ("value", next(side.revive(whom)), [])
            case ("len", whom):
                return ("value", len(side.revive(whom)), [])
            case ("item", whom, key):
                return ("value", side.revive(whom)[side.revive(key)], [])
            case ("put", whom, key, value):
                side.revive(whom)[side.revive(key)] = side.revive(value)
            case _:
                return ("raised", "TypeError", "no such request", 0)
        return ("value", None, [])
    except OtherEndGone:
        raise
    except BaseException as error:
        return _raised(error)


def _bytes(side: Side, value: Any) -> bytes | None:
    """A container's bytes, to see whether a call changed it; None for what cannot change or cannot be sent."""
    if type(value) in (int, str, float, bool, bytes, type(None), Reference):
        return None
    try:
        return encode(value, side.refer, LARGEST)
    except NotPlain:
        return None
