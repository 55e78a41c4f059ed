"""Tests in one sandbox, the program in another, and this process between them: it carries frames and reads the verdict.

What is covered: a verdict is only ever read from the tests' line, never from the program's; what the program sends is
decoded here before the tests see it, so that they get values or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starloom.sandbox.answers import BadAnswer, decode, encode
from starloom.sandbox.calls import MOST_SENT, TESTS, Calls
from starloom.sandbox.programs import Limits, Outcome, Python
from starloom.sandbox.sandbox import Sandbox

STATUSES: Final = ("passed", "wrong_answer", "raised", "harness_error")


@dataclass(frozen=True, slots=True)
class Told:
    """What the tests said; or, where they could not say it, whose run ended and how."""

    status: str  # one of STATUSES, or "program_ended" or "tests_ended"
    detail: str = ""
    outcome: Outcome | None = None


def run_tests(
    sandbox: Sandbox, program: Calls, tests: str, names: Mapping[str, str], *, reference: str = "", limits: Limits
) -> Told:
    """Run tests in `sandbox` against a loaded program. `names`: what they take from the program, as `Calls.load` told it,
    "" for what it lacks. `reference`: a trusted program whose other names the tests may use.
    """
    with sandbox.talk(Python(f"from {TESTS} import main\nmain(STARLOOM_FD)\n", limits=limits)) as asking:
        options = {"tests": tests, "names": dict(names), "reference": reference}
        asking.send(encode(("tests", options), largest=MOST_SENT))
        while True:
            frame = asking.receive()
            if frame is None:
                return Told("tests_ended", outcome=asking.end())
            match decode(frame):
                case ("verdict", str(status), str(detail)):
                    assert status in STATUSES, f"the tests' process said {status!r}"
                    return Told(status, detail)
            program.talk.send(frame)
            answer = program.talk.receive()
            if answer is None:
                return Told("program_ended", outcome=program.outcome())
            try:
                decode(answer)
            except BadAnswer as problem:
                return Told("wrong_answer", f"its answer is no value: {problem}")
            asking.send(answer)
