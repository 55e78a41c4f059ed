"""Causal attention in training on a CPU, forward and backward: ours beside torch's scaled_dot_product_attention.

    python benchmarks/train_attention.py [--turns 7] [--threads 1]

Multi-query, grouped, and a key for each query, in float32 and bfloat16. Contestants take turns, in process CPU seconds, so
that a busy machine counts little (with one thread); a ratio is the median of the turns'. Appends a line to
benchmarks/results/train_attention.jsonl.
"""

# B sequences, T tokens, N query heads, K key/value heads, H head size

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from train_speed import machine, spread

from starloom.models.causal_attention import causal_attention
from starloom.train import hardware

RESULTS = Path(__file__).parent / "results" / "train_attention.jsonl"
SHAPES = (
    (8, 512, 6, 1, 64),
    (4, 512, 4, 1, 64),
    (2, 2048, 8, 1, 64),
    (4, 1024, 8, 2, 64),
    (8, 512, 6, 6, 64),
)  # B T N K H


def of_torch(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True).transpose(1, 2)


def seconds(attention: Callable[..., Tensor], inputs: list[Tensor], dy: Tensor) -> float:
    for tensor in inputs:
        tensor.grad = None
    began = time.process_time()
    attention(*inputs, 0.125).backward(dy)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    hardware.keep_freed_memory()
    found: list[dict[str, Any]] = []
    for dtype in (torch.float32, torch.bfloat16):
        for batch, tokens, heads, kv_heads, size in SHAPES:
            shapes = [(batch, tokens, count, size) for count in (heads, kv_heads, kv_heads)]
            inputs = [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]
            dy = torch.randn(shapes[0], dtype=dtype)
            turns = [
                (seconds(causal_attention, inputs, dy), seconds(of_torch, inputs, dy)) for _ in range(options.turns + 1)
            ][1:]  # the first warms up
            ratio = spread([their / our for our, their in turns])
            shape = (
                f"{batch} × {tokens}, {heads} heads of {size}, {kv_heads} of keys, {str(dtype).removeprefix('torch.')}"
            )
            ours, theirs = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
            found.append({"shape": shape, "ours_ms": round(ours, 1), "torch_ms": round(theirs, 1), "ours_times": ratio})
            print(f"{shape:<52} {ours:6.1f} ms, torch {theirs:6.1f} ms: {ratio['median']:.2f} ×")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps({"machine": machine(), "threads": options.threads, "attention": found}) + "\n")


if __name__ == "__main__":
    main()
