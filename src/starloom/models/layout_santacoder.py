"""SantaCoder as it was published: GPT-2's layout with `attention_head_type`, for code that comes with the checkpoint
(`GPT2LMHeadCustomModel`), to GPTBigCode and back.

What differs: linear maps are GPT-2's Conv1D, stored (in, out); with one key/value head the queries (`q_attn`) and the
key and value (`kv_attn`) are maps of their own; with many, `c_attn` is by kind. Masks are stored as if they were parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from starloom.errors import CheckpointError
from starloom.models.config_checks import shown
from starloom.models.gpt_bigcode_config import GPTBigCodeConfig
from starloom.models.layout_heads import by_head, by_kind

HEAD_TYPES: Final = {"multiquery": True, "multihead": False}
# The code that reads this layout is that of the published checkpoint, and is not ours to ship.
_CODE: Final = "bigcode/santacoder--"
_LINEAR: Final = re.compile(r"transformer\.h\.\d+\.(attn|mlp)\.(q_attn|kv_attn|c_attn|c_proj|c_fc)\.(weight|bias)")
MASK: Final = re.compile(r"(transformer\.)?(h\.\d+\.attn\.)?(bias|masked_bias)")  # of early GPTBigCode files too
# Keys of GPT-2's config.json and of the published code that change nothing here, or only with these values.
_ONLY: Final[dict[str, tuple[object, ...]]] = {
    "attention_head_type": (*HEAD_TYPES,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False, True),  # a product in float32, for the sake of float16
}


def is_santacoder(config: Mapping[str, object]) -> bool:
    """Whether a parsed config.json describes this layout."""
    return config.get("model_type") == "gpt2" and "attention_head_type" in config


def read_config(data: Mapping[str, object], where: str) -> GPTBigCodeConfig:
    """The GPTBigCode config that a parsed config.json of this layout means. Raises CheckpointError naming `where`."""
    if not is_santacoder(data):
        raise CheckpointError(f"{where}: model_type is {shown(data.get('model_type'))} and attention_head_type "
                              f"{shown(data.get('attention_head_type'))}; SantaCoder's are 'gpt2' and "
                              f"{' or '.join(HEAD_TYPES)}")  # fmt: skip
    for key, values in _ONLY.items():
        if key in data and not any(data[key] == value and type(data[key]) is type(value) for value in values):
            raise CheckpointError(
                f"{where}: {key} is {shown(data[key])}; starloom computes {', '.join(map(str, values))}"
            )
    rest = {key: value for key, value in data.items() if key not in _ONLY and key not in ("auto_map", "n_ctx")}
    # `tie_word_embeddings` is the embedding's own in GPT-2 unless said otherwise, and the activation gelu_new, which is the
    # tanh form that we call gelu_pytorch_tanh.
    activation = rest.get("activation_function", "gelu_new")
    changes = {
        "model_type": GPTBigCodeConfig.model_type,
        "multi_query": HEAD_TYPES[str(data["attention_head_type"])],
        "activation_function": "gelu_pytorch_tanh" if activation == "gelu_new" else activation,
    }
    return GPTBigCodeConfig.from_json({**rest, **changes}, where)


def to_gpt_bigcode(config: GPTBigCodeConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names and orders → GPTBigCode's. Raises CheckpointError for half of a pair."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        name = name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
        linear = _LINEAR.fullmatch(name)
        rows = tensor.T if linear and linear[3] == "weight" and tensor.ndim == 2 else tensor
        if linear and linear[2] == "c_attn" and rows.shape[0] == 3 * config.n_embd:
            rows = by_head(rows, config.n_head)
        found[name] = rows.contiguous()
    for name in [name for name in found if ".attn.q_attn." in name]:
        pair = name.replace(".q_attn.", ".kv_attn.")
        if pair not in found:
            raise CheckpointError(f"the checkpoint has {name} without {pair}; it is incomplete: fetch it again")
        found[name.replace(".q_attn.", ".c_attn.")] = torch.cat((found.pop(name), found.pop(pair)))
    return found


def from_gpt_bigcode(config: GPTBigCodeConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GPTBigCode's names and orders → the published ones. Masks are left out: the published code makes them."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        linear = _LINEAR.fullmatch(name)
        parts = {name: tensor}
        if linear and linear[2] == "c_attn":
            if config.multi_query:
                queries, pair = torch.split(tensor, [config.n_embd, 2 * config.head_size])
                parts = {name.replace("c_attn", "q_attn"): queries, name.replace("c_attn", "kv_attn"): pair}
            else:
                parts = {name: by_kind(tensor, config.n_head)}
        for part, rows in parts.items():
            found[part] = (rows.T if linear and linear[3] == "weight" else rows).clone(
                memory_format=torch.contiguous_format
            )
    return found


def config_json(config: GPTBigCodeConfig, dtype: str) -> dict[str, Any]:
    """config.json in this layout: `auto_map` names the published code, which whoever loads it fetches and trusts."""
    fields = config.to_json()
    for key in ("multi_query", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"):
        del fields[key]
    return {
        **fields,
        "architectures": ["GPT2LMHeadCustomModel"],
        "model_type": "gpt2",
        "attention_head_type": "multiquery" if config.multi_query else "multihead",
        "auto_map": {
            "AutoConfig": f"{_CODE}configuration_gpt2_mq.GPT2CustomConfig",
            "AutoModelForCausalLM": f"{_CODE}modeling_gpt2_mq.GPT2LMHeadCustomModel",
        },
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "torch_dtype": dtype,
    }
