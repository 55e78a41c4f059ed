"""The loss of a language model without its logits: head and cross-entropy together, a chunk of tokens at a time.

A chunk's logits become its gradients while they are in the processor's cache, so that [tokens, vocabulary] never exists and the backward pass only scales what the forward pass found (`benchmarks/models_loss.py` measures both).
"""

# M tokens (batch and time as one), D width, V vocabulary, m tokens of one chunk

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from starloom.models.linear import Matrix, linear, product

IGNORED: Final = -100  # a target that counts for nothing, as in torch and transformers

# Bytes of one chunk's logits. On a Zen 4 core with 8,192 vocabulary 8 MB are 256 tokens in float32: 128, 512 or 1,024 tokens
# at once are 2, 5 and 10 % slower; in bfloat16 512: 256 are 5 % slower, 1,024 no faster. A GPU wants larger products.
_CPU_CHUNK: Final = 2**23
_GPU_CHUNK: Final = 2**29
# Bytes of one column of logits, at least, as fewer rows starve the product: with 49,152 vocabulary 512 tokens in bfloat16 take
# 0.74 of the time that 128 take, in float32 256 0.95 to 1.02.
_LEAST: Final = 1024


def cross_entropy(x_MD: Tensor, head_VD: Matrix, targets_M: Tensor) -> Tensor:
    """Mean cross-entropy in nats of targets under softmax(x · headᵀ), a scalar in at least float32, differentiable once.

    Targets of -100 are left out of the mean; where all are, the loss is 0 and so are its gradients. Under autocast the
    products run in its type and the sums in float32.
    """
    assert isinstance(head_VD, Tensor), "int8 weights have no gradients"
    kind = x_MD.device.type
    compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x_MD.dtype
    loss: Tensor = _MeanCrossEntropy.apply(x_MD, head_VD, targets_M, compute)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def token_losses(x_MD: Tensor, head_VD: Matrix, targets_M: Tensor) -> Tensor:
    """Cross-entropy in nats of each target, in at least float32; 0 where it is ignored. No gradients."""
    losses_M = _zeros(targets_M.shape, x_MD)
    for chunk in _chunks(x_MD, head_VD, x_MD.dtype):
        logits_mV = _wide(linear(x_MD[chunk], head_VD))
        targets_m = targets_M[chunk]
        chosen_m = logits_mV.gather(1, targets_m.clamp(min=0)[:, None])[:, 0]
        losses_M[chunk] = torch.where(targets_m == IGNORED, 0.0, logits_mV.logsumexp(1) - chosen_m)
    return losses_M


class _MeanCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, head_VD: Tensor, targets_M: Tensor, compute: torch.dtype) -> Tensor:
        want_x, want_head = ctx.needs_input_grad[:2]
        head = head_VD.to(compute)
        dx_MD = torch.empty_like(x_MD) if want_x else None
        dhead_VD = _zeros(head_VD.shape, head_VD) if want_head else None
        loss = _zeros((), x_MD)
        count = (targets_M != IGNORED).sum().clamp(min=1)
        for chunk in _chunks(x_MD, head_VD, compute):
            x_mD, targets_m = x_MD[chunk].to(compute), targets_M[chunk, None]
            weights_m = (targets_m != IGNORED).to(loss.dtype) / count
            targets_m = targets_m.clamp(min=0)
            logits_mV = product(x_mD, head)
            p_mV = torch.softmax(logits_mV, 1)  # in one pass over the chunk, wide inside; what it gives is rounded
            # the highest logit and its probability, never below 1/V, give the logarithm of the sum
            total_m = _wide(logits_mV.amax(1, keepdim=True)) - _wide(p_mV.amax(1, keepdim=True)).log()
            loss += ((total_m - logits_mV.gather(1, targets_m)) * weights_m).sum()
            if dx_MD is None and dhead_VD is None:
                continue
            d_mV, each_m = p_mV, torch.arange(len(p_mV), device=p_mV.device)
            d_mV[each_m, targets_m[:, 0]] -= 1  # scatter_add_ would copy all of them twice in bfloat16
            if dx_MD is not None:
                dx_MD[chunk] = product(d_mV, head.t()) * weights_m
            # one token's share of a large batch is next to nothing in fp16: it is taken after the product there
            half = compute == torch.float16
            x_mD = (x_mD * (weights_m * count if half else weights_m)).to(compute)
            if dhead_VD is not None and dhead_VD.dtype == compute:
                dhead_VD.addmm_(d_mV.t(), x_mD)
            elif dhead_VD is not None:
                product_VD = d_mV.t() @ x_mD
                dhead_VD += product_VD.to(dhead_VD.dtype) / count if half else product_VD
        ctx.gradients = (dx_MD, None if dhead_VD is None else dhead_VD.to(head_VD.dtype))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        dx_MD, dhead_VD = (None if d is None else d * scale.to(d.dtype) for d in ctx.gradients)
        return dx_MD, dhead_VD, None, None


def _chunks(x_MD: Tensor, head_VD: Matrix, compute: torch.dtype) -> list[slice]:
    most = _CPU_CHUNK if x_MD.device.type == "cpu" else _GPU_CHUNK
    rows = max(_LEAST // compute.itemsize, most // (len(head_VD) * compute.itemsize))
    return [slice(start, start + rows) for start in range(0, len(x_MD), rows)]


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _zeros(shape: torch.Size | tuple[int, ...], like: Tensor) -> Tensor:
    wide = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.zeros(shape, dtype=wide, device=like.device)
