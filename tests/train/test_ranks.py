"""Several processes under torchrun train as one: the same loss, the same bits when resumed, and an end when one fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_stages as small

from starloom.errors import TrainingError
from starloom.models.causal_lm import load_model
from starloom.store import Built
from starloom.train import checkpoint
from starloom.train.log import TIMES
from starloom.train.ranks import Ranks, losing

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), "TORCH_CPP_LOG_LEVEL": "ERROR"}
NOISE = 1e-5  # relative, of a loss over a short run (facts: resume on other rank counts)


def command(store, processes, *arguments):
    """`starloom run` of the small journey, by torchrun where there are several processes."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    run = ["-m", "starloom", "run", "small_stages:small", "--store", store, "--workers", "1", "--threads", "1"]
    return [sys.executable, *start, *run, *arguments]


def ran(store, processes, *arguments):
    """The finished model's directory."""
    done = subprocess.run(
        command(store, processes, *arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return directory(store), done.stderr


def directory(store):
    (found,) = store.glob("pretrain-*")
    return found


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]


def without_times(folder):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(folder)]


def alike(one, other):
    """Two logs say the same but for rounding, without a gap or a repeat."""
    mine, others = rows(one), rows(other)
    assert [row["step"] for row in mine] == [row["step"] for row in others] == list(range(1, len(mine) + 1))
    for row, twin in zip(mine, others, strict=True):
        for key in ("loss", "gradient_norm", "heldout_bits_per_byte", "bits_per_byte"):
            assert (key in row) == (key in twin)
            assert row.get(key, 0) == pytest.approx(twin.get(key, 0), rel=NOISE), (row["step"], key)


def same_weights(one, other):
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def killed(store, processes, number, *arguments, points=2):
    """Let a run be killed, all of its processes, once it has so many resume points."""
    process = subprocess.Popen(
        command(store, processes, "--save-every", "0", *arguments), env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and len(list(store.glob("pretrain-*/.units/resume-*"))) < points:
        time.sleep(0.005)
    for worker in workers(process.pid) if processes > 1 and number == signal.SIGKILL else ():
        os.kill(worker, number)  # torchrun passes other signals on
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    return said


def workers(torchrun):
    """The processes that a torchrun started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended
            continue
        found += [int(path.parent.name)] if parent == torchrun else []
    return sorted(found)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A store that holds everything up to the packed tokens."""
    folder = tmp_path_factory.mktemp("packed")
    small.built(folder, small.pretrain().packed)
    return folder


@pytest.fixture
def store(packed, tmp_path):
    return copied(packed, tmp_path / "store")


def copied(packed, folder):
    shutil.copytree(packed, folder, symlinks=True)
    return folder


def test_two_processes_train_as_one_and_their_checkpoints_are_whole(store, packed, tmp_path):
    one = small.built(copied(packed, tmp_path / "one"), small.small(dropout=0.0, keep=5).goals[0]).directory
    two, _ = ran(store, 2, "--dropout", "0", "--keep", "5", "--save-every", "0")
    alike(one, two)
    assert Built.open(two).verify() == [] and Built.open(two).manifest["runtime"]["ranks"] == 2
    for (step, folder), (twin, other) in zip(
        checkpoint.kept(Built.open(one)), checkpoint.kept(Built.open(two)), strict=True
    ):
        assert step == twin
        weights = load_model(folder).state_dict()
        for name, tensor in load_model(other).state_dict().items():
            assert (tensor - weights[name]).norm() <= 1e-3 * weights[name].norm() + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("dropout", ["0", "0.1"])
def test_two_processes_that_are_killed_end_at_the_bits_of_two_that_were_not(store, packed, tmp_path, dropout):
    arguments = ("--dropout", dropout, "--steps", "40")
    killed(store, 2, signal.SIGKILL, *arguments)
    again, said = ran(store, 2, *arguments, "--save-every", "0")
    assert "going on from step" in said
    never, _ = ran(copied(packed, tmp_path / "never"), 2, *arguments)
    assert same_weights(again, never) and without_times(again) == without_times(never)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(store, packed, tmp_path, before, after):
    arguments = ("--dropout", "0", "--steps", "40")
    killed(store, before, signal.SIGKILL, *arguments)
    went_on, said = ran(store, after, *arguments, "--save-every", "0")
    assert f"began with {before} processes and goes on with {after}" in said and "going on from step" in said
    never, _ = ran(copied(packed, tmp_path / "never"), 1, *arguments)
    alike(never, went_on)


@pytest.mark.slow
def test_sigterm_saves_on_all_processes_and_the_log_has_no_gap(store, packed, tmp_path):
    arguments = ("--dropout", "0", "--steps", "200")
    said = killed(store, 2, signal.SIGTERM, *arguments)
    assert "all of it saved" in said
    (newest,) = sorted(store.glob("pretrain-*/.units/resume-*"))[-1:]
    step = int(newest.stem.rpartition("-")[2])
    assert f"stopped after step {step} of 200" in said
    resumed, said = ran(store, 2, *arguments)
    assert f"going on from step {step} of 200" in said
    never, _ = ran(copied(packed, tmp_path / "never"), 2, *arguments)
    assert same_weights(resumed, never) and without_times(resumed) == without_times(never)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_processes_that_share_the_matrices_train_as_one(store, packed, tmp_path, optimizer):
    arguments = ("--dropout", "0", "--optimizer", optimizer)
    one, _ = ran(copied(packed, tmp_path / "one"), 1, *arguments)
    for processes in (2, 4):
        shared, _ = ran(copied(packed, tmp_path / f"{processes}"), processes, *arguments, "--tensor-parallel", "2")
        alike(one, shared)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tensor-parallel", "3"), "does not divide 2 processes"),
        (
            ("--set", "pretrain.batch=1", "--set", "pretrain.accumulate=1"),
            "1 sequences .* do not divide among 2 processes",
        ),
    ],
)
def test_an_error_ends_all_processes_and_is_said(store, arguments, said):
    done = subprocess.run(command(store, 2, *arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert re.search(said, done.stderr)


@pytest.mark.slow
def test_when_one_process_dies_none_is_left(store):
    process = subprocess.Popen(
        command(store, 2, "--steps", "100000", "--save-every", "0"), env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(store.glob("pretrain-*/.units/resume-*")):
        time.sleep(0.01)
    both = workers(process.pid)
    assert len(both) == 2
    os.kill(both[1], signal.SIGKILL)
    assert process.wait(timeout=100) != 0
    assert not any(Path(f"/proc/{worker}").exists() for worker in both)


def test_a_process_that_is_lost_is_said_in_a_line():
    with (
        pytest.raises(TrainingError, match=r"another process of this launch ended.*the same command goes on"),
        losing(Ranks(processes=2)),
    ):
        raise RuntimeError(
            "[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:36269: Connection reset by peer. GLHF!"
        )
    for ranks, said in ((Ranks(), "Connection reset by peer"), (Ranks(processes=2), "a shape")):
        with pytest.raises(RuntimeError, match=said), losing(ranks):
            raise RuntimeError(said)
