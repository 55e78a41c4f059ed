"""What `starloom convert` reads: a folder or file in any of the layouts → a config and tensors under our names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from torch import Tensor

from starloom.errors import CheckpointError
from starloom.models import checkpoint, layout_megatron, layout_santacoder, pickles, strict_json
from starloom.models.config import ModelConfig, from_json
from starloom.models.pickles import Unpickled, unpickle
from starloom.tokens.bpe import Vocabulary

Value = TypeVar("Value")
LAYOUTS: Final = ("auto", "safetensors", "pytorch", "santacoder", "megatron")
_MAX_JSON_BYTES: Final = 16 * 2**20  # our choice; an index of 15B takes 60 kB
_PICKLES: Final = ("pytorch_model.bin", "pytorch_model.pt", "model.pt", "consolidated.pt")
_PICKLE_INDEX: Final = "pytorch_model.bin.index.json"
_SHARD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.(?:bin|pt|safetensors)")
_ITERATION_FILE: Final = "latest_checkpointed_iteration.txt"
_RANK: Final = re.compile(r"mp_rank_(\d{2})(?:_(\d{3}))?")
_RANK_FILES: Final = ("model_optim_rng.pt", "model_rng.pt", "model.pt")
_WRAPPERS: Final = ("state_dict.", "module.")  # around the names, in checkpoints of trainers


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that was read: its layout by name, and our config and tensors."""

    layout: str
    config: ModelConfig
    tensors: dict[str, Tensor]
    folder: Path  # where a tokenizer may lie
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """Where pickles are written as safetensors, and who hears of bytes."""

    scratch: Path
    advance: Callable[[int], object]

    def unpickle(self, path: Path) -> Unpickled:
        number = len(list(self.scratch.iterdir()))
        return unpickle(path, self.scratch / f"{number:05d}.safetensors", self.advance)


def open_source(source: Path, layout: str, vocabulary: Vocabulary | None, reading: Reading) -> Opened:
    """Read SOURCE as the layout says, or as what it looks like (auto). Raises CheckpointError."""
    if not source.exists():
        raise CheckpointError(f"{source} does not exist; give a folder or a file of a checkpoint")
    folder = source if source.is_dir() else source.parent
    has_config = (folder / checkpoint.CONFIG).is_file()
    looks = _looks(source, folder, has_config)
    layout = looks if layout == "auto" else layout
    if layout == "megatron":
        return _open_megatron(source, vocabulary, reading)
    if not has_config:
        raise CheckpointError(f"{folder} has no {checkpoint.CONFIG}, which says the model's shape; put it beside the weights, "
                              "or give --from megatron for a checkpoint that carries its own arguments")  # fmt: skip
    if layout == "safetensors":
        return Opened(layout, checkpoint.read_config(folder), checkpoint.load_tensors(folder), folder)
    data = strict_json.parse_object(_bytes(folder / checkpoint.CONFIG), str(folder / checkpoint.CONFIG))
    found, left = _tensors(source, folder, reading)
    where = str(folder / checkpoint.CONFIG)
    # masks stored as if they were parameters, which early checkpoints of GPTBigCode have too
    found = {name: tensor for name, tensor in found.items() if not layout_santacoder.MASK.fullmatch(name)}
    notes = _notes({name: what for name, what in left.items() if not layout_santacoder.MASK.fullmatch(name)})
    if layout == "santacoder":
        config = layout_santacoder.read_config(data, where)
        tensors = layout_santacoder.to_gpt_bigcode(config, found)
        return Opened(layout, config, _untied(config, tensors, folder), folder, notes)
    other = from_json(data, where)
    return Opened(layout, other, _untied(other, found, folder), folder, notes)


