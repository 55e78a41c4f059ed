"""Against transformers' GPTBigCodeForCausalLM and Starcoder2ForCausalLM, on random weights: the only module of this folder
that imports it (seconds)."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import LARGE_INIT, grouped, tiny
from transformers.activations import ACT2FN

from starloom.models import checkpoint, gpt_bigcode, linear, starcoder2
from starloom.models.causal_lm import CausalLM, load_model, new_model, save_model
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.models.presets import PRESETS

# Two kinds of attention × three activations × tied or not, twice; three activations × four windows × tied or not.
NUMBERS = range(24)
CONFIGS: list[ModelConfig] = [*map(tiny, NUMBERS), *map(grouped, NUMBERS)]
FEW: list[ModelConfig] = [*map(tiny, range(6)), *map(grouped, range(8))]
every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
a_few_configs = pytest.mark.parametrize("config", FEW, ids=lambda config: config.model_type)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def hugging_face_config(config: ModelConfig) -> Any:
    return transformers.AutoConfig.for_model(**config.to_json())


def their_model(config: ModelConfig) -> Any:
    return transformers.AutoModelForCausalLM.from_config(hugging_face_config(config))


def our_model(config: ModelConfig, dtype: torch.dtype = torch.float32) -> CausalLM:
    """Random also in biases and norms, which are not left at 0 and 1, where a mistake would not show."""
    model = new_model(config, dtype=dtype)
    generator = torch.Generator().manual_seed(config.parameter_count())
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return model.eval()


def ids_for(config: ModelConfig) -> torch.Tensor:
    generator = torch.Generator().manual_seed(config.parameter_count())
    return torch.randint(config.vocab_size, (2, config.context), generator=generator)


def assert_same_logits(ours: CausalLM, theirs: Any, most: float = 1e-4) -> None:
    ids_BT = ids_for(ours.config)
    with torch.inference_mode():
        our_logits, their_logits = ours.eval()(ids_BT), theirs.eval()(ids_BT).logits
    assert their_logits.std() > 0.1  # a model that says something
    assert (our_logits - their_logits).abs().max() < most


def test_configs_cover_attention_activation_tying_and_windows() -> None:
    ours = [tiny(number) for number in NUMBERS]
    assert len({(c.multi_query, c.activation_function, c.tie_word_embeddings) for c in ours}) == 2 * 3 * 2
    assert any(c.n_head % 2 and c.n_head > 1 for c in ours)
    assert any(c.n_layer == 1 for c in ours)
    theirs = [grouped(number) for number in NUMBERS]
    shorter = {(c.sliding_window or 99) < c.context for c in theirs}
    assert shorter == {True, False} and any(c.sliding_window is None for c in theirs)
    assert {(c.hidden_act, c.tie_word_embeddings) for c in theirs} == {(c.activation_function, c.tie_word_embeddings)
                                                                       for c in ours}  # fmt: skip
    assert {c.use_bias for c in theirs} == {True, False}
    ratios = {c.num_attention_heads // c.kv_heads for c in theirs if c.kv_heads > 1}
    assert {1, 2, 3, 5} <= ratios and any(c.kv_heads == 1 < c.num_attention_heads for c in theirs)


@every_config
def test_our_checkpoint_gives_the_same_logits_in_transformers(config: ModelConfig, tmp_path: Path) -> None:
    ours = our_model(config)
    save_model(ours, tmp_path)
    assert_same_logits(ours, transformers.AutoModelForCausalLM.from_pretrained(tmp_path))


@every_config
def test_checkpoint_of_transformers_gives_the_same_logits_here(config: ModelConfig, tmp_path: Path) -> None:
    torch.manual_seed(config.parameter_count())
    theirs = their_model(config)
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB" if config.vocab_size == 97 else "1GB")
    ours = load_model(tmp_path)
    assert ours.config == config
    assert_same_logits(ours, theirs)


@every_config
def test_ragged_batch_gives_the_logits_of_left_padding(config: ModelConfig) -> None:
    """Prompts of any lengths in one step, then some tokens more; transformers pads them, and is told their positions."""
    ours, theirs = our_model(config), their_model(config).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    chance = random.Random(config.parameter_count())
    longest = config.context
    lengths = [longest, 1, *chance.choices(range(2, longest), k=3)]
    rows = [chance.choices(range(config.vocab_size), k=length) for length in lengths]
    padded = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    with torch.inference_mode():
        expected = theirs(padded, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits
    cache = ours.new_cache()
    cuts = [chance.randint(1, length) for length in lengths]
    prompts = ours.step(
        [(slot, row[:cut]) for slot, (row, cut) in enumerate(zip(rows, cuts, strict=True))], cache, True
    )
    rests = [(slot, row[cut:]) for slot, (row, cut) in enumerate(zip(rows, cuts, strict=True)) if cut < len(row)]
    more = dict(zip([slot for slot, _ in rests], ours.step(rests, cache, True), strict=True))
    for slot, row in enumerate(rows):
        logits = torch.cat([prompts[slot], more[slot]]) if slot in more else prompts[slot]
        assert (logits - expected[slot, longest - len(row) :]).abs().max() < 1e-4


@a_few_configs
def test_logits_agree_to_the_last_digits_in_float64(config: ModelConfig, tmp_path: Path) -> None:
    ours = our_model(config, torch.float64)
    save_model(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.float64
    assert_same_logits(ours, theirs, most=1e-10)


@a_few_configs
def test_loss_and_gradients_agree_in_float64(config: ModelConfig) -> None:
    ours, theirs = our_model(config, torch.float64), their_model(config).double().eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    ids_BT = ids_for(config)
    loss = theirs(ids_BT, labels=ids_BT).loss  # shifts by itself
    loss.backward()
    ours_loss = ours.loss(ids_BT[:, :-1], ids_BT[:, 1:])
    ours_loss.backward()
    torch.testing.assert_close(ours_loss.item(), loss.item(), rtol=1e-6, atol=0)  # theirs is summed in float32
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-4, atol=1e-7, msg=name)


@pytest.mark.parametrize("config", FEW[:2] + FEW[-2:], ids=lambda config: config.model_type)
def test_training_in_float32_has_the_gradients_of_transformers_in_float64(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the products that only large matrices take: to the rounding of float32, of the largest gradient of a parameter."""
    monkeypatch.setattr(linear, "MUCH", 1)
    ours, theirs = our_model(config), their_model(config).double().eval()
    theirs.load_state_dict({name: tensor.double() for name, tensor in ours.state_dict().items()}, strict=False)
    ids_BT = ids_for(config)
    loss = theirs(ids_BT, labels=ids_BT).loss
    loss.backward()
    ours_loss = ours.loss(ids_BT[:, :-1], ids_BT[:, 1:])
    ours_loss.backward()
    torch.testing.assert_close(ours_loss.item(), loss.item(), rtol=1e-5, atol=0)
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected, found = gradients[name].grad, parameter.grad
        assert found is not None and (found - expected).abs().max() < 1e-4 * expected.abs().max() + 1e-7, name


