"""What one step computes: the loss of a batch, and its gradients in the parameters."""

# B sequences, T tokens of context

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from starloom import records
from starloom.models.causal_lm import CausalLM
from starloom.train import sharding
from starloom.train.ahead import Ids
from starloom.train.ranks import Ranks

if TYPE_CHECKING:
    from starloom.train.loop import Job


def seed_dropout(seed: int, step: int, rank: int = 0) -> None:
    """Make what is dropped in a step a function of the seed, the step and the part of the batch."""
    torch.manual_seed(int(records.uniform(seed, "dropout", step, *([rank] if rank else [])) * 2**53))


def computing(job: Job) -> torch.autocast:
    """Matrix products in the job's precision; the weights stay fp32."""
    dtype = torch.float16 if job.precision == "fp16" else torch.bfloat16
    return torch.autocast(job.device.partition(":")[0], dtype, enabled=job.precision in ("bf16", "fp16"))


def mask_at(job: Job) -> int | None:
    """The token behind which attention does not look back, where it is to be."""
    if not job.document_mask:
        return None
    end = job.config.eos_token_id
    assert isinstance(end, int), "the vocabulary's own"
    return end


def gradients(model: CausalLM, ids: Ids, job: Job, ranks: Ranks, scale: float = 1.0) -> tuple[float, float]:
    """Leave the mean gradient of all ranks' lines in the parameters, clipped. Returns their loss in nats a token, and the
    gradient's norm before clipping.

    The loss is multiplied by `scale` before the way back and the gradients divided by it after, so that those of fp16 are
    not too small for it; where they are too large, the norm is not finite.
    """
    ids_BT = torch.from_numpy(ids).to(job.device)
    loss = torch.zeros((), device=job.device)
    for part_BT in torch.split(ids_BT, -(-len(ids) // job.accumulate)):
        parts = len(ids) / len(part_BT)
        with computing(job):
            part_loss = model.loss(part_BT[:, :-1], part_BT[:, 1:], mask_at(job))
        (part_loss / parts * scale).backward()  # type: ignore[no-untyped-call]
        loss += part_loss.detach() / parts
    if scale != 1:
        torch._foreach_mul_([one.grad for one in model.parameters() if one.grad is not None], 1 / scale)
    norm = sharding.clip(model.parameters(), math.inf if job.clip is None else job.clip, ranks)
    return ranks.mean(loss).item(), norm
