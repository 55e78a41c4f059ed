"""Linear maps and embeddings, of float weights or of int8 ones in their place.

In decoding there are few rows: a CPU reads weights, and oneDNN reads them faster than torch's default.

Measured on one Zen 4 core in float32 (`benchmarks/models_linear.py`): SantaCoder's head takes 0.74 of the time for one row and
0.42 for eight, its MLP 0.9 and 0.6, and 0.8 for a prompt of a thousand. In training, 4,096 rows, oneDNN's products take 0.85 to
0.9 of the time (`benchmarks/train_speed.py`); those that give the gradients of weights do not, and are torch's. Elsewhere (small
matrices, other types and devices, autocast, compiled models) this is torch's own `linear`.

Two to eight rows into a wider map of few columns are a case of their own: there `weight · xᵀ` reads weights up to three times
as fast as either. A step of 31M parameters, 512 wide, takes 0.5 of torch's time for two rows, 0.75 for four, 0.9 for eight.
"""

# R rows, D in, O out

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starloom.models.int8 import Int8Matrix

Matrix = Tensor | Int8Matrix
LARGE: Final = 2**20  # weights; below, the call costs more than it saves (measured: 512 × 512, one row: half as fast)

FEW_ROWS: Final = 8  # measured: at 16 it is slower than torch's
MUCH: Final = 2**24  # multiplications of a product that oneDNN is asked for in training; measured: at 2**23 it is even
NARROW: Final = 1024  # columns (measured: 512; at 2048 oneDNN is as fast for two rows, and faster from four on)


class Linear(nn.Linear):
    """As torch's, of any `Matrix`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class Embedding(nn.Embedding):
    """As torch's, of any `Matrix`."""

    def forward(self, input: Tensor) -> Tensor:
        weight: Matrix = self.weight
        return weight.rows(input) if isinstance(weight, Int8Matrix) else F.embedding(input, weight)


def linear(x: Tensor, weight_OD: Matrix, bias_O: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias."""
    if isinstance(weight_OD, Int8Matrix):
        return weight_OD.product(x, bias_O)
    if x.dtype == weight_OD.dtype == torch.float32 and x.device.type == "cpu":
        if torch.is_inference_mode_enabled() and x.ndim == 2:
            out, width = weight_OD.shape
            if 1 < len(x) <= FEW_ROWS and width <= min(out, NARROW):
                x_DR = x.t()
                y_OR = weight_OD @ x_DR if bias_O is None else torch.addmm(bias_O[:, None], weight_OD, x_DR)
                return y_OR.t().contiguous()
            if _one_dnn is not None and weight_OD.numel() >= LARGE:
                return product(x, weight_OD, bias_O)
        elif _trains(x, weight_OD):
            trained: Tensor = _Linear.apply(x, weight_OD, bias_O)  # type: ignore[no-untyped-call]
            return trained
    return F.linear(x, weight_OD, bias_O)


def product(x: Tensor, weight_OD: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias without gradients, by oneDNN where it is at hand; the weight may be a transposed view."""
    if _one_dnn is None or x.dtype != torch.float32 or x.device.type != "cpu":
        return F.linear(x, weight_OD, bias_O)
    y: Tensor = _one_dnn(x, weight_OD, bias_O, "none", [], "")
    return y


def _trains(x: Tensor, weight_OD: Tensor) -> bool:
    """Whether gradients of a product large enough are wanted, of tensors that are no more than that (not sharded ones)."""
    return (
        _one_dnn is not None
        and torch.is_grad_enabled()
        and x.numel() * len(weight_OD) >= MUCH
        and type(x) is Tensor
        and type(weight_OD) is nn.Parameter
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Linear(torch.autograd.Function):
    """torch's `linear` with its two products that oneDNN is faster at."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OD: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_OD)
        return product(x, weight_OD, bias_O)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight_OD = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        dy_RO = dy.flatten(0, -2)
        return (
            product(dy, weight_OD.t()) if of_x else None,
            dy_RO.t() @ x.flatten(0, -2) if of_weight else None,
            dy_RO.sum(0) if of_bias else None,
        )


def _find_one_dnn() -> Callable[..., Any] | None:
    """The operator that torch's compiler uses for linear maps on CPUs, where this torch has it."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    operator: Callable[..., Any] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return operator


_one_dnn = _find_one_dnn()
