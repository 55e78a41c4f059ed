"""Benchmarks are read as published, and what is missing or malformed is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from starloom.errors import ConfigError, SourceError
from starloom.problems import BENCHMARKS, Problem, digest_of, load
from starloom.problems.load import CARRIED
from starloom.problems.problem import docstring_of, signature_of

COUNTS = {
    "humaneval": 164, "humaneval-plus": 164, "mbpp": 974, "mbpp-plus": 378, "gsm8k": 1319, "cruxeval": 800,
    "humaneval-infilling": 1033, "humaneval-infilling-random-span": 1640, "humaneval-infilling-random-span-light": 164,
    "humaneval-x": 4 * 164,
}  # as published  # fmt: skip


@pytest.mark.parametrize("name", CARRIED)
def test_the_package_carries_whole_benchmarks_with_distinct_ids(name: str) -> None:
    problems = load(name)
    assert len(problems) == len({problem.id for problem in problems}) == COUNTS[name]
    assert all(problem.prompt and problem.solutions for problem in problems)
    assert name in ("cruxeval", "humaneval-x") or all(problem.description for problem in problems)


def test_one_language_of_a_benchmark_is_read_alone() -> None:
    problems = load("humaneval-x", language="Java")
    assert {problem.language for problem in problems} == {"Java"} and len(problems) == 164


@pytest.mark.parametrize("name", CARRIED)
def test_what_the_package_carries_may_be_passed_on(name: str) -> None:
    assert BENCHMARKS[name].license in ("MIT", "Apache-2.0", "CC-BY-4.0")


def run(program: str) -> None:
    exec(compile(program, "problem", "exec"), {"__name__": "problem"})


def test_solutions_of_humaneval_pass_their_tests() -> None:
    for problem in load("humaneval")[:30]:
        (program,) = problem.programs()
        run(f"{program}\n{problem.tests[0]}\ncheck({problem.entry_point})")


def test_solutions_of_mbpp_pass_their_tests() -> None:
    for problem in load("mbpp")[10:40]:
        run("\n".join([problem.row["test_setup_code"], *problem.programs(), *problem.tests]))


def test_a_prompt_of_humaneval_is_its_signature_and_its_docstring() -> None:
    for problem in load("humaneval"):
        words = docstring_of(problem.prompt)
        assert words.strip() and problem.description == words
        assert words not in signature_of(problem.prompt) and f"def {problem.entry_point}" in signature_of(
            problem.prompt
        )


ROWS = {
    "humaneval-x": {"task_id": "CPP/0", "prompt": "int f(", "canonical_solution": "a", "test": "t"},
    "ds1000": {"prompt": "p", "reference_code": "r", "code_context": "c", "metadata": {"problem_id": 7}},
    "apps": {"question": "q", "solutions": json.dumps(["one", "two"]), "id": 3},
    "cruxeval": {"code": "def f(a): return a", "input": "1", "output": "1", "id": "sample_0"},
    "quixbugs": {"name": "n", "buggy_program": "b", "docstring": "d", "solution": "s", "tests": "t"},
    "mbpp-plus": {"task_id": "Mbpp/2", "prompt": '"""\nAdd.\nassert f()\n"""', "canonical_solution": "s", "assertion": "a"},
    "mbxp": {"task_id": "MBJP/1", "prompt": "p", "description": "d", "canonical_solution": None, "test": "t"},
    "livecodebench": {"question_content": "q", "question_id": "1873_A", "public_test_cases": "[]", "private_test_cases": "[]"},
    "multipl-e": {"name": "HumanEval_0_f", "prompt": "p", "tests": "t", "language": "clj", "stop_tokens": ["\n"]},
    "code-to-text": {"code": "func f() {}", "docstring": "d", "docstring_tokens": ["d"], "language": "go"},
    "humaneval-infilling": {"task_id": "x", "prompt": 'def f():\n"""d"""', "suffix": "z", "canonical_solution": "y", "test": "t"},
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_benchmark_is_read_by_path(name: str, tmp_path: Path) -> None:
    file, language = Path(BENCHMARKS[name].files[0][0]).name, BENCHMARKS[name].files[0][1]
    line = (json.dumps(ROWS[name]) + "\n").encode()
    (tmp_path / file).write_bytes(gzip.compress(line) if file.endswith("gz") else line)
    (problem,) = load(f"{name}={tmp_path / file}", language=language)
    assert problem.language == language and problem.row == ROWS[name]
    expected: dict[str, tuple[str, ...]] = {"apps": ("one", "two"), "mbxp": (), "humaneval-infilling": ("yz",)}
    assert name not in expected or problem.solutions == expected[name]
    assert name != "mbpp-plus" or problem.description.strip() == "Add."


def test_a_folder_of_data_is_laid_out_as_the_table_says(tmp_path: Path) -> None:
    (tmp_path / "humanevalpack").mkdir()
    row = json.dumps(ROWS["humaneval-x"]).encode()
    for file, _ in BENCHMARKS["humanevalpack"].files:
        (tmp_path / file).write_bytes(row)
    languages = ["C++", "Java", "JavaScript", "Python", "Go", "Rust"]
    assert [problem.language for problem in load("humanevalpack", str(tmp_path))] == languages
    assert [problem.language for problem in load("humanevalpack", str(tmp_path), "Go")] == ["Go"]


@pytest.mark.parametrize(
    ("spec", "folder", "told"),
    [
        ("apps", "", "codeparrot/apps"),
        ("apps", "/nowhere", "apps/test.jsonl"),
        ("ds1000=/nowhere/ds1000.jsonl", "", "xlang-ai/DS-1000"),
    ],
)
def test_missing_data_is_named_with_where_it_comes_from(spec: str, folder: str, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        load(spec, folder)


def test_an_unknown_benchmark_is_told_its_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'humaneval'"):
        load("humanevl")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "holds no problem"),
        (b"{", "not JSON"),
        (b"[1]", "row 1 .* int"),
        (b'{"question": "q", "answer": "a"}\n{"question": "q"}', "row 2 .*answer"),
        (b"\x1f\x8b damaged", "damaged"),
        (b'{"question": "\xff"}', "damaged"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_malformed_data_is_named(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "test.jsonl").write_bytes(data)
    with pytest.raises(SourceError, match=told):
        load(f"gsm8k={tmp_path / 'test.jsonl'}")


def test_a_digest_follows_content_and_not_place(tmp_path: Path) -> None:
    row = b'{"question": "q", "answer": "a"}'
    for name, data in {"a": row, "b": gzip.compress(row), "c": row.replace(b"q", b"Q")}.items():
        (tmp_path / name).write_bytes(data)
    digests = [digest_of((f"gsm8k={tmp_path / name}",)) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    assert isinstance(load(f"gsm8k={tmp_path / 'b'}")[0], Problem)
