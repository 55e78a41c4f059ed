"""BigCode's fork of Megatron-LM → GPTBigCode: names, the parts of tensor and pipeline parallel ranks, and arguments.

Read from the checkpoint's own arguments (`args`). What the fork can train and GPTBigCode is not, such as rotary or ALiBi
positions, gated MLPs or maps without biases, is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from starloom.errors import CheckpointError
from starloom.models.gpt_bigcode_config import GPTBigCodeConfig

Ranks = Sequence[Sequence[Mapping[str, Tensor]]]  # [pipeline rank][tensor rank] → name → tensor

_PREFIX: Final = re.compile(r"(module\.)?model\.(module\.)?(language_model\.)?")
_LAYER: Final = re.compile(r"(?:encoder|transformer|decoder)\.layers\.(\d+)\.(.+)")
_NAMES: Final = {  # in a layer → ours, and the dimension that tensor parallelism cuts: of a weight, of a bias
    "input_layernorm": ("ln_1", None, None),
    "post_attention_layernorm": ("ln_2", None, None),
    "self_attention.query": ("attn.query", 0, 0),
    "self_attention.key_value": ("attn.key_value", None, None),  # one head, so every rank has it
    "self_attention.query_key_value": ("attn.c_attn", 0, 0),
    "self_attention.dense": ("attn.c_proj", 1, None),
    "mlp.dense_h_to_4h": ("mlp.c_fc", 0, 0),
    "mlp.dense_4h_to_h": ("mlp.c_proj", 1, None),
}
_OUTSIDE: Final = {  # outside the layers → ours, and the dimension that is cut
    "embedding.word_embeddings.weight": ("transformer.wte.weight", 0),
    "embedding.position_embeddings.weight": ("transformer.wpe.weight", None),
    "encoder.final_layernorm.weight": ("transformer.ln_f.weight", None),
    "encoder.final_layernorm.bias": ("transformer.ln_f.bias", None),
    "word_embeddings_for_head.weight": ("lm_head.weight", 0),  # the last pipeline rank's copy of the embedding
    "output_layer.weight": ("lm_head.weight", 0),
}
# Arguments under which the model is another one, and what they are here; an argument that is missing is that.
_ONLY: Final[dict[str, tuple[object, ...]]] = {
    "apply_residual_connection_post_layernorm": (False,),
    "swiglu": (False,),
    "glu_activation": (None,),
    "squared_relu": (False,),
    "openai_gelu": (False,),  # the tanh form by another name, which nobody trained with
    "add_bias_linear": (True,),
    "normalization": ("LayerNorm",),
    "num_experts": (None,),
    "use_rotary_position_embeddings": (False,),
}
_FIELDS: Final = {  # argument → field of the config
    "hidden_size": "n_embd",
    "num_layers": "n_layer",
    "num_attention_heads": "n_head",
    "ffn_hidden_size": "n_inner",
    "max_position_embeddings": "n_positions",
    "layernorm_epsilon": "layer_norm_epsilon",
    "init_method_std": "initializer_range",
    "hidden_dropout": "resid_pdrop",
    "attention_dropout": "attn_pdrop",
}
_NEEDED: Final = ("hidden_size", "num_layers", "num_attention_heads", "max_position_embeddings")
_BY_HEAD_SINCE: Final = 2.0  # checkpoint_version: older ones have other orders of queries, keys and values


def is_megatron(names: Sequence[str]) -> bool:
    """Whether tensors are called as in this layout."""
    return any(".language_model." in f".{name}" for name in names)


def read_arguments(facts: Mapping[str, Any], rows: int, tensors: Mapping[str, Tensor]) -> GPTBigCodeConfig:
    """The config that the arguments of a checkpoint mean, with `rows` of the embedding. Raises CheckpointError."""
    args = {name.removeprefix("args."): value for name, value in facts.items() if name.startswith("args.")}
    missing = [name for name in _NEEDED if name not in args]
    if missing:
        raise CheckpointError(f"the checkpoint's arguments lack {', '.join(missing)}, so its shape is not known; "
                              "save it with its args, as Megatron does")  # fmt: skip
    for name, values in _ONLY.items():
        if name in args and args[name] not in values:
            raise CheckpointError(f"the model was trained with {name} = {str(args[name])[:60]}, which GPTBigCode has "
                                  f"not; only {values[0]!r} can be converted")  # fmt: skip
    if "transformer.wpe.weight" not in tensors:
        raise CheckpointError("the model has no learned positions (position_embeddings): rotary or ALiBi ones are not "
                              "GPTBigCode's, so it cannot be converted")  # fmt: skip
    multi_query = any(name.endswith(".attn.key_value.weight") for name in tensors)
    version = facts.get("checkpoint_version", 0)
    if not multi_query and not (isinstance(version, (int, float)) and version >= _BY_HEAD_SINCE):
        raise CheckpointError(f"checkpoint_version is {str(version)[:20]}; multi-head attention is read from version "
                              f"{_BY_HEAD_SINCE:g} on, so save the checkpoint with a newer Megatron")  # fmt: skip
    fields = {field: args[name] for name, field in _FIELDS.items() if args.get(name) is not None}
    if "resid_pdrop" in fields:
        fields["embd_pdrop"] = fields["resid_pdrop"]
    head = tensors.get("lm_head.weight")
    # the fused activation is the tanh form; the other is torch's own, by the error function
    activation = "gelu_pytorch_tanh" if args.get("bias_gelu_fusion", True) else "gelu"
    return GPTBigCodeConfig(
        **fields,
        vocab_size=rows,
        multi_query=multi_query,
        activation_function=activation,  # type: ignore[arg-type]
        tie_word_embeddings=head is None or torch.equal(head, tensors["transformer.wte.weight"]),
    )


def to_gpt_bigcode(config: GPTBigCodeConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joined tensors → GPTBigCode's: queries, key and value as one map, embeddings cut to the vocabulary."""
    found = dict(tensors)
    for name in [name for name in found if ".attn.query." in name]:
        pair = name.replace(".query.", ".key_value.")
        if pair not in found:
            raise CheckpointError(f"the checkpoint has {name} without {pair}; it is incomplete: fetch it again")
        found[name.replace(".query.", ".c_attn.")] = torch.cat((found.pop(name), found.pop(pair)))
    if config.tie_word_embeddings:
        found.pop("lm_head.weight", None)
    for name in ("transformer.wte.weight", "lm_head.weight"):
        if name in found:
            if len(found[name]) < config.vocab_size:
                raise CheckpointError(f"{name} has {len(found[name]):,} rows, fewer than the tokenizer's "
                                      f"{config.vocab_size:,}; give the tokenizer that the model was trained with")  # fmt: skip
            found[name] = found[name][: config.vocab_size].clone()
    return found


