"""APPS and LiveCodeBench, by path: programs that read and write, or methods that are called. The expected output stays outside."""

from __future__ import annotations

import json
from typing import Any, Final

from starloom.evals.tasks import stops
from starloom.evals.tasks.standalone import Standalone
from starloom.evals.tasks.task import Published, Task
from starloom.problems import Problem

JUDGE: Final = "starloom.evals.judges.streams:judge"
HARNESS: Final = "bigcode-evaluation-harness, tasks/apps.py"
LIVECODEBENCH: Final = "LiveCodeBench, lcb_runner"
# lcb_runner/prompts/code_generation.py: what a program must do, with and without given code
_WITH_STARTER: Final = "You will use the following starter code to write the solution to the problem and enclose your code within delimiters."
_WITHOUT: Final = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample inputs). "
    "Enclose your code within delimiters as follows. Ensure that when the python program runs, it reads the inputs, runs the "
    "algorithm and writes output to STDOUT."
)


def function_of(problem: Problem) -> str | None:
    """The name of the method that is called, or None where a program reads and writes."""
    if problem.benchmark == "livecodebench":
        name = json.loads(str(problem.row.get("metadata") or "{}")).get("func_name")
    else:
        name = _input_output(problem).get("fn_name")
    return str(name) if name else None


def _input_output(problem: Problem) -> dict[str, Any]:
    told = problem.row.get("input_output") or "{}"
    found = json.loads(told) if isinstance(told, str) else told
    return dict(found)


def apps_prompt(problem: Problem) -> str:
    called = "Call-Based" if function_of(problem) else "Standard Input"
    starter = str(problem.row.get("starter_code") or "")
    return f"\nQUESTION:\n{problem.prompt}{starter}\nUse {called} format\nANSWER:\n"


def livecodebench_prompt(problem: Problem) -> str:
    starter = str(problem.row.get("starter_code") or "")
    wanted = f"{_WITH_STARTER}\n```python\n{starter}" if starter else f"{_WITHOUT}\n```python\n# YOUR CODE HERE"
    return (
        f"### Question:\n{problem.prompt}\n\n### Format: {wanted}\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )


def after_answer(problem: Problem, text: str) -> str:
    """An answer may write the heading once more."""
    return text.split("\nANSWER:", 1)[-1]


def fenced_or_all(problem: Problem, text: str) -> str:
    """A base model's answer is taken as it is, stripped (lcb_runner/utils/extraction_utils.py)."""
    return text.strip()


_APPS: Final = Standalone(apps_prompt, stops.APPS, read=after_answer)
_LIVECODEBENCH: Final = Standalone(livecodebench_prompt, ("###",), fenced="last", read=fenced_or_all)

TASKS: Final = (
    Task(
        "apps",
        "programming contests' problems with their tests (Hendrycks et al. 2021), by path",
        ("apps",),
        "Python",
        "complete",
        Published(
            200, 0.1, 2048, 0.95, "bigcode-evaluation-harness, docs: APPS (n 1 for accuracy); tokens are our choice"
        ),
        _APPS.ask,
        _APPS.solution,
        JUDGE,
    ),
    Task(
        "livecodebench",
        "contest problems since 2023 (Jain et al. 2024), by path",
        ("livecodebench",),
        "Python",
        "complete",
        Published(10, 0.2, 2000, 0.95, f"{LIVECODEBENCH}, runner/parser.py"),
        _LIVECODEBENCH.ask,
        _LIVECODEBENCH.solution,
        JUDGE,
    ),
)
