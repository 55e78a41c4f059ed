"""CRUXEval, where a program's input or output is guessed, and PAL-GSM8K, where a program works a sum out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

from starloom.evals.tasks import stops
from starloom.evals.tasks.standalone import Standalone
from starloom.evals.tasks.task import Published, Task
from starloom.problems import Problem

_CRUXEVAL: Final = "facebookresearch/cruxeval, inference/scripts/run_*_prediction.sh: T 0.2 for pass@1, 0.8 for pass@5"


@cache
def words(name: str) -> str:
    """Published words, from the folder `words`."""
    return (resources.files("starloom.evals.tasks") / "words" / name).read_text("utf-8")


def filled(template: str, fields: Mapping[str, str]) -> str:
    """A template with its fields in place, whatever braces stand in them."""
    for name, text in fields.items():
        before, _, after = template.partition("{" + name + "}")
        template = before + text + filled(after, {other: fields[other] for other in fields if other != name})
        break
    return template


def output_prompt(problem: Problem) -> str:
    return filled(words("cruxeval_output.txt"), {"code": problem.prompt, "input": str(problem.row["input"])})


def input_prompt(problem: Problem) -> str:
    return filled(words("cruxeval_input.txt"), {"code": problem.prompt, "output": str(problem.row["output"])})


def answered_output(problem: Problem, text: str) -> str:
    """What stands behind the first `==`: a value, as an expression."""
    return text.split("==")[1].strip() if "==" in text else text.strip()


def answered_input(problem: Problem, text: str) -> str:
    """The call of `f` before the first `==`."""
    call = text.split("==")[0].strip()
    return "f" + call.split("assert f")[1].strip() if "assert f" in call else call


def true_output(problem: Problem) -> str:
    return str(problem.row["output"])


def true_input(problem: Problem) -> str:
    return f"f({problem.row['input']})"


def pal_prompt(problem: Problem) -> str:
    """Eight worked examples and the question (Gao et al. 2022)."""
    shots = json.loads(words("gsm8k_shots.json"))
    told = ""
    for question, solution in zip(shots["questions"], shots["solutions"], strict=True):
        told += (
            f'Q: {question}\n\n# solution in Python:\n\n\ndef solution():\n    """{question}"""\n{solution}\n\n\n\n\n\n'
        )
    return f"{told}Q: {problem.prompt}\n\n# solution in Python:\n\n\n"


def pal_instruction(problem: Problem) -> str:
    return (
        f"{problem.prompt}\n\nWrite a Python function `solution()` that returns the answer as a number."  # our choice
    )


def pal_answer(problem: Problem, text: str) -> str:
    return text.strip()


def gold_number(problem: Problem) -> str:
    """The number behind `####`, without thousands' commas."""
    return problem.solutions[0].rpartition("#### ")[2].strip().replace(",", "")


def number_as_program(problem: Problem) -> str:
    return f"def solution():\n    return {gold_number(problem)}"


_OUTPUT: Final = Standalone(output_prompt, stops.CRUXEVAL, fenced="no", read=answered_output)
_INPUT: Final = Standalone(input_prompt, stops.CRUXEVAL, fenced="no", read=answered_input)
_PAL: Final = Standalone(pal_prompt, stops.PAL, instruction=pal_instruction, read=pal_answer)

TASKS: Final = (
    Task(
        "cruxeval:output",
        "800 small functions: what do they return? (Gu et al. 2024), asked directly",
        ("cruxeval",),
        "Python",
        "complete",
        Published(10, 0.2, 1024, 0.95, _CRUXEVAL),
        _OUTPUT.ask,
        _OUTPUT.solution,
        "starloom.evals.judges.python:judge_outputs",
        canonical=true_output,
    ),
    Task(
        "cruxeval:input",
        "800 small functions: what makes them return this? (Gu et al. 2024), asked directly",
        ("cruxeval",),
        "Python",
        "complete",
        Published(10, 0.2, 1024, 0.95, _CRUXEVAL),
        _INPUT.ask,
        _INPUT.solution,
        "starloom.evals.judges.python:judge_inputs",
        canonical=true_input,
    ),
    Task(
        "pal-gsm8k",
        "1,319 sums in words, answered by a Python program, eight shots (Gao et al. 2022)",
        ("gsm8k",),
        "Python",
        "complete",
        Published(1, 0.0, 512, 1.0, "bigcode-evaluation-harness, docs: greedy, 2,048 tokens with the shots"),
        _PAL.ask,
        _PAL.solution,
        "starloom.evals.judges.streams:judge_numbers",
        canonical=number_as_program,
    ),
)
