"""Checkpoints in the Hugging Face layout: config.json, generation_config.json, model.safetensors or its shards.

What is covered: no code of a checkpoint runs (pickles and auto_map are refused), no file outside its folder is read, config
and headers are bounded and compared before anything is allocated, and every tensor that is missing, extra or misshapen is
named. What is not covered: the numbers themselves; and a folder that someone rewrites while it is read.

No torch here but in the function that returns torch's tensors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from starloom import store
from starloom.errors import CheckpointError
from starloom.models import safetensors_file
from starloom.models.config import ModelConfig, from_json
from starloom.models.safetensors_file import MAX_HEADER_BYTES, SafetensorsFile
from starloom.models.strict_json import parse_object

if TYPE_CHECKING:
    import torch

CONFIG: Final = "config.json"
GENERATION_CONFIG: Final = "generation_config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
SHARD_BYTES: Final = 5 * 10**9  # as transformers cuts them
_MAX_CONFIG_BYTES: Final = 2**20  # our choice; the published ones take about 1 kB
_SHARD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HEAD = "lm_head.weight"
_COMPARED_AT_ONCE: Final = 2**24  # bytes; our choice


def read_config(folder: Path) -> ModelConfig:
    """The folder's config.json, every field within bounds. Raises CheckpointError."""
    return from_json(_read_json(folder, CONFIG, _MAX_CONFIG_BYTES), str(folder / CONFIG))


def stop_ids(folder: Path) -> tuple[int, ...]:
    """Ids that end a text: eos_token_id of generation_config.json where the folder has it, else of config.json."""
    config = read_config(folder)
    ids: object = config.eos_token_id
    if (folder / GENERATION_CONFIG).exists():
        ids = _read_json(folder, GENERATION_CONFIG, _MAX_CONFIG_BYTES).get("eos_token_id", ids)
    listed = () if ids is None else tuple(ids) if isinstance(ids, (list, tuple)) else (ids,)
    for token in listed:
        if type(token) is not int or not 0 <= token < config.vocab_size:
            raise CheckpointError(f"{folder / GENERATION_CONFIG}: eos_token_id is {str(ids)[:60]}; it must be token ids "
                                  f"below vocab_size, which is {config.vocab_size}")  # fmt: skip
    return listed


def open_weights(folder: Path, config: ModelConfig | None = None) -> dict[str, SafetensorsFile]:
    """Parameter name → the mapped file that holds it, for exactly the parameters of the config, each of its shape.

    Raises CheckpointError naming every tensor that is missing, extra or misshapen, in one message.
    """
    config = read_config(folder) if config is None else config
    files: dict[str, SafetensorsFile] = {}
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        file = SafetensorsFile.open(_inside(folder, WEIGHTS))
        files = dict.fromkeys(file.tensors, file)
    else:
        weight_map = _weight_map(folder)
        shards = {shard: SafetensorsFile.open(_inside(folder, shard)) for shard in sorted(set(weight_map.values()))}
        for shard, file in shards.items():
            held = {name for name, where in weight_map.items() if where == shard}
            if held != set(file.tensors):
                raise CheckpointError(f"{folder / shard} and {INDEX} disagree about {_some(held ^ set(file.tensors))}; "
                                      "fetch both again")  # fmt: skip
            files |= dict.fromkeys(file.tensors, file)
    return _matched(folder, config, files)


def load_arrays(folder: Path, config: ModelConfig | None = None) -> dict[str, np.ndarray]:
    """Parameter name → NumPy array, memory-mapped (copy on write); bfloat16 is widened to float32. No torch."""
    return {name: file.array(name) for name, file in open_weights(folder, config).items()}


def load_tensors(folder: Path, config: ModelConfig | None = None) -> dict[str, torch.Tensor]:
    """Parameter name → torch tensor on the CPU in the stored type, memory-mapped (copy on write)."""
    return {name: file.tensor(name) for name, file in open_weights(folder, config).items()}


