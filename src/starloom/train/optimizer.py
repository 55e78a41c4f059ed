"""AdamW from torch, Muon by our own hand, behind one object whose state is flat, named tensors."""

# G matrices of one shape, M rows, N columns

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from starloom.errors import TrainingError
from starloom.train.settings import AdamW, Muon

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


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of rows of one matrix, which Muon treats as a matrix of its own."""

    name: str
    rows: Rows
    scale: float


class Optimizer:
    """Updates named parameters; learning rates are the settings' times the factor that `step` is given."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        settings: AdamW | Muon,
        qkv: tuple[Rows, ...] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.settings = settings
        self.dtype = dtype  # of Newton–Schulz
        self._matrices = {
            name: tensor
            for name, tensor in parameters.items()
            if isinstance(settings, Muon) and is_hidden(name, tensor)
        }
        self._momentum = {name: torch.zeros_like(tensor) for name, tensor in self._matrices.items()}
        self._groups: dict[tuple[int, int], list[_Block]] = {}
        for name, tensor in self._matrices.items():
            split = isinstance(settings, Muon) and settings.split_qkv and name.endswith("attn.c_attn.weight")
            for rows in qkv if split and qkv else (slice(0, tensor.size(0)),):
                height, width = tensor[rows].shape
                scale = max(1.0, height / width) ** 0.5  # an update of about the same size in every output
                self._groups.setdefault((height, width), []).append(_Block(name, rows, scale))
        self._adamw_settings = settings.rest if isinstance(settings, Muon) else settings
        self._others = {name: tensor for name, tensor in parameters.items() if name not in self._matrices}
        self._adamw = _torch_adamw(self._others, self._adamw_settings)

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update from the gradients that the parameters hold."""
        if isinstance(self.settings, Muon):
            self._muon_step(self.settings, self.settings.lr * factor)
        for group in self._adamw.param_groups:
            group["lr"] = self._adamw_settings.lr * factor
        self._adamw.step()

    def _muon_step(self, settings: Muon, lr: float) -> None:
        directions: dict[str, Tensor] = {}
        for name, tensor in self._matrices.items():
            assert tensor.grad is not None, f"{name} took no part in the loss"
            momentum = self._momentum[name].lerp_(tensor.grad, 1 - settings.momentum)
            directions[name] = tensor.grad.lerp(momentum, settings.momentum) if settings.nesterov else momentum
            if settings.weight_decay:
                tensor.mul_(1 - lr * settings.weight_decay)
        for blocks in self._groups.values():
            stacked = torch.stack([directions[block.name][block.rows] for block in blocks])
            for block, update in zip(blocks, orthogonalised(stacked, settings.iterations, self.dtype), strict=True):
                tensor = self._matrices[block.name]
                if isinstance(block.rows, slice):
                    tensor[block.rows].sub_(update, alpha=lr * block.scale)
                else:
                    tensor.index_add_(0, block.rows, update.to(tensor.dtype), alpha=-lr * block.scale)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in (*self._matrices.values(), *self._others.values()):
            tensor.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, by name; the tensors themselves, not copies."""
        state = {f"muon.momentum.{name}": tensor for name, tensor in self._momentum.items()}
        for name, tensor in self._others.items():
            state.update({f"adamw.{key}.{name}": value for key, value in self._adamw.state[tensor].items()})
        return state

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state that `tensors` gave. Raises TrainingError when it is another optimizer's or model's."""
        mine = self.tensors()
        differing = sorted(set(mine) ^ set(tensors)) or [n for n in mine if mine[n].shape != tensors[n].shape]
        if differing:
            raise TrainingError(
                f"the checkpoint's optimizer state does not fit this model and optimizer: '{differing[0]}' differs"
            )
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])


def is_hidden(name: str, tensor: Tensor) -> bool:
    """Whether a parameter is a matrix between hidden layers: Muon's; embeddings, head and vectors are not."""
    return tensor.ndim == 2 and any(layers in f".{name}" for layers in (".h.", ".layers."))


def _torch_adamw(parameters: Mapping[str, Tensor], settings: AdamW) -> torch.optim.AdamW:
    """torch's AdamW, fused, with its state made at once, so that every checkpoint holds the same names."""
    decayed = [tensor for tensor in parameters.values() if tensor.ndim >= 2]
    plain = [tensor for tensor in parameters.values() if tensor.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )
    for tensor in parameters.values():
        optimizer.state[tensor] = {
            "step": torch.zeros((), dtype=torch.float32, device=tensor.device),
            "exp_avg": torch.zeros_like(tensor),
            "exp_avg_sq": torch.zeros_like(tensor),
        }
    return optimizer
