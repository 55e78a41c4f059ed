"""Tiny random models of every shape that the two families have, for the tests of this folder."""

from __future__ import annotations

import random
from typing import Any

from starloom.models.config import ACTIVATIONS, GPTBigCodeConfig, Starcoder2Config

LARGE_INIT = 0.3  # so that logits of a random model spread over several units, and a wrong one is far off


def tiny(number: int, **fixed: Any) -> GPTBigCodeConfig:
    """The config of this number; consecutive numbers take turns through attention, activation and tying."""
    chance = random.Random(number)
    heads = chance.choice((1, 2, 3, 5, 7, 8))
    values: dict[str, Any] = {
        "vocab_size": chance.choice((33, 97, 256)),
        "n_positions": chance.choice((24, 40)),
        "n_embd": heads * chance.choice((2, 8, 16)),
        "n_layer": chance.choice((1, 2, 3)),
        "n_head": heads,
        "n_inner": chance.choice((None, 20, 65)),
        "activation_function": ACTIVATIONS[number % 3],
        "multi_query": number % 2 == 0,
        "tie_word_embeddings": number // 6 % 2 == 0,
        "scale_attn_weights": number % 5 != 4,
        "initializer_range": LARGE_INIT,
        "layer_norm_epsilon": chance.choice((1e-5, 1e-3)),
        "bos_token_id": 0,
        "eos_token_id": chance.choice((0, 3, (0, 5))),
    }
    return GPTBigCodeConfig(**{**values, **fixed})


def grouped(number: int, **fixed: Any) -> Starcoder2Config:
    """As `tiny`, of Starcoder2: consecutive numbers take turns through activation, biases, tying and window."""
    chance = random.Random(1000 + number)
    kv_heads, shared = chance.choice((1, 2, 3, 5)), chance.choice((1, 2, 3, 5))
    values: dict[str, Any] = {
        "vocab_size": chance.choice((33, 97, 256)),
        "hidden_size": kv_heads * shared * chance.choice((2, 6, 16)),
        "intermediate_size": chance.choice((20, 65, 128)),
        "num_hidden_layers": chance.choice((1, 2, 3)),
        "num_attention_heads": kv_heads * shared,
        "num_key_value_heads": kv_heads,
        "hidden_act": ACTIVATIONS[number % 3],
        "max_position_embeddings": chance.choice((24, 40)),
        "sliding_window": (None, chance.choice((1, 2, 5, 11)), chance.choice((7, 23)), 64)[number % 4],
        "rope_theta": chance.choice((100.0, 10_000.0, 999999.4420358813)),
        "use_bias": number % 5 != 4,
        "tie_word_embeddings": number // 6 % 2 == 0,
        "norm_epsilon": chance.choice((1e-5, 1e-3)),
        "initializer_range": LARGE_INIT,
        "bos_token_id": 0,
        "eos_token_id": chance.choice((0, 3, (0, 5))),
    }
    return Starcoder2Config(**{**values, **fixed})
