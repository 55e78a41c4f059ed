"""Sampling and scoring: every row is kept, a killed build goes on and ends in the same bytes, errors are rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.harness import small_tasks
from starloom.errors import ConfigError, GenerationError, SourceError
from starloom.evals.harness import Given, Results, Sample, Score
from starloom.evals.harness.asks import Sampling
from starloom.evals.harness.kept import MERGE, Kept
from starloom.evals.harness.score import Limit
from starloom.stage import Identities, Runtime, Stage, Work, build
from starloom.store import Built, Store

SUMS, TWICE = small_tasks.SUMS.name, small_tasks.TWICE.name
ADDER = f"{small_tasks.HERE}:adder"


def built(stage: Stage, where: Path, **runtime: Any) -> Built:
    return build(stage, Store(where), Runtime(**runtime))


def lines(one: Built, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in one.read_bytes(name).splitlines()]


def sums(task: str = SUMS, model: str = ADDER, samples: int = 3, **settings: Any) -> Sample:
    return Sample(task, model, sampling=Sampling(samples, **settings))


def test_every_sample_is_a_row_with_its_seed_settings_and_prompt(tmp_path: Path) -> None:
    rows = lines(built(sums(), tmp_path), "completions.jsonl")
    assert [(row["id"], row["sample"]) for row in rows] == [(f"Sum/{n}", k) for n in range(12) for k in range(3)]
    assert len({row["seed"] for row in rows}) == 12
    assert all(row["prompt"].endswith(" = ") and len(row["digest"]) == 32 for row in rows)
    assert all(row["settings"]["temperature"] == 0.2 and row["finish_reason"] == "stop" for row in rows)


def test_what_differs_from_the_published_settings_is_said(tmp_path: Path) -> None:
    one = built(sums(temperature=0.8), tmp_path)
    asked = json.loads(one.read_bytes("asked.json"))
    assert asked["published"] == {
        "samples": 20, "temperature": 0.2, "top_p": 1.0, "max_tokens": 16, "source": "this suite",
    }  # fmt: skip
    assert asked["differs"] == [
        "temperature 0.8 where 0.2 was published", "3 samples of a problem where 20 were published",
    ]  # fmt: skip
    as_published = json.loads(built(sums(samples=0), tmp_path).read_bytes("asked.json"))
    assert as_published["differs"] == [] and as_published["settings"]["samples"] == 20


def test_programs_run_with_the_interpreter_that_is_named(tmp_path: Path) -> None:
    task = small_tasks.INTERPRETER.name
    for named, used in ((sys.executable, sys.executable), ("", "None")):
        rows = lines(built(Score(sums(task, samples=1), task, python=named), tmp_path), "results.jsonl")
        assert {row["detail"] for row in rows} == {used}


def test_a_failed_request_is_a_row_and_no_verdict(tmp_path: Path) -> None:
    sample = sums(model=f"{small_tasks.HERE}:failing_adder")
    asked = built(sample, tmp_path)
    assert asked.counts["failed"] == 3
    rows = lines(built(Score(sample, SUMS), tmp_path), "results.jsonl")
    assert [row["status"] for row in rows if row["id"] == "Sum/3"] == ["not_answered"] * 3
    results = json.loads(
        built(Results("adder", (Score(sample, SUMS),), (sample,)), tmp_path).read_bytes("results.json")
    )
    task = results["evaluation"]["tasks"][0]
    assert task["problems"]["judged"] == 11 and task["problems"]["missing"] == 1
    assert task["answers"]["not_answered"] == 3 and task["problems"]["first_missing"] == ["Sum/3"]


def test_a_model_that_cannot_fill_gaps_is_skipped_by_name(tmp_path: Path) -> None:
    sample = sums(small_tasks.GAPS.name)
    results = Results("adder", (Score(sample, small_tasks.GAPS.name),), (sample,))
    one = built(results, tmp_path)
    assert "cannot fill gaps" in one.read_bytes("results.md").decode()
    assert json.loads(one.read_bytes("results.json"))["model-index"] == [{"name": "adder", "results": []}]


def test_a_second_ask_is_made_of_the_first_answer(tmp_path: Path) -> None:
    rows = lines(built(sums(TWICE), tmp_path), "completions.jsonl")
    assert len(rows) == 36
    assert all(row["prompt"].endswith(f"{row['first']}, sure? ") for row in rows)


def test_a_changed_limit_or_tier_is_a_new_fingerprint_and_workers_are_not(tmp_path: Path) -> None:
    def fingerprint(stage: Stage) -> str:
        return Identities().of(stage).fingerprint

    score = Score(sums(), SUMS)
    others = [replace(score, limit=Limit(wall_s=3)), replace(score, tier="landlock"), Score(sums(samples=4), SUMS)]
    assert len({fingerprint(one) for one in (score, *others)}) == 4
    assert built(score, tmp_path, workers=3).fingerprint == fingerprint(score)
    assert fingerprint(sums()) != fingerprint(sums(model=f"{small_tasks.HERE}:failing_adder"))


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limit"):
        Sample(SUMS, ADDER, limit=0)
    with pytest.raises(ConfigError, match="wall_s is -1"):
        Score(sums(), SUMS, limit=Limit(wall_s=-1))
    with pytest.raises(SourceError, match="no model folder at nowhere"):
        built(sums(model="nowhere"), tmp_path)


CHILD = """
import sys
from pathlib import Path
from evals.harness import small_tasks, test_sample_and_score as tests
where = Path(sys.argv[1])
sample = tests.sums(small_tasks.SLOW.name, f"{small_tasks.HERE}:slow_adder", 4)
tests.built(tests.Score(sample, small_tasks.SLOW.name), where, save_every_s=0.05)
"""


def start(where: Path, wait: str = "0") -> subprocess.Popen[bytes]:
    places = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": places, "ADDER_WAIT": wait}
    environment["ADDER_ASKED"] = str(where.parent / f"{where.name}.asked")
    return subprocess.Popen([sys.executable, "-c", CHILD, str(where)], env=environment)


def units(where: Path, name: str) -> int:
    return len(list(where.glob(f"*/.units/{name}-*.json")))


def killed_after(where: Path, name: str, least: int) -> None:
    """Start, wait for so many units beyond those that are there, kill -9."""
    child = start(where, "0.04")
    wanted = units(where, name) + least
    while child.poll() is None and units(where, name) < wanted:
        time.sleep(0.01)
    assert child.poll() is None, f"it ended before it had {wanted} units of {name}"
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.mark.slow
def test_killed_builds_go_on_and_end_in_the_same_bytes(tmp_path: Path) -> None:
    where, whole = tmp_path / "killed", tmp_path / "whole"
    killed_after(where, "answers", 2)
    killed_after(where, "answers", 2)
    kept = [json.loads(line)[1] for one in where.glob("*/answers/*.jsonl") for line in one.read_text().splitlines()]
    asked_before = len((tmp_path / "killed.asked").read_text().splitlines())
    killed_after(where, "verdicts", 2)
    killed_after(where, "verdicts", 2)
    known = sum(len(one.read_text().splitlines()) for one in where.glob("*/verdicts/*.jsonl"))
    before = len((tmp_path / "killed.asked.judged").read_text().splitlines())
    assert start(where).wait() == 0
    after = len((tmp_path / "killed.asked.judged").read_text().splitlines())
    assert known >= 4 and after - before == 48 - known
    assert start(whole).wait() == 0
    for name in ("completions.jsonl", "asked.json", "results.jsonl", "scored.json"):
        pair = [next(one.glob(f"*/{name}")).read_bytes() for one in (where, whole)]
        assert pair[0] == pair[1], name
    asked = (tmp_path / "killed.asked").read_text().splitlines()
    assert len(set(asked)) == 48
    assert len(kept) >= 4 and not {f"{row['id']} {row['sample']}" for row in kept} & set(asked[asked_before:])
    assert not list(where.glob("*/answers")) and not list(where.glob("*/verdicts"))


def test_many_units_become_few_and_hold_the_same_rows(tmp_path: Path) -> None:
    work = Work(tmp_path, Runtime(save_every_s=0), {}, {})
    with Kept(work, "answers") as kept:
        for number in range(2 * MERGE + 5):
            kept.add(number, {"text": str(number)})
    assert len(work.units()) == 2 + 5
    again = Kept(Work(tmp_path, Runtime(), {}, {}), "answers")
    assert dict(again) == {number: {"text": str(number)} for number in range(2 * MERGE + 5)}


def test_a_server_that_is_gone_ends_the_build_and_what_was_answered_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starloom.evals.harness import sample

    monkeypatch.setattr(sample, "GIVES_UP", 3)
    monkeypatch.setattr(sample, "is_gone", lambda generator, error: True)
    with pytest.raises(GenerationError, match="3 requests failed one after another"):
        built(sums(model=f"{small_tasks.HERE}:failing_adder"), tmp_path)
    unit = next(tmp_path.glob("sample-*/answers/*.jsonl"))
    assert len(unit.read_text().splitlines()) == 9


def test_a_file_of_ours_is_scored_like_the_stage_that_wrote_it(tmp_path: Path) -> None:
    sample = sums()
    asked, judged = built(sample, tmp_path), built(Score(sample, SUMS), tmp_path)
    given = Given((SUMS,), str(asked.path("completions.jsonl")))
    again = lines(built(Score(given, SUMS), tmp_path), "results.jsonl")
    assert again == lines(judged, "results.jsonl")
