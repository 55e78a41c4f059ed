from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import grouped, tiny

from starloom.errors import CheckpointError
from starloom.models.config import GPTBigCodeConfig, ModelConfig, Starcoder2Config, from_json
from starloom.models.presets import PRESETS, QUICKSTART

SANTACODER_1B: dict[str, Any] = {  # the keys of a config.json as transformers 4 wrote them
    "architectures": ["GPTBigCodeForCausalLM"], "attention_softmax_in_fp32": True, "multi_query": True,
    "attn_pdrop": 0.1, "bos_token_id": 49152, "embd_pdrop": 0.1, "eos_token_id": 49152, "inference_runner": 0,
    "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "max_batch_size": None, "max_sequence_length": None,
    "model_type": "gpt_bigcode", "n_embd": 2048, "n_head": 16, "n_inner": 8192, "n_layer": 24, "n_positions": 2048,
    "pad_key_length": True, "pre_allocate_kv_cache": False, "resid_pdrop": 0.1, "scale_attn_weights": True,
    "scale_attention_softmax_in_fp32": True, "summary_activation": None, "summary_type": "cls_index",
    "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_use_proj": True, "use_cache": True,
    "activation_function": "gelu_fast", "torch_dtype": "float32", "transformers_version": "4.28.0.dev0",
    "validate_runner_input": True, "vocab_size": 49280,
}  # fmt: skip

STARCODER2_3B: dict[str, Any] = {  # keys that transformers does not look at among them
    "activation_function": "gelu", "architectures": ["Starcoder2ForCausalLM"], "attention_dropout": 0.1,
    "attention_softmax_in_fp32": True, "bos_token_id": 0, "embedding_dropout": 0.1, "eos_token_id": 0,
    "hidden_act": "gelu_pytorch_tanh", "hidden_size": 3072, "initializer_range": 0.018042, "intermediate_size": 12288,
    "layer_norm_epsilon": 1e-05, "max_position_embeddings": 16384, "mlp_type": "default", "model_type": "starcoder2",
    "norm_epsilon": 1e-05, "norm_type": "layer_norm", "num_attention_heads": 24, "num_hidden_layers": 30,
    "num_key_value_heads": 2, "residual_dropout": 0.1, "rope_theta": 999999.4420358813,
    "scale_attention_softmax_in_fp32": True, "scale_attn_weights": True, "sliding_window": 4096,
    "torch_dtype": "bfloat16", "transformers_version": "4.39.3", "use_bias": True, "use_cache": True, "vocab_size": 49152,
}  # fmt: skip


def test_published_configs_read_as_their_presets() -> None:
    read = from_json(SANTACODER_1B)
    assert dataclasses.replace(read, initializer_range=0.022) == PRESETS["santacoder"]
    assert from_json(STARCODER2_3B) == PRESETS["starcoder2-3b"]


@pytest.mark.parametrize("config", [*map(tiny, range(12)), *map(grouped, range(12))])
def test_config_survives_its_json(config: ModelConfig) -> None:
    assert from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("config", [*PRESETS.values(), *map(tiny, range(12)), *map(grouped, range(12))])
def test_parameter_count_is_the_sum_of_the_shapes(config: ModelConfig) -> None:
    assert config.parameter_count() == sum(math.prod(shape) for shape in config.shapes().values())


def test_flops_are_six_for_each_matrix_weight_and_twelve_for_each_scored_token() -> None:
    config = dataclasses.replace(QUICKSTART, n_inner=1000, multi_query=False)
    shapes = config.shapes()
    weights = sum(math.prod(shape) for name, shape in shapes.items() if len(shape) == 2 and "wpe" not in name)
    assert config.flops_per_token(100) == 6 * weights + 12 * config.n_layer * 100 * config.n_embd
    assert config.flops_per_token(100, training=False) * 3 == config.flops_per_token(100)
    for config in map(grouped, range(8)):
        weights = sum(math.prod(shape) for shape in config.shapes().values() if len(shape) == 2)
        weights -= (
            0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
        )  # looked up, not multiplied
        scored = 12 * config.num_hidden_layers * min(20, config.sliding_window or 20) * config.hidden_size
        assert config.flops_per_token(20) == 6 * weights + scored


def test_quickstart_is_small_enough_for_minutes_on_two_cores() -> None:
    assert QUICKSTART.parameter_count() < 6_000_000  # the size that facts of training in minutes were measured at: 5.0M
    assert QUICKSTART.multi_query


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, bad) for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner")
          for bad in (-3, 0, 10**9, 10**400, 7.0, math.nan, True, "64", [64], {})),
        *((name, None) for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")),
        ("n_layer", 10**6),
        *((name, bad) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon")
          for bad in (-0.1, 1.0, math.nan, math.inf, 10**400, "0.1", None, True)),
        ("layer_norm_epsilon", 0.0),
        ("initializer_range", math.nan),
        ("multi_query", "yes"),
        ("multi_query", 1),
        ("tie_word_embeddings", None),
        ("activation_function", "relu"),
        ("activation_function", ["gelu"]),
        ("n_head", 5),
        ("eos_token_id", 64),
        ("eos_token_id", (3, -1)),
        ("bos_token_id", "0"),
        ("bos_token_id", (0, 1)),
        ("pad_token_id", True),
    ],
)  # fmt: skip
def test_bad_field_is_refused_by_name_and_value(field: str, value: object) -> None:
    good: dict[str, Any] = {"vocab_size": 64, "n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 2}
    with pytest.raises(CheckpointError, match=f"{field} is .*; it must be") as caught:
        GPTBigCodeConfig(**{**good, field: value})
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, bad) for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                                   "num_attention_heads", "num_key_value_heads", "max_position_embeddings")
          for bad in (-3, 0, 10**9, 10**400, 7.0, math.nan, True, "64", None)),
        *(("sliding_window", bad) for bad in (0, -1, 10**10, 4.0, True, "none")),
        *(("rope_theta", bad) for bad in (0.0, -1e4, math.nan, math.inf, 10**400, "1e4", None, True)),
        *((name, bad) for name in ("attention_dropout", "residual_dropout", "embedding_dropout", "norm_epsilon")
          for bad in (-0.1, 1.0, math.nan, "0.1", None, True)),
        ("num_attention_heads", 3),
        ("num_attention_heads", 32),  # heads of one number have no halves
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 8),
        ("use_bias", 1),
        ("tie_word_embeddings", None),
        ("hidden_act", "silu"),
        ("eos_token_id", 64),
    ],
)  # fmt: skip
def test_bad_field_of_starcoder2_is_refused_by_name_and_value(field: str, value: object) -> None:
    good: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
                            "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
    Starcoder2Config(**good)
    with pytest.raises(CheckpointError, match=f"{field} is .*; it must be") as caught:
        Starcoder2Config(**{**good, field: value})
    assert len(str(caught.value)) < 250


