"""`starloom eval`: one command from a model to figures, one from a file, one that compares; errors name what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.harness import small_tasks
from starloom.cli import dispatch
from starloom.errors import ConfigError, SourceError, StarloomError

SUMS, LENGTHS = small_tasks.SUMS.name, small_tasks.LENGTHS.name
ADDER = f"{small_tasks.HERE}:adder"


def ran(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    capsys.readouterr()
    assert dispatch(["eval", *argv]) == code
    return capsys.readouterr().out


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> dict[str, Any]:
    return json.loads(ran(capsys, *argv, "--json", code=code))  # type: ignore[no-any-return]


def test_a_model_is_asked_judged_and_its_results_lie_in_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, store = tmp_path / "out", ("--store", str(tmp_path / "store"))
    run = ("run", ADDER, "--tasks", f"{SUMS},{LENGTHS}", "--samples", "10", *store, "--out", str(out))
    first = said(capsys, *run)
    assert [task["task"] for task in first["evaluation"]["tasks"]] == [SUMS, LENGTHS]
    figures = first["evaluation"]["tasks"][0]["figures"]
    assert [(one["name"], one["part"]) for one in figures] == [
        (name, part) for part in (None, "base", "plus") for name in ("pass@1", "pass@10")
    ]
    assert len((out / "completions.jsonl").read_text().splitlines()) == 240
    assert len((out / "results.jsonl").read_text().splitlines()) == 240
    assert json.loads((out / "results.json").read_text())["model-index"] == first["model-index"]
    assert (out / "results.md").exists() and (out / "results.html").exists()
    assert said(capsys, *run) == first  # nothing is asked again
    again = said(
        capsys, "score", str(out / "completions.jsonl"), "--tasks", SUMS, *store, "--out", str(tmp_path / "again")
    )
    assert again["evaluation"]["tasks"][0]["figures"] == figures
    text = ran(capsys, *run)
    assert "10 samples of a problem where 20 were published" in text and str(out) in text


def test_what_is_missing_outside_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    run = ("run", ADDER, "--tasks", f"{SUMS},gsm8k", "--data", str(tmp_path), "--store", str(tmp_path / "store"))
    with pytest.raises(StarloomError, match=r"lm_eval|gsm8k"):
        dispatch(["eval", *run])
    assert not list(tmp_path.glob("store/sample-*"))


def test_two_results_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(tmp_path / "store"), "--tasks", SUMS)
    for name, seed in (("a", "0"), ("b", "1")):
        said(capsys, "run", ADDER, *store, "--seed", seed, "--out", str(tmp_path / name))
    found = said(capsys, "compare", str(tmp_path / "a"), str(tmp_path / "b"))
    whole = next(row for row in found["tasks"] if row["part"] is None)
    assert whole["problems"] == 12 and whole["test"] == "McNemar, exact" and 0 < whole["p"] <= 1
    assert "A − B" in ran(capsys, "compare", str(tmp_path / "a"), str(tmp_path / "b"))


def test_references_pass_or_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ("--store", str(tmp_path / "store"))
    sound = said(capsys, "canonical", "--tasks", SUMS, "--runs", "2", *store)
    assert sound["sound"] and [(one["run"], one["passed"]) for one in sound["tasks"]] == [(0, 12), (1, 12)]
    text = ran(capsys, "canonical", "--tasks", LENGTHS, *store, code=1)
    assert "Sum/3: wrong_answer" in text


def test_tasks_are_listed_with_what_their_data_lack(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(ran(capsys, "tasks", "--json"))
    humaneval = next(row for row in rows if row["name"] == "humaneval")
    assert humaneval["problems"] == 164 and humaneval["published"]["samples"] == 200
    apps = next(row for row in rows if row["name"] == "apps")
    assert apps["problems"] is None and "the package does not carry apps" in apps["missing"]
    assert "humaneval-x:…" in ran(capsys, "tasks")


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["judge"], "no command 'eval judge'"),
        (["run", ADDER], "no task is named"),
        (["run", ADDER, "--tasks", "humanevl"], "did you mean 'humaneval'"),
        (["run", ADDER, "--tasks", SUMS, "--workers", "0"], "--workers is 0"),
        (["run", ADDER, "--tasks", SUMS, "--limit", "0"], "limit is 0"),
        (["run", ADDER, "--tasks", SUMS, "--samples", "-1"], "samples is -1"),
        (["run", ADDER, "--tasks", SUMS, "--timeout", "0"], "wall_s is 0"),
        (["run", ADDER, "--tasks", SUMS, "--k", "0"], "k is 0"),
        (["run", ADDER, "--tasks", SUMS, "--template", "starcoder2-instruct"], "instruct form"),
        (["score", "nowhere.jsonl", "--tasks", "gsm8k"], "compares likelihoods"),
        (["canonical", "--tasks", SUMS, "--runs", "0"], "--runs is 0"),
        (["compare", "only-one"], "Missing argument 'B'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=why):
        dispatch(["eval", *argv])
    assert not list(tmp_path.glob("starloom-store/*-*"))


def test_a_missing_file_of_completions_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"nowhere\.jsonl cannot be read"):
        dispatch(["eval", "score", "nowhere.jsonl", "--tasks", SUMS])


@pytest.mark.parametrize("verb", ["run", "score", "compare", "tasks", "canonical"])
def test_every_command_explains_itself_with_examples(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    with pytest.raises(SystemExit):
        dispatch(["eval", verb, "--help"])
    assert f"starloom eval {verb} " in capsys.readouterr().out.partition("Examples:")[2]
