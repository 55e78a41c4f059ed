"""Muon: momentum made orthogonal, for the matrices between hidden layers (Jordan et al. 2024), by our own hand."""

# G matrices of one shape, M rows, N columns

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from starloom.train.parts import in_parts, part_of, whole
from starloom.train.settings import Muon

# The quintic of Jordan et al. 2024 (Muon): its slope at 0 is as steep as can be while singular values of 1 stay within
# [0.7, 1.2], which is as good as 1 for training.
QUINTIC = (3.4445, -4.7750, 2.0315)
TINY = 1e-7  # a matrix of zeros stays one

Rows = slice | Tensor  # rows of a matrix that form one block


def orthogonalised(g_GMN: Tensor, iterations: int, dtype: torch.dtype) -> Tensor:
    """The matrices with all their singular values moved to about 1, by Newton–Schulz iterations in, and as, `dtype`.

    Before the first they are divided by the fourth root of the sum of their fourth powers: as the published division by
    the root of the sum of squares it leaves none above 1, but all of them larger, which saves about one iteration, and
    the Gram matrix that it needs is computed anyway (our choice).
    """
    tall = g_GMN.size(-2) > g_GMN.size(-1)
    x = g_GMN.mT if tall else g_GMN  # the Gram matrix of the shorter side is the cheaper one
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + TINY)).to(dtype)
    a, b, c = QUINTIC
    for iteration in range(iterations):
        gram = x @ x.mT
        if iteration == 0:
            squared = gram.norm(dim=(-2, -1), keepdim=True) + TINY
            x, gram = x / squared.sqrt(), gram / squared
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def qkv_blocks(heads: int, width: int, multi_query: bool) -> tuple[Rows, ...]:
    """Rows of GPTBigCode's fused c_attn that make the queries, the keys and the values.

    Multi-query: [Q | K | V] with one head of keys and values. Multi-head: (q, k, v) of head 0, then of head 1, and on.
    """
    size = width // heads
    if multi_query:
        return slice(0, width), slice(width, width + size), slice(width + size, width + 2 * size)
    rows = torch.arange(3 * width).view(heads, 3, size)
    return tuple(rows[:, part].reshape(-1) for part in range(3))


def is_hidden(name: str, tensor: Tensor) -> bool:
    """Whether a parameter is a matrix between hidden layers: Muon's; embeddings, head and vectors are not."""
    return tensor.ndim == 2 and any(layers in f".{name}" for layers in (".h.", ".layers."))


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of rows of one matrix, which Muon treats as a matrix of its own."""

    name: str
    rows: Rows
    scale: float


class Matrices:
    """The matrices that Muon trains, and their momentum."""

    def __init__(
        self, matrices: Mapping[str, Tensor], settings: Muon, qkv: tuple[Rows, ...], dtype: torch.dtype
    ) -> None:
        self._settings = settings
        self._dtype = dtype  # of Newton–Schulz
        self._matrices = dict(matrices)
        self._momentum = {name: torch.zeros_like(tensor) for name, tensor in matrices.items()}
        self._groups: dict[tuple[int, int], list[_Block]] = {}
        for name, tensor in matrices.items():
            split = settings.split_qkv and name.endswith("attn.c_attn.weight")
            rows, columns = tensor.shape
            for block in qkv if split and qkv else (slice(0, rows),):
                height = len(range(rows)[block]) if isinstance(block, slice) else len(block)
                scale = max(1.0, height / columns) ** 0.5  # an update of about the same size in every output
                self._groups.setdefault((height, columns), []).append(_Block(name, block, scale))

    def step(self, factor: float) -> None:
        """One update. Of matrices in parts every process sees the whole direction, and moves its own part."""
        settings, lr = self._settings, self._settings.lr * factor
        directions: dict[str, Tensor] = {}
        for name, tensor in self._matrices.items():
            assert tensor.grad is not None, f"{name} took no part in the loss"
            momentum = self._momentum[name].lerp_(tensor.grad, 1 - settings.momentum)
            direction = tensor.grad.lerp(momentum, settings.momentum) if settings.nesterov else momentum
            directions[name] = whole(direction)
            if settings.weight_decay:
                tensor.mul_(1 - lr * settings.weight_decay)
        targets = {
            name: torch.zeros_like(directions[name]) if in_parts(tensor) else tensor
            for name, tensor in self._matrices.items()
        }
        for blocks in self._groups.values():
            stacked = torch.stack([directions[block.name][block.rows] for block in blocks])
            for block, update in zip(blocks, orthogonalised(stacked, settings.iterations, self._dtype), strict=True):
                target = targets[block.name]
                if isinstance(block.rows, slice):
                    target[block.rows].sub_(update, alpha=lr * block.scale)
                else:
                    target.index_add_(0, block.rows.to(target.device), update.to(target.dtype), alpha=-lr * block.scale)
        for name, tensor in self._matrices.items():
            if in_parts(tensor):
                tensor.add_(part_of(targets[name], tensor))

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name."""
        return {f"muon.momentum.{name}": tensor for name, tensor in self._momentum.items()}
