"""HumanEval(+), MBPP(+) and QuixBugs: Python functions that are called with known inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from starloom.evals.tasks import stops
from starloom.evals.tasks.continuation import Continuation, published_prompt
from starloom.evals.tasks.standalone import Standalone
from starloom.evals.tasks.task import Published, Task
from starloom.problems import Problem

HARNESS: Final = "bigcode-evaluation-harness"
FUNCTIONS: Final = "starloom.evals.judges.python:judge"
EVALPLUS: Final = "starloom.evals.judges.evalplus:judge"
MBPP_TEST: Final = range(11, 511)  # ids of the test split (google-research/mbpp, README)


def mbpp_prompt(problem: Problem) -> str:
    """InCoder's words: the description and one test in a docstring."""
    return f'"""\n{problem.description}\n{problem.tests[0]}\n"""\n'


def mbpp_test_split(problems: Sequence[Problem]) -> Iterable[Problem]:
    return [problem for problem in problems if int(problem.row["task_id"]) in MBPP_TEST]


def mbpp_instruction(problem: Problem) -> str:
    """What StarCoder2-Instruct was told (evaluation/text2code.py): the description ends with a full stop."""
    words = problem.description.strip()
    asserted = problem.tests[0].strip()
    if "\nassert" in problem.prompt:  # MBPP+ shows its assertions in the prompt
        inside = problem.prompt.split('"""')[1]
        asserted = inside[inside.index("assert") :].strip()
    full_stop = "" if words.endswith(".") else "."
    return f"{words}{full_stop}\n\nYour code should pass the following assertion:\n```python\n{asserted}\n```"


def quixbugs_prompt(problem: Problem) -> str:
    return f"# Buggy function\n{problem.prompt}\n# Fixed function\ndef"


def quixbugs_instruction(problem: Problem) -> str:
    return f"Fix bugs in {problem.entry_point}.\n```python\n{problem.prompt}\n```"


_HUMANEVAL: Final = Continuation(stop=stops.HUMANEVAL)
_MBPP: Final = Standalone(mbpp_prompt, stops.MBPP, instruction=mbpp_instruction, prefix="```python")
_MBPP_PLUS: Final = Standalone(published_prompt, stops.EVALPLUS_MBPP, instruction=mbpp_instruction, prefix="```python")
_QUIXBUGS: Final = Standalone(
    quixbugs_prompt, stops.QUIXBUGS, strip=True, begun="def", instruction=quixbugs_instruction, prefix="```python"
)
# Model cards' pass@1 and @10: T 0.2, n 200; @100 at T 0.8 (docs/README of the harness; SantaCoder, arXiv 2301.03988)
_AS_HUMANEVAL: Final = Published(200, 0.2, 512, 0.95, f"{HARNESS}, docs: HumanEval", f"{HARNESS}, tasks/humaneval.py")
_AS_MBPP: Final = Published(15, 0.1, 512, 0.95, f"{HARNESS}, docs: MBPP", f"{HARNESS}, tasks/mbpp.py")

TASKS: Final = (
    Task(
        "humaneval",
        "164 Python functions from a signature and a docstring (Chen et al. 2021)",
        ("humaneval",),
        "Python",
        "complete",
        _AS_HUMANEVAL,
        _HUMANEVAL.ask,
        _HUMANEVAL.solution,
        FUNCTIONS,
    ),
    Task(
        "humaneval+",
        "HumanEval with 80 times as many inputs (Liu et al. 2023), v0.1.10",
        ("humaneval-plus",),
        "Python",
        "complete",
        _AS_HUMANEVAL,
        _HUMANEVAL.ask,
        _HUMANEVAL.solution,
        EVALPLUS,
    ),
    Task(
        "mbpp",
        "500 Python functions from one sentence and one test (Austin et al. 2021), the test split",
        ("mbpp",),
        "Python",
        "complete",
        _AS_MBPP,
        _MBPP.ask,
        _MBPP.solution,
        FUNCTIONS,
        select=mbpp_test_split,
    ),
    Task(
        "mbpp-sanitized",
        "those of MBPP's test split that people have checked",
        ("mbpp-sanitized",),
        "Python",
        "complete",
        _AS_MBPP,
        _MBPP.ask,
        _MBPP.solution,
        FUNCTIONS,
        select=mbpp_test_split,
    ),
    Task(
        "mbpp+",
        "378 problems of MBPP with 35 times as many inputs (Liu et al. 2023), v0.2.0, in EvalPlus' words",
        ("mbpp-plus",),
        "Python",
        "complete",
        Published(1, 0.0, 768, 1.0, "EvalPlus, greedy"),
        _MBPP_PLUS.ask,
        _MBPP_PLUS.solution,
        EVALPLUS,
        exceptions={
            "Mbpp/255": "one input asks for 1.7 million tuples of 77 strings, more than a program may answer; EvalPlus 0.3.1 "
            "runs out of its 4 GB there and fails the reference too"
        },
    ),
    Task(
        "quixbugs",
        "40 classic algorithms with one wrong line each (Lin et al. 2017), in Python",
        ("quixbugs",),
        "Python",
        "complete",
        Published(
            1,
            0.0,
            512,
            1.0,
            "our choice; the harness allows thrice the prompt's length",
            f"{HARNESS}, tasks/quixbugs.py",
        ),
        _QUIXBUGS.ask,
        _QUIXBUGS.solution,
        FUNCTIONS,
    ),
)
