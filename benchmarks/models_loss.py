"""Head and cross-entropy, forward and backward: ours in chunks, whole logits, and torch's own linear_cross_entropy.

    python benchmarks/models_loss.py [--turns 9] [--threads 1]

At the quickstart's width and vocabulary and at a larger one. Contestants take turns, in process CPU seconds, so that a busy
machine counts little; a ratio is the median of the turns' ratios to whole logits, with its extremes. Peak memory is that of
torch's allocations, by its profiler. Appends one line to benchmarks/results/models_loss.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from starloom.models.cross_entropy import cross_entropy

RESULTS = Path(__file__).parent / "results" / "models_loss.jsonl"
SHAPES = ((1024, 256, 8192), (4096, 256, 8192), (512, 512, 49152))  # tokens, width, vocabulary
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def whole_logits(x_MD: Tensor, head_VD: Tensor, targets_M: Tensor) -> Tensor:
    return F.cross_entropy(x_MD @ head_VD.t(), targets_M)


def of_torch(x_MD: Tensor, head_VD: Tensor, targets_M: Tensor) -> Tensor:
    options = torch.nn.LinearCrossEntropyOptions()
    loss: Tensor = F.linear_cross_entropy(x_MD, head_VD, targets_M, options=options)
    return loss


def contestants() -> dict[str, Loss]:
    found: dict[str, Loss] = {"whole logits": whole_logits, "starloom": cross_entropy}
    if hasattr(F, "linear_cross_entropy"):  # torch 2.13
        found["torch's linear_cross_entropy"] = of_torch
    return found


def seconds(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    for tensor in inputs[:2]:
        tensor.grad = None
    start = time.process_time()
    loss(*inputs).backward()
    return time.process_time() - start


def peak_mb(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """The most that torch holds at once beyond the inputs."""
    for tensor in inputs[:2]:
        tensor.grad = None
    with torch.profiler.profile(profile_memory=True) as profile:
        loss(*inputs).backward()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    record: dict[str, Any] = {"cpu": cpu, "torch": torch.__version__, **vars(options), "shapes": []}
    for tokens, width, vocabulary in SHAPES:
        generator = torch.Generator().manual_seed(0)
        x_MD = torch.randn(tokens, width, generator=generator).requires_grad_()
        head_VD = (0.02 * torch.randn(vocabulary, width, generator=generator)).requires_grad_()
        inputs = x_MD, head_VD, torch.randint(vocabulary, (tokens,), generator=generator)
        losses = contestants()
        times: dict[str, list[float]] = {name: [] for name in losses}
        for turn in range(options.turns + 1):
            for name, loss in losses.items():
                taken = seconds(loss, inputs)
                if turn:  # the first warms up
                    times[name].append(taken)
        print(f"{tokens:,} tokens, width {width}, vocabulary {vocabulary:,}")
        found = {}
        for name, loss in losses.items():
            ratios = [whole / own for whole, own in zip(times["whole logits"], times[name], strict=True)]
            found[name] = {
                "ms": round(1e3 * statistics.median(times[name]), 1),
                "times_whole": [round(f(ratios), 2) for f in (statistics.median, min, max)],
                "peak_mb": round(peak_mb(loss, inputs)),
            }
            print(f"  {name:<29} {found[name]}")
        record["shapes"].append({"tokens": tokens, "width": width, "vocabulary": vocabulary, **found})
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as out:
        out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
