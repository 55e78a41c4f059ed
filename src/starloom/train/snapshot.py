"""A copy of what a resume point holds, made by another thread while the next step only reads it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from starloom.errors import TrainingError
from starloom.train.parted_file import Part, parts, raw


class Snapshot:
    """This process's parts of the weights and of the optimizer's state, as they are after a step.

    The weights stay as they are until the next update, a forward and a backward later; until then there is time to copy
    them. NumPy copies, in one thread without the interpreter's lock: torch would start as many threads as compute.
    """

    def __init__(self, groups: Mapping[str, Mapping[str, Tensor]], *, main: bool) -> None:
        self._live = {name: parts(tensors, main=main) for name, tensors in groups.items()}
        self._done = threading.Event()
        self._stream, self._ready = None, None
        device = next((part.tensor.device for group in self._live.values() for part in group.values()), None)
        if device is not None and device.type == "cuda":  # copies run beside the computation, once it is as far
            self._stream, self._ready = torch.cuda.Stream(device), torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._ready.record(torch.cuda.current_stream(device))

    def copied(self) -> dict[str, dict[str, Part]]:
        """The copies; afterwards the weights may change."""
        try:
            if self._stream is not None and self._ready is not None:
                with torch.cuda.stream(self._stream):
                    self._stream.wait_event(self._ready)
                    return self._copies()
            return self._copies()
        finally:
            self._live = {}
            self._done.set()

    def _copies(self) -> dict[str, dict[str, Part]]:
        return {
            group: {name: Part(_copy(part.tensor), part.offsets) for name, part in tensors.items()}
            for group, tensors in self._live.items()
        }

    def wait(self) -> None:
        """Return when all of it is copied."""
        self._done.wait()


def _copy(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cpu":
        return tensor.to("cpu")
    source = raw(tensor)
    copy = np.empty_like(source)
    np.copyto(copy, source)
    return torch.from_numpy(copy).view(tensor.dtype).view(tensor.shape)


def check_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    """Raise TrainingError when a tensor on the CPU holds NaN or infinity: such weights are never written."""
    for name, tensor in tensors.items():
        numbers = tensor.numpy() if tensor.dtype != torch.bfloat16 else tensor.float().numpy()
        if not np.isfinite(numbers).all():
            raise TrainingError(
                f"{name} is not finite after step {step}; nothing is saved, the last checkpoint stays: "
                "lower the learning rate (pretrain.optimizer.lr)"
            )
