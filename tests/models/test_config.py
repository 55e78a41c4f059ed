from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny

from starloom.errors import CheckpointError
from starloom.models.config import GPTBigCodeConfig, from_json
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


def test_published_config_reads_as_its_preset() -> None:
    read = GPTBigCodeConfig.from_json(SANTACODER_1B)
    assert dataclasses.replace(read, initializer_range=0.022) == PRESETS["santacoder"]


@pytest.mark.parametrize("number", range(12))
def test_config_survives_its_json(number: int) -> None:
    config = tiny(number)
    assert GPTBigCodeConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("config", [*PRESETS.values(), *map(tiny, range(12))])
def test_parameter_count_is_the_sum_of_the_shapes(config: GPTBigCodeConfig) -> None:
    assert config.parameter_count() == sum(math.prod(shape) for shape in config.shapes().values())


def test_flops_are_six_for_each_matrix_weight_and_twelve_for_each_scored_token() -> None:
    config = dataclasses.replace(QUICKSTART, n_inner=1000, multi_query=False)
    shapes = config.shapes()
    weights = sum(math.prod(shape) for name, shape in shapes.items() if len(shape) == 2 and "wpe" not in name)
    assert config.flops_per_token(100) == 6 * weights + 12 * config.n_layer * 100 * config.n_embd
    assert config.flops_per_token(100, training=False) * 3 == config.flops_per_token(100)


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


def test_fields_within_bounds_are_refused_when_together_they_are_absurd() -> None:
    with pytest.raises(CheckpointError, match=r"describes .* parameters"):
        GPTBigCodeConfig(n_embd=2**16, n_head=64, n_layer=1024)


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
@given(st.dictionaries(st.sampled_from(sorted(SANTACODER_1B)), json_values, max_size=4))
def test_any_values_give_a_config_or_one_clear_error(changes: dict[str, Any]) -> None:
    try:
        config = GPTBigCodeConfig.from_json({**SANTACODER_1B, **changes})
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        config.validate()