def save(
    folder: Path, config: ModelConfig, tensors: Mapping[str, Any], *, shard_bytes: int = SHARD_BYTES
) -> list[Path]:
    """Write NumPy arrays or torch tensors as a folder that transformers' AutoModelForCausalLM loads; the files written.

    Each file appears whole or not at all; config.json comes last, and weights of an earlier save that no longer belong are
    removed after it. Raises CheckpointError when the tensors are not the config's.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_names_and_shapes(f"the model to be saved to {folder}", config, shapes)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with store.disk_errors(folder):
        shards = _shards({name: tensors[name] for name in config.shapes()}, shard_bytes)
        for name, shard in shards.items():
            write_weights(folder / name, shard)
            written.append(folder / name)
        if len(shards) > 1:
            written.append(folder / INDEX)
            store.write_atomically(folder / INDEX, _index(shards))
        dtype = _dtype_name(next(iter(tensors.values())))
        for name, data in config_files(config, dtype).items():
            store.write_atomically(folder / name, data)
            written.append(folder / name)
        for path in folder.glob("model*.safetensors*"):
            if path not in written and (path.name in (WEIGHTS, INDEX) or re.search(r"-\d{5}-of-\d{5}\.", path.name)):
                path.unlink()
    return written


def write_weights(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write one safetensors file atomically: under another name, synced, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        safetensors_file.write(temporary, tensors)
        store.fsync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    store.fsync(path.parent)


def config_files(config: ModelConfig, dtype: str = "float32") -> dict[str, bytes]:
    """generation_config.json and config.json, by name: what transformers reads beside the weights."""
    data = config.to_json()
    ids = {key: data[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if data[key] is not None}
    return {
        GENERATION_CONFIG: _json({"_from_model_config": True, **ids}),
        CONFIG: _json({**data, "torch_dtype": dtype}),  # transformers 5 says `dtype`, reads both
    }


def _matched(folder: Path, config: ModelConfig, files: dict[str, SafetensorsFile]) -> dict[str, SafetensorsFile]:
    """The config's parameters only; of a tied head that is stored all the same, the copy is checked and left out."""
    shapes = {name: file.tensors[name].shape for name, file in files.items()}
    embedding = config.embedding
    if config.tie_word_embeddings and _HEAD in files and embedding in files:
        if not _same_bits(files[_HEAD].bits(_HEAD), files[embedding].bits(embedding)):
            raise CheckpointError(
                f"{folder}: tie_word_embeddings is true, but {_HEAD} differs from {embedding}; "
                "set it to false in config.json if the model was trained so"
            )
        del shapes[_HEAD]
    check_names_and_shapes(str(folder), config, shapes)
    return {name: files[name] for name in config.shapes()}


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are equal bit for bit, NaN included, a part at a time."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    first, second = (array.reshape(-1).view(np.uint8) for array in (one, other))
    starts = range(0, len(first), _COMPARED_AT_ONCE)
    return all(np.array_equal(first[at : at + _COMPARED_AT_ONCE], second[at : at + _COMPARED_AT_ONCE]) for at in starts)


def check_names_and_shapes(where: str, config: ModelConfig, found: Mapping[str, tuple[int, ...]]) -> None:
    wanted = config.shapes()
    wrong = [f"{name} is {list(found[name])}, config.json says {list(wanted[name])}"
             for name in wanted if name in found and found[name] != wanted[name]]  # fmt: skip
    missing, extra = [name for name in wanted if name not in found], sorted(set(found) - set(wanted))
    faults = [
        f"{len(names)} {word}: {_some(names)}"
        for word, names in (("missing", missing), ("extra", extra), ("misshapen", wrong))
        if names
    ]
    if faults:
        raise CheckpointError(f"{where}: the tensors are not those of its config ({'; '.join(faults)}); "
                              "is it another model's config.json, or a checkpoint that is incomplete?")  # fmt: skip


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor name → shard, from the index; every shard a plain file name."""
    weight_map = _read_json(folder, INDEX, MAX_HEADER_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / INDEX} has no weight_map; fetch the file again")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _SHARD_NAME.fullmatch(shard):
            raise CheckpointError(
                f"{folder / INDEX} places {name[:100]!r} in {str(shard)[:100]!r}; a shard is a .safetensors file in the "
                "same folder, so do not trust this checkpoint"
            )
    return weight_map


def _inside(folder: Path, name: str) -> Path:
    """The path of a file in the folder, which links may not lead out of.

    The one link that leads out and is followed is that of the Hugging Face cache: snapshots/REVISION/NAME → blobs/DIGEST.
    """
    path = folder / name
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; a model is a folder with {CONFIG} and {WEIGHTS}")
    if not path.exists():
        pickles = sorted(found.name for pattern in _PICKLES for found in folder.glob(pattern))
        if pickles and name == WEIGHTS:
            raise CheckpointError(
                f"{folder} holds {_some(pickles)} and no {WEIGHTS}; a pickle can run code, so starloom does not open it "
                f"here. `starloom convert {folder} TARGET` reads its weights alone, in a process of its own"
            )
        raise CheckpointError(f"{folder} has no {name}; a model is a folder with {CONFIG} and {WEIGHTS}")
    target, home = path.resolve(), folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if target.parent not in (home, blobs):
        raise CheckpointError(f"{path} is a link that leads out of the folder, to {target}; "
                              "copy the file there if you trust it")  # fmt: skip
    return path


def _read_json(folder: Path, name: str, most: int) -> dict[str, object]:
    path = _inside(folder, name)
    try:
        if not path.is_file():
            raise CheckpointError(f"{path} is no regular file; put the JSON itself there")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    if len(data) > most:
        raise CheckpointError(f"{path} is larger than {most:,} bytes; starloom reads no such {name}: fetch it again")
    return parse_object(data, str(path))


def _shards(tensors: Mapping[str, Any], shard_bytes: int) -> dict[str, dict[str, Any]]:
    """File name → tensors, in order; a tensor is never cut."""
    groups: list[dict[str, Any]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if groups[-1] and filled + tensor.nbytes > shard_bytes:
            groups.append({})
            filled = 0
        groups[-1][name] = tensor
        filled += tensor.nbytes
    if len(groups) == 1:
        return {WEIGHTS: groups[0]}
    return {f"model-{number:05d}-of-{len(groups):05d}.safetensors": group for number, group in enumerate(groups, 1)}


def _index(shards: Mapping[str, Mapping[str, Any]]) -> bytes:
    total = sum(tensor.nbytes for shard in shards.values() for tensor in shard.values())
    weight_map = {name: file for file, shard in shards.items() for name in shard}
    return _json({"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _some(names: Iterable[str]) -> str:
    """A few of the names, and how many more there are."""
    listed = sorted(names)
    return ", ".join(name[:100] for name in listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
