"""Models whose weights lie on several processes: torch's FSDP2, and tensor parallelism for one key/value head or a few.

Every process computes its lines of a batch with whole layers, which FSDP brings together one after the other, and keeps a
part of the weights, of the gradients and of the optimizer's state. With tensor parallelism several processes compute the
same lines, each with its heads and its part of the MLP; keys and values that all heads share are computed by all of them.
"""

# D width, N query heads, K key/value heads, H head size, P processes that share each layer's matrices

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from starloom.errors import ConfigError
from starloom.models.causal_lm import CausalLM, new_model
from starloom.models.config import GPTBigCodeConfig
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.models.linear import linear
from starloom.train.parts import in_parts, whole
from starloom.train.ranks import Ranks

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import Shard

    from starloom.train.loop import Job


def shard(model: CausalLM, ranks: Ranks, job: Job) -> CausalLM:
    """The model with its weights where the processes keep them; called before the optimizer is made.

    Raises ConfigError for what cannot be shared among them.
    """
    if ranks.mesh is None:
        return model
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if ranks.mesh["tensor"].size() > 1:
        share_layers(model, ranks.mesh["tensor"])
    data = ranks.mesh["data"]
    for layer in layers(model):
        fully_shard(layer, mesh=data, shard_placement_fn=_across)
    fully_shard(model, mesh=data)  # the embedding, and so the head that is tied to it
    for method in ("loss", "token_losses"):  # what we call instead of forward
        register_fsdp_forward_method(model, method)
    return model


def _across(parameter: nn.Parameter) -> Shard | None:
    """A matrix that processes share by rows is cut by columns beside that, so that each part of it is one piece."""
    from torch.distributed.tensor import DTensor, Shard

    rows = isinstance(parameter, DTensor) and parameter.ndim == 2 and parameter.placements[0] == Shard(0)
    return Shard(1) if rows else None


def layers(model: CausalLM) -> list[nn.Module]:
    """The model's layers."""
    return list(model.transformer.h if isinstance(model, GPTBigCode) else model.model.layers)


def share_layers(model: CausalLM, mesh: DeviceMesh) -> None:
    """Give each of P processes its heads and its part of every MLP. Raises ConfigError where they do not divide."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    config, share = model.config, mesh.size()
    size = config.head_size
    heads = config.n_head if isinstance(config, GPTBigCodeConfig) else config.num_attention_heads
    inner = config.inner if isinstance(config, GPTBigCodeConfig) else config.intermediate_size
    for count, what in ((heads, "query heads"), (inner, "columns of the MLP")):
        if count % share:
            raise ConfigError(
                f"--tensor-parallel {share} does not divide the model's {count} {what}; use a divisor of both"
            )
    mine = mesh.get_local_rank()
    q = slice(mine * heads // share * size, (mine + 1) * heads // share * size)
    plan: dict[str, Any] = {"mlp.c_fc": ColwiseParallel(), "mlp.c_proj": RowwiseParallel()}
    if isinstance(config, GPTBigCodeConfig):
        plan["attn.c_proj"] = RowwiseParallel()
        if not config.multi_query:
            plan["attn.c_attn"] = ColwiseParallel()  # queries, keys and values of one head lie together
        narrow = dataclasses.replace(config, n_head=heads // share, n_embd=config.n_embd // share)
    else:
        plan |= {"self_attn.q_proj": ColwiseParallel(), "self_attn.o_proj": RowwiseParallel()}
        if config.kv_heads % share == 0:
            plan |= {"self_attn.k_proj": ColwiseParallel(), "self_attn.v_proj": ColwiseParallel()}
    for layer in layers(model):
        parallelize_module(layer, mesh, plan)
        if isinstance(config, GPTBigCodeConfig):
            attention: Any = layer.attn
            if config.multi_query:
                attention.c_attn = Rows(attention.c_attn, (q, slice(heads * size, None)), mesh)
            attention.config = narrow  # its heads, as if the model were narrower
        elif config.kv_heads % share:
            attention = layer.self_attn
            group = heads // config.kv_heads  # queries of one key head
            used = slice(mine * heads // share // group * size, -(-(mine + 1) * heads // share // group) * size)
            if (heads // share) % group and group % (heads // share):
                raise ConfigError(
                    f"--tensor-parallel {share} cuts through groups of {group} query heads; use one that is a divisor or a "
                    f"multiple of the {config.kv_heads} key/value heads"
                )
            attention.k_proj = Rows(attention.k_proj, (used,), mesh)
            attention.v_proj = Rows(attention.v_proj, (used,), mesh)


class Rows(nn.Module):
    """A linear map of which each process computes the rows that its heads need, and whose weights all of them hold: keys
    and values that are shared, and the queries that lie in one matrix with them."""

    def __init__(self, whole: nn.Linear, rows: tuple[slice, ...], mesh: DeviceMesh) -> None:
        super().__init__()
        self.weight, self.bias = whole.weight, whole.bias
        self.rows = rows
        self.group = mesh.get_group()

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (None if one is None else self._mine(one) for one in (self.weight, self.bias))
        assert weight is not None
        return linear(_SumOfGradients.apply(x, self.group), weight, bias)  # type: ignore[no-untyped-call]

    def _mine(self, parameter: Tensor) -> Tensor:
        summed: Tensor = _SumOfGradients.apply(parameter, self.group)  # type: ignore[no-untyped-call]
        return torch.cat([summed[rows] for rows in self.rows])


class _SumOfGradients(torch.autograd.Function):
    """What all processes hold the same of; each adds what its own part of the computation makes of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None


def clip(parameters: Iterable[Tensor], most: float, ranks: Ranks) -> float:
    """Scale the gradients so that their norm is at most `most`. Returns the norm that they had, over all processes.

    torch's own function adds up DTensors of one layout only.
    """
    if ranks.mesh is None:
        return torch.nn.utils.clip_grad_norm_(parameters, most).item()
    gradients = [one.grad for one in parameters if one.grad is not None]
    squares = []
    for gradient in gradients:
        local, copies = _local(gradient, ranks)
        squares.append(torch.linalg.vector_norm(local, dtype=torch.float32) ** 2 / copies)
    square = torch.stack(squares).sum()
    dist.all_reduce(square)
    norm = math.sqrt(square.item())
    if math.isfinite(norm) and norm > most:
        for gradient in gradients:
            gradient.mul_(most / (norm + 1e-6))  # as torch does it
    return norm


def _local(tensor: Tensor, ranks: Ranks) -> tuple[Tensor, int]:
    """This process's part of a tensor, and how many processes hold the same."""
    if not in_parts(tensor):
        return tensor, ranks.processes
    parted: Any = tensor
    parts = math.prod(
        parted.device_mesh.size(axis) for axis, place in enumerate(parted.placements) if not place.is_replicate()
    )
    return parted.to_local(), ranks.processes // parts


def gathered(model: CausalLM, ranks: Ranks) -> dict[str, Tensor]:
    """The whole weights, for the main process; every process asks for them, and the others get none."""
    found = {}
    for name, tensor in model.named_parameters():
        full = whole(tensor.detach())
        if ranks.main:
            found[name] = full if ranks.processes == 1 else full.cpu()
    return found


def unsharded(model: CausalLM, ranks: Ranks) -> CausalLM | None:
    """The model in one piece, for the main process; every process asks for it, and the others get none."""
    if ranks.mesh is None:
        return model
    weights = gathered(model, ranks)
    if not ranks.main:
        return None
    one = new_model(model.config, seed=None, device="meta")
    one.load_state_dict(weights, assign=True)
    return one.to(next(model.parameters()).device)
