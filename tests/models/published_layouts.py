"""Checkpoints in the layouts of SantaCoder's own code and of Megatron, and what these models compute, by their definition."""

from __future__ import annotations

import argparse
import enum
import math
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

V, P, D, L, N, INNER = 37, 16, 24, 2, 3, 40  # vocabulary, positions, width, layers, heads, inner width
H = D // N

SANTACODER_CONFIG: dict[str, Any] = {  # the keys of the published file
    "_name_or_path": "santacoder", "activation_function": "gelu_fast", "architectures": ["GPT2LMHeadCustomModel"],
    "attention_head_type": "multiquery", "attn_pdrop": 0.1,
    "auto_map": {"AutoConfig": "configuration_gpt2_mq.GPT2CustomConfig",
                 "AutoModelForCausalLM": "modeling_gpt2_mq.GPT2LMHeadCustomModel"},
    "bos_token_id": 0, "embd_pdrop": 0.1, "eos_token_id": 0, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2", "n_embd": D, "n_head": N, "n_inner": INNER, "n_layer": L, "n_positions": P,
    "reorder_and_upcast_attn": False, "resid_pdrop": 0.1, "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True, "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
    "summary_type": "cls_index", "summary_use_proj": True, "torch_dtype": "float32", "transformers_version": "4.24.0",
    "use_cache": True, "vocab_size": V,
}  # fmt: skip


class Draw:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator) * 0.3


def santacoder(multi_query: bool = True, seed: int = 0, *, masks: bool = True) -> dict[str, Tensor]:
    """Tensors of GPT2LMHeadCustomModel: maps are Conv1D, [in, out]."""
    draw = Draw(seed)
    tensors = {"transformer.wte.weight": draw(V, D), "transformer.wpe.weight": draw(P, D)}
    attention = {"q_attn": (D, D), "kv_attn": (D, 2 * H)} if multi_query else {"c_attn": (D, 3 * D)}
    for layer in range(L):
        block = f"transformer.h.{layer}"
        maps = {f"attn.{name}": shape for name, shape in attention.items()}
        maps |= {"attn.c_proj": (D, D), "mlp.c_fc": (D, INNER), "mlp.c_proj": (INNER, D)}
        for name, (inputs, outputs) in maps.items():
            tensors |= {f"{block}.{name}.weight": draw(inputs, outputs), f"{block}.{name}.bias": draw(outputs)}
        for name in ("ln_1", "ln_2"):
            tensors |= {f"{block}.{name}.weight": 1 + draw(D), f"{block}.{name}.bias": draw(D)}
        if masks:
            tensors[f"{block}.attn.bias"] = torch.ones(P, P, dtype=torch.bool).tril()[None, None]
            tensors[f"{block}.attn.masked_bias"] = torch.tensor(-1e4)
    tensors |= {"transformer.ln_f.weight": 1 + draw(D), "transformer.ln_f.bias": draw(D)}
    return tensors