def _looks(source: Path, folder: Path, has_config: bool) -> str:
    """The layout of a folder or file, by the names in it."""
    if not has_config:
        return "megatron"
    data = strict_json.parse_object(_bytes(folder / checkpoint.CONFIG), str(folder / checkpoint.CONFIG))
    if layout_santacoder.is_santacoder(data):
        return "santacoder"
    if source.is_dir() and any((folder / name).exists() for name in (checkpoint.WEIGHTS, checkpoint.INDEX)):
        return "safetensors"
    return "pytorch"


def _tensors(source: Path, folder: Path, reading: Reading) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of the files, and what else the files hold."""
    tensors: dict[str, Tensor] = {}
    left: dict[str, str] = {}
    for path, names in _files(source, folder):
        if path.suffix == ".safetensors":
            held = _read_safetensors(path, left)
        else:
            unpickled = reading.unpickle(path)
            held = _unwrapped(unpickled.tensors())
            left |= _unwrapped(unpickled.left_out)
        if names is not None and names - set(left) != set(held) - set(left):
            raise CheckpointError(f"{path} and its index disagree about which tensors it holds; fetch both again")
        twice = sorted(set(tensors) & set(held))
        if twice:
            raise CheckpointError(f"{path}: {twice[0][:100]} is in another file too; is the folder of one checkpoint?")
        tensors |= held
    return tensors, left


def _files(source: Path, folder: Path) -> Iterator[tuple[Path, set[str] | None]]:
    """The files of weights, each with the names that an index says it has."""
    if source.is_file():
        yield source, None
        return
    for index in (checkpoint.INDEX, _PICKLE_INDEX):
        if (folder / index).is_file():
            weight_map = strict_json.parse_object(_bytes(folder / index), str(folder / index)).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise CheckpointError(f"{folder / index} has no weight_map; fetch the file again")
            for name, shard in weight_map.items():
                if not isinstance(shard, str) or not _SHARD_NAME.fullmatch(shard):
                    raise CheckpointError(f"{folder / index} places {name[:100]!r} in {str(shard)[:100]!r}; a shard is a file in "
                                          "the same folder, so do not trust this checkpoint")  # fmt: skip
            for shard in sorted(set(weight_map.values())):
                yield folder / shard, {name for name, where in weight_map.items() if where == shard}
            return
    for name in (checkpoint.WEIGHTS, *_PICKLES):
        if (folder / name).is_file():
            yield folder / name, None
            return
    found = sorted(path for path in folder.iterdir() if path.suffix in pickles.SUFFIXES)
    if len(found) != 1:
        raise CheckpointError(f"{folder} has no {checkpoint.WEIGHTS} or {_PICKLES[0]} and {len(found)} other files of weights; "
                              "give the file itself")  # fmt: skip
    yield found[0], None


def _read_safetensors(path: Path, left: dict[str, str]) -> dict[str, Tensor]:
    """Tensors of a foreign safetensors file, which may hold masks of other types: these are named and left out."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                tensor = file.get_tensor(name)
                if tensor.is_floating_point():
                    found[name] = tensor
                else:
                    left[name] = f"a tensor of {str(tensor.dtype).removeprefix('torch.')}"
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({str(error)[:200]}); fetch the file again") from None
    return found


def _unwrapped(found: Mapping[str, Value]) -> dict[str, Value]:
    """Names without the wrapper that all of them share."""
    for wrapper in _WRAPPERS:
        if found and all(name.startswith(wrapper) for name in found):
            found = {name.removeprefix(wrapper): value for name, value in found.items()}
    return dict(found)


