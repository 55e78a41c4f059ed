"""Going on from a checkpoint: its weights, and nothing else of its training; a new optimizer, schedule, order and log.

That is how the published Python continuation was made (Megatron-LM's `--finetune --no-load-optim --no-load-rng
--override-opt_param-scheduler`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Final

from starloom.errors import ConfigError, DamagedError, SourceError
from starloom.models import checkpoint
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.store import MANIFEST, Built
from starloom.tokens import tokenizer_json

TOKENIZER: Final = "tokenizer.json"
# What may differ: training alone knows it, or the vocabulary says it, or it is how transformers rounds.
FREE: Final = (
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "residual_dropout", "embedding_dropout",
    "initializer_range", "vocab_size", "bos_token_id", "eos_token_id", "pad_token_id",
    "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32",
)  # fmt: skip


def digest(folder: str) -> str:
    """Of what a checkpoint says: its config, tokenizer and weights, wherever it lies. "" for none."""
    if not folder:
        return ""
    found = hashlib.sha256()
    names = sorted(path.name for path in Path(folder).glob("*.safetensors"))
    for name in ["config.json", TOKENIZER, *names]:
        try:
            with (Path(folder) / name).open("rb") as file:
                found.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise SourceError(
                f"{Path(folder) / name} cannot be read ({error.strerror}); pretrain.start_folder is a model's folder with "
                "config.json, tokenizer.json and weights in safetensors"
            ) from None
    return found.hexdigest()


def checked(folder: Path, config: ModelConfig, packed: Built) -> Path:
    """The folder, if its model is the one that is to be trained, with the vocabulary that the tokens were made with.

    Raises ConfigError for another, with what differs.
    """
    theirs = tokenizer_json.read((folder / TOKENIZER).read_bytes(), str(folder / TOKENIZER))
    if theirs != tokenizer_json.read(packed.read_bytes(TOKENIZER), str(packed.path(TOKENIZER))):
        raise ConfigError(
            f"the tokenizer in {folder} is not the one that {packed.directory} was packed with: its ids mean other tokens. "
            "Pack with the checkpoint's own tokenizer"
        )
    there = checkpoint.read_config(folder)
    if there.model_type != config.model_type:
        raise ConfigError(f"{folder} holds a {there.model_type} model, but pretrain.model is a {config.model_type}")
    differing = [
        (item.name, getattr(there, item.name), getattr(config, item.name))
        for item in dataclasses.fields(there)
        if item.name not in FREE and _said(there, item.name) != _said(config, item.name)
    ]
    if differing:
        settings = " ".join(f"--set pretrain.model.{name}={str(own).lower()}" for name, own, _ in differing)
        wanted = ", ".join(f"{name} {own}, not {other}" for name, own, other in differing)
        raise ConfigError(f"the model in {folder} is another than pretrain.model: it has {wanted}; use {settings}")
    if there.vocab_size != config.vocab_size:
        raise ConfigError(
            f"the model in {folder} has {there.vocab_size:,} rows of its embedding, but the vocabulary needs "
            f"{config.vocab_size:,}"
        )
    return folder


def _said(config: ModelConfig, name: str) -> Any:
    """A field's meaning: the width of the MLP may be left to the model's."""
    return config.inner if name == "n_inner" and isinstance(config, GPTBigCodeConfig) else getattr(config, name)


def unharmed(built: Built) -> Path:
    """The folder of an upstream stage, all its hashes checked."""
    if damaged := built.verify():
        raise DamagedError(f"{built.directory}: {damaged[0]}; `starloom verify --repair` sets it back")
    return built.directory


def outside(folder: str) -> Path:
    """A folder of the user's; where a manifest of ours lies in it, all its hashes are checked."""
    path = Path(folder)
    return unharmed(Built.open(path)) if (path / MANIFEST).is_file() else path
