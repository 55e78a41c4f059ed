"""The stage: its settings, its directory as a model folder, its budgets."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
import small_stages as small
import torch
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import ConfigError
from starloom.flags import Assignment
from starloom.journey import Journey
from starloom.models.causal_lm import load_model
from starloom.tokens.dataset import Dataset
from starloom.train import AdamW, Minutes, Muon, Pretrain, Spike, Steps, Tokens, budget, hardware, pretrain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def model(folder):
    return small.built(folder, small.pretrain())


def test_the_directory_loads_in_transformers_and_gives_the_same_logits(model):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model.directory).eval()
    ours = load_model(model.directory)
    ids = torch.from_numpy(Dataset(model_pack(model), "heldout").sample(0))[None, :32]
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, ours(ids), atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.directory)
    assert len(tokenizer) == theirs.config.vocab_size and tokenizer.eos_token_id == theirs.config.eos_token_id
    assert tokenizer.model_max_length == theirs.config.n_positions


def model_pack(model):
    return small.built(model.directory.parent, small.pretrain().packed)


def test_the_manifest_says_what_came_out(model):
    counts = model.counts
    assert counts["steps"] == 12 and counts["tokens"] == 12 * 4 * 32 and counts["skipped"] == 0
    assert f"held-out {counts['heldout_bits_per_byte']:.3f} bits per byte" in model.manifest["summary"]
    assert model.manifest["resolved"]["steps"] == 12 and model.manifest["resolved"]["precision"] == "fp32"
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "log.jsonl"} <= set(
        model.manifest["files"]
    )
    assert model.verify() == []


def test_the_curves_for_tensorboard_are_there_once(model):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(model.directory / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == list(range(1, 13))


def test_without_tensorboard_a_line_says_so_and_training_goes_on(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    heard = small.Heard()
    stage = small.pretrain(seed=1)
    found = small.built(folder, stage, heard)
    assert any(
        "no TensorBoard curves, log.jsonl holds the same" in line and "pip install" in line for line in heard.lines
    )
    assert not any(name.startswith("tensorboard") for name in found.manifest["files"])


def test_a_finished_model_is_not_trained_again_when_only_the_manifest_is_missing(model, monkeypatch):
    summary = model.manifest["summary"]
    (model.directory / "manifest.json").unlink()
    monkeypatch.setattr(Dataset, "batch", None)
    again = small.built(model.directory.parent, small.pretrain())
    assert again.manifest["summary"] == summary and again.verify() == []


def test_tokens_are_a_budget(folder):
    assert small.built(folder, small.pretrain(budget=Tokens(300))).counts["tokens"] == 384


def test_minutes_become_steps_once_and_a_resumed_run_keeps_them(folder, monkeypatch):
    monkeypatch.setattr(budget, "AT_LEAST_S", 0.05)
    stage = small.pretrain(budget=Minutes(0.003))
    found = small.built(folder, stage)
    resolved = found.manifest["resolved"]
    expected = int(60 * 0.003 / resolved["calibration"]["median_s"])
    assert found.counts["steps"] == resolved["steps"] == max(1, expected)
    steps = small.built(folder, small.pretrain(budget=Steps(resolved["steps"])))
    assert steps.manifest["files"]["model.safetensors"] == found.manifest["files"]["model.safetensors"]


def test_a_context_longer_than_the_models_is_refused_with_both_remedies(folder):
    stage = small.pretrain()
    longer = Pretrain(small.Pack(stage.packed.clean, stage.packed.vocab, context=64), model=stage.model)
    with pytest.raises(ConfigError, match=r"pretrain.model.n_positions=64 or pack.context=32"):
        small.built(folder, longer)


@given(ranks=st.integers(1, 16), lines=st.integers(1, 8))
def test_ranks_share_the_lines_of_a_batch_equally_and_in_order(ranks, lines):
    size = ranks * lines
    shared = [list(range(size)[pretrain.lines_of(size, rank, ranks)]) for rank in range(ranks)]
    assert [len(one) for one in shared] == [lines] * ranks and list(chain.from_iterable(shared)) == list(range(size))


def test_a_batch_that_does_not_divide_is_refused_with_what_would():
    with pytest.raises(
        ConfigError, match=r"6 sequences \(pretrain.batch × pretrain.accumulate\) do not divide among 4"
    ):
        pretrain.lines_of(6, 0, 4)


def test_a_line_of_a_batch_is_drawn_alone_as_in_its_batch(folder):
    dataset = Dataset(small.built(folder, small.pretrain().packed))
    whole = dataset.batch(seed=1, step=2, size=6, fim=small.pretrain().fim)
    parts = [dataset.batch(seed=1, step=2, size=6, fim=small.pretrain().fim, lines=slice(n, n + 2)) for n in (0, 2, 4)]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("name", ["batch", "accumulate", "patience"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=f"pretrain.{name} is 0"):
        small.pretrain(**{name: 0})


def test_settings_are_set_from_the_command_line():
    texts = [
        "pretrain.budget=steps:60",
        "pretrain.optimizer=adamw",
        "pretrain.optimizer.lr=1e-3",
        "pretrain.schedule=linear",
        "pretrain.schedule.floor=0.1",
        "pretrain.model.n_layer=3",
        "pretrain.heldout.times=4",
        "pretrain.clip=none",
        "pretrain.spike=skip",
        "pretrain.spike.window=50",
        "pretrain.precision=fp16",
        "pretrain.loss_scale.window=10",
        "pretrain.document_mask=true",
        "pretrain.recompute=yes",
    ]
    changed = Journey(small.pretrain()).with_settings(map(Assignment.parse, texts)).step("pretrain")
    assert changed.budget == Steps(60) and changed.optimizer == AdamW(lr=1e-3) and changed.clip is None
    assert (changed.schedule.shape, changed.schedule.floor) == ("linear", 0.1)
    assert (changed.model.n_layer, changed.precision, changed.heldout.times) == (3, "fp16", 4)
    assert changed.spike == Spike(action="skip", window=50) and changed.loss_scale.window == 10
    assert changed.document_mask and changed.recompute and not changed.compile


def test_three_minutes_have_one_spelling():
    assert small.pretrain(budget=Minutes(3)).settings() == small.pretrain(budget=Minutes(3.0)).settings()


def test_bf16_trains_fp32_weights(folder):
    found = small.built(folder, small.pretrain(precision="bf16"))
    assert {tensor.dtype for tensor in load_model(found.directory).parameters()} == {torch.float32}
    assert found.counts["heldout_bits_per_byte"] == pytest.approx(
        small.built(folder, small.pretrain()).counts["heldout_bits_per_byte"], rel=0.02
    )


def test_bf16_is_chosen_where_the_processor_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for flags, expected in (("avx512f avx512_bf16", True), ("amx_bf16", True), ("avx512f avx512vnni", False)):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : fpu {flags} sse\n")
        assert hardware.has_bf16("cpu", tmp_path / "cpuinfo") is expected
    assert not hardware.has_bf16("cpu", tmp_path / "missing")
    assert hardware.choose_precision("fp32", "cpu") == "fp32"


def test_the_stage_is_described_without_torch():
    code = "import sys, starloom.train; assert 'torch' not in sys.modules; print(starloom.train.Muon())"
    assert "Muon(lr=" in subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_batches_follow_the_seed(folder):
    first, second = (small.pretrain(seed=seed) for seed in (0, 1))
    digests = {small.built(folder, stage).manifest["files"]["model.safetensors"]["sha256"] for stage in (first, second)}
    assert len(digests) == 2
    assert np.isfinite(small.built(folder, second).counts["heldout_bits_per_byte"])


def test_default_optimizer_is_muon():
    assert isinstance(Pretrain(small.MadeUp()).optimizer, Muon)
