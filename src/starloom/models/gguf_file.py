"""GGUF files, for llama.cpp and what is built on it: both families, with their tokenizer.

llama.cpp computes the tanh form of the activation whatever was trained with, and every token attends to all before it; where
a model differs, the notes that `write` returns say so. Matrices have the type asked for, the rest is float32, as its own
converter has it. Tensor and key names: the `gguf` package and llama.cpp's loader.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from starloom import store
from starloom.errors import CheckpointError, MissingExtraError
from starloom.models import gguf_tokenizer
from starloom.models.config import GPTBigCodeConfig, ModelConfig, Starcoder2Config
from starloom.models.layout_heads import by_kind
from starloom.tokens.bpe import Vocabulary

_LAYER: Final = re.compile(r"(?:transformer\.h|model\.layers)\.(\d+)\.(.+)\.(weight|bias)")
_IN_LAYER: Final = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_OUTSIDE: Final = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_STORED: Final = {
    torch.float64: "float32",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
_Q8_BLOCK: Final = 32  # numbers that share a scale in q8_0


def require() -> Any:
    """The gguf package. Raises MissingExtraError where it is not installed."""
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf", "gguf")
    import gguf

    return gguf


def write(
    path: Path,
    config: ModelConfig,
    tensors: Mapping[str, Tensor],
    vocabulary: Vocabulary,
    dtype: str | None,
    *,
    name: str,
    advance: Callable[[int], object] = lambda amount: None,
) -> list[str]:
    """Write one GGUF file, a tensor in memory at a time; what a user should know of the result.

    `dtype` is float32, float16, bfloat16, q8_0, or None for the type that the embedding is stored in.
    """
    gguf = require()
    dtype = dtype or _STORED[tensors[config.embedding].dtype]
    types = gguf.GGMLQuantizationType
    wanted = {"float32": types.F32, "float16": types.F16, "bfloat16": types.BF16, "q8_0": types.Q8_0}[dtype]
    writer = gguf.GGUFWriter(path, "starcoder" if isinstance(config, GPTBigCodeConfig) else "starcoder2")
    _describe(gguf, writer, config, name, dtype)
    gguf_tokenizer.describe(gguf, writer, vocabulary, config.vocab_size)
    named = list(_named(config, tensors))
    for target, tensor in named:
        kind = _type(types, target, tensor, wanted)
        shape = gguf.quant_shape_to_byte_shape(tuple(tensor.shape), kind)
        writer.add_tensor_info(target, shape, np.dtype(np.uint8), int(np.prod(shape)), kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for target, tensor in named:
            data = gguf.quantize(_ordered(config, target, tensor).float().numpy(), _type(types, target, tensor, wanted))
            writer.write_tensor_data(np.ascontiguousarray(data))
            advance(tensor.nbytes)
    finally:
        writer.close()
    store.fsync(path)
    return list(_notes(config))


def _describe(gguf: Any, writer: Any, config: ModelConfig, name: str, dtype: str) -> None:
    """The model's shape, under llama.cpp's names."""
    files = gguf.LlamaFileType
    writer.add_type("model")
    writer.add_name(name)
    writer.add_context_length(config.context)
    writer.add_vocab_size(config.vocab_size)
    writer.add_head_count_kv(config.kv_heads)
    if isinstance(config, GPTBigCodeConfig):
        if not config.scale_attn_weights:
            raise CheckpointError(
                "scale_attn_weights is false, and llama.cpp always scales; this model cannot be a GGUF file"
            )
        shape = config.n_embd, config.n_layer, config.inner, config.n_head
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        shape = config.hidden_size, config.num_hidden_layers, config.intermediate_size, config.num_attention_heads
        writer.add_layer_norm_eps(config.norm_epsilon)
        writer.add_rope_freq_base(config.rope_theta)
        writer.add_rope_dimension_count(config.head_size)
        if config.sliding_window is not None:
            writer.add_sliding_window(config.sliding_window)
    width, layers, inner, heads = shape
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    kinds = {
        "float32": files.ALL_F32,
        "float16": files.MOSTLY_F16,
        "bfloat16": files.MOSTLY_BF16,
        "q8_0": files.MOSTLY_Q8_0,
    }
    writer.add_file_type(kinds[dtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _named(config: ModelConfig, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Tensors under llama.cpp's names; zeros for biases that it needs and the model was trained without."""
    for name in config.shapes():
        layer = _LAYER.fullmatch(name)
        if layer:
            target = f"blk.{layer[1]}.{_IN_LAYER[layer[2]]}.{layer[3]}"
        else:
            outside, _, kind = name.rpartition(".")
            target = f"{_OUTSIDE[outside]}.{kind}"
        yield target, tensors[name]
        lacks_bias = isinstance(config, Starcoder2Config) and not config.use_bias
        if lacks_bias and layer and re.search(r"attn_output|ffn_(up|down)", target):
            yield target.replace(".weight", ".bias"), torch.zeros(len(tensors[name]))


def _type(types: Any, target: str, tensor: Tensor, wanted: Any) -> Any:
    """The type of a tensor in the file: vectors and positions are float32, rows that no block fits float16."""
    if tensor.ndim < 2 or target.startswith("position_embd"):
        return types.F32
    return types.F16 if wanted == types.Q8_0 and tensor.shape[-1] % _Q8_BLOCK else wanted


def _ordered(config: ModelConfig, target: str, tensor: Tensor) -> Tensor:
    """Queries, keys and values by kind, as llama.cpp cuts them."""
    if ".attn_qkv." in target and isinstance(config, GPTBigCodeConfig) and not config.multi_query:
        return by_kind(tensor, config.n_head)
    return tensor


def _notes(config: ModelConfig) -> Iterator[str]:
    activation = config.activation_function if isinstance(config, GPTBigCodeConfig) else config.hidden_act
    if activation == "gelu":
        yield "llama.cpp computes gelu in its tanh form; this model was trained with the other, so its logits differ a little"
    if isinstance(config, Starcoder2Config) and (config.sliding_window or config.context) < config.context:
        yield (f"llama.cpp has no sliding window for starcoder2: past {config.sliding_window:,} tokens its logits differ; "
               f"run it with --ctx-size {config.sliding_window} for the same ones")  # fmt: skip
