"""Samples: the same places and texts every time, from held-out files only, and nothing where nothing is held out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import untrained

from starloom.errors import ConfigError, GenerationError
from starloom.evals import Samples
from starloom.evals.held_out_files import held_out_files, in_order_of_chance
from starloom.evals.samples import LINES_END, Asked, chosen, render, wanted
from starloom.store import Built


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> untrained.Journey:
    return untrained.journey(untrained.source(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module")
def stage(journey: untrained.Journey) -> Samples:
    return Samples(journey.base, journey.clean, completions=3, infillings=2, max_tokens=12)


@pytest.fixture(scope="module")
def sampled(stage: Samples, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return untrained.built([stage], tmp_path_factory.mktemp("store"))[0]


@pytest.fixture(scope="module")
def clean(journey: untrained.Journey, sampled: Built) -> Built:
    return untrained.built([journey.clean], sampled.directory.parent)[0]


def rows(built: Built) -> list[dict[str, Any]]:
    return [json.loads(line) for line in built.read_bytes("completions.jsonl").splitlines()]


def test_as_many_are_asked_for_as_wanted(sampled: Built) -> None:
    assert [row["kind"] for row in rows(sampled)] == ["completion"] * 3 + ["infilling"] * 2
    assert sampled.counts == {"completions": 3, "infillings": 2}
    assert all(row["error"] is None and row["tokens"] > 0 for row in rows(sampled))


def test_another_build_writes_the_same(stage: Samples, sampled: Built, tmp_path: Path) -> None:
    (again,) = untrained.built([stage], tmp_path)
    assert again.manifest["files"] == sampled.manifest["files"]


def test_places_are_those_of_held_out_files_and_tell_what_they_say(sampled: Built, clean: Built) -> None:
    files = {file.id.hex(): file for file in held_out_files(clean, [id_ for id_, _ in in_order_of_chance(clean, 0)])}
    for row in rows(sampled):
        file = files[row["id"]]
        assert (row["repository"], row["path"]) == (file.repository, file.path.decode())
        around = row["prompt"] if row["kind"] == "completion" else row["prefix"]
        assert around + row["truth"] + row.get("suffix", "") in file.text
        line = row["truth"].split("\n")[1]
        assert file.text.split("\n")[row["line"] - 1] == line


def test_each_sample_is_of_another_file_while_there_are_files(clean: Built) -> None:
    files = held_out_files(clean, [id_ for id_, _ in in_order_of_chance(clean, 0)])
    asked = chosen(files, 2, 1, 0)
    assert len({one.file.id for one in asked}) == 3
    assert {one.file.id for one in chosen(files, len(files), 0, 0)} == {file.id for file in files}
    assert len(chosen(files, 100, 0, 0)) > len(files) / 2  # then more of the same file
    assert [one.function.described for one in chosen(files, 2, 0, 0)] == [True, True]


def test_places_depend_on_the_seed(clean: Built) -> None:
    files = held_out_files(clean, [id_ for id_, _ in in_order_of_chance(clean, 0)])
    choices = [[(one.file.id, one.function.line) for one in chosen(files, 3, 3, seed)] for seed in (0, 0, 1)]
    assert choices[0] == choices[1]
    assert choices[0] != choices[2]


def first(clean: Built, infilling: bool) -> Asked:
    files = held_out_files(clean, [id_ for id_, _ in in_order_of_chance(clean, 0)])
    return chosen(files, *((0, 1) if infilling else (1, 0)), 0)[0]


def test_a_completion_is_shown_up_to_the_end_of_the_function(clean: Built) -> None:
    assert wanted(first(clean, False), "\n    return 1\n\n\ndef other():\n    pass\n") == "\n    return 1"
    assert wanted(first(clean, False), "\ndef other():") == "\ndef other():"  # nothing inside: what it wrote instead


def test_an_infilling_is_shown_up_to_the_lines_of_the_gap(stage: Samples, clean: Built) -> None:
    one = first(clean, True)
    breaks = one.truth.count("\n")
    assert wanted(one, "\na\nb\nc\nd") == "\na\nb\nc\nd"[: 2 * breaks]

    class Answer:
        text, tokens, finish_reason, stopped_by = "\na\nb\nc\nd", (1, 2), "length", None

    row = stage.row(one, Answer())  # type: ignore[arg-type]
    assert (row["stopped_by"], row["generated"]) == (LINES_END, "\na\nb\nc\nd")


def test_a_sample_that_failed_tells_why_and_the_others_stay(stage: Samples, clean: Built) -> None:
    row = stage.row(first(clean, False), GenerationError("no room"))
    assert (row["error"], row["text"]) == ("no room", "")


def test_a_terminal_shows_what_the_model_wrote_behind_a_bar(sampled: Built) -> None:
    shown = render(sampled)
    assert "\x1b" not in shown
    assert shown.count("completion  folder:project:") == 3
    for row in rows(sampled):
        given = row["prompt"] if row["kind"] == "completion" else row["prefix"]
        for line in given.split("\n")[:-1]:
            assert f"  │ {line}".rstrip() in shown
    assert "  ▌ " in shown
    assert "\x1b[" in render(sampled, color=True)


def test_a_terminal_cannot_be_steered_by_a_sample(tmp_path: Path, sampled: Built) -> None:
    hostile = {**rows(sampled)[0], "text": "\n\x1b[2J\u202e", "path": "\x1b]0;x\x07"}
    (tmp_path / "completions.jsonl").write_text(json.dumps(hostile) + "\n")
    data = (tmp_path / "completions.jsonl").read_bytes()
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    shown = render(Built(tmp_path, {"files": {"completions.jsonl": entry}}))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "^[[2J" in shown


def test_nothing_held_out_gives_no_samples_and_says_so(tmp_path: Path) -> None:
    journey = untrained.journey(untrained.source(tmp_path, packages=1), heldout=0)
    stage = Samples(journey.base, journey.clean)
    (built,) = untrained.built([stage], tmp_path / "store")
    assert rows(built) == []
    assert stage.closing(built).startswith("Nothing was held out")


def test_impossible_settings_are_refused(journey: untrained.Journey) -> None:
    with pytest.raises(ConfigError, match=r"samples\.max_tokens is 0"):
        Samples(journey.base, journey.clean, max_tokens=0)
