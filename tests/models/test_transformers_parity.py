"""Against transformers' GPTBigCodeForCausalLM, on random weights: the only module here that imports it (seconds)."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import LARGE_INIT, tiny
from transformers.activations import ACT2FN

from starloom.models import checkpoint
from starloom.models.causal_lm import load_model, save_model
from starloom.models.config import GPTBigCodeConfig
from starloom.models.gpt_bigcode import MLP, GPTBigCode
from starloom.models.presets import PRESETS

CONFIGS = range(24)  # two kinds of attention × three activations × tied or not, twice


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def hugging_face_config(config: GPTBigCodeConfig) -> Any:
    return transformers.GPTBigCodeConfig(**config.to_json())


def ids_for(config: GPTBigCodeConfig) -> torch.Tensor:
    generator = torch.Generator().manual_seed(config.parameter_count())
    return torch.randint(config.vocab_size, (2, config.n_positions), generator=generator)


def assert_same_logits(ours: GPTBigCode, theirs: Any, most: float = 1e-4) -> None:
    ids_BT = ids_for(ours.config)
    with torch.inference_mode():
        our_logits, their_logits = ours.eval()(ids_BT), theirs.eval()(ids_BT).logits
    assert their_logits.std() > 0.1  # a model that says something
    assert (our_logits - their_logits).abs().max() < most


def covered() -> set[tuple[object, ...]]:
    configs = [tiny(number) for number in CONFIGS]
    return {(c.multi_query, c.activation_function, c.tie_word_embeddings) for c in configs}


def test_configs_cover_attention_activation_and_tying() -> None:
    assert len(covered()) == 2 * 3 * 2
    heads = {(tiny(number).n_head, tiny(number).n_layer) for number in CONFIGS}
    assert any(n_head % 2 and n_head > 1 for n_head, _ in heads)
    assert any(n_layer == 1 for _, n_layer in heads)


@pytest.mark.parametrize("number", CONFIGS)
def test_our_checkpoint_gives_the_same_logits_in_transformers(number: int, tmp_path: Path) -> None:
    ours = GPTBigCode(tiny(number))
    for parameter in ours.parameters():  # biases and norms are not left at 0 and 1, where a mistake would not show
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    save_model(ours, tmp_path)
    assert_same_logits(ours, transformers.AutoModelForCausalLM.from_pretrained(tmp_path))


@pytest.mark.parametrize("number", CONFIGS)
def test_checkpoint_of_transformers_gives_the_same_logits_here(number: int, tmp_path: Path) -> None:
    torch.manual_seed(number)
    theirs = transformers.GPTBigCodeForCausalLM(hugging_face_config(tiny(number)))
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB" if number % 4 == 0 else "1GB")
    ours = load_model(tmp_path)
    assert ours.config == tiny(number)
    assert_same_logits(ours, theirs)


def test_logits_agree_to_the_last_digits_in_float64(tmp_path: Path) -> None:
    for number in range(6):
        ours = GPTBigCode(tiny(number), dtype=torch.float64)
        save_model(ours, tmp_path)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
        assert theirs.dtype == torch.float64
        assert_same_logits(ours, theirs, most=1e-10)


@pytest.mark.parametrize("number", range(6))
def test_loss_and_gradients_agree_in_float64(number: int) -> None:
    ours = GPTBigCode(tiny(number), dtype=torch.float64).eval()
    theirs = transformers.GPTBigCodeForCausalLM(hugging_face_config(ours.config)).double().eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    ids_BT = ids_for(ours.config)
    loss = theirs(ids_BT, labels=ids_BT).loss  # shifts by itself
    loss.backward()
    ours_loss = ours.loss(ids_BT[:, :-1], ids_BT[:, 1:])
    ours_loss.backward()
    torch.testing.assert_close(ours_loss.item(), loss.item(), rtol=1e-6, atol=0)  # theirs is summed in float32
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-4, atol=1e-7, msg=name)


def test_bfloat16_checkpoint_loads_on_both_sides(tmp_path: Path) -> None:
    ours = GPTBigCode(tiny(0), dtype=torch.bfloat16)
    save_model(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.bfloat16
    assert_same_logits(load_model(tmp_path, dtype=torch.float32), theirs.float())


def test_large_model_is_written_in_shards_that_transformers_loads(tmp_path: Path) -> None:
    ours = GPTBigCode(tiny(1))
    checkpoint.save(tmp_path, ours.config, ours.state_dict(), shard_bytes=4_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert_same_logits(ours, transformers.AutoModelForCausalLM.from_pretrained(tmp_path))


def test_tied_head_that_is_stored_all_the_same_loads(tmp_path: Path) -> None:
    theirs = transformers.GPTBigCodeForCausalLM(hugging_face_config(tiny(0)))
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    assert "lm_head.weight" in tensors
    theirs.config.save_pretrained(tmp_path)
    checkpoint.write_weights(tmp_path / checkpoint.WEIGHTS, tensors)
    assert_same_logits(load_model(tmp_path), theirs)


@pytest.mark.parametrize("name", ["gelu", "gelu_fast", "gelu_pytorch_tanh"])
def test_activation_is_the_formula_of_transformers(name: str) -> None:
    mlp = MLP(tiny(0, activation_function=name, n_embd=8, n_head=1, n_inner=8)).double()
    for linear in (mlp.c_fc, mlp.c_proj):
        linear.weight.data, linear.bias.data = torch.eye(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    x = torch.linspace(-12, 12, 8 * 5001, dtype=torch.float64).view(-1, 8)
    assert (mlp(x) - ACT2FN[name](x)).abs().max() < 1e-11


# Counted by transformers from the published config.json files; the cards round them to 1.1B, 1B, 3B, 7B and 15.5B.
PUBLISHED = {
    "santacoder": 1_124_886_528,
    "santacoder-mha": 1_313_722_368,
    "starcoderbase-1b": 1_137_207_296,
    "starcoderbase-3b": 3_043_311_104,
    "starcoderbase-7b": 7_327_263_232,
    "starcoderbase-15b": 15_517_456_384,
}


def test_presets_are_of_the_published_sizes() -> None:
    assert {name: PRESETS[name].parameter_count() for name in PRESETS if name != "quickstart"} == PUBLISHED


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_has_as_many_parameters_as_in_transformers(name: str) -> None:
    with torch.device("meta"):
        theirs = transformers.GPTBigCodeForCausalLM(hugging_face_config(PRESETS[name]))
    assert PRESETS[name].parameter_count() == theirs.num_parameters()
    shapes = {key: tuple(parameter.shape) for key, parameter in theirs.named_parameters()}
    assert PRESETS[name].shapes() == shapes


def test_initial_spread_of_every_parameter_is_that_of_transformers() -> None:
    config = tiny(0, n_embd=64, n_head=2, n_inner=256, vocab_size=256, n_layer=3)
    theirs = transformers.GPTBigCodeForCausalLM(hugging_face_config(config)).state_dict()
    for name, parameter in GPTBigCode(config).state_dict().items():
        # 2,560 draws at the least: 10 % is seven standard errors
        assert parameter.std().item() == pytest.approx(theirs[name].std().item(), rel=0.1, abs=0.01 * LARGE_INIT), name


@pytest.mark.parametrize("number", [0, 1])
def test_cached_greedy_tokens_are_those_of_generate(number: int, tmp_path: Path) -> None:
    config = tiny(number, eos_token_id=None)
    ours = GPTBigCode(config).eval()
    save_model(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    prompt = random.Random(number).choices(range(config.vocab_size), k=7)
    expected = theirs.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, 7, dtype=torch.long), max_new_tokens=16, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    cache, ids, new = ours.new_cache(), list(prompt), prompt
    for _ in range(16):
        new = [int(ours.step([(0, new)], cache)[0][-1].argmax())]
        ids += new
    assert ids == expected[0].tolist()


def test_generation_config_carries_the_token_ids(tmp_path: Path) -> None:
    save_model(GPTBigCode(tiny(0, eos_token_id=(3, 5), bos_token_id=4)), tmp_path)
    read = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (read.eos_token_id, read.bos_token_id) == ([3, 5], 4)
    assert checkpoint.stop_ids(tmp_path) == (3, 5)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["GPTBigCodeForCausalLM"]
