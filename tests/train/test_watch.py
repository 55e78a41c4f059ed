"""What a run shows: speed as a share of a peak, samples at looks, and nothing of it changes the run or gets lost."""

from __future__ import annotations

import json

import pytest
import small_job
import small_stages as small
import torch
from hypothesis import given
from hypothesis import strategies as st

from starloom.models.gpt_bigcode import GPTBigCode
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.dataset import Dataset
from starloom.train import Heldout, loop, peak, samples
from starloom.train.log import TIMES, rows
from starloom.train.ranks import alone
from starloom.train.samples import Sampler, opening, openings, tokens_each
from starloom.train.watch import speed

WEIGHTS = "model.safetensors"
STAGE = small.pretrain(heldout=Heldout(times=3, quick_tokens=64))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without samples: it is too short for them."""
    return small.built(tmp_path_factory.mktemp("plain"), STAGE)


@pytest.fixture(scope="module")
def pack(plain):
    return small.built(plain.directory.parent, STAGE.packed)


def untimed(row):
    return {key: value for key, value in row.items() if key not in TIMES}


def test_utilization_is_the_models_operations_in_a_second_over_the_peak(tmp_path):
    working = small_job.work(tmp_path)
    working.resolved = {"peak": {"flops_per_s": 1e9}}
    loop.train(small_job.job(), small_job.data(), 4, working, alone())
    flops = small_job.CONFIG.flops_per_token(small_job.CONTEXT)
    for row in rows(tmp_path / "log.jsonl"):
        assert row["model_flops_per_s"] == pytest.approx(row["tokens_per_s"] * flops, rel=1e-6)
        assert row["mfu"] == pytest.approx(row["model_flops_per_s"] / 1e9, abs=1e-4)
        assert 0 <= row["loader_wait_s"] < row["seconds"]


def test_a_peak_that_a_step_exceeds_was_measured_on_a_busy_machine_and_is_measured_again(tmp_path):
    working = small_job.work(tmp_path)
    working.resolved = {"peak": {"flops_per_s": 1.0}}
    loop.train(small_job.job(), small_job.data(), 3, working, alone())
    assert all(row["mfu"] < 1 for row in rows(tmp_path / "log.jsonl"))


def test_without_a_known_peak_there_is_no_utilization():
    assert speed(100.0, 6, None) == {"model_flops_per_s": 600, "mfu": None}


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.5),
        ("NVIDIA H100 PCIe", "bf16", 756.5),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5),
        ("NVIDIA A100-PCIE-40GB", "fp16", 312),
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("NVIDIA H200", "bf16", 989.5),
        ("Tesla V100-SXM2-16GB", "bf16", None),  # it has none
        ("NVIDIA A10G", "bf16", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16", None),
        ("NVIDIA H200 NVL", "bf16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
    ],
)
def test_a_devices_peak_is_its_makers_or_unknown(name, precision, tflops):
    assert peak.published(name, precision)["flops_per_s"] == (None if tflops is None else tflops * 1e12)


def test_tensorfloat_is_not_held_against_the_peak_of_fp32():
    assert peak.published("NVIDIA A100-SXM4-80GB", "fp32", exact_fp32=False)["flops_per_s"] is None


def test_a_processors_peak_is_measured_once_and_recorded(plain):
    resolved = plain.manifest["resolved"]
    assert resolved["peak"]["flops_per_s"] > 1e8
    assert "measured" in resolved["peak"]["how"]
    assert peak.measured("fp32", 1) is peak.measured("fp32", 1)


@given(st.integers(1, 8), st.integers(1, 100), st.integers(0, 10**12), st.sampled_from(["cpu", "cuda", "cuda:1"]))
def test_samples_cost_no_more_than_their_share_of_a_run(count, looks, trained, device):
    tokens = tokens_each(count, looks, trained, device)
    assert tokens == 0 or samples.SHORTEST <= tokens <= samples.LONGEST
    each = count * samples.CHARACTERS // 3 + tokens * samples.STEP_COST[device.partition(":")[0]]
    assert tokens == 0 or looks * each <= samples.SHARE * trained


def test_the_quickstart_has_room_for_samples_and_a_run_of_a_few_steps_has_none():
    assert tokens_each(3, 10, 1_500_000, "cpu") >= 16
    assert tokens_each(3, 10, 50_000, "cpu") == 0
    assert tokens_each(0, 10, 10**9, "cpu") == tokens_each(3, 0, 10**9, "cpu") == 0


@given(st.text(alphabet="ab \n:{", max_size=200), st.integers(0, 3))
def test_an_opening_and_what_follows_are_the_text(text, seed):
    one = opening("ab12", text, seed)
    if one is None:
        assert not "".join(
            text.split("\n")[:-2]
        ).strip()  # nothing that a line follows, but the one that may be cut off
    else:
        assert one.text + one.truth in text
        assert not one.text.endswith("\n")


def test_an_opening_is_before_a_block_where_there_is_one():
    text = "import os\n\n\nclass One:\n    x = 1\n\n    def two(self):\n        return 2\n"
    assert {opening("0", text, seed).text.rsplit("\n", 1)[-1] for seed in range(20)} == {
        "class One:",
        "    def two(self):",
    }


def test_openings_are_of_different_held_out_files(pack):
    found = openings([pack], 4, seed=0)
    heldout = Dataset(pack, "heldout")
    assert len({one.source for one in found}) == len(found) == 4
    text = heldout.vocabulary.decode(heldout.tokens.tolist())
    assert all(one.text + one.truth in text for one in found)
    assert openings([pack], 4, seed=0) == found != openings([pack], 4, seed=1)
    assert len(openings([pack], 99, seed=0)) == 6  # as many as there are files


def test_sampling_leaves_the_model_and_the_random_state_as_they_were(pack):
    vocabulary = Vocabulary.load(pack)
    model = GPTBigCode(small.pretrain().fitted(vocabulary, 32), seed=0).train()
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    chance = torch.random.get_rng_state()
    sampler = Sampler(openings([pack], 2, seed=0), vocabulary, tokens=6, seed=0)
    first, again = sampler(model), sampler(model)
    assert first == again
    assert all(0 < row["tokens"] <= 6 and row["error"] is None for row in first)
    assert model.training
    assert torch.equal(chance, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.named_parameters())


def test_a_sample_that_fails_tells_why(pack):
    vocabulary = Vocabulary.load(pack)
    model = GPTBigCode(small.pretrain().fitted(vocabulary, 32), seed=0)
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(torch.nan)
    (row,) = Sampler(openings([pack], 1, seed=0), vocabulary, tokens=6, seed=0)(model)
    assert row["text"] == "" and row["error"]


def test_samples_change_no_weight_and_are_written_once_whatever_was_killed(plain, tmp_path, monkeypatch):
    """The log of a run that died between its looks and went on, samples among its rows, is that of one that never did."""
    monkeypatch.setattr(samples, "SHARE", 1000.0)
    monkeypatch.setattr(samples, "LONGEST", 8)
    straight = small.built(tmp_path / "straight", STAGE)
    batch = Dataset.batch

    def dying(self, *, step, **others):
        if step == 8:
            monkeypatch.setattr(Dataset, "batch", batch)
            raise KeyboardInterrupt
        return batch(self, step=step, **others)

    monkeypatch.setattr(Dataset, "batch", dying)
    with pytest.raises(KeyboardInterrupt):
        small.built(tmp_path / "killed", STAGE)
    resumed = small.built(tmp_path / "killed", STAGE)
    assert "samples.jsonl" not in plain.manifest["files"]
    assert {one.manifest["files"][WEIGHTS]["sha256"] for one in (plain, straight, resumed)} == {
        plain.manifest["files"][WEIGHTS]["sha256"]
    }
    logs = [
        list(map(untimed, map(json.loads, one.read_bytes("log.jsonl").splitlines()))) for one in (straight, resumed)
    ]
    assert logs[0] == logs[1]
    written = resumed.read_bytes("samples.jsonl")
    assert written == straight.read_bytes("samples.jsonl")
    steps = [json.loads(line)["step"] for line in written.splitlines()]
    assert steps == [3, 3, 3, 6, 6, 6, 9, 9, 9]
    assert resumed.verify() == []
