"""Models whose weights lie on several processes; here on the one that trains alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starloom.models.causal_lm import CausalLM
from starloom.train.ranks import Ranks

if TYPE_CHECKING:
    from starloom.train.loop import Job


def shard(model: CausalLM, ranks: Ranks, job: Job) -> CausalLM:
    """The model with its weights where the processes keep them; called before the optimizer is made."""
    return model