def _untied(config: ModelConfig, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Without a head that is the embedding again. Raises CheckpointError for one that says so and differs."""
    head, embedding = tensors.get("lm_head.weight"), tensors.get(config.embedding)
    if config.tie_word_embeddings and head is not None and embedding is not None:
        if not (head.shape == embedding.shape and bool((head == embedding).all())):
            raise CheckpointError(f"{folder}: tie_word_embeddings is true, but lm_head.weight differs from "
                                  f"{config.embedding}; set it to false in config.json if the model was trained so")  # fmt: skip
        del tensors["lm_head.weight"]
    return tensors


def _notes(left: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"left out: {name[:100]}, {what}" for name, what in sorted(left.items()))


def _open_megatron(source: Path, vocabulary: Vocabulary | None, reading: Reading) -> Opened:
    """A Megatron checkpoint: a file, a rank's folder, an iteration's, or the folder that names its latest iteration."""
    files = [[source]] if source.is_file() else _rank_files(_iteration(source))
    read = [[reading.unpickle(path) for path in stage] for stage in files]
    if not layout_megatron.is_megatron(list(read[0][0].tensors())):
        raise CheckpointError(f"{files[0][0]} holds no model of Megatron's (model.language_model …) and no "
                              f"{checkpoint.CONFIG} lies beside it; put the model's there")  # fmt: skip
    weights = [[{name: tensor for name, tensor in one.tensors().items() if "model" in name.split(".")[:2]} for one in stage]
               for stage in read]  # fmt: skip
    tensors = layout_megatron.joined(weights)
    facts = read[0][0].facts
    padded = len(tensors["transformer.wte.weight"]) if "transformer.wte.weight" in tensors else 0
    rows = vocabulary.rows if vocabulary is not None else int(facts.get("args.padded_vocab_size") or padded)
    config = layout_megatron.read_arguments(facts, rows, tensors)
    notes = [] if vocabulary is not None else [f"no tokenizer was given, so the embedding keeps {rows:,} rows; --tokenizer "
                                               "cuts it to the vocabulary"]  # fmt: skip
    if "iteration" in facts:
        notes.append(f"iteration {facts['iteration']}")
    folder = source if source.is_dir() else source.parent
    return Opened("megatron", config, layout_megatron.to_gpt_bigcode(config, tensors), folder, tuple(notes))


def _iteration(folder: Path) -> Path:
    if any(_RANK.fullmatch(path.name) for path in folder.iterdir()) or (folder / _RANK_FILES[0]).is_file():
        return folder
    latest = folder / _ITERATION_FILE
    if latest.is_file():
        word = _bytes(latest)[:20].decode("ascii", "replace").strip()
        if word == "release" or (word.isascii() and word.isdigit()):
            return folder / (word if word == "release" else f"iter_{int(word):07d}")
        raise CheckpointError(f"{latest} says {word!r}; it is a number or 'release'. Give the folder of an iteration")
    return folder


def _rank_files(folder: Path) -> list[list[Path]]:
    """[pipeline rank][tensor rank] → file."""
    ranks: dict[tuple[int, int], Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        number = _RANK.fullmatch(path.name)
        file = next((path / name for name in _RANK_FILES if (path / name).is_file()), None)
        if number and file:
            ranks[int(number[2] or 0), int(number[1])] = file
    if not ranks:
        single = [folder / name for name in _RANK_FILES if (folder / name).is_file()]
        if not single:
            raise CheckpointError(f"{folder} has neither {checkpoint.CONFIG} nor mp_rank_…/{_RANK_FILES[0]}; give the folder of "
                                  "a model, or a Megatron checkpoint's")  # fmt: skip
        return [[single[0]]]
    stages, wide = 1 + max(stage for stage, _ in ranks), 1 + max(rank for _, rank in ranks)
    missing = [(stage, rank) for stage in range(stages) for rank in range(wide) if (stage, rank) not in ranks]
    if missing:
        raise CheckpointError(f"{folder} lacks {len(missing)} of {stages * wide} ranks, the first being tensor rank "
                              f"{missing[0][1]} of pipeline rank {missing[0][0]}; fetch all of them")  # fmt: skip
    return [[ranks[stage, rank] for rank in range(wide)] for stage in range(stages)]


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_JSON_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    if len(data) > _MAX_JSON_BYTES:
        raise CheckpointError(
            f"{path} is larger than {_MAX_JSON_BYTES:,} bytes; starloom reads no such file: fetch it again"
        )
    return data