def gelu_fast(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


def gelu_erf(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


Linear = Callable[[str, Tensor], Tensor]


def logits(ids: Tensor, tensors: Mapping[str, Tensor], names: Mapping[str, str], heads: Callable[[str, Tensor], Any],
           linear: Linear, act: Callable[[Tensor], Tensor], block: str) -> Tensor:  # fmt: skip
    """A pre-norm decoder in float64, written out; `heads` gives (q, k, v), each [N or 1, T, H]."""
    t = {name: tensor.double() for name, tensor in tensors.items()}

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(variance + 1e-5) * t[f"{name}.weight"] + t[f"{name}.bias"]

    x = t[names["wte"]][ids] + t[names["wpe"]][: len(ids)]
    for layer in range(L):
        at = f"{block}{layer}"
        q, k, v = heads(at, norm(f"{at}.{names['ln_1']}", x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(H)
        scores = scores.masked_fill(~torch.ones(len(ids), len(ids), dtype=torch.bool).tril(), float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(ids), D)
        x = x + linear(f"{at}.{names['dense']}", y)
        y = act(linear(f"{at}.{names['up']}", norm(f"{at}.{names['ln_2']}", x)))
        x = x + linear(f"{at}.{names['down']}", y)
    return norm(names["ln_f"], x) @ t[names["wte"]][:V].T


def santacoder_logits(ids: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    def conv1d(name: str, x: Tensor) -> Tensor:
        return x @ tensors[f"{name}.weight"].double() + tensors[f"{name}.bias"].double()

    def heads(block: str, x: Tensor) -> Any:
        if f"{block}.attn.q_attn.weight" in tensors:
            q = conv1d(f"{block}.attn.q_attn", x).view(-1, N, H).transpose(0, 1)
            k, v = conv1d(f"{block}.attn.kv_attn", x).split((H, H), -1)
            return q, k[None], v[None]
        return [part.view(-1, N, H).transpose(0, 1) for part in conv1d(f"{block}.attn.c_attn", x).split((D, D, D), -1)]

    names = {"wte": "transformer.wte.weight", "wpe": "transformer.wpe.weight", "ln_f": "transformer.ln_f",
             "ln_1": "ln_1", "ln_2": "ln_2", "dense": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}  # fmt: skip
    return logits(ids, tensors, names, heads, conv1d, gelu_fast, "transformer.h.")


def megatron(multi_query: bool = True, seed: int = 0, rows: int = 40) -> dict[str, Tensor]:
    """Flat tensors of a language_model: maps are [out, in]; the embedding is padded to `rows`."""
    draw = Draw(seed)
    tensors = {"embedding.word_embeddings.weight": draw(rows, D), "embedding.position_embeddings.weight": draw(P, D)}
    attention = {"query": D, "key_value": 2 * H} if multi_query else {"query_key_value": 3 * D}
    for layer in range(L):
        block = f"encoder.layers.{layer}"
        maps = {f"self_attention.{name}": (outputs, D) for name, outputs in attention.items()}
        maps |= {"self_attention.dense": (D, D), "mlp.dense_h_to_4h": (INNER, D), "mlp.dense_4h_to_h": (D, INNER)}
        for name, (outputs, inputs) in maps.items():
            tensors |= {f"{block}.{name}.weight": draw(outputs, inputs), f"{block}.{name}.bias": draw(outputs)}
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors |= {f"{block}.{name}.weight": 1 + draw(D), f"{block}.{name}.bias": draw(D)}
    return tensors | {"encoder.final_layernorm.weight": 1 + draw(D), "encoder.final_layernorm.bias": draw(D)}


def megatron_logits(ids: Tensor, tensors: Mapping[str, Tensor], *, fused: bool = True) -> Tensor:
    def linear(name: str, x: Tensor) -> Tensor:
        return x @ tensors[f"{name}.weight"].double().T + tensors[f"{name}.bias"].double()

    def heads(block: str, x: Tensor) -> Any:
        if f"{block}.self_attention.query.weight" in tensors:
            q = linear(f"{block}.self_attention.query", x).view(-1, N, H).transpose(0, 1)
            k, v = linear(f"{block}.self_attention.key_value", x).split((H, H), -1)
            return q, k[None], v[None]
        mixed = linear(f"{block}.self_attention.query_key_value", x).view(-1, N, 3 * H)
        return [part.transpose(0, 1) for part in mixed.split((H, H, H), -1)]

    names = {"wte": "embedding.word_embeddings.weight", "wpe": "embedding.position_embeddings.weight",
             "ln_f": "encoder.final_layernorm", "ln_1": "input_layernorm", "ln_2": "post_attention_layernorm",
             "dense": "self_attention.dense", "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"}  # fmt: skip
    return logits(ids, tensors, names, heads, linear, gelu_fast if fused else gelu_erf, "encoder.layers.")


def nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """As Megatron saves them: dictionaries for the parts, dotted names inside."""
    embedding: dict[str, Any] = {}
    encoder: dict[str, Any] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "embedding":
            embedding[rest.partition(".")[0]] = {"weight": tensor}
        else:
            encoder[rest] = tensor
    return {"language_model": {"embedding": embedding, "encoder": encoder}}


def megatron_arguments(**changes: Any) -> argparse.Namespace:
    """The arguments as the fork pickles them, some being enums of its own modules and some types of torch."""
    module = types.ModuleType("megatron.model.enums")
    sys.modules.setdefault("megatron", types.ModuleType("megatron"))
    sys.modules.setdefault("megatron.model", types.ModuleType("megatron.model"))
    sys.modules[module.__name__] = module
    position = enum.Enum("PositionEmbeddingType", ["rotary", "absolute", "alibi"], module=module.__name__)
    module.PositionEmbeddingType = position  # type: ignore[attr-defined]
    values = {
        "hidden_size": D, "num_layers": L, "num_attention_heads": N, "ffn_hidden_size": INNER, "kv_channels": H,
        "max_position_embeddings": P, "layernorm_epsilon": 1e-5, "init_method_std": 0.022, "hidden_dropout": 0.1,
        "attention_dropout": 0.1, "bias_gelu_fusion": True, "openai_gelu": False, "attention_head_type": "multiquery",
        "padded_vocab_size": 40, "apply_residual_connection_post_layernorm": False, "data_path": ["a", 0.5],
        "position_embedding_type": position.absolute, "params_dtype": torch.float16, "tensor_model_parallel_size": 1,
    }  # fmt: skip
    return argparse.Namespace(**{**values, **changes})


def megatron_file(tensors: Mapping[str, Tensor], **changes: Any) -> dict[str, Any]:
    """What model_optim_rng.pt holds, with an optimizer and NumPy's random state."""
    return {
        "args": megatron_arguments(**changes),
        "checkpoint_version": 3.0,
        "iteration": 12,
        "model": nested(tensors),
        "optimizer": {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
        "rng_state": [{"np_rng_state": np.random.RandomState(0).get_state(), "torch_rng_state": torch.get_rng_state()}],
    }
