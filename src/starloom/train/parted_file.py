"""Tensors, or parts of them, in one safetensors file, in the form that torch.distributed.checkpoint reads: a part's place
in its tensor stands in the header, so that any number of processes reads what another number wrote, without a pickle.

Writing is our own because the package's copies each tensor while it holds the interpreter's lock, which stops a step.
"""

# The form is that of torch's HuggingFaceStorageWriter; `HuggingFaceStorageReader` reads it (torch 2.13).

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starloom.errors import TrainingError
from starloom.train.parts import in_parts

_KINDS: Final = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
}  # fmt: skip
_ALIGNED: Final = 8  # bytes that the header is padded to, as the package does it


@dataclass(frozen=True, slots=True)
class Part:
    """What this process holds of a tensor, and where it begins in the whole."""

    tensor: Tensor
    offsets: tuple[int, ...]


def parts(tensors: Mapping[str, Tensor], *, main: bool) -> dict[str, Part]:
    """What this process has to write of the tensors: its shards, each by one process; whole ones by the main process."""
    mine = {}
    for name, tensor in tensors.items():
        if not in_parts(tensor):
            if main:
                mine[name] = Part(tensor.detach(), (0,) * tensor.ndim)
            continue
        part = _shard(tensor)
        if part is not None:
            mine[name] = part
    return mine


def _shard(tensor: Tensor) -> Part | None:
    """The shard of a DTensor, unless another process writes the same one or it is empty."""
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    assert isinstance(tensor, DTensor)
    coordinates = tensor.device_mesh.get_coordinate()
    assert coordinates is not None
    copy = any(place.is_replicate() and at > 0 for place, at in zip(tensor.placements, coordinates, strict=True))
    local = tensor.to_local().detach()
    if copy or local.numel() == 0:
        return None
    _, offsets = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Part(local, tuple(offsets))


def raw(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """A CPU tensor's bytes, shared with it where it is contiguous."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def write(path: Path, parts: Mapping[str, Part]) -> None:
    """Write parts whose tensors lie on the CPU; the same bytes for the same parts."""
    header: dict[str, object] = {
        "__metadata__": {
            "DCP_SHARDING_INFO": json.dumps({name: {"saved_offsets": part.offsets} for name, part in parts.items()}),
            "DCP_VERSION": "1.0",
            "format": "pt",
        }
    }
    end = 0
    for name, part in parts.items():
        start, end = end, end + part.tensor.nbytes
        shape = list(part.tensor.shape)
        header[name] = {"dtype": _KINDS[part.tensor.dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for part in parts.values():
            file.write(raw(part.tensor).data)


def read(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy what the files of a folder hold over these tensors, which may lie in other parts than it was written in.

    The files' hashes were checked by the caller. Raises TrainingError when they are another model's or optimizer's.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    sizes = {name: tuple(entry.size) for name, entry in reader.read_metadata().state_dict_metadata.items()}  # type: ignore[union-attr]
    differing = sorted(set(sizes) ^ set(tensors)) or [n for n in tensors if sizes[n] != tuple(tensors[n].shape)]
    if differing:
        raise TrainingError(f"the checkpoint does not fit this model and optimizer: '{differing[0]}' differs")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load({name: tensor.detach() for name, tensor in tensors.items()}, storage_reader=reader, no_dist=True)


def read_whole(folder: Path, group: str) -> dict[str, Tensor]:
    """The tensors of one group of files, each put together from its parts, on the CPU."""
    from safetensors import safe_open

    pieces: dict[str, list[tuple[list[int], Tensor]]] = {}
    for path in sorted(folder.glob(f"{group}-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            places = json.loads(file.metadata()["DCP_SHARDING_INFO"])
            for name in file.keys():  # noqa: SIM118  (no mapping)
                pieces.setdefault(name, []).append((places[name]["saved_offsets"], file.get_tensor(name)))
    whole = {}
    for name, found in pieces.items():
        ends = [[at + size for at, size in zip(offsets, part.shape, strict=True)] for offsets, part in found]
        whole[name] = torch.empty([max(one) for one in zip(*ends, strict=True)], dtype=found[0][1].dtype)
        for (offsets, part), end in zip(found, ends, strict=True):
            whole[name][tuple(map(slice, offsets, end))] = part
    return whole