def test_fields_within_bounds_are_refused_when_together_they_are_absurd() -> None:
    with pytest.raises(CheckpointError, match=r"describes .* parameters"):
        GPTBigCodeConfig(n_embd=2**16, n_head=64, n_layer=1024)
    with pytest.raises(CheckpointError, match=r"describes .* parameters"):
        Starcoder2Config(hidden_size=2**16, num_attention_heads=64, num_hidden_layers=1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_heads": 4}, "unknown key 'n_heads'.*did you mean 'n_head'"),
        ({"rope_theta": 10000.0}, "unknown key 'rope_theta'.*mathematics"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "modeling.Own"}}, "auto_map.*runs none"),
        ({"model_type": "gpt2"}, "model_type is 'gpt2'.*convert"),
        ({"model_type": None}, "model_type is None"),
        ({"num_key_value_heads": 4}, "num_key_value_heads is 4, but multi_query is True"),
        ({"hidden_size": 1024}, "n_embd is given twice"),
        ({"n_embd": -1}, "some/config.json: n_embd is -1"),
    ],
)
def test_key_that_could_change_the_mathematics_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_json({**SANTACODER_1B, **change}, "some/config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_kv_heads": 4}, "unknown key 'num_kv_heads'.*did you mean 'num_key_value_heads'"),
        ({"layer_types": ["full_attention"] * 30}, "layer_types.*mathematics"),
        ({"norm_type": "rms_norm"}, "norm_type is 'rms_norm'"),
        ({"mlp_type": "gated"}, "mlp_type is 'gated'"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor is 0\.5"),
        ({"head_dim": 64}, "head_dim is 64.*which is 128"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling is .*without scaling"),
        ({"rope_scaling": 2}, "rope_scaling is 2"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}}, "rope_parameters is"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "rope_parameters is"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope_parameters is"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "rope_theta is given twice"),
        ({"rope_parameters": {"rope_theta": math.nan}}, "rope_theta is given twice"),
        ({"rope_theta": -1.0}, r"some/config.json: rope_theta is -1\.0"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "modeling.Own"}}, "auto_map.*runs none"),
        ({"model_type": "starcoder"}, "model_type is 'starcoder'.*convert"),
        ({"model_type": ["starcoder2"]}, "model_type is .*convert"),
        ({"model_type": "gpt_bigcode"}, "unknown key 'hidden_act'|unknown key"),
        ({"num_attention_heads": 25}, "some/config.json: num_attention_heads is 25"),
    ],
)
def test_key_that_could_change_starcoder2_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_json({**STARCODER2_3B, **change}, "some/config.json")


@pytest.mark.parametrize(
    "change",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 999999.4420358813}},
        {"rope_parameters": None, "rope_scaling": None, "head_dim": None, "partial_rotary_factor": None},
        {"rope_scaling": {"type": "default"}, "head_dim": 128, "partial_rotary_factor": 1.0},
    ],
)
def test_key_that_says_the_same_in_other_words_is_read(change: dict[str, Any]) -> None:
    assert from_json({**STARCODER2_3B, **change}) == PRESETS["starcoder2-3b"]


def test_whole_number_is_the_same_base_as_its_fraction() -> None:
    spelled = {"rope_theta": 100_000, "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}}
    read = from_json({**STARCODER2_3B, **spelled})
    assert isinstance(read, Starcoder2Config) and read.rope_theta == 100_000


def test_base_of_the_rotation_is_that_of_transformers_where_none_is_given() -> None:
    data = {key: value for key, value in STARCODER2_3B.items() if key != "rope_theta"}
    read = from_json(data)
    assert isinstance(read, Starcoder2Config) and read.rope_theta == 10_000.0


def test_general_names_of_transformers_mean_the_same_fields() -> None:
    renamed = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}
    data = {renamed.get(key, key): value for key, value in SANTACODER_1B.items()}
    assert GPTBigCodeConfig.from_json(data) == GPTBigCodeConfig.from_json(SANTACODER_1B)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None)
@given(data=st.data(), published=st.sampled_from([SANTACODER_1B, STARCODER2_3B]))
def test_any_values_give_a_config_or_one_clear_error(data: st.DataObject, published: dict[str, Any]) -> None:
    keys = st.sampled_from([*sorted(published), "rope_parameters", "rope_scaling", "head_dim"])
    changes = data.draw(st.dictionaries(keys, json_values, max_size=4))
    try:
        config = from_json({**published, **changes})
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        config.validate()
