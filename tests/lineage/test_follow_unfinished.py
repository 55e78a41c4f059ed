"""Steps of a run that is not finished, as an error names them, and of one that went back, lead to the files they saw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from journey import small
from starloom.cli import dispatch
from starloom.errors import StoreError
from starloom.lineage.batch import run_at, sequences_of, steps_that_saw
from starloom.lineage.journal import Journal
from starloom.store import Built, Store
from starloom.train.log import gone_past, rows

STEPS = 12


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    folder = tmp_path_factory.mktemp("unfinished")
    return small.built(small.journey(small.source(folder), steps=STEPS), folder / "store")


def unfinished(model: Built, name: str) -> Path:
    """The run as it lies there before it is complete."""
    directory = model.directory.with_name(f"pretrain-{name}")
    shutil.copytree(model.directory, directory)
    (directory / "manifest.json").unlink()
    return directory


def test_a_step_of_an_unfinished_run_leads_to_the_same_files(built: dict[str, Built]) -> None:
    directory = unfinished(built["pretrain"], "0" * 16)
    journal = Journal.open(Store(directory.parent))
    assert sequences_of(journal, run_at(directory), 5) == sequences_of(journal, built["pretrain"], 5)


def test_the_command_that_an_error_names_works(built: dict[str, Built], capsys: pytest.CaptureFixture[str]) -> None:
    directory = unfinished(built["pretrain"], "1" * 16)
    assert dispatch(["follow", "--run", str(directory), "--step", "5"]) == 0
    assert "sequence 0" in capsys.readouterr().out


def test_an_unfinished_directory_of_another_step_is_none(built: dict[str, Built]) -> None:
    with pytest.raises(StoreError, match="was never finished"):
        run_at(unfinished(built["pack"], "2" * 16))


def test_steps_after_a_rollback_lead_to_the_batches_behind_those_that_were_gone_past(built: dict[str, Built]) -> None:
    """Steps 1 to 4 as they were; from step 5 on, three batches further."""
    straight = built["pretrain"]
    directory = unfinished(straight, "3" * 16)
    found = list(rows(directory / "log.jsonl"))
    found[4] |= {"batch": 7, "went_back": {"from": 7, "to": 4, "rollbacks": 1}}
    text = "".join(json.dumps(row) + "\n" for row in found)
    (directory / "log.jsonl").write_text(text)
    assert gone_past(text.encode()) == [(5, 3)]
    run, journal = run_at(directory), Journal.open(Store(directory.parent))
    for step, same in ((1, 1), (4, 4), (5, 8), (9, 12)):
        assert sequences_of(journal, run, step) == sequences_of(journal, straight, same)
    for start in range(0, 2000, 97):
        before = steps_that_saw(built["pack"], straight, start, start + 1)
        after = steps_that_saw(built["pack"], run, start, start + 1)
        assert [step for step in after if step <= 9] == [
            step if step < 5 else step - 3 for step in before if not 5 <= step <= 7
        ]
