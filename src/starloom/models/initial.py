"""Initial weights as a function of (seed, parameter name): the same on every machine, in any order, on any threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from starloom.models.linear import Embedding


def normal(seed: int, name: str, shape: tuple[int, ...], std: float) -> np.ndarray:
    """float32 draws from N(0, std²) by a Philox generator keyed with the seed and the parameter's name."""
    key = hashlib.blake2b(name.encode(), digest_size=16, key=seed.to_bytes(8, "little", signed=True)).digest()
    generator = np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8")))
    draws = generator.standard_normal(shape, dtype=np.float32)
    draws *= np.float32(std)
    return draws


@torch.no_grad()
def draw(model: nn.Module, seed: int, std: Callable[[str], float]) -> None:
    """Matrices from N(0, std(name)²), biases 0, norms 1, in place."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        else:
            parameter.copy_(torch.from_numpy(normal(seed, name, tuple(parameter.shape), std(name))))


def embedding(rows: int, width: int) -> Embedding:
    """Not drawn from anything: on the meta device nn.Embedding's own draw imports torch's compiler, which takes seconds."""
    return Embedding(rows, width, _weight=torch.empty(rows, width))
