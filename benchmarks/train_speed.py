"""Training tokens per second at the quickstart model: ours beside a plain loop around transformers' GPTBigCode.

    python benchmarks/train_speed.py [--pairs 9] [--threads 2]

The same batches, threads, context and number of sequences for all. The plain loop is eager transformers with SDPA attention,
`F.cross_entropy` on its logits, clipping and torch's fused AdamW; in fp32 and under bf16 autocast. Ours runs as the recipe
does (its optimizer, its precision) and with AdamW in both precisions. Contestants take turns, a few steps each; a ratio
is the median of the turns' ratios. Appends one line to benchmarks/results/train_speed.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from starloom.models import presets
from starloom.models.config import GPTBigCodeConfig
from starloom.train import AdamW, Muon, Pretrain, Schedule, hardware, loop
from starloom.train.ranks import alone
from starloom.train.step import gradients

RESULTS = Path(__file__).parent / "results" / "train_speed.jsonl"
Step = Callable[[np.ndarray], None]


def theirs(config: GPTBigCodeConfig, bf16: bool) -> Step:
    """A plain loop's step around transformers' model."""
    import transformers

    settings = {name: value for name, value in config.to_json().items() if name != "architectures"}
    torch.manual_seed(0)
    model = transformers.GPTBigCodeForCausalLM(transformers.GPTBigCodeConfig(**settings, attn_implementation="sdpa"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(ids: np.ndarray) -> None:
        ids_BT = torch.from_numpy(ids)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(ids_BT[:, :-1], use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1), ids_BT[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step


def ours(config: GPTBigCodeConfig, optimizer: Muon | AdamW, precision: str, threads: int) -> Step:
    """A step of our loop, as it calls it."""
    recipe = Pretrain.__dataclass_fields__
    job = loop.Job(
        config=config,
        optimizer=optimizer,
        schedule=Schedule("constant"),
        clip=1.0,
        accumulate=1,
        seed=0,
        patience=8,
        heldout=recipe["heldout"].default,
        precision=precision,  # type: ignore[arg-type]
        loss_scale=recipe["loss_scale"].default,
        threads=threads,
        device="cpu",
    )
    model, updater = loop.fresh(job, alone())

    def step(ids: np.ndarray) -> None:
        gradients(model, ids, job, alone())
        updater.step(1.0)
        updater.zero_grad()

    return step


def gemm(dtype: torch.dtype, size: int = 2048, times: int = 8) -> float:
    """GFLOP/s of a square matrix product: what the machine can do at this moment."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    best = 0.0
    for _ in range(times):
        began = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e9)
    return best


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    tenth = len(ordered) // 10
    return {
        "median": round(statistics.median(ordered), 4),
        "p10": round(ordered[tenth], 4),
        "p90": round(ordered[-1 - tenth], 4),
    }


def machine() -> dict[str, Any]:
    """The processor, and what its matrix products reach in this run."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return {
        "cpu": next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()),
        "cores": torch.get_num_threads(),
        "bf16": hardware.has_bf16("cpu"),
        "torch": torch.__version__,
        "gemm_gflops": {"fp32": round(gemm(torch.float32)), "bf16": round(gemm(torch.bfloat16))},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--steps", type=int, default=8, help="steps a turn")
    parser.add_argument("--sequences", type=int, default=Pretrain.__dataclass_fields__["batch"].default)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    recipe: Any = Pretrain.__dataclass_fields__
    config: GPTBigCodeConfig = presets.QUICKSTART
    chance = np.random.default_rng(0)
    shape = (options.steps, options.sequences, options.context + 1)
    frequent = np.minimum(chance.zipf(1.2, shape) - 1, config.vocab_size - 1).astype(np.int64)  # tokens are Zipfian
    with hardware.repeatable(options.threads, "cpu"):
        where = machine()
        auto = hardware.choose_precision("auto", "cpu")
        contestants = {
            f"ours, recipe ({type(recipe['optimizer'].default).__name__}, {auto})": ours(
                config, recipe["optimizer"].default, auto, options.threads
            ),
            "ours, AdamW, fp32": ours(config, AdamW(), "fp32", options.threads),
            "ours, AdamW, bf16": ours(config, AdamW(), "bf16", options.threads),
            "transformers, AdamW, fp32": theirs(config, False),
            "transformers, AdamW, bf16 autocast": theirs(config, True),
        }
        speeds: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(-1, options.pairs):  # the first turn warms up
            for name, step in contestants.items():
                began = time.perf_counter()
                for ids in frequent:
                    step(ids)
                rate = frequent[0][:, 1:].size * options.steps / (time.perf_counter() - began)
                if turn >= 0:
                    speeds[name].append(rate)
            print(f"turn {turn + 1} of {options.pairs}", end="\r", file=sys.stderr, flush=True)

    flops = config.flops_per_token(options.context)
    print(f"{where}\n{config.parameter_count():,} parameters, {options.sequences} × {options.context} tokens a step")
    ratios: dict[str, dict[str, float]] = {}
    for name, rates in speeds.items():
        median = statistics.median(rates)
        print(f"{name:<36} {median:8,.0f} tokens/s  {median * flops / 1e9:6.0f} GFLOP/s")
        for other in speeds:
            if name.startswith("ours") and other.startswith("transformers"):
                pairs = [mine / their for mine, their in zip(rates, speeds[other], strict=True)]
                ratios[f"{name} / {other}"] = spread(pairs)
    for name, found in ratios.items():
        print(f"{name:<72} {found['median']:.3f}  (p10 {found['p10']:.3f}, p90 {found['p90']:.3f})")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        row = {
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": where,
            "parameters": config.parameter_count(),
            "sequences": options.sequences,
            "context": options.context,
            "pairs": options.pairs,
            "tokens_per_s": {name: spread(rates) for name, rates in speeds.items()},
            "ratios": ratios,
        }
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
