"""Tasks whose files are not here are asked from rows in their published form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from starloom.evals.harness.named import task_named
from starloom.evals.tasks.task import AS_GIVEN, Form, Task
from starloom.evals.tasks.templates import PUBLISHED
from starloom.generate.protocol import Hole, Prompt

LUA = {
    "name": "HumanEval_0_f", "language": "lua", "prompt": "-- Add.\nlocal function add(a, b)\n", "doctests": "transform",
    "tests": "lu = require('luaunit')\n", "stop_tokens": ["\nlocal", "\nfunction", "\n--", "\n\n"],
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "multipl-e:lua": LUA,
    "multipl-e:go": {**LUA, "language": "go_test.go"},
    "apps": {
        "id": 7, "question": "Add two numbers.\n", "starter_code": "", "solutions": json.dumps(["print(sum(map(int, input().split())))"]),
        "input_output": json.dumps({"inputs": ["1 2"], "outputs": ["3"]}),
    },
    "livecodebench": {
        "question_content": "Add.", "question_id": "1", "starter_code": "class Solution:\n    def add(self, a):\n        ",
        "public_test_cases": "[]", "private_test_cases": "[]", "metadata": '{"func_name": "add"}',
    },
    "code-to-text:python": {
        "code": 'def f(a):\n    """Return the sum.\n\n    More.\n    """\n    return sum(a)', "docstring": "Return the sum.\n\n    More.",
        "docstring_tokens": ["Return", "the", "sum", "."], "url": "u", "language": "python",
    },
    "code-to-text:go": {
        "code": "func f() {}", "docstring": "f does.", "docstring_tokens": ["f", "does", "."], "url": "u", "language": "go",
    },
    "infill_java": {
        "name": "HumanEval_0", "language": "java", "prompt": "int f() {\n", "suffix": "\n}", "canonical_solution": "  return 1;",
    },
    "infill:multi-line": {
        "task_id": "MultiLineInfilling/HumanEval/0/L0_L1", "entry_point": "f", "prompt": "def f():\n", "suffix": "    return a\n",
        "canonical_solution": "    a = 1\n", "test": "def check(c): assert c() == 1",
    },
    "pal-gsm8k": {"question": "How many?", "answer": "1,000 and 2.\n#### 1,002"},
}  # fmt: skip


def given(name: str, folder: Path) -> Task:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(ROWS[name]) + "\n")
    return task_named(f"{name}={path}")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_in_its_published_form_is_a_problem(name: str, tmp_path: Path) -> None:
    task = given(name, tmp_path)
    (problem,) = task.problems()
    ask = task.ask(problem, Form())
    assert isinstance(ask, Hole) == (task.kind == "infill") and ask.id == problem.id and task.derived == ""
    truth = task.canonical(problem)
    assert truth is None or truth in task.solution(problem, truth)
    if task.kind == "complete":
        told = task.ask(problem, Form("instruct", template=PUBLISHED["alpaca"]))
        assert isinstance(told, Prompt) and told.text.startswith("Below is an instruction")


def test_multipl_e_ends_at_the_rows_own_words(tmp_path: Path) -> None:
    task = given("multipl-e:lua", tmp_path)
    (problem,) = task.problems()
    assert task.ask(problem, Form()).settings.stop == tuple(ROWS["multipl-e:lua"]["stop_tokens"])
    program = task.solution(problem, "\n  return a + b\nend\nlocal function other()", Form())
    assert program == "-- Add.\nlocal function add(a, b)\n  return a + b\nend"


def test_rows_of_another_language_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({**ROWS["infill_java"], "language": name}) + "\n" for name in ("py", "java", "js"))
    )
    assert [problem.language for problem in task_named(f"infill_python={path}").problems()] == ["Python"]


def test_contests_say_what_kind_of_program_they_want(tmp_path: Path) -> None:
    apps, livecodebench = given("apps", tmp_path), given("livecodebench", tmp_path)
    ask = given("apps", tmp_path).ask(apps.at(str(tmp_path / "rows.jsonl")).problems()[0], Form())
    assert isinstance(ask, Prompt)
    assert ask.text == "\nQUESTION:\nAdd two numbers.\n\nUse Standard Input format\nANSWER:\n"
    given("livecodebench", tmp_path)
    (problem,) = livecodebench.problems()
    told = livecodebench.ask(problem, Form())
    assert isinstance(told, Prompt) and "```python\nclass Solution:\n    def add(self, a):\n        \n```" in told.text
    said = "Thus:\n```python\nfirst\n```\nbetter:\n```python\nclass Solution: ...\n```\n"
    assert livecodebench.solution(problem, said, Form("instruct", template=PUBLISHED["plain"])) == "class Solution: ..."


def test_code_to_text_does_not_show_the_description(tmp_path: Path) -> None:
    task = given("code-to-text:python", tmp_path)
    (problem,) = task.problems()
    ask = task.ask(problem, Form())
    assert isinstance(ask, Prompt)
    assert ask.text == 'def f(a):\n    \n    return sum(a)\n""" The goal of this function is to:\n'
    assert task.solution(problem, " Return the sum.\nMore", Form()) == "Return the sum."
    assert task.canonical(problem) == "Return the sum ."


def test_an_answer_in_gsm8k_is_a_number_without_commas(tmp_path: Path) -> None:
    task = given("pal-gsm8k", tmp_path)
    (problem,) = task.problems()
    assert task.canonical(problem) == "def solution():\n    return 1002"
    program = task.solution(problem, "def solution():\n    return 2\n\n\n\nQ: Another?", Form())
    assert program == "def solution():\n    return 2"
    assert task.solution(problem, program, AS_GIVEN) == program
