"""Adafactor (Shazeer & Stern 2018) as transformers computes it, which is what the published fine-tunes mean by it.

torch's own is another: its step is always scaled by the parameter's size, and it adds eps elsewhere; it has no first moment
and fails on weights in parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from starloom.train.parts import part_of, whole
from starloom.train.settings import Adafactor


class Factored:
    """Parameters whose squared gradients are kept as their means over rows and over columns; of vectors, one by one."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: Adafactor) -> None:
        self._settings = settings
        self._parameters = dict(parameters)
        self._state: dict[str, dict[str, Tensor]] = {}
        device = next(iter(parameters.values())).device
        self._step = torch.zeros((), dtype=torch.float32, device=device)
        for name, tensor in parameters.items():
            shape, made = tuple(tensor.shape), {}
            if settings.beta1 is not None:
                made["exp_avg"] = torch.zeros_like(tensor)
            if tensor.ndim >= 2:
                made["exp_avg_sq_row"] = torch.zeros(shape[:-1], device=device)
                made["exp_avg_sq_col"] = torch.zeros(shape[:-2] + shape[-1:], device=device)
            else:
                made["exp_avg_sq"] = torch.zeros(shape, device=device)
            self._state[name] = made

    def rate(self, factor: float) -> float:
        """The learning rate of the next step, before it is scaled by a parameter's size."""
        settings, step = self._settings, int(self._step.item()) + 1
        if settings.lr is not None:
            return settings.lr * factor
        return factor * min(1e-6 * step if settings.warmup_init else 1e-2, 1 / math.sqrt(step))

    def step(self, factor: float) -> None:
        """One update. Of weights in parts every process sees the whole gradient, and moves its own part."""
        settings, rate = self._settings, self.rate(factor)
        self._step += 1
        kept = 1 - math.pow(self._step.item(), settings.decay_rate)  # β₂ of this step
        for name, tensor in self._parameters.items():
            assert tensor.grad is not None, f"{name} took no part in the loss"
            gradient, state = whole(tensor.grad), self._state[name]
            lr = rate
            if settings.scale_parameter:
                lr *= max(settings.eps2, _rms(whole(tensor)).item())
            squared = gradient**2 + settings.eps1
            if tensor.ndim >= 2:
                row, column = state["exp_avg_sq_row"], state["exp_avg_sq_col"]
                row.mul_(kept).add_(squared.mean(-1), alpha=1 - kept)
                column.mul_(kept).add_(squared.mean(-2), alpha=1 - kept)
                update = (row / row.mean(-1, keepdim=True)).rsqrt_()[..., None] * column[..., None, :].rsqrt()
            else:
                update = state["exp_avg_sq"].mul_(kept).add_(squared, alpha=1 - kept).rsqrt()
            update.mul_(gradient)
            update.div_((_rms(update) / settings.clip_threshold).clamp_(min=1.0)).mul_(lr)
            update = part_of(update, tensor)
            if settings.beta1 is not None:
                update = state["exp_avg"].mul_(settings.beta1).add_(update, alpha=1 - settings.beta1)
            if settings.weight_decay and tensor.ndim >= 2:
                tensor.add_(tensor, alpha=-settings.weight_decay * lr)
            tensor.sub_(update)

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name."""
        named = {f"adafactor.{key}.{name}": value for name, made in self._state.items() for key, value in made.items()}
        return {"adafactor.step": self._step, **named}


def _rms(tensor: Tensor) -> Tensor:
    rms: Tensor = tensor.norm(2) / tensor.numel() ** 0.5
    return rms
