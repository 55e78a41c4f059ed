"""What EvalPlus' problems expect: the answers and times of their own solutions, worked out once in our sandbox."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from typing import Any, Final

from starloom.errors import SandboxError
from starloom.evals.judges.evalplus_inputs import arguments
from starloom.evals.judges.evalplus_rules import NOT_NONE
from starloom.evals.judges.lively import Unknown, lively
from starloom.problems import Problem
from starloom.sandbox import Limits, Sandbox
from starloom.sandbox.answers import LARGEST
from starloom.sandbox.calls import Calls, Reply, packed

MEMORY: Final = 4 << 30  # bytes, as EvalPlus allows
LIMITS: Final = Limits(wall_s=600, cpu_s=300, memory_bytes=MEMORY, output_bytes=LARGEST + 4096)
TOO_LARGE: Final = Unknown("an answer that is too large to send")


@dataclass(frozen=True, slots=True)
class Inputs:
    """One list of a problem's inputs ("base" or "plus") with what is expected of each."""

    part: str
    given: list[Any]
    sent: bytes  # the same, for `Calls.many`
    expected: list[Any]
    cpu_s: list[float]  # of the reference


_known: dict[str, Inputs] = {}
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def truth(sandbox: Sandbox, problem: Problem, part: str) -> Inputs:
    """What is expected for "base" or "plus", from memory where this process has worked it out before.

    Raises SandboxError where the problem's own solution cannot be run.
    """
    program = problem.programs()[0]
    rows = problem.row[f"{part}_input"] or []
    digest = hashlib.sha256(json.dumps([problem.id, part, program, rows]).encode()).hexdigest()
    with _guard:
        lock = _locks.setdefault(digest, threading.Lock())
    with lock:
        if digest not in _known:
            given = [arguments(problem.id, row) for row in rows]
            sent = packed(given)
            _known[digest] = Inputs(part, given, sent, *_worked_out(sandbox, problem, program, sent, len(given)))
        return _known[digest]


def _worked_out(
    sandbox: Sandbox, problem: Problem, program: str, sent: bytes, count: int
) -> tuple[list[Any], list[float]]:
    name = str(problem.entry_point)
    expected: list[Any] = []
    times: list[float] = []
    with Calls(sandbox, LIMITS) as calls:
        loaded = calls.load(program, [name])
        if not loaded.ok:
            raise SandboxError(f"the solution of {problem.id} itself does not run: {_why(loaded.reply, calls)}")
        for reply in calls.many(name, sent, [None] * count):
            if reply.what not in ("value", "too_large"):
                raise SandboxError(f"the solution of {problem.id} itself fails: {_why(reply, calls)}")
            expected.append(lively(reply.value)[0] if reply.what == "value" else TOO_LARGE)
            times.append(reply.cpu_s)
    if name in NOT_NONE:
        expected = [one is not None for one in expected]
    return expected, times


def _why(reply: Reply, calls: Calls) -> str:
    if reply.what == "raised":
        return f"{reply.kind}: {reply.text}; is a library missing?"
    outcome = calls.outcome()
    return f"{reply.what}, {outcome.status} {outcome.detail}".rstrip()
