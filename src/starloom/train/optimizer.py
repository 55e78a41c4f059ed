"""The optimizers behind one object whose state is flat, named tensors: torch's AdamW, Adafactor, Muon beside AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from starloom.errors import TrainingError
from starloom.train.adafactor import Factored
from starloom.train.muon import Matrices, Rows, is_hidden
from starloom.train.settings import Adafactor, AdamW, AnyOptimizer, Muon

FUSED: Final = ("cpu", "cuda", "mps", "xpu")  # devices that torch has AdamW in one kernel for


class Optimizer:
    """Updates named parameters; learning rates are the settings' times the factor that `step` is given."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        settings: AnyOptimizer,
        qkv: tuple[Rows, ...] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.settings = settings
        self._parameters = dict(parameters)
        self._rules: list[Matrices | Factored | Elementwise] = []
        if isinstance(settings, Adafactor):
            self._rules.append(Factored(parameters, settings))
        elif isinstance(settings, Muon):
            hidden = {name: tensor for name, tensor in parameters.items() if is_hidden(name, tensor)}
            others = {name: tensor for name, tensor in parameters.items() if name not in hidden}
            self._rules += [Matrices(hidden, settings, qkv, dtype), Elementwise(others, settings.rest)]
        else:
            self._rules.append(Elementwise(parameters, settings))

    def rate(self, factor: float) -> float:
        """The learning rate of the next step, as the log has it; Muon's own, where AdamW trains beside it."""
        rule = self._rules[0]
        if isinstance(rule, Factored):
            return rule.rate(factor)
        assert self.settings.lr is not None
        return self.settings.lr * factor

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update from the gradients that the parameters hold."""
        for rule in self._rules:
            rule.step(factor)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self._parameters.values():
            tensor.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, by name; the tensors themselves, not copies."""
        return {name: tensor for rule in self._rules for name, tensor in rule.tensors().items()}

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


class Elementwise:
    """torch's AdamW, in one kernel where there is one, its state made at once so that every checkpoint has the same names."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: AdamW) -> None:
        self._lr = settings.lr
        self._parameters = dict(parameters)
        decayed = [tensor for tensor in parameters.values() if tensor.ndim >= 2]
        plain = [tensor for tensor in parameters.values() if tensor.ndim < 2]
        self._adamw = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            fused=all(tensor.device.type in FUSED for tensor in parameters.values()),
        )
        for tensor in parameters.values():
            self._adamw.state[tensor] = {
                "step": torch.zeros((), dtype=torch.float32, device=tensor.device),
                "exp_avg": torch.zeros_like(tensor),
                "exp_avg_sq": torch.zeros_like(tensor),
            }

    def step(self, factor: float) -> None:
        """One update."""
        for group in self._adamw.param_groups:
            group["lr"] = self._lr * factor
        self._adamw.step()

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name."""
        return {
            f"adamw.{key}.{name}": value
            for name, tensor in self._parameters.items()
            for key, value in self._adamw.state[tensor].items()
        }