@pytest.mark.parametrize("config", [tiny(0), grouped(1)], ids=lambda config: config.model_type)
def test_bfloat16_checkpoint_loads_on_both_sides(config: ModelConfig, tmp_path: Path) -> None:
    save_model(our_model(config, torch.bfloat16), tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.bfloat16
    assert_same_logits(load_model(tmp_path, dtype=torch.float32), theirs.float())


def test_large_model_is_written_in_shards_that_transformers_loads(tmp_path: Path) -> None:
    for config in (tiny(1), grouped(1)):
        ours = our_model(config)
        checkpoint.save(tmp_path / config.model_type, config, ours.state_dict(), shard_bytes=4_000)
        assert len(list((tmp_path / config.model_type).glob("model-*-of-*.safetensors"))) > 2
        assert_same_logits(ours, transformers.AutoModelForCausalLM.from_pretrained(tmp_path / config.model_type))


@pytest.mark.parametrize("config", [tiny(0), grouped(0)], ids=lambda config: config.model_type)
def test_tied_head_that_is_stored_all_the_same_loads(config: ModelConfig, tmp_path: Path) -> None:
    theirs = their_model(config)
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    assert "lm_head.weight" in tensors
    theirs.config.save_pretrained(tmp_path)
    checkpoint.write_weights(tmp_path / checkpoint.WEIGHTS, tensors)
    assert_same_logits(load_model(tmp_path), theirs)


@pytest.mark.parametrize("name", ["gelu", "gelu_fast", "gelu_pytorch_tanh"])
def test_activation_is_the_formula_of_transformers(name: str) -> None:
    first = gpt_bigcode.MLP(tiny(0, activation_function=name, n_embd=8, n_head=1, n_inner=8))
    second = starcoder2.MLP(
        grouped(0, hidden_act=name, hidden_size=8, intermediate_size=8, num_attention_heads=1, num_key_value_heads=1)
    )
    for mlp in (first.double(), second.double()):
        for layer in (mlp.c_fc, mlp.c_proj):
            layer.weight.data = torch.eye(8, dtype=torch.float64)
            layer.bias.data = torch.zeros(8, dtype=torch.float64)
        x = torch.linspace(-12, 12, 8 * 5001, dtype=torch.float64).view(-1, 8)
        assert (mlp(x) - ACT2FN[name](x)).abs().max() < 1e-11


# Counted by transformers from the published config.json files; the cards round them to 1.1B, 1B, 3B, 7B, 15.5B; 3B, 7B, 15B.
PUBLISHED = {
    "santacoder": 1_124_886_528,
    "santacoder-mha": 1_313_722_368,
    "starcoderbase-1b": 1_137_207_296,
    "starcoderbase-3b": 3_043_311_104,
    "starcoderbase-7b": 7_327_263_232,
    "starcoderbase-15b": 15_517_456_384,
    "starcoder2-3b": 3_030_371_328,
    "starcoder2-7b": 7_173_923_840,
    "starcoder2-15b": 15_957_889_024,
}


def test_presets_are_of_the_published_sizes() -> None:
    assert {name: PRESETS[name].parameter_count() for name in PRESETS if name != "quickstart"} == PUBLISHED


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_has_the_parameters_of_transformers_by_name_and_shape(name: str) -> None:
    config = PRESETS[name]
    with torch.device("meta"):
        theirs = their_model(config)
    shapes = {key: tuple(parameter.shape) for key, parameter in theirs.named_parameters()}
    ours = new_model(config, device="meta")
    assert {key: tuple(parameter.shape) for key, parameter in ours.named_parameters()} == shapes
    assert config.shapes() == shapes
    assert sum(parameter.numel() for parameter in ours.parameters()) == theirs.num_parameters()
    assert config.parameter_count() == theirs.num_parameters()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_one_layer_of_every_published_size_gives_the_same_logits(name: str) -> None:
    """Real widths, heads of 128, real rotations and, for the smallest Starcoder2, a text that is longer than the window."""
    preset = PRESETS[name]
    layers = "n_layer" if isinstance(preset, GPTBigCodeConfig) else "num_hidden_layers"
    fewer: dict[str, Any] = {"vocab_size": 512, "bos_token_id": 0, "eos_token_id": 0, layers: 1}
    ours = new_model(dataclasses.replace(preset, **fewer)).eval()
    with torch.device("meta"):
        theirs = their_model(ours.config).eval()
    theirs.load_state_dict({**ours.state_dict(), "lm_head.weight": ours.head_VD}, assign=True)
    if name.startswith("starcoder2"):  # its one buffer is no parameter
        theirs.model.rotary_emb = type(theirs.model.rotary_emb)(theirs.config)
    tokens = 4096 + 40 if name == "starcoder2-3b" else 70
    ids_BT = torch.randint(512, (1, tokens), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(ids_BT, logits_to_keep=50).logits[0]
        assert (ours(ids_BT)[0, -50:] - expected).abs().max() < 1e-4
        cache = ours.new_cache()
        cached = ours.step([(0, ids_BT[0, :-20].tolist())], cache) + ours.step(
            [(0, ids_BT[0, -20:].tolist())], cache, True
        )
    assert (torch.cat(cached) - expected[-21:]).abs().max() < 1e-4


def test_initial_spread_of_every_parameter_is_that_of_transformers() -> None:
    sizes: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    for config in (
        tiny(0, n_embd=64, n_head=2, n_inner=256, vocab_size=256, n_layer=3),
        grouped(0, **sizes, intermediate_size=256, vocab_size=256, num_hidden_layers=3),
    ):
        theirs = their_model(config).state_dict()
        for name, parameter in new_model(config).state_dict().items():
            # 2,048 draws at the least: 10 % is six standard errors
            spread, expected = parameter.std().item(), theirs[name].std().item()
            assert spread == pytest.approx(expected, rel=0.1, abs=0.01 * LARGE_INIT), name


@pytest.mark.parametrize("config", [tiny(0), tiny(1), grouped(1), grouped(2)], ids=lambda config: config.model_type)
def test_cached_greedy_tokens_are_those_of_generate(config: ModelConfig, tmp_path: Path) -> None:
    """A batch of three prompts, left-padded there, ragged here; past the window and up to the end of the context."""
    save_model(our_model(config, torch.float64), tmp_path)
    for name in ("config.json", "generation_config.json"):  # neither side stops before the context is full
        path = tmp_path / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": None}))
    ours, theirs = load_model(tmp_path), transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    chance = random.Random(config.parameter_count())
    prompts = [chance.choices(range(config.vocab_size), k=length) for length in (8, 3, 1)]
    padded = torch.tensor([[0] * (8 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (8 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    new_tokens = config.context - 8
    expected = theirs.generate(
        padded, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
    )[:, 8:].tolist()  # fmt: skip
    cache, given, made = ours.new_cache(), prompts, [[] for _ in prompts]
    for _ in range(new_tokens):
        rows = ours.step(list(enumerate(given)), cache)
        given = [[int(logits[-1].argmax())] for logits in rows]
        made = [[*ids, *new] for ids, new in zip(made, given, strict=True)]
    assert made == expected


def test_generation_config_carries_the_token_ids(tmp_path: Path) -> None:
    for config in (tiny(0, eos_token_id=(3, 5), bos_token_id=4), grouped(0, eos_token_id=(3, 5), bos_token_id=4)):
        save_model(new_model(config), tmp_path)
        read = transformers.GenerationConfig.from_pretrained(tmp_path)
        assert (read.eos_token_id, read.bos_token_id) == ([3, 5], 4)
        assert checkpoint.stop_ids(tmp_path) == (3, 5)
        written = json.loads((tmp_path / "config.json").read_text())
        assert written["architectures"] == [type(their_model(config)).__name__]


@pytest.mark.parametrize("number", range(4))
def test_either_spelling_of_the_rotation_is_the_same_model(number: int, tmp_path: Path) -> None:
    """transformers 4 wrote rope_theta and rope_scaling, 5 writes rope_parameters."""
    ours = our_model(grouped(number, rope_theta=777.0))
    save_model(ours, tmp_path)
    path = tmp_path / "config.json"
    both = json.loads(path.read_text())
    for spelling in ({"rope_theta"}, {"rope_parameters"}):
        left = {key: value for key, value in both.items() if key not in {"rope_theta", "rope_parameters"} - spelling}
        path.write_text(json.dumps(left | ({"rope_scaling": None} if "rope_theta" in spelling else {})))
        assert load_model(tmp_path).config == ours.config
        assert_same_logits(ours, transformers.AutoModelForCausalLM.from_pretrained(tmp_path))
