"""Tensors that may lie in parts on several processes, seen whole and put back. torch's module for them takes a second to
import, so that it is only where there are any."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def in_parts(tensor: Tensor) -> bool:
    """Whether it is a DTensor, of which this process may hold a part only."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; every process asks for it."""
    parted: Any = tensor
    return parted.full_tensor() if in_parts(tensor) else tensor


def part_of(full: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor that every process holds, laid out as another one is: nothing is sent."""
    if not in_parts(tensor):
        return full
    from torch.distributed.tensor import distribute_tensor

    parted: Any = tensor
    return distribute_tensor(full, parted.device_mesh, parted.placements, src_data_rank=None)
