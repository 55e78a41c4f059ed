"""A run that is killed and started again ends at the weights, bit for bit, of one that never was."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import small_stages as small
import torch
import transformers
from small_job import Heard

from starloom import store
from starloom.errors import DamagedError, DiskFullError, TrainingError
from starloom.models.causal_lm import load_model
from starloom.stage import Runtime, Work
from starloom.tokens.dataset import Dataset, check_tokens
from starloom.train import Keep, Steps, checkpoint, parted_file, snapshot
from starloom.train.log import TIMES

HERE = Path(__file__).parent


class Cut(BaseException):
    """Stands for the death of the process."""


def facts_of(model):
    """The weights' digest, and the log without its times."""
    rows = [json.loads(line) for line in model.read_bytes("log.jsonl").splitlines()]
    return model.manifest["files"]["model.safetensors"]["sha256"], [
        {key: value for key, value in row.items() if key not in TIMES} for row in rows
    ]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A store that holds everything up to the packed tokens, to be copied."""
    folder = tmp_path_factory.mktemp("packed")
    small.built(folder, small.pretrain().packed)
    return folder


@pytest.fixture(scope="module")
def straight(packed, tmp_path_factory):
    """The run that nothing happened to."""
    return facts_of(small.built(copied(packed, tmp_path_factory.mktemp("straight")), small.pretrain()))


def copied(packed, folder):
    shutil.copytree(packed, folder, dirs_exist_ok=True)
    return folder


def cut_after(monkeypatch, steps):
    """Let a run die when its batch for step `steps` is drawn, and the next one live."""
    from starloom.tokens.dataset import Dataset

    def batch(self, *, step, **others):
        if step == steps:
            monkeypatch.setattr(Dataset, "batch", plain)
            raise Cut
        return plain(self, step=step, **others)

    plain = Dataset.batch
    monkeypatch.setattr(Dataset, "batch", batch)


def run_directory(folder):
    (directory,) = folder.glob("pretrain-*")
    return directory


def test_sigkill_at_any_moment_changes_neither_weights_nor_log(packed, tmp_path):
    killed, never = copied(packed, tmp_path / "killed"), copied(packed, tmp_path / "never")
    code = "import sys, small_stages as s; s.built(s.Path(sys.argv[1]), s.pretrain(budget=s.Steps(60)))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    process = subprocess.Popen([sys.executable, "-c", code, str(killed)], env=environment)
    while process.poll() is None and len(list(killed.glob("pretrain-*/resume/resume-*"))) < 2:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    heard = Heard()
    resumed = small.built(killed, small.pretrain(budget=Steps(60)), heard)
    assert any(line.startswith("going on from step") for line in heard.lines)
    assert facts_of(resumed) == facts_of(small.built(never, small.pretrain(budget=Steps(60))))
    assert resumed.verify() == []


@pytest.mark.parametrize("steps", [0, 1, 7, 11])
def test_a_run_that_dies_between_steps_goes_on(packed, straight, tmp_path, monkeypatch, steps):
    cut_after(monkeypatch, steps)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain())
    model = small.built(tmp_path, small.pretrain())
    assert facts_of(model) == straight and model.verify() == []


def test_a_run_that_dies_at_any_write_sync_or_rename_goes_on(packed, straight, tmp_path, monkeypatch):
    """Every place in a few steps, their saves and the end where the disk is touched."""

    def counting(real):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                raise Cut
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(store, "fsync", counting(store.fsync))
    monkeypatch.setattr(Path, "replace", counting(Path.replace))
    cut, place = 0, 1
    while True:
        folder = tmp_path / str(place)
        left = 10**9
        copied(packed, folder)
        left = place
        try:
            small.built(folder, small.pretrain())
            break
        except Cut:
            cut += 1
        left = 10**9
        assert facts_of(small.built(folder, small.pretrain())) == straight
        shutil.rmtree(folder)
        place += 1 + place // 3  # ever larger strides: every place at first, then a few of each kind
    assert cut > 12


@pytest.mark.parametrize("name", ["weights-00000.safetensors", "optimizer-00000.safetensors", "log.jsonl", "record"])
def test_one_flipped_bit_in_the_newest_checkpoint_makes_the_one_before_count(
    packed, straight, tmp_path, monkeypatch, name
):
    cut_after(monkeypatch, 7)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain())
    directory = run_directory(tmp_path)
    newest = max(path.name for path in (directory / "resume").iterdir())
    path = directory / ".units" / f"{newest}.json" if name == "record" else directory / "resume" / newest / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    heard = Heard()
    model = small.built(tmp_path, small.pretrain(), heard)
    assert newest == "resume-00000007"
    assert "the resume point after step 7 is damaged: going on from step 6" in heard.lines
    assert facts_of(model) == straight and model.verify() == []


def test_without_a_whole_checkpoint_training_begins_again_and_says_so(packed, straight, tmp_path, monkeypatch):
    cut_after(monkeypatch, 5)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain())
    for path in run_directory(tmp_path).glob("resume/*/weights-*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    heard = Heard()
    model = small.built(tmp_path, small.pretrain(), heard)
    assert "no resume point is whole: training begins again at step 0" in heard.lines
    assert facts_of(model) == straight and model.verify() == []


@dataclass(frozen=True)
class Without(checkpoint.Saved):
    """A resume point that lacks the tensors whose names begin so."""

    key: str

    def load(self, weights, optimizer):
        super().load(weights, optimizer)
        for name, tensor in {**{f"model.{name}": one for name, one in weights.items()}, **optimizer}.items():
            if name.startswith(self.key):
                tensor.detach().zero_()


def dropped(saved, item):
    """A resume point without one of its items."""
    group, _, key = item.partition(":")
    if group == "state":
        return replace(saved, state=replace(saved.state, **{key: 0 if key != "step" else saved.state.step - 1}))
    if group == "log":
        return replace(saved, log=b"")
    return Without(saved.state, saved.log, saved.folder, key)


STATE = [
    "tensors:model.",
    "tensors:muon.momentum",
    "tensors:adamw.exp_avg.",
    "tensors:adamw.exp_avg_sq",
    "tensors:adamw.step",
    "state:step",
    "state:tokens",
    "log:",
]


@pytest.mark.parametrize("item", STATE)
def test_every_item_of_a_resume_point_is_needed(packed, straight, tmp_path, monkeypatch, item):
    cut_after(monkeypatch, 6)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain())
    whole = checkpoint.Checkpoints.newest
    monkeypatch.setattr(checkpoint.Checkpoints, "newest", lambda self: dropped(whole(self), item))
    assert facts_of(small.built(tmp_path, small.pretrain())) != straight


def test_saving_more_or_less_often_changes_nothing(packed, straight, tmp_path):
    assert facts_of(small.built(copied(packed, tmp_path), small.pretrain(), save_every_s=1e9)) == straight


def test_two_checkpoints_are_kept_and_none_when_the_run_is_complete(packed, tmp_path, monkeypatch):
    cut_after(monkeypatch, 9)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain())
    directory = run_directory(tmp_path)
    assert sorted(path.name for path in (directory / "resume").iterdir()) == ["resume-00000008", "resume-00000009"]
    small.built(tmp_path, small.pretrain())
    assert not (directory / "resume").exists() and not list((directory / ".units").glob("resume-*"))


def test_a_full_disk_while_saving_leaves_the_checkpoint_before(packed, straight, tmp_path, monkeypatch):
    def full(path, tensors):
        if "resume-00000005" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(path, tensors)

    plain = parted_file.write
    monkeypatch.setattr(parted_file, "write", full)
    with pytest.raises(DiskFullError, match="what was finished stays"):
        small.built(copied(packed, tmp_path), small.pretrain())
    monkeypatch.setattr(parted_file, "write", plain)
    heard = Heard()
    assert facts_of(small.built(tmp_path, small.pretrain(), heard)) == straight
    assert "going on from step 4 of 12" in heard.lines


def test_a_run_keeps_the_threads_and_the_precision_that_it_began_with(packed, tmp_path, monkeypatch):
    cut_after(monkeypatch, 6)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain(), threads=2)
    heard = Heard()
    model = small.built(tmp_path, small.pretrain(), heard, threads=1)
    assert model.manifest["resolved"]["threads"] == 2
    assert any("began with threads 2 and keeps it, not 1" in line for line in heard.lines)


def flipped(path, chance):
    """Turn one bit of a file over; returns what turns it back."""
    whole = path.read_bytes()
    data = bytearray(whole)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return lambda: path.write_bytes(whole)


@pytest.mark.parametrize("flips", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_flipped_bit_of_a_checkpoint_is_seen(packed, tmp_path, monkeypatch, flips):
    cut_after(monkeypatch, 7)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain(keep=Keep(every=4)))
    directory = run_directory(tmp_path)
    records = {path: path.read_bytes() for path in (directory / ".units").iterdir()}
    files = list(directory.glob("resume/resume-00000007/*"))
    files.append(directory / ".units" / "resume-00000007.json")
    chance = random.Random(flips)
    for _ in range(flips):
        restore = flipped(chance.choices(files, [path.stat().st_size for path in files])[0], chance)
        heard = Heard()
        found = checkpoint.Checkpoints(Work(directory, Runtime(progress=heard), {}, {})).newest()
        assert found is not None and found.state.step == 6
        assert "the resume point after step 7 is damaged: going on from step 6" in heard.lines
        restore()
        for path, record in records.items():  # those of damaged units were removed
            path.write_bytes(record)


@pytest.mark.parametrize("flips", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_flipped_bit_of_the_tokens_is_seen_before_a_checkpoint_counts(packed, tmp_path, flips):
    stage = small.pretrain()
    built = small.built(copied(packed, tmp_path), stage.packed)
    chance = random.Random(flips)
    for number in range(flips):
        restore = flipped(built.directory / f"tokens-{chance.choice(['train', 'heldout'])}.bin", chance)
        if number < 2:  # the whole run
            with pytest.raises(DamagedError, match=r"tokens-.*\.bin"):
                small.built(tmp_path, stage)
            assert not list(run_directory(tmp_path).glob("resume/*"))
        with pytest.raises(DamagedError, match="differs from its SHA-256"):
            check_tokens([built], lambda: False)
        restore()
    check_tokens([built], lambda: False)


def test_kept_checkpoints_are_model_folders_and_survive_any_stop(packed, tmp_path, monkeypatch):
    straight = small.built(copied(packed, tmp_path / "straight"), small.pretrain(keep=Keep(every=4)))
    cut_after(monkeypatch, 9)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path / "cut"), small.pretrain(keep=Keep(every=4)), save_every_s=1e9)
    resumed = small.built(tmp_path / "cut", small.pretrain(keep=Keep(every=4)), save_every_s=1e9)
    assert [step for step, _ in checkpoint.kept(resumed)] == [4, 8] and resumed.verify() == []
    assert (
        resumed.manifest["files"]["checkpoints/step-00000008/model.safetensors"]
        == (straight.manifest["files"]["checkpoints/step-00000008/model.safetensors"])
    )
    for _, folder in checkpoint.kept(resumed):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        mine = load_model(folder).state_dict()
        assert all(torch.equal(mine[name], one) for name, one in model.state_dict().items() if name in mine)
        assert len(transformers.AutoTokenizer.from_pretrained(folder)) == 320


def test_a_damaged_kept_checkpoint_is_left_out_and_said(packed, tmp_path, monkeypatch):
    cut_after(monkeypatch, 9)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain(keep=Keep(every=4)))
    flipped(run_directory(tmp_path) / "checkpoints/step-00000004/model.safetensors", random.Random(0))
    heard = Heard()
    model = small.built(tmp_path, small.pretrain(keep=Keep(every=4)), heard)
    assert [step for step, _ in checkpoint.kept(model)] == [8] and model.verify() == []
    assert any("kept checkpoint of step 4 was damaged" in line for line in heard.lines)


def test_training_goes_on_while_a_checkpoint_is_written(packed, straight, tmp_path, monkeypatch):
    """Saves that take long hold no step up, and what is saved is what the weights were."""
    began = threading.Event()
    drawn = []

    def slow(path, tensors):
        began.set()
        while len(drawn) < 9:  # until further steps were begun
            time.sleep(0.001)
        plain(path, tensors)

    def batch(self, *, step, **others):
        drawn.append(step)
        return plain_batch(self, step=step, **others)

    plain, plain_batch = parted_file.write, Dataset.batch
    monkeypatch.setattr(parted_file, "write", slow)
    monkeypatch.setattr(Dataset, "batch", batch)
    assert facts_of(small.built(copied(packed, tmp_path), small.pretrain(), save_every_s=1e-9)) == straight
    assert began.is_set()


def test_weights_that_are_not_finite_are_never_saved(packed, tmp_path, monkeypatch):
    def broken(tensor):
        copy = plain(tensor)
        return copy * float("nan") if copy.ndim == 2 else copy

    plain = snapshot._copy
    monkeypatch.setattr(snapshot, "_copy", broken)
    with pytest.raises(TrainingError, match="is not finite after step 1; nothing is saved"):
        small.built(copied(packed, tmp_path), small.pretrain())
    assert not list(run_directory(tmp_path).glob("resume/*"))


@pytest.mark.slow
def test_fifty_kills_at_random_moments_leave_the_weights_of_a_run_that_was_never_killed(packed, tmp_path):
    killed, never = copied(packed, tmp_path / "killed"), copied(packed, tmp_path / "never")
    done = subprocess.run(
        [sys.executable, str(HERE / "kills.py"), str(killed), "50", "0", "300"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}, capture_output=True, text=True, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    kills, in_a_save = map(int, done.stdout.split())
    assert kills == 50 and in_a_save > 5  # some of them while a checkpoint was being written
    stage = small.pretrain(budget=Steps(300))
    survivor = small.built(killed, stage)
    assert survivor.verify() == [] and facts_of(survivor) == facts_of(small.built(never, stage, save_every_s=1e9))


@pytest.mark.parametrize("data", [None, b"{}"])
def test_what_was_resolved_lies_twice_so_that_a_damaged_one_costs_nothing(
    packed, straight, tmp_path, monkeypatch, data
):
    cut_after(monkeypatch, 6)
    with pytest.raises(Cut):
        small.built(copied(packed, tmp_path), small.pretrain())
    path = run_directory(tmp_path) / "resolved.json"
    path.unlink() if data is None else path.write_bytes(data)
    heard = Heard()
    model = small.built(tmp_path, small.pretrain(), heard)
    assert facts_of(model) == straight and model.verify() == []
    assert any(line.startswith("going on from step") for line in heard.lines)
