"""Going on from a checkpoint: its weights alone, and only those of the same model and vocabulary."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import small_stages as small
import torch
from small_job import same

from starloom.errors import CheckpointError, ConfigError, DamagedError, SourceError
from starloom.models.causal_lm import load_model
from starloom.stage import Identities
from starloom.tokens.pack import Pack
from starloom.tokens.train_bpe import TrainBPE
from starloom.train import Pretrain, Schedule, Steps
from starloom.train.log import rows


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def first(store):
    return small.built(store, small.pretrain(budget=Steps(6)))


def further(**changes):
    return small.pretrain(**{"budget": Steps(5), "schedule": Schedule("constant"), "seed": 3, **changes})


def test_the_first_step_computes_with_the_checkpoints_weights_and_a_fresh_schedule(store, first):
    silent = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    stage = further(start_folder=str(first.directory), model=replace(small.pretrain().model, **silent))
    model = small.built(store, stage)
    row = next(rows(model.directory / "log.jsonl"))
    dataset = small.open_packs([small.built(store, stage.packed)])
    ids = torch.from_numpy(dataset.batch(seed=3, step=0, size=4, fim=stage.fim))
    expected = load_model(first.directory).loss(ids[:, :-1], ids[:, 1:]).item()
    assert row["loss"] == pytest.approx(expected, rel=1e-5)
    assert (row["step"], row["learning_rate"]) == (1, stage.optimizer.lr)


def test_a_stage_and_its_folder_are_the_same_start(store, first):
    upstream = small.built(store, further(start=small.pretrain(budget=Steps(6))))
    folder = small.built(store, further(start_folder=str(first.directory)))
    assert same(load_model(upstream.directory), load_model(folder.directory))
    drawn = small.built(store, further())
    assert not same(load_model(folder.directory), load_model(drawn.directory))


def test_a_start_is_known_by_what_it_holds_and_not_by_where_it_lies(first, tmp_path):
    shutil.copytree(first.directory, tmp_path / "moved")
    here, moved = (Identities().of(further(start_folder=str(one))) for one in (first.directory, tmp_path / "moved"))
    assert here.fingerprint == moved.fingerprint
    with (tmp_path / "moved/model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    assert Identities().of(further(start_folder=str(tmp_path / "moved"))).fingerprint != here.fingerprint


def test_another_tokenizer_is_refused(store, first):
    mix = small.MadeUp()
    other = Pack(mix, TrainBPE(mix, vocab_size=310), context=32)
    with pytest.raises(ConfigError, match=r"its ids mean other tokens\. Pack with the checkpoint's own tokenizer"):
        small.built(store, replace(further(start_folder=str(first.directory)), packed=other))


def test_another_shape_is_refused_with_the_settings_that_fit(store, first):
    stage = further(start_folder=str(first.directory), model=replace(small.pretrain().model, n_layer=2, n_head=4))
    with pytest.raises(ConfigError, match=r"n_layer 1, not 2, n_head 2, not 4; .*pretrain.model.n_layer=1"):
        small.built(store, stage)


def test_a_width_that_is_spelled_out_is_the_same_width(store, first):
    spelled = replace(small.pretrain().model, n_inner=64)
    small.built(store, further(start_folder=str(first.directory), model=spelled, budget=Steps(1)))


def test_a_context_longer_than_the_checkpoints_is_refused(store, first):
    packed = small.pretrain().packed
    longer = Pack(packed.clean, packed.vocab, context=64)
    with pytest.raises(ConfigError, match="packed to a context of 64, but the model has 32"):
        small.built(store, replace(further(start_folder=str(first.directory)), packed=longer))


def test_what_is_no_model_folder_is_said_before_anything_is_built(tmp_path):
    with pytest.raises(SourceError, match=r"config\.json cannot be read .*pretrain.start_folder"):
        small.built(tmp_path / "store", further(start_folder=str(tmp_path)))
    assert not list((tmp_path / "store").glob("mix-*"))


def test_a_damaged_upstream_model_is_refused(first, tmp_path):
    shutil.copytree(first.directory.parent, tmp_path / "store")
    path = tmp_path / "store" / first.directory.name / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"model\.safetensors"):
        small.built(tmp_path / "store", further(start=small.pretrain(budget=Steps(6)), seed=9))


def test_weights_that_are_no_numbers_are_refused(store, first, tmp_path):
    folder = tmp_path / "nan"
    shutil.copytree(first.directory, folder)
    (folder / "manifest.json").unlink()
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["transformer.wpe.weight"][0, 0] = float("nan")
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"'transformer.wpe.weight' in .* holds NaN"):
        small.built(store, further(start_folder=str(folder)))


def test_two_starts_are_refused():
    with pytest.raises(ConfigError, match="not from both"):
        Pretrain(small.MadeUp(), start=small.MadeUp(), start_folder="model")


def test_the_manifest_says_where_a_run_began(store, first):
    model = small.built(store, further(start_folder=str(first.directory)))
    assert len(json.loads((model.directory / "manifest.json").read_text())["externals"]["start_folder"]["digest"]) == 64


def test_a_flipped_bit_in_a_folder_of_ours_is_seen(store, first, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(first.directory, folder)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(DamagedError, match=r"model\.safetensors differs from its SHA-256"):
        small.built(store, further(start_folder=str(folder)))
