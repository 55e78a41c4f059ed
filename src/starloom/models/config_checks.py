"""What every family's config has in common: bounds for its fields, and how a parsed config.json becomes them. No torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

from starloom.errors import CheckpointError, suggestion

# The activations of the published checkpoints. gelu_fast (SantaCoder) and gelu_pytorch_tanh are one function.
Activation = Literal["gelu_pytorch_tanh", "gelu_fast", "gelu"]
ACTIVATIONS: Final = ("gelu_pytorch_tanh", "gelu_fast", "gelu")
MAX_PARAMETERS: Final = 100_000_000_000  # our choice, six times StarCoderBase 15B
TOKEN_IDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")

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
# Keys that would change the mathematics; only these values mean the models that we compute.
_ONLY: Final[dict[str, tuple[object, ...]]] = {
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "is_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "tie_encoder_decoder": (False, None),
}


class Sized(Protocol):
    """A config whose parameters can be counted."""

    @property
    def vocab_size(self) -> int: ...

    def parameter_count(self) -> int: ...


def check_whole(config: object, bounds: Mapping[str, tuple[int, int]], optional: tuple[str, ...] = ()) -> None:
    """Every named field is a whole number within its bounds, both included."""
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        if name in optional and value is None:
            continue
        if type(value) is not int or not low <= value <= high:
            raise refused(name, value, f"a whole number from {low} to {high}")


def check_real(config: object, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Every named field is a number of at least the first bound and below the second."""
    for name, (least, below) in bounds.items():
        value = getattr(config, name)
        if type(value) not in (int, float) or not least <= value < below:  # NaN fails both comparisons
            raise refused(name, value, f"a number from {least:g} to below {below:g}")


def check_switches(config: Any) -> None:
    """Every field declared bool is one."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.type == "bool" and type(value) is not bool:
            raise refused(field.name, value, "true or false")


def check_activation(name: str, value: object) -> None:
    """The activation is one that we compute."""
    if value not in ACTIVATIONS:
        raise refused(name, value, f"one of {', '.join(ACTIVATIONS)}")


def check_token_ids(config: Sized) -> None:
    """The special ids lie in the vocabulary."""
    for name in TOKEN_IDS:
        value = getattr(config, name)
        ids = value if name == "eos_token_id" and isinstance(value, tuple) else (value,)
        for token in ids:
            if token is not None and (type(token) is not int or not 0 <= token < config.vocab_size):
                raise refused(name, value, f"null or a token id below vocab_size, which is {config.vocab_size}")


def check_size(config: Sized, fields: str) -> None:
    """The parameters of all fields together can be allocated."""
    if config.parameter_count() > MAX_PARAMETERS:
        raise CheckpointError(
            f"the config describes {config.parameter_count():,} parameters, more than the {MAX_PARAMETERS:,} that "
            f"starloom allocates; check {fields}"
        )


def check_family(data: Mapping[str, object], model_type: str, where: str) -> None:
    """The JSON is of this family, and names no code of its own."""
    if data.get("model_type") != model_type:
        raise CheckpointError(f"{where}: model_type is {shown(data.get('model_type'))}; it must be '{model_type}'")
    if data.get("auto_map") is not None:
        raise CheckpointError(f"{where}: auto_map names code to run with the weights, and starloom runs none; "
                              f"remove the key if the weights are a plain {model_type}")  # fmt: skip


def read_fields(
    known: list[str],
    data: Mapping[str, object],
    where: str,
    *,
    aliases: Mapping[str, str],
    only: Mapping[str, tuple[object, ...]],
    harmless: frozenset[str],
) -> dict[str, Any]:
    """Field name → value. A key that could change the mathematics is an error, with its value and what to do.

    `aliases` are other spellings of fields, `only` keys of which some values mean the model that we compute, `harmless` keys
    that the family's code does not look at; each beside those that all families share.
    """
    values: dict[str, Any] = {}
    allowed = {**_ONLY, **only}
    for key, value in data.items():
        name = aliases.get(key, key)
        if name in known:
            value = tuple(value) if name == "eos_token_id" and isinstance(value, list) else value
            if name in values and values[name] != value:
                raise CheckpointError(f"{where}: {name} is given twice, also as {shown(value)}; keep one")
            values[name] = value
        elif key in allowed:
            # 1 is True in Python, and neither is what the other says in JSON
            if not any(value == choice and type(value) is type(choice) for choice in allowed[key]):
                raise CheckpointError(f"{where}: {key} is {shown(value)}, and starloom computes no such model; "
                                      "load a checkpoint without it")  # fmt: skip
        elif key not in _IGNORED and key not in harmless:
            raise CheckpointError(
                f"{where}: unknown key '{key}' (value {shown(value)}) could change the mathematics; "
                f"{suggestion(key, [*known, *aliases])} Remove it if the weights do not need it."
            )
    return values


def refused(name: str, value: object, wanted: str) -> CheckpointError:
    """The error for a field that cannot be."""
    return CheckpointError(f"{name} is {shown(value)}; it must be {wanted}")


def shown(value: object) -> str:
    """A value of unknown type and size, short enough for one line of an error."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"a number of {math.ceil(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} items"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
