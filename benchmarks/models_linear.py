"""Linear maps of a decoding step or a prompt in float32 on a CPU: ours, which asks oneDNN, beside torch's own.

    python benchmarks/models_linear.py [--turns 5] [--threads 1]

At the widths of SantaCoder and of a small model. Contestants take turns, in process CPU seconds, so that a busy machine counts
little (with one thread); a ratio is of the best turns. Appends one line to benchmarks/results/models_linear.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from starloom.models.linear import linear

RESULTS = Path(__file__).parent / "results" / "models_linear.jsonl"
SHAPES = ((49280, 2048), (8192, 2048), (2048, 8192), (16384, 512), (2048, 512))  # out, in
ROWS = (1, 2, 8, 64, 512)
WEIGHTS = 2**27  # bytes a turn reads at least, so that none is in a cache


def seconds(map_: Callable[[Tensor, Tensor], Tensor], x: Tensor, weights: list[Tensor]) -> float:
    start = time.process_time()
    for weight in weights:
        map_(x, weight)
    return (time.process_time() - start) / len(weights)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, dict[str, float]] = {}
    for out, width in SHAPES:
        weights = [torch.randn(out, width) for _ in range(max(1, WEIGHTS // (4 * out * width)))]
        for rows in ROWS:
            x = torch.randn(rows, width)
            turns = [(seconds(linear, x, weights), seconds(F.linear, x, weights)) for _ in range(options.turns)]
            ours, theirs = (min(column) * 1e3 for column in zip(*turns, strict=True))
            found[f"{out}x{width} {rows}"] = {"starloom_ms": round(ours, 3), "torch_ms": round(theirs, 3)}
            print(f"{out:6} x {width:5}, {rows:3} rows: {ours:7.2f} ms, torch {theirs:7.2f} ms: {theirs / ours:.2f} ×")
    row = {
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "torch": torch.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps({**row, **found}) + "\n")


if __name__ == "__main__":
    main()