def joined(ranks: Ranks) -> dict[str, Tensor]:
    """The tensors of all ranks under our names: pipeline ranks one after another, tensor ranks side by side."""
    found: dict[str, Tensor] = {}
    layers = 0
    for stage in ranks:
        named = [_renamed(tensors, layers) for tensors in stage]
        for name, (_, cut) in named[0].items():
            if any(name not in other for other in named):
                raise CheckpointError(f"not every tensor parallel rank has {name}; fetch all of them again")
            parts = [other[name][0] for other in named]
            if cut is None:
                if not all(torch.equal(parts[0], part) for part in parts[1:]):
                    raise CheckpointError(f"{name} differs between tensor parallel ranks; are they of one iteration?")
                found[name] = parts[0]
            else:
                found[name] = torch.cat(parts, cut) if len(parts) > 1 else parts[0]
        numbers = [int(name.split(".")[2]) for name in named[0] if name.startswith("transformer.h.")]
        layers = max(numbers, default=layers - 1) + 1
    return found


def _renamed(tensors: Mapping[str, Tensor], first_layer: int) -> dict[str, tuple[Tensor, int | None]]:
    """Our name → tensor, and the dimension that is cut between ranks. Raises CheckpointError for a name it does not know."""
    found: dict[str, tuple[Tensor, int | None]] = {}
    for name, tensor in tensors.items():
        bare = _PREFIX.sub("", name, count=1)
        layer = _LAYER.fullmatch(bare)
        if layer:
            inside, _, kind = (
                layer[2].replace("attention.", "self_attention.").replace("self_self_", "self_").rpartition(".")
            )
            inside = "post_attention_layernorm" if inside == "post_self_attention_layernorm" else inside
            if inside in _NAMES and kind in ("weight", "bias"):
                ours, cut_of_weight, cut_of_bias = _NAMES[inside]
                number = first_layer + int(layer[1])
                found[f"transformer.h.{number}.{ours}.{kind}"] = (
                    tensor,
                    cut_of_weight if kind == "weight" else cut_of_bias,
                )
                continue
        bare = bare.replace("transformer.final_layernorm", "encoder.final_layernorm")
        if bare not in _OUTSIDE:
            raise CheckpointError(f"the checkpoint has a tensor {name[:100]!r}, which no GPTBigCode model has")
        ours, cut = _OUTSIDE[bare]
        found[ours] = tensor, cut
    return found
