"""From how a run ended to a verdict's status: what every judge that runs programs says in the same words."""

from __future__ import annotations

from starloom.evals.bench import tail
from starloom.evals.verdict import Status, Strength, Verdict
from starloom.sandbox import Outcome

ENDS: dict[str, Status] = {
    "timed_out": "timed_out",
    "out_of_cpu": "timed_out",
    "out_of_memory": "out_of_memory",
    "too_much_output": "too_much_output",
    "signaled": "crashed",
    "not_started": "harness_error",
    "lost": "harness_error",
}


def failed(outcome: Outcome, strength: Strength, where: str = "") -> Verdict:
    """The verdict on a run that did not end by itself with exit code 0. `where` says which of several runs it was.

    What Python writes to stderr is the program's own word: it can choose among the names of failures, never become a pass.
    """
    status = ENDS.get(outcome.status)
    stderr = tail(outcome.stderr)
    lines = stderr.strip().splitlines()
    last = lines[-1] if lines else ""
    if status is None:
        memory = last.startswith("MemoryError")
        syntax = last.startswith(("SyntaxError", "IndentationError", "TabError"))
        status = "out_of_memory" if memory else "does_not_compile" if syntax else "raised"
    told = outcome.detail or (last if outcome.status == "exited" else outcome.status.replace("_", " "))
    if outcome.status == "exited" and not last:
        told = f"ended with exit code {outcome.exit_code}"
    elif outcome.status == "signaled":
        told = f"killed by signal {outcome.signal}"
    return Verdict(False, strength, status, f"{where}: {told}" if where else told, stderr, seconds=outcome.wall_s)
