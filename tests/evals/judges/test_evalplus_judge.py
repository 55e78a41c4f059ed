"""EvalPlus' rules outside the program, and published outputs judged as published."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from starloom.evals.bench import Bench
from starloom.evals.judges import evalplus
from starloom.evals.judges.evalplus_inputs import arguments
from starloom.evals.judges.evalplus_rules import Rules
from starloom.problems import load
from starloom.sandbox.answers import Numpy, Tagged
from starloom.sandbox.calls import Reply


def agrees(answer: Any, expected: Any, *, name: str = "f", atol: float = 0, given: Any = (), after: Any = ()) -> bool:
    dataset = "mbpp" if name != "find_zero" else "humaneval"
    return Rules(dataset, name, atol).agrees(list(given), Reply("value", answer, args=after), expected)


def scalar(value: Any) -> Numpy:
    array = np.asarray(value)
    return Numpy(array.dtype.str, None, array.tobytes())


def array_of(value: Any) -> Numpy:
    array = np.asarray(value)
    return Numpy(array.dtype.str, array.shape, array.tobytes())


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        (1, True, True),
        (1.0, 1, True),
        ((1, 2), [1, 2], False),
        (0.1 + 0.2, 0.3, True),  # a float is expected: close is enough
        (0.30001, 0.3, False),
        ([0.1 + 0.2, 1.0], [0.3, 1.0], True),
        ([0.1 + 0.2, 1], [0.3, 1], False),  # not all floats: exact
        ((0.1 + 0.2,), [0.3], False),
        (Tagged("Half", 0.5), 0.5, True),
        (Tagged("Half", 0.5 + 1e-9), 0.5, False),  # not exactly a float: its kind differs
        (scalar(np.int64(3)), 3, True),
        (scalar(np.float64(0.1 + 0.2)), 0.3, False),
        (array_of([1, 2]), [1, 2], False),  # the truth of an array is ambiguous
        (array_of([1]), 1, True),
        (math.nan, math.nan, False),
        ([float("nan")], [math.nan], False),
        ([[]], [1.0], False),  # numpy finds the two close
        ([], [1.0], False),
        (Tagged("Always"), 1, False),
        ("3", 3, False),
        (None, 0, False),
        (True, 1.0, True),
        (10**400, 1.0, False),
    ],
)
def test_an_answer_is_right_where_evalplus_says_so(answer: Any, expected: Any, right: bool) -> None:
    assert agrees(answer, expected) is right


def test_an_array_is_not_stretched_over_what_is_expected() -> None:
    vast = Numpy("|i1", (1 << 25, 1), bytes(1 << 25))  # beside 4,000 numbers: 134 GB
    for answer, expected in ((vast, [*range(4000)]), ([vast], [[*range(4000)]])):
        assert not Rules("humaneval", "f", 0).agrees([], Reply("value", answer), expected)
    pair = Numpy("<i8", (2,), (4).to_bytes(8, "little") + (5).to_bytes(8, "little"))
    assert Rules("mbpp", "similar_elements", 0).agrees([], Reply("value", pair), (5, 4))


def test_the_tolerance_stays_once_a_float_was_expected() -> None:
    rules = Rules("humaneval", "f", 0)
    assert not rules.agrees([], Reply("value", [1.0000000001, "a"]), [1.0, "a"])
    assert not rules.agrees([], Reply("value", Decimal("sNaN"), plain=True), 1)  # which raises when compared
    assert not Rules("humaneval", "f", 0).agrees([], Reply("value", 10**9 + 1), 10**9)
    assert rules.agrees([], Reply("value", 1.0), 1.0)
    assert rules.agrees([], Reply("value", 10**9 + 1), 10**9)  # a hundred-millionth is close


@pytest.mark.parametrize(
    ("name", "given", "answer", "expected", "right"),
    [
        ("are_equivalent", (1, 2), "anything", True, True),
        ("sum_div", (7,), 0, 1, True),
        ("sum_div", (7,), 2, 1, False),
        ("surface_Area", (3, 4), 35, 33, True),
        ("surface_Area", (3, 4), 33, 33, True),
        ("surface_Area", (3, 4), 34, 33, False),
        ("digit_distance_nums", (1, 256), 12, 1, True),
        ("similar_elements", ((), ()), Tagged("map", [1, 2, 2]), (2, 1), True),
        ("similar_elements", ((), ()), range(1 << 60), (2, 1), False),
        ("check_str", ("a",), Tagged("Match"), True, True),
        ("check_str", ("a",), None, True, False),
        ("check_str", ("a",), False, False, True),
        ("find_zero", ([1, 2],), -0.5, 7, True),
        ("find_zero", ([1, 2],), 0.5, 0.5, False),
        ("find_zero", ([1, 2],), math.nan, 0.5, False),
    ],
)
def test_problems_of_their_own_kind_have_rules_of_their_own(
    name: str, given: Any, answer: Any, expected: Any, right: bool
) -> None:
    assert agrees(answer, expected, name=name, given=given, after=list(given), atol=1e-4) is right


def test_emptied_coefficients_have_no_zero() -> None:
    assert not agrees(1, 0, name="find_zero", given=([1, 2],), after=[[]], atol=1e-4)
    assert not agrees(1, 0, name="find_zero", given=([1, 2],), after=None, atol=1e-4)


@pytest.mark.parametrize(
    ("number", "given", "made"),
    [
        (2, [[1, 2], [3]], [(1, 2), (3,)]),
        (63, [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        (75, [[[1], [2]], 3], [[(1,), (2,)], 3]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1], []]], [[{1}, {}]]),
        (124, [0, "1j"], [0.0, 1j]),
        (250, [[1], 2], [(1,), 2]),
        (259, [[[1], [2]]], [((1,), (2,))]),
        (278, [[1, [2]]], [(1, (2,))]),
        (307, [[1], 2, 3], [(1,), 2, 3]),
        (722, [{"a": [1]}, 2], [{"a": (1,)}, 2]),
        (252, ["1j"], [1j]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
        (3, [[1]], [[1]]),
    ],
)
def test_inputs_are_what_the_functions_take(number: int, given: Any, made: Any) -> None:
    assert repr(arguments(f"Mbpp/{number}", given)) == repr(made)


PROBLEMS = ("HumanEval/23", "HumanEval/53", "Mbpp/2", "Mbpp/124")


def test_an_iterator_is_no_list() -> None:
    """Its items count where sets are compared, and nowhere else."""
    problems = {one.id: one for spec in ("humaneval-plus", "mbpp-plus") for one in load(spec)}
    unique, similar = problems["HumanEval/34"], problems["Mbpp/2"]
    with Bench(workers=2) as bench:
        pairs = [
            (unique, "def unique(l): return iter(sorted(set(l)))"),
            (similar, "def similar_elements(a, b): return iter(set(a) & set(b))"),
        ]
        assert [verdict.passed for verdict in evalplus.judge(bench, pairs)] == [False, True]


def test_references_pass_and_wrong_answers_are_named() -> None:
    problems = [one for spec in ("humaneval-plus", "mbpp-plus") for one in load(spec) if one.id in PROBLEMS]
    with Bench(workers=2, limits={"cpu_s": 1.0}) as bench:
        right = list(evalplus.judge(bench, [(one, one.programs()[0]) for one in problems]))
        assert [dict(verdict.parts) for verdict in right] == [{"base": True, "plus": True}] * len(problems)
        add = next(one for one in problems if one.id == "HumanEval/53")
        programs = (
            "def add(x, y):\n    return x + y if x < 50 else 0",
            "def add(x, y: return",
            "def sub(): pass",
            "while 1: pass",
        )
        verdicts = list(evalplus.judge(bench, [(add, program) for program in programs]))
    assert [verdict.status for verdict in verdicts[:3]] == ["wrong_answer", "does_not_compile", "raised"]
    assert "add(" in verdicts[0].detail and " gave 0, not " in verdicts[0].detail
    assert "defines no add" in verdicts[2].detail and verdicts[3].status == "timed_out"


@pytest.mark.slow
def test_published_outputs_are_judged_as_published(data: str) -> None:
    """StarCoder2-15B-Instruct, of April 2024: all verdicts but that on HumanEval/21's extra inputs (docs/evaluation.md)."""
    folder = Path(data) / "selfalign"
    stem = "evalplus-starcoder2-15b-instruct-v0.1-humaneval"
    published = json.loads((folder / f"{stem}_eval_results.json").read_text())["eval"]
    rows = [json.loads(line) for line in (folder / f"{stem}.jsonl").read_text().splitlines()]
    problems = {one.id: one for one in load("humaneval-plus-v0.1.9", data)}
    with Bench(workers=2) as bench:
        pairs = [(problems[row["task_id"]], problems[row["task_id"]].prompt + row["completion"]) for row in rows]
        verdicts = list(evalplus.judge(bench, pairs))
    different = set()
    for row, verdict in zip(rows, verdicts, strict=True):
        said = published[row["task_id"]][0]
        if dict(verdict.parts) != {part: said[f"{part}_status"] == "pass" for part in ("base", "plus")}:
            different.add(row["task_id"])
    assert different <= {"HumanEval/21", "HumanEval/147"}
    assert sum(verdict.parts["base"] for verdict in verdicts) == 119  # 72.6 %
