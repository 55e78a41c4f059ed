"""The shape of a GPTBigCode model: field names and defaults are the keys and defaults of Hugging Face's config.json.

A config that exists is valid: every field is bounded before anything is allocated. No torch here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from starloom.errors import CheckpointError, suggestion

MODEL_TYPE: Final = "gpt_bigcode"

# The activations of the published checkpoints. gelu_fast (SantaCoder) and gelu_pytorch_tanh are one function.
Activation = Literal["gelu_pytorch_tanh", "gelu_fast", "gelu"]
ACTIVATIONS: Final = ("gelu_pytorch_tanh", "gelu_fast", "gelu")

# Bounds: our choice, each several times the largest published value (StarCoderBase 15B), so that a damaged or hostile
# config is refused before it allocates.
_WHOLE: Final = {
    "vocab_size": (1, 2**20),
    "n_positions": (1, 2**20),
    "n_embd": (1, 2**16),
    "n_layer": (1, 1024),
    "n_head": (1, 1024),
    "n_inner": (1, 2**18),
}
_REAL: Final = {  # (at least, below)
    "resid_pdrop": (0.0, 1.0),
    "embd_pdrop": (0.0, 1.0),
    "attn_pdrop": (0.0, 1.0),
    "layer_norm_epsilon": (1e-30, 1.0),
    "initializer_range": (0.0, 10.0),
}
MAX_PARAMETERS: Final = 100_000_000_000

# Keys of config.json that cannot change the logits: bookkeeping, generation defaults (ours come from the request), and
# switches of inference code that no longer exists.
_HARMLESS: Final = """
    _attn_implementation _commit_hash _name_or_path architectures attn_implementation chunk_size_feed_forward dtype
    finetuning_task gradient_checkpointing id2label is_decoder keys_to_ignore_at_inference label2id license
    model_type name_or_path num_labels output_attentions output_hidden_states output_past prefix problem_type return_dict
    return_dict_in_generate output_scores task_specific_params tokenizer_class torch_dtype torchscript transformers_version
    use_bfloat16 use_cache use_return_dict
    bad_words_ids begin_suppress_tokens decoder_start_token_id diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty
    max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    remove_invalid_values repetition_penalty sep_token_id suppress_tokens temperature tf_legacy_loss top_k top_p typical_p
    inference_runner max_batch_size max_sequence_length pad_key_length pre_allocate_kv_cache validate_runner_input
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    """
_IGNORED: Final = frozenset(_HARMLESS.split())
# Keys that would change the mathematics; only these values mean the model that we compute.
_ONLY: Final[dict[str, tuple[object, ...]]] = {
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "is_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "tie_encoder_decoder": (False, None),
}
# transformers reads these spellings as the fields behind them (its `attribute_map`).
_ALIASES: Final = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}


@dataclass(frozen=True, slots=True)
class GPTBigCodeConfig:
    """One GPTBigCode architecture. Raises CheckpointError for a field that is out of bounds or of the wrong type.

    `attention_softmax_in_fp32` and `scale_attention_softmax_in_fp32` are kept and written back, and read as true: the
    softmax is never computed in less than float32 (nor does transformers 5 look at them).
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # None: 4 × n_embd
    activation_function: Activation = "gelu_pytorch_tanh"
    multi_query: bool = True
    tie_word_embeddings: bool = True
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    scale_attn_weights: bool = True
    attention_softmax_in_fp32: bool = True
    scale_attention_softmax_in_fp32: bool = True
    bos_token_id: int | None = None  # transformers' default is GPT-2's 50256; ours is none
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Every field within its bounds, and all of them together; nothing is allocated."""
        for name, (low, high) in _WHOLE.items():
            value = getattr(self, name)
            if name == "n_inner" and value is None:
                continue
            if type(value) is not int or not low <= value <= high:
                raise _refused(name, value, f"a whole number from {low} to {high}")
        for name, (least, below) in _REAL.items():
            value = getattr(self, name)
            if type(value) not in (int, float) or not least <= value < below:  # NaN fails both comparisons
                raise _refused(name, value, f"a number from {least:g} to below {below:g}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "bool" and type(value) is not bool:
                raise _refused(field.name, value, "true or false")
        if self.activation_function not in ACTIVATIONS:
            raise _refused("activation_function", self.activation_function, f"one of {', '.join(ACTIVATIONS)}")
        if self.n_embd % self.n_head:
            raise _refused("n_head", self.n_head, f"a divisor of n_embd, which is {self.n_embd}")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(self, name)
            ids = value if name == "eos_token_id" and isinstance(value, tuple) else (value,)
            for token in ids:
                if token is not None and (type(token) is not int or not 0 <= token < self.vocab_size):
                    raise _refused(name, value, f"null or a token id below vocab_size, which is {self.vocab_size}")
        if self.parameter_count() > MAX_PARAMETERS:
            raise CheckpointError(
                f"the config describes {self.parameter_count():,} parameters, more than the {MAX_PARAMETERS:,} that "
                "starloom allocates; check n_embd, n_layer and n_inner"
            )

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        """Key/value heads: one in multi-query attention."""
        return 1 if self.multi_query else self.n_head

    @property
    def inner(self) -> int:
        """Width of the MLP's hidden layer."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every parameter, as in the state dict; a tied lm_head is no parameter of its own."""
        width, inner = self.n_embd, self.inner
        linears = {  # (out, in), as nn.Linear stores them
            "attn.c_attn": (width + 2 * self.kv_heads * self.head_size, width),
            "attn.c_proj": (width, width),
            "mlp.c_fc": (inner, width),
            "mlp.c_proj": (width, inner),
        }
        shapes: dict[str, tuple[int, ...]] = {
            "transformer.wte.weight": (self.vocab_size, width),
            "transformer.wpe.weight": (self.n_positions, width),
        }
        for layer in range(self.n_layer):
            block = f"transformer.h.{layer}"
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
            for linear, (rows, columns) in linears.items():
                shapes |= {f"{block}.{linear}.weight": (rows, columns), f"{block}.{linear}.bias": (rows,)}
        shapes |= {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, width)
        return shapes

    def parameter_count(self) -> int:
        """Exact number of parameters, a tied embedding counted once."""
        width, inner = self.n_embd, self.inner
        qkv = width + 2 * self.kv_heads * self.head_size
        layer = 4 * width + qkv * (width + 1) + width * (width + 1) + inner * (width + 1) + width * (inner + 1)
        embeddings = (self.vocab_size * (1 if self.tie_word_embeddings else 2) + self.n_positions) * width
        return embeddings + self.n_layer * layer + 2 * width

    def flops_per_token(self, context: int | None = None, *, training: bool = True) -> int:
        """Floating-point operations a token: 2 × matrix weights (head included, embedding look-ups not) + 4·L·T·D for
        the attention scores and their weighted sum over a context of T tokens (default n_positions; no saving for the
        causal half), times 3 where the backward pass is counted too.

        This is the usual 6·N + 12·L·T·D; activation recomputation is not counted.
        """
        width = self.n_embd
        qkv = width + 2 * self.kv_heads * self.head_size
        weights = self.n_layer * width * (qkv + width + 2 * self.inner) + self.vocab_size * width
        forward = 2 * weights + 4 * self.n_layer * (self.n_positions if context is None else context) * width
        return 3 * forward if training else forward

    def to_json(self) -> dict[str, object]:
        """What config.json holds, in the order of the fields, so that transformers' AutoModelForCausalLM loads it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {name: float(fields[name]) for name in _REAL}  # transformers refuses a whole number for some
        if isinstance(self.eos_token_id, tuple):
            fields["eos_token_id"] = list(self.eos_token_id)
        return {"architectures": ["GPTBigCodeForCausalLM"], "model_type": MODEL_TYPE, **fields, "use_cache": True}

    @classmethod
    def from_json(cls, data: Mapping[str, object], where: str = "config.json") -> GPTBigCodeConfig:
        """The config that a parsed config.json describes. A key that could change the mathematics is an error.

        Raises CheckpointError naming `where`, the key, its value, and what to do.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        _check_family(data, where)
        values: dict[str, Any] = {}
        for key, value in data.items():
            name = _ALIASES.get(key, key)
            if name in known:
                value = tuple(value) if name == "eos_token_id" and isinstance(value, list) else value
                if name in values and values[name] != value:
                    raise CheckpointError(f"{where}: {name} is given twice, also as {_shown(value)}; keep one")
                values[name] = value
            elif key in _ONLY:
                if value not in _ONLY[key]:
                    raise CheckpointError(f"{where}: {key} is {_shown(value)}, and starloom computes no such model; "
                                          "load a checkpoint without it")  # fmt: skip
            elif key not in _IGNORED and key != "num_key_value_heads":
                raise CheckpointError(
                    f"{where}: unknown key '{key}' (value {_shown(value)}) could change the mathematics; "
                    f"{suggestion(key, [*known, *_ALIASES])} Remove it if the weights do not need it."
                )
        try:
            config = cls(**values)
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from None
        heads = data.get("num_key_value_heads", config.kv_heads)
        if heads != config.kv_heads:
            raise CheckpointError(
                f"{where}: num_key_value_heads is {_shown(heads)}, but multi_query is {config.multi_query}, which means "
                f"{config.kv_heads}; correct one of them"
            )
        return config


def _check_family(data: Mapping[str, object], where: str) -> None:
    family = data.get("model_type")
    if family != MODEL_TYPE:
        raise CheckpointError(f"{where}: model_type is {_shown(family)}; starloom loads '{MODEL_TYPE}', "
                              "so convert the checkpoint to that layout first")  # fmt: skip
    if data.get("auto_map") is not None:
        raise CheckpointError(f"{where}: auto_map names code to run with the weights, and starloom runs none; "
                              "remove the key if the weights are a plain GPTBigCode")  # fmt: skip


def _refused(name: str, value: object, wanted: str) -> CheckpointError:
    return CheckpointError(f"{name} is {_shown(value)}; it must be {wanted}")


def _shown(value: object) -> str:
    """A value of unknown type and size, short enough for one line of an error."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"a number of {math.ceil(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} items"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
