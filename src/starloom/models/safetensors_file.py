"""One safetensors file: its header checked against its size before anything is allocated, its tensors memory-mapped.

What is covered: a header of any bytes is refused or true to the file: lengths, types, shapes, offsets inside the file, no
overlap, no gap. What is not covered: the numbers themselves, and a file that another program cuts while it is mapped.

The safetensors package is the oracle of the tests. Reading is our own because the package gives NumPy no bfloat16 and no
memory map, and the native decoder loads weights without torch; writing is the package's.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from starloom.errors import CheckpointError
from starloom.models.strict_json import parse_object

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES: Final = 16 * 2**20  # our choice; StarCoderBase 15B takes 60 kB, the format stops at 100 MB
_ITEM_BYTES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_NUMPY: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # bfloat16 as its bits
# Linux's MAP_NORESERVE, which Python names from 3.13: pages count when they are changed, so that weights larger than memory
# can be mapped.
_NO_RESERVE: Final = 0x4000 if sys.platform == "linux" else 0
_MAX_DIMENSIONS: Final = 8  # our choice


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: byte offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """An open file's map; its tensors are views of the file until they are changed (copy on write)."""

    path: Path
    tensors: dict[str, Tensor]
    _bytes: np.ndarray

    @classmethod
    def open(cls, path: Path) -> SafetensorsFile:
        """Check the header and map the file. Raises CheckpointError naming the file and what is wrong with it."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a fifo does not block
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); is the checkpoint complete?") from None
        with os.fdopen(descriptor, "rb") as file:
            header, data_start, size = _read_header(path, file)
            tensors = _tensors(path, header, data_start, size)
            try:
                # private: what is changed in memory never reaches the file
                mapped = mmap.mmap(
                    descriptor, size, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
                )
            except OSError as error:
                raise CheckpointError(f"{path}: {size:,} bytes cannot be mapped into memory ({error.strerror}); "
                                      "raise the limit of this process (ulimit -v)") from None  # fmt: skip
        return cls(path, tensors, np.frombuffer(mapped, dtype=np.uint8))

    def bits(self, name: str) -> np.ndarray:
        """The tensor in its own type, bfloat16 as uint16; a view of the file where it is aligned."""
        tensor = self.tensors[name]
        raw = self._bytes[tensor.start : tensor.end]
        if tensor.start % _ITEM_BYTES[tensor.dtype]:
            raw = raw.copy()
        return np.asarray(raw.view(_NUMPY[tensor.dtype]).reshape(tensor.shape))

    def array(self, name: str) -> np.ndarray:
        """The tensor as NumPy has it: bfloat16, which NumPy lacks, is widened to float32 (exactly)."""
        bits = self.bits(name)
        if self.tensors[name].dtype != "BF16":
            return bits
        return (bits.astype(np.uint32) << 16).view(np.float32)

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor for torch, on the CPU, in its own type."""
        import torch

        tensor = torch.from_numpy(self.bits(name))
        return tensor.view(torch.bfloat16) if self.tensors[name].dtype == "BF16" else tensor


def write(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write NumPy arrays or torch tensors, all of one kind; the same bytes for the same tensors. Not atomic: see `save`."""
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path, {"format": "pt"})
    else:
        from safetensors.torch import save_file

        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"}
        )


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, object], int, int]:
    """The header's JSON, where the data starts, and the file's size."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is no regular file; put the weights themselves there")
    size = status.st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError(f"{path}: its header claims {length:,} bytes, the file has {size:,}; "
                              "it is cut off or no safetensors file: fetch it again")  # fmt: skip
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: a header of {length:,} bytes; starloom reads at most {MAX_HEADER_BYTES:,}. "
                              "Is this a checkpoint of a model?")  # fmt: skip
    return parse_object(file.read(length), f"the header of {path}"), 8 + length, size


def _tensors(path: Path, header: dict[str, object], data_start: int, size: int) -> dict[str, Tensor]:
    """Every entry, true to its own type and shape; together they cover the data once."""
    tensors = {name: _entry(path, name, entry, data_start) for name, entry in header.items() if name != "__metadata__"}
    at = data_start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != at:
            what = "overlaps another" if tensor.start < at else "leaves a gap before it"
            raise CheckpointError(f"{path}: tensor {name[:100]!r} {what}; the file is damaged: fetch it again")
        at = tensor.end
    if at != size:
        raise CheckpointError(f"{path}: its tensors end at byte {at:,}, the file at {size:,}; "
                              "it is cut off or damaged: fetch it again")  # fmt: skip
    return tensors


def _entry(path: Path, name: str, entry: object, data_start: int) -> Tensor:
    where = f"{path}: tensor {name[:100]!r}"
    damaged = CheckpointError(f"{where} has a damaged header entry; fetch the file again")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise damaged
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2 and len(shape) <= _MAX_DIMENSIONS):
        raise damaged
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise CheckpointError(f"{where} is of type {str(dtype)[:20]}; starloom reads {', '.join(_ITEM_BYTES)}: "
                              "save the model in one of these")  # fmt: skip
    start, end = offsets
    if end - start != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise CheckpointError(f"{where} has {end - start:,} bytes, but {dtype} of shape {shape} takes "
                              f"{math.prod(shape) * _ITEM_BYTES[dtype]:,}; the file is damaged: fetch it again")  # fmt: skip
    return Tensor(dtype, tuple(shape), data_start + start, data_start + end)


def _naturals(value: object) -> bool:
    """A list of whole numbers of at most 64 bits, none negative."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)
