"""Models whose weights lie on several processes; here on the one that trains alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from starloom.models.causal_lm import CausalLM
from starloom.train.parts import whole
from starloom.train.ranks import Ranks

if TYPE_CHECKING:
    from starloom.train.loop import Job


def shard(model: CausalLM, ranks: Ranks, job: Job) -> CausalLM:
    """The model with its weights where the processes keep them; called before the optimizer is made."""
    return model


def gathered(model: CausalLM, ranks: Ranks) -> dict[str, Tensor]:
    """The whole weights, for the main process; every process asks for them, and the others get none."""
    found = {}
    for name, tensor in model.named_parameters():
        full = whole(tensor.detach())
        if ranks.main:
            found[name] = full if ranks.processes == 1 else full.cpu()
    return found
