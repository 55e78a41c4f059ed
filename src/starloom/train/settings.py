"""Settings of the optimizers and of the held-out evaluation, as plain data: no torch, so that a plan needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starloom.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]  # of matrix products


def parse_optimizer(text: str) -> AdamW | Muon:
    """`adamw` or `muon`, with their default settings."""
    known: dict[str, type[AdamW] | type[Muon]] = {"adamw": AdamW, "muon": Muon}
    if text.lower() not in known:
        raise ConfigError(f"an optimizer is adamw or muon, not '{text}'")
    return known[text.lower()]()


def _rates(lr: float, weight_decay: float) -> None:
    if lr <= 0:
        raise ConfigError(f"a learning rate is positive, not {lr}")
    if weight_decay < 0:
        raise ConfigError(f"a weight decay is 0 or more, not {weight_decay}")


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); betas and decay as BigCode trained."""

    lr: float = 2e-3  # facts of the baseline at this size; the published models took 2e-4 to 5e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1  # on matrices only; biases and norms are left alone, as in Megatron-LM
    parse = staticmethod(parse_optimizer)

    def __post_init__(self) -> None:
        _rates(self.lr, self.weight_decay)
        for name, value in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not 0 <= value < 1:
                raise ConfigError(f"{name} of AdamW lies in [0, 1), not {value}")


@dataclass(frozen=True, slots=True)
class Muon:
    """Momentum made orthogonal, for the hidden matrices (Jordan et al. 2024); `rest` trains everything else."""

    lr: float = 0.015  # docs/log.md has what was tried
    momentum: float = 0.95
    nesterov: bool = True
    iterations: int = 4  # of Newton–Schulz; one fewer than published, as they start nearer (`orthogonalised`)
    weight_decay: float = 0.0
    split_qkv: bool = True  # make the query, key and value blocks of c_attn orthogonal each for itself
    rest: AdamW = AdamW(lr=5e-3, weight_decay=0.0)
    parse = staticmethod(parse_optimizer)

    def __post_init__(self) -> None:
        _rates(self.lr, self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum of Muon lies in [0, 1), not {self.momentum}")
        if self.iterations < 1:
            raise ConfigError(f"iterations of Muon is {self.iterations}; 5 is usual")


@dataclass(frozen=True, slots=True)
class Heldout:
    """When and on how much the held-out text is scored. Bounds are in tokens, so that they cost the same everywhere."""

    times: int = 10  # quick looks during the run, evenly spaced; 0: only at the end
    quick_tokens: int = 8_192  # of each quick look, windows spread over the whole split: our choice
    final_tokens: int | None = 65_536  # of the last look, in fp32; None: the whole split

    def __post_init__(self) -> None:
        if self.times < 0 or self.quick_tokens < 1 or (self.final_tokens is not None and self.final_tokens < 1):
            raise ConfigError(
                f"heldout.times is 0 or more and its token counts are positive, not {self.times}, "
                f"{self.quick_tokens} and {self.final_tokens}"
            )
