"""A checkpoint in one layout → the same model in another: what `starloom convert` does.

The result is written beside TARGET and renamed, so it is whole or not there.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from starloom import store
from starloom.errors import CheckpointError, ConfigError, TokenizerError
from starloom.models import checkpoint, gguf_file, layout_heads, layout_santacoder
from starloom.models.checkpoint import check_names_and_shapes
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.models.convert_sources import Reading, open_source
from starloom.models.strict_json import parse_object
from starloom.progress import Progress
from starloom.tokens.bpe import Vocabulary

Layout = Literal["auto", "safetensors", "pytorch", "santacoder", "megatron"]
Target = Literal["safetensors", "gguf", "santacoder", "mha", "mqa"]
DType = Literal["float32", "float16", "bfloat16", "q8_0"]
_DTYPES: Final = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_TEMPLATE: Final = "chat_template"  # of tokenizer_config.json; or a file of its own, since transformers 4.52
_OURS: Final = (
    *("config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"),
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was done: layouts, size, and what a user should know about the result."""

    source: str
    target: str
    layout: str  # that SOURCE had
    to: str
    parameters: int
    bytes: int
    files: tuple[str, ...]
    notes: tuple[str, ...]


def convert(
    source: Path,
    target: Path,
    *,
    layout: Layout = "auto",
    to: Target = "safetensors",
    dtype: DType | None = None,
    tokenizer: Path | None = None,
    force: bool = False,
    shard_bytes: int = checkpoint.SHARD_BYTES,
    progress: Progress | None = None,
) -> Conversion:
    """Convert SOURCE (a folder, or a file of weights) into TARGET: a folder, or with `to="gguf"` a file.

    `dtype` None keeps the stored type. `tokenizer` is a folder with a tokenizer.json; without it that of SOURCE is taken.
    Raises ConfigError for a TARGET that is in the way, CheckpointError for a SOURCE that cannot be converted.
    """
    _check(source, target, to, dtype, force)
    progress = progress or Progress()
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.disk_errors(target), tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as held:
        out, scratch = Path(held) / "out", Path(held) / "read"
        scratch.mkdir()
        notes: list[str] = []
        vocabulary = _vocabulary(source, tokenizer, notes, needed=to == "gguf")
        with progress.task("read", _size(source), "B") as advance:
            opened = open_source(source, layout, vocabulary, Reading(scratch, advance))
        config, tensors = _with_ends(opened.config, vocabulary), opened.tensors
        notes += opened.notes
        if vocabulary is not None and vocabulary.size > config.vocab_size:
            raise CheckpointError(f"the tokenizer has {vocabulary.size:,} tokens, the embedding {config.vocab_size:,} rows; "
                                  "give the tokenizer that the model was trained with (--tokenizer FOLDER)")  # fmt: skip
        check_names_and_shapes(str(source), config, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        if to in ("mha", "mqa"):
            config, tensors = (layout_heads.expand if to == "mha" else layout_heads.merge)(
                _big_code(config, to), tensors
            )
        if dtype in _DTYPES and to != "gguf":
            tensors = {name: tensor.to(_DTYPES[dtype]) for name, tensor in tensors.items()}
        with progress.task("write", float(sum(tensor.nbytes for tensor in tensors.values())), "B") as advance:
            if to == "gguf":
                assert vocabulary is not None
                notes += gguf_file.write(out, config, tensors, vocabulary, dtype, name=target.stem, advance=advance)
            else:
                _write_folder(out, config, tensors, to, shard_bytes)
                if vocabulary is not None:
                    _write_tokenizer(out, vocabulary, opened.folder if tokenizer is None else tokenizer, config.context)
        files = tuple(sorted(path.name for path in out.iterdir())) if out.is_dir() else (target.name,)
        size = int(_size(out))
        _place(out, target, Path(held) / "old")
    return Conversion(str(source), str(target), opened.layout, to, config.parameter_count(), size, files, tuple(notes))


def _check(source: Path, target: Path, to: Target, dtype: DType | None, force: bool) -> None:
    """What can be said before anything is read."""
    if (to == "gguf") != (target.suffix == ".gguf"):
        raise ConfigError(f"--to {to} writes {'a file NAME.gguf' if to == 'gguf' else 'a folder'}, not {target}")
    if dtype == "q8_0" and to != "gguf":
        raise ConfigError("--dtype q8_0 is a type of GGUF files; give --to gguf, or another --dtype")
    if to == "gguf":
        gguf_file.require()
    here, there = source.resolve(), target.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise ConfigError(f"{target} and {source} lie in one another; give another TARGET")
    if not target.exists():
        return
    if not force:
        raise ConfigError(f"{target} exists; give another TARGET, or --force to put the result in its place")
    if target.is_dir() == (to == "gguf"):
        raise ConfigError(f"{target} is {'a folder' if target.is_dir() else 'a file'}, which --to {to} cannot replace")
    strangers = sorted(path.name for path in target.iterdir() if not _is_ours(path.name)) if target.is_dir() else []
    if strangers:
        raise ConfigError(
            f"{target} holds {strangers[0]} and so is more than a converted model; --force replaces no such folder"
        )


def _is_ours(name: str) -> bool:
    return name in _OURS or (name.startswith("model-") and name.endswith(".safetensors"))


def _big_code(config: ModelConfig, to: str) -> GPTBigCodeConfig:
    if not isinstance(config, GPTBigCodeConfig):
        raise CheckpointError(f"the model is a {config.model_type}; --to {to} is for gpt_bigcode models")
    return config


def _with_ends(config: ModelConfig, vocabulary: Vocabulary | None) -> ModelConfig:
    """With the tokenizer's end of a document where the config names no end."""
    if vocabulary is None or config.eos_token_id is not None or vocabulary.end_of_document >= config.vocab_size:
        return config
    end = vocabulary.end_of_document
    return dataclasses.replace(
        config, eos_token_id=end, bos_token_id=end if config.bos_token_id is None else config.bos_token_id
    )


def _vocabulary(source: Path, tokenizer: Path | None, notes: list[str], *, needed: bool) -> Vocabulary | None:
    """The tokenizer that goes with the model; a foreign one beside the weights is left out, and said to be."""
    if tokenizer is not None:
        return Vocabulary.load(tokenizer)
    folder = source if source.is_dir() else source.parent
    if not (folder / "tokenizer.json").is_file():
        if needed:
            raise TokenizerError(f"{folder} has no tokenizer.json, which a GGUF file includes; give --tokenizer FOLDER")
        return None
    try:
        return Vocabulary.load(folder)
    except TokenizerError as error:
        if needed:
            raise
        notes.append(f"left out: {error}")
        return None


def _write_folder(out: Path, config: ModelConfig, tensors: dict[str, Tensor], to: Target, shard_bytes: int) -> None:
    if to != "santacoder":
        checkpoint.save(out, config, tensors, shard_bytes=shard_bytes)
        return
    config = _big_code(config, to)
    out.mkdir()
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    checkpoint.write_weights(out / checkpoint.WEIGHTS, layout_santacoder.from_gpt_bigcode(config, tensors))
    text = json.dumps(layout_santacoder.config_json(config, dtype), indent=2) + "\n"
    store.write_atomically(out / checkpoint.CONFIG, text.encode())


def _write_tokenizer(out: Path, vocabulary: Vocabulary, folder: Path, context: int) -> None:
    """Our files of the tokenizer, with the chat template that it had."""
    folder = folder if folder.is_dir() else folder.parent
    files = vocabulary.files(max_length=context)
    if (folder / f"{_TEMPLATE}.jinja").is_file():
        files[f"{_TEMPLATE}.jinja"] = (folder / f"{_TEMPLATE}.jinja").read_bytes()
    described = folder / "tokenizer_config.json"
    if described.is_file():
        template: Any = parse_object(described.read_bytes(), str(described)).get(_TEMPLATE)
        if template is not None:
            ours = json.loads(files["tokenizer_config.json"])
            files["tokenizer_config.json"] = json.dumps(
                ours | {_TEMPLATE: template}, indent=2, ensure_ascii=False
            ).encode()
    for name, data in files.items():
        store.write_atomically(out / name, data)


def _place(out: Path, target: Path, old: Path) -> None:
    """Rename the result into its place; what was there goes when the result is there."""
    if target.is_dir():
        target.rename(old)
        try:
            out.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old)
    else:
        out.rename(target)
    store.fsync(target.parent)


def _size(path: Path) -> float:
    """Bytes of a file, or of all files below a folder."""
    files: list[Path] = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return float(sum(one.stat().st_size for one in files))
