"""Run by torchrun: steps of each optimizer on a model in parts beside the same steps on a whole one; prints the largest
difference of a weight as JSON."""

from __future__ import annotations

import json

import small_job as small
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from starloom.models.causal_lm import new_model
from starloom.train.muon import qkv_blocks
from starloom.train.optimizer import Optimizer
from starloom.train.parts import whole
from starloom.train.settings import Adafactor, AdamW, Muon

CHOSEN = {
    "adamw": AdamW(),
    "muon": Muon(weight_decay=0.1),
    "adafactor": Adafactor(lr=1e-2, beta1=0.9, weight_decay=0.1, scale_parameter=True),
}


def trained(settings, ranks, rank):
    model = new_model(small.CONFIG, seed=0)
    if ranks > 1:
        mesh = init_device_mesh("cpu", (ranks,))
        for layer in model.transformer.h:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "loss")
    config = small.CONFIG
    blocks = qkv_blocks(config.n_head, config.n_embd, config.multi_query)
    optimizer = Optimizer(dict(model.named_parameters()), settings, blocks)
    for step in range(5):
        ids = torch.from_numpy(small.batch(step, rank, ranks))
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step(1.0)
        optimizer.zero_grad()
    return [whole(tensor.detach()) for tensor in model.parameters()]


if __name__ == "__main__":
    dist.init_process_group("gloo")
    differences = {}
    for name, settings in CHOSEN.items():
        found = (trained(settings, 1, 0), trained(settings, dist.get_world_size(), dist.get_rank()))
        differences[name] = max((one - other).abs().max().item() for one, other in zip(*found, strict=True))
    if dist.get_rank() == 0:
        print(json.dumps(differences))
    dist.destroy_process_group()
