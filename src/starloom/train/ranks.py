"""The processes that train one model together, as the loop sees them; alone, all of it is free."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from starloom.errors import ConfigError, TrainingError
from starloom.stage import Runtime

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Number = TypeVar("Number", float, Tensor)
Value = TypeVar("Value")
_LOST = ("Connection reset by peer", "Connection closed by peer", "Broken pipe")  # gloo's words, and the kernel's


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train together. What it returns is the same on all of them."""

    index: int = 0  # which part of each batch this process computes
    count: int = 1  # in how many parts
    process: int = 0  # this process among all: several compute the same part where they share the matrices of a layer
    processes: int = 1
    mesh: DeviceMesh | None = None  # data × tensor

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.process == 0

    def mean(self, value: Number) -> Number:
        """The mean over all processes."""
        if self.processes == 1:
            return value
        summed = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(summed)
        summed /= self.processes
        return summed if isinstance(value, Tensor) else summed.item()

    def any(self, value: bool) -> bool:
        """Whether it is so in one of the processes."""
        if self.processes == 1:
            return value
        found = torch.tensor(int(value))
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def broadcast(self, value: Value) -> Value:
        """The value of the main process."""
        if self.processes == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]


def alone() -> Ranks:
    """One process, which computes whole batches."""
    return Ranks()


@contextmanager
def losing(ranks: Ranks) -> Iterator[None]:
    """Raises TrainingError where another process was lost inside."""
    try:
        yield
    except RuntimeError as error:
        if ranks.processes == 1 or not any(said in str(error) for said in _LOST):
            raise
        raise TrainingError(
            "another process of this launch ended; its own message, where it could write one, says why. What was saved stays: "
            "the same command goes on from there"
        ) from error


def joined(runtime: Runtime) -> Ranks:
    """This process among those of its launch, once all of them are here. They stay together until they end.

    Raises ConfigError for tensor parallelism over what is no divisor of the processes.
    """
    tensor = runtime.tensor_parallel
    if runtime.ranks % tensor:
        raise ConfigError(
            f"--tensor-parallel {tensor} does not divide {runtime.ranks} processes; use a divisor, and start the "
            "processes with torchrun --nproc-per-node"
        )
    if runtime.ranks == 1:
        return alone()
    from torch.distributed.device_mesh import init_device_mesh

    device = runtime.device.partition(":")[0]
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        # what is small, and what the processes say to each other, goes over gloo; gradients and weights over nccl
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    mesh = init_device_mesh(device, (runtime.ranks // tensor, tensor), mesh_dim_names=("data", "tensor"))
    return Ranks(mesh["data"].get_local_rank(), runtime.ranks // tensor, dist.get_rank(), runtime.ranks, mesh)
