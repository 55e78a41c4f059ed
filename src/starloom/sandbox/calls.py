"""A program's functions, called from outside: it runs in a sandbox and answers over a pipe with plain values.

What is covered: whatever the program does, what arrives here is a plain value, an exception's name and text, or the end of
the run. Nothing of it is run or trusted here, and it never sees what its answers are compared with.
What is not covered: CPU time of single calls is measured beside the program (calls_inside.py); the run's own limits hold
whatever it does about that.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal

from starloom.sandbox.answers import BadAnswer, decode_plain, encode
from starloom.sandbox.conversation import Conversation
from starloom.sandbox.programs import Limits, Outcome, Python
from starloom.sandbox.sandbox import Sandbox

INSIDE: Final = (
    "starloom.sandbox.calls_inside"  # a sandbox that has it warm starts a program without importing anything
)
TESTS: Final = "starloom.sandbox.calls_tests"
MOST_SENT: Final = 1 << 28  # bytes of the inputs of one batch

What = Literal["value", "raised", "too_large", "timed_out", "no_answer", "ended"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one call. `no_answer`: bytes that are no answer; `ended`: the run is over, `Calls.outcome` says how."""

    what: What
    value: Any = None
    kind: str = ""  # of the exception
    text: str = ""
    line: int = 0
    cpu_s: float = 0.0  # as told beside the program
    args: Any = None  # the arguments after the call, where they were asked for
    plain: bool = False  # whether neither value nor arguments hold Tagged, Numpy or Reference anywhere


@dataclass(frozen=True, slots=True)
class Loaded:
    """Whether a program's text ran to its end. `names`: those that were asked for and are there → "object" or "module X"."""

    reply: Reply
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.reply.what == "value"


class Calls:
    """One program in a sandbox; a context manager. The sandbox should have INSIDE warm."""

    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        self.talk: Conversation = sandbox.talk(Python(f"from {INSIDE} import main\nmain(STARLOOM_FD)\n", limits=limits))

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.talk.end()

    def outcome(self) -> Outcome:
        """How the run ended; ends it where it goes on."""
        return self.talk.end()

    def load(
        self,
        source: str,
        names: Sequence[str] = (),
        absent: Sequence[tuple[str, str]] = (),
        depth: int | None = None,
    ) -> Loaded:
        """Run the program's text as `exec` does in an empty namespace.

        `absent`: (module, name) that are None there, or ("sys.modules", name) that cannot be imported. `depth`: how many calls
        may be nested in the program, of Python's thousand.
        """
        options = {"names": list(names), "absent": [list(pair) for pair in absent], "depth": depth}
        try:
            self.talk.send(encode(("load", source, options), largest=MOST_SENT))
        except UnicodeEncodeError as error:  # pragma: no cover (surrogates pass)
            return Loaded(Reply("raised", kind="DoesNotCompile", text=str(error)))
        reply = self._reply()
        if reply.what == "no_answer" and type(reply.value) is tuple and len(reply.value) == 2:
            what, told = reply.value
            if what == "loaded" and type(told) is dict:
                kinds = {name: kind for name, kind in told.items() if name in names and type(kind) is str}
                return Loaded(Reply("value"), kinds)
        return Loaded(reply)

    def many(
        self, name: str, calls: bytes, limits_s: Sequence[float | None], *, args: bool = False, spread: bool = False
    ) -> Iterator[Reply]:
        """The answers of a function to each of these lists of arguments, as they come; the last where the run ends.

        `calls`: the lists, `packed`. `limits_s`: CPU time of each call. `args`: send the arguments back as they are then.
        `spread`: an iterator is sent as its items.
        """
        options = {"args": args, "spread": spread}
        self.talk.send(encode(("many", name, calls, list(limits_s), options), largest=MOST_SENT))
        left = len(limits_s)
        while left > 0:
            for reply in self._replies():
                yield reply
                left -= 1
                if reply.what == "ended":
                    return

    def _reply(self) -> Reply:
        return next(iter(self._replies()))

    def _replies(self) -> list[Reply]:
        frame = self.talk.receive()
        if frame is None:
            return [Reply("ended")]
        try:
            message, plain = decode_plain(frame)
        except BadAnswer as problem:
            return [Reply("no_answer", text=str(problem))]
        if type(message) is list and message:
            return [_as_reply(one, plain) for one in message]
        return [_as_reply(message, plain)]


def _as_reply(message: Any, plain: bool) -> Reply:
    match message:
        case ("value", value, cpu_s, args):
            return Reply("value", value, cpu_s=cpu_s if type(cpu_s) is float else 0.0, args=args, plain=plain)
        case ("raised", str(kind), str(text), int(line)):
            return Reply("raised", kind=kind[:100], text=text[:500], line=line)
        case ("too_large",):
            return Reply("too_large")
        case ("timed_out",):
            return Reply("timed_out")
    return Reply("no_answer", message, text="an answer of no known form")


def packed(calls: Sequence[Any]) -> bytes:
    """Lists of arguments as they are sent: by marshal, which is fast, and is only ever read beside the program."""
    return marshal.dumps(list(calls), 2)
