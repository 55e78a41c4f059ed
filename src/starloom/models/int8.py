"""Weights in 8 bits: each row of a matrix (an output channel, or a token's embedding) is whole numbers from -127 to 127 and a scale.

On a CPU an activation becomes a whole number of 16 bits, split into two of 8, so that a product is sums of int8 · int8 in
int32: exact, in any order. So a row of a product does not depend on the rows beside it, which no floating-point product
promises, and weights are read at a quarter of float32's bytes. The activations lose 2⁻¹⁶ of the largest in their row, the
products 3e-5 (bfloat16: 3e-3); the loss of this mode is that of the weights. Where a processor's int8 products are not
exact, and on a GPU, weights are widened within the product.

Measured on one core of a busy Zen 4: 8192 × 2048 weights times one row take less than half of float32's time, as with
torch's own `_weight_int8pack_mm` in bfloat16; times 256 rows half, where torch's own takes 1.6 times float32's.
"""

# O rows of weights (outputs), D columns (inputs), R rows of activations

from __future__ import annotations

import functools
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST: Final = 127  # symmetric: -128 is not used
_LARGEST_16: Final = 127 * 256 + 127  # the largest number of two digits, 256 · high + low, each of -127 … 127
_LONGEST: Final = (2**31 - 1) // LARGEST**2  # of a row, so that no sum leaves int32
# Rows of activations at once: their sums stay in the cache, the weights are still read seldom; our choice
_ROWS_AT_ONCE: Final = 256
_WEIGHTS_AT_ONCE: Final = 2**22  # widened at once on a CPU; our choice
_TINY: Final = 1e-30  # stands for the largest of a row of zeros


def quantized(weight_OD: Tensor) -> tuple[Tensor, Tensor]:
    """(codes int8 [O, D], scales float32 [O]): codes · scale is the nearest to the weights with the largest of a row at ±127.

    Raises ValueError for weights that are not finite.
    """
    codes_OD = torch.empty(weight_OD.shape, dtype=torch.int8, device=weight_OD.device)
    scales_O = torch.empty(len(weight_OD), dtype=torch.float32, device=weight_OD.device)
    rows = max(1, _WEIGHTS_AT_ONCE // weight_OD.shape[1])
    parts = (torch.split(x, rows) for x in (codes_OD, scales_O, weight_OD))
    for codes, scales, weights in zip(*parts, strict=True):
        wide = weights.float()
        largest = wide.abs().amax(1)
        if not largest.isfinite().all():
            raise ValueError("some weights are not finite")
        scales.copy_(largest.clamp_(min=_TINY) / LARGEST)
        codes.copy_((wide / scales[:, None]).round_().clamp_(-LARGEST, LARGEST))
    return codes_OD, scales_O


class Int8Matrix(nn.Module):
    """A matrix in the place of a weight. `dtype` is that of the activations that it meets; for inference only."""

    codes_OD: Tensor
    scales_O: Tensor

    def __init__(self, weight_OD: Tensor, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        codes_OD, scales_O = quantized(weight_OD)
        self.register_buffer("codes_OD", codes_OD)
        self.register_buffer("scales_O", scales_O)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.codes_OD)

    @property
    def device(self) -> torch.device:
        return self.codes_OD.device

    def widened(self) -> Tensor:
        """The matrix that it stands for, in float32: what `product` and `rows` are held to."""
        return self.codes_OD.float() * self.scales_O[:, None]

    def rows(self, ids: Tensor) -> Tensor:
        """The rows of these numbers, […, D]."""
        return (self.codes_OD[ids].float() * self.scales_O[ids].unsqueeze(-1)).to(self.dtype)

    def product(self, x: Tensor, bias_O: Tensor | None = None) -> Tensor:
        """x · matrixᵀ + bias, […, O], in the type of x."""
        x_RD = x.reshape(-1, x.shape[-1])
        suits = x.device.type == "cpu" and x.dtype == torch.float32 and 1 < x_RD.shape[1] <= _LONGEST
        if suits and exact_products():
            parts = [_in_digits(part, self.codes_OD, self.scales_O) for part in torch.split(x_RD, _ROWS_AT_ONCE)]
            y_RO = parts[0] if len(parts) == 1 else torch.cat(parts)
        else:
            y_RO = _in_floats(x_RD, self.codes_OD, self.scales_O)
        if bias_O is not None:
            y_RO += bias_O
        return y_RO.view(*x.shape[:-1], -1)


def _in_digits(x_RD: Tensor, codes_OD: Tensor, scales_O: Tensor) -> Tensor:
    """In whole numbers: a row of activations is unit · (256 · high + low), and high and low meet the codes as int8.

    Not for D = 1, where torch 2.13 takes the transposed codes for the codes themselves.
    """
    rows = len(x_RD)
    unit_R1 = torch.linalg.vector_norm(x_RD, torch.inf, dim=1, keepdim=True).clamp_(min=_TINY).div_(_LARGEST_16)
    whole_RD = x_RD / unit_R1
    high_RD = whole_RD.mul(1 / 256).round_()
    low_RD = torch.sub(whole_RD, high_RD, alpha=256).round_().clamp_(-LARGEST, LARGEST)
    digits = torch.cat((high_RD, low_RD)).to(torch.int8)
    # one row at a time oneDNN reads the codes as they lie; for more it arranges them first, which takes as long as two rows
    split = torch.split(digits, 1) if rows == 1 else (digits,)
    sums = torch.cat([torch._int_mm(part, codes_OD.t()) for part in split]).float()
    return torch.add(sums[rows:], sums[:rows], alpha=256).mul_(unit_R1).mul_(scales_O)


def _in_floats(x_RD: Tensor, codes_OD: Tensor, scales_O: Tensor) -> Tensor:
    """Codes widened to the type of x, in which they are exact; on a CPU some rows at a time, so that they stay in the cache."""
    rows = max(1, _WEIGHTS_AT_ONCE // codes_OD.shape[1]) if x_RD.device.type == "cpu" else len(codes_OD)
    parts = [F.linear(x_RD, codes.to(x_RD.dtype)) for codes in torch.split(codes_OD, rows)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).mul_(scales_O.to(x_RD.dtype))


@functools.cache
def exact_products() -> bool:
    """Whether int8 products sum exactly on this CPU: those of processors without dot-product instructions may saturate at 16 bits."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    codes = torch.full((32, 256), LARGEST, dtype=torch.int8)
    signs = torch.tensor([1, -1, 1, 1, -1, 1, -1, -1] * 32, dtype=torch.int8)
    digits = torch.stack((codes[0], -codes[0], codes[0] * signs))
    expected = torch.tensor([256, -256, 0], dtype=torch.int32)[:, None] * LARGEST**2
    sums = torch.cat([torch._int_mm(digits[:1], codes.t()), torch._int_mm(digits, codes.t())])
    return torch.equal(sums, torch.cat((expected[:1], expected)).expand(4, 32))
