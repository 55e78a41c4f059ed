"""Rows reach trackers once each, whatever was killed, and what they hold is what the log says."""

from __future__ import annotations

import json
import sys
import time

import pytest
import small_stages as small

from starloom.errors import ConfigError, MissingExtraError
from starloom.train import trackers
from starloom.train.trackers import TensorBoard, chosen, figures, opened

ROWS = [
    {"step": step, "loss": 3.1 / step, "mfu": None, "heldout_bits_per_byte/Python": 2.0 + step, "samples": []}
    for step in range(1, 6)
]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


class Kept:
    """A tracker that remembers between processes."""

    steps: list[int] = []  # noqa: RUF012  (shared, as a server is)

    def __init__(self, directory, config):
        self.last = max(Kept.steps, default=0)

    def add(self, row):
        Kept.steps.append(row["step"])

    def close(self):
        pass


def test_a_tracker_gets_each_row_once_whatever_was_killed(log, tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "kept", Kept)
    monkeypatch.setattr(Kept, "steps", [])
    first = opened(("kept",), tmp_path, {}, log, print)
    first[0].add({"step": 6})
    first[0].add({"step": 7})  # then the process dies, and the next goes on from a log of six rows
    log.write_text(log.read_text() + json.dumps({"step": 6}) + "\n")
    again = opened(("kept",), tmp_path, {}, log, print)
    assert again[0].last == 7
    assert Kept.steps == [1, 2, 3, 4, 5, 6, 7]


def test_a_step_that_a_tracker_has_is_not_sent_again_when_it_is_done_again(tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "kept", Kept)
    monkeypatch.setattr(
        Kept, "steps", [1, 2, 3]
    )  # an earlier process came as far as that, and its checkpoints were lost
    small.built(tmp_path, small.pretrain(), watch=("kept",))
    assert Kept.steps == list(range(1, 13))


def test_tensorboard_files_hold_every_figure_and_sample(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = TensorBoard(tmp_path)
    sample = {"prompt": "def f():\n    x = 1", "text": "\n    return x"}
    for row in ROWS:
        board.add({**row, "samples": [sample] if row["step"] == 3 else []})
    board.close()
    found = reader.EventAccumulator(str(tmp_path))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"loss", "heldout_bits_per_byte/Python"}
    for name in found.Tags()["scalars"]:
        told = [(event.step, event.value) for event in found.Scalars(name)]
        assert told == [(row["step"], pytest.approx(row[name])) for row in ROWS]
    (event,) = found.Tensors("sample 0/text_summary")
    assert event.step == 3
    assert b"def f():\n        x = 1\xe2\x9f\xa6\n        return x" in event.tensor_proto.string_val[0]


def test_figures_are_the_numbers_of_a_row():
    assert figures(ROWS[0]) == {"loss": 3.1, "heldout_bits_per_byte/Python": 3.0}


def test_names_are_checked_before_anything_is_built(monkeypatch):
    assert chosen("") is None
    assert chosen("none") == ()
    assert chosen("tensorboard, tensorboard") == ("tensorboard",)
    with pytest.raises(ConfigError, match="no 'tensorbord'; did you mean 'tensorboard'"):
        chosen("tensorbord")
    monkeypatch.setitem(trackers.TRACKERS, "nowhere_installed", Kept)
    with pytest.raises(MissingExtraError, match="pip install"):
        chosen("nowhere_installed")


def test_one_that_was_asked_for_and_is_missing_ends_the_run_with_the_command_that_installs_it(
    log, tmp_path, monkeypatch
):
    for name in ("torch.utils.tensorboard.writer", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)
    said: list[str] = []
    assert opened(None, tmp_path, {}, log, said.append) == []  # nobody asked: a line
    assert len(said) == 1 and "pip install" in said[0]
    for name in ("tensorboard", "wandb", "trackio"):
        with pytest.raises(MissingExtraError, match=rf"pip install 'starloom\[{name}\]'"):
            opened((name,), tmp_path, {}, log, said.append)


def test_trackio_holds_each_row_once_after_a_process_that_died(log, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    trackio = pytest.importorskip("trackio", reason="not among the tests' libraries: 100 MB with its server")
    run = tmp_path / "pretrain-trackio"
    for _ in range(2):
        (tracker,) = opened(("trackio",), run, {"threads": 1}, log, print)
        tracker.close()
    assert capsys.readouterr().out == ""
    logs = trackio.SQLiteStorage.get_logs(trackers.PROJECT, run.name)
    assert [(one["step"], one["loss"]) for one in logs] == [(row["step"], row["loss"]) for row in ROWS]


def test_wandb_writes_a_run_offline(log, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="not among the tests' libraries: 100 MB, and a process of its own")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tracker,) = opened(("wandb",), tmp_path / "store" / "pretrain-wandb", {"threads": 1}, log, print)
    tracker.close()
    (file,) = (tmp_path / "store" / "watch" / "wandb").glob("offline-run-*/run-pretrain-wandb.wandb")
    until = time.monotonic() + 30
    while (data := file.read_bytes()).count(b"0.62") == 0 and time.monotonic() < until:
        time.sleep(0.05)  # its own process may still be writing
    # protocol buffers: texts lie there as they are
    for row in ROWS:
        assert json.dumps(row["loss"]).encode() in data
    assert data.count(b"heldout_bits_per_byte/Python") >= len(ROWS)
