"""What strong judges say in the same words: how a run ended, what was raised, what was answered."""

from __future__ import annotations

from reprlib import Repr
from typing import Any, Final

from starloom.evals.bench import tail
from starloom.evals.judges.outcomes import ENDS
from starloom.evals.verdict import Status, Verdict
from starloom.sandbox import Outcome
from starloom.sandbox.calls import Calls, Reply

LONGEST: Final = 800  # characters of a detail


def shown(value: Any) -> str:
    """A value as text, cut where it is long. Values are plain: no method of a program's runs."""
    cut = Repr()
    cut.maxstring = cut.maxother = 120
    cut.maxlist = cut.maxtuple = cut.maxset = cut.maxdict = 8
    try:
        return cut.repr(value).encode("utf-8", "backslashreplace").decode()
    except ValueError:  # integers of more than 4,300 digits
        return f"<a very long {type(value).__name__}>"


def ended(outcome: Outcome, where: str = "") -> Verdict:
    """The verdict on a program whose run was over before it had answered."""
    status: Status = ENDS.get(outcome.status, "crashed")
    told = outcome.detail or outcome.status.replace("_", " ")
    if outcome.status == "exited":
        told = f"ended with exit code {outcome.exit_code} before it had answered"
    elif outcome.status == "signaled" and outcome.signal is not None:
        told = f"killed by signal {outcome.signal}"
    return failed(status, f"{where}: {told}" if where else told, tail(outcome.stderr))


def raised(reply: Reply, calls: Calls, where: str = "") -> Verdict:
    """The verdict on a call, or a loading, that gave no value."""
    before = f"{where}: " if where else ""
    match reply.what:
        case "ended":
            return ended(calls.outcome(), where)
        case "timed_out":
            return failed("timed_out", f"{before}took longer than it may")
        case "too_large":
            return failed("too_much_output", f"{before}the answer is too large to send")
        case "raised" if reply.kind == "DoesNotCompile":
            return failed("does_not_compile", f"{before}{reply.text}{_line(reply)}")
        case "raised" if reply.kind == "MemoryError":
            return failed("out_of_memory", f"{before}MemoryError{_line(reply)}")
        case "raised":
            return failed("raised", f"{before}{reply.kind}: {reply.text}{_line(reply)}")
    return failed("wrong_answer", f"{before}what came back is no answer: {reply.text}")


def failed(status: Status, detail: str, stderr: str = "") -> Verdict:
    """A strong verdict that is no pass; one line of detail, cut."""
    return Verdict(False, "strong", status, " ".join(detail.split())[:LONGEST], stderr)


def _line(reply: Reply) -> str:
    return f" (line {reply.line})" if reply.line else ""
