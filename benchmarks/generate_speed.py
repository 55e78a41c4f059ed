"""Tokens per second of greedy decoding in fp32: ours beside transformers' `generate`, same weights, prompts and threads.

    python benchmarks/generate_speed.py [--shape small|santacoder] [--pairs 9] [--threads 2] [--no-memory]

Random weights; both contestants read the very same tensors. Prompts of random ids, of one length, so that transformers pads
nothing; prefix cache and speculation are off. They take turns, the first of a pair changing from pair to pair; a ratio is
the median of the pairs'. `decode` leaves out the time to the first token, measured in the same turn. Peak memory is that of
a process of its own each, which loads the model from the same folder and generates. Also measured: what a row more costs in
one of our forwards (`ROW_COST` of the backend). Appends one line to benchmarks/results/generate_speed.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from starloom.generate.backends.torch import TorchBackend, open_backend
from starloom.generate.engine import Engine
from starloom.generate.protocol import Request
from starloom.models import presets
from starloom.models.causal_lm import new_model, save_model
from starloom.models.config import GPTBigCodeConfig

RESULTS = Path(__file__).parent / "results" / "generate_speed.jsonl"
SHAPES = {
    # 31M parameters: what a quickstart of some hours may train; big enough that its weights are read from memory
    "small": GPTBigCodeConfig(vocab_size=16384, n_positions=2048, n_embd=512, n_layer=8, n_head=8, n_inner=2048),
    "santacoder": presets.SANTACODER,
}
Generate = Callable[[list[list[int]], int], list[list[int]]]  # prompts, tokens each → tokens


def ours(backend: TorchBackend) -> Generate:
    def generate(prompts: list[list[int]], count: int) -> list[list[int]]:
        engine = Engine(backend, slots=len(prompts), chunk=2**20, kept_tokens=0)
        handles = [engine.submit(Request(tuple(prompt), count)) for prompt in prompts]
        while engine.busy:
            engine.step()
        return [handle.tokens for handle in handles]

    return generate


def theirs(peer: Any) -> Generate:
    def generate(prompts: list[list[int]], count: int) -> list[list[int]]:
        ids = torch.tensor(prompts)
        made = peer.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=count, max_new_tokens=count,
            pad_token_id=0,
        )  # fmt: skip
        return [row[len(prompts[0]) :] for row in made.tolist()]

    return generate


def load_peer(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()


def prompts_of(config: GPTBigCodeConfig, batch: int, length: int) -> list[list[int]]:
    prompts: list[list[int]] = np.random.default_rng(0).integers(5, config.vocab_size, (batch, length)).tolist()
    return prompts


def timed(generate: Generate, prompts: list[list[int]], count: int) -> tuple[float, float, list[list[int]]]:
    """Seconds to the first token, seconds in all, and the tokens."""
    start = time.perf_counter()
    generate(prompts, 1)
    first = time.perf_counter() - start
    start = time.perf_counter()
    tokens = generate(prompts, count)
    return first, time.perf_counter() - start, tokens


def spread(values: list[float]) -> dict[str, float]:
    low, high = (float(np.quantile(values, share)) for share in (0.1, 0.9))
    return {"median": round(statistics.median(values), 3), "p10": round(low, 3), "p90": round(high, 3)}


def agreement(one: list[list[int]], other: list[list[int]]) -> float:
    """Share of the tokens before the first difference."""
    same = [
        next((place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
        for a, b in zip(one, other, strict=True)
    ]
    return round(sum(same) / sum(map(len, one)), 4)


def row_cost(backend: TorchBackend, rows: int = 8, times: int = 15) -> float:
    """What each row more adds to a forward, as a share of a forward of one row."""
    took: dict[int, list[float]] = {1: [], rows: []}
    backend.forward([(0, [5] * 128)])
    for _ in range(times):
        for count in took:
            start = time.perf_counter()
            backend.forward([(0, [5] * count)], every={0})
            took[count].append(time.perf_counter() - start)
            backend.truncate(0, 128)
    backend.free(0)
    return (statistics.median(took[rows]) / statistics.median(took[1]) - 1) / (rows - 1)


def peak_mebibytes(folder: Path, name: str, options: argparse.Namespace) -> dict[str, float]:
    """Peak resident memory of a process that loads and generates, by batch."""
    peaks = {}
    for batch in options.batch:
        command = [
            sys.executable, __file__, "--only", name, "--folder", str(folder), "--batch", str(batch),
            "--shape", options.shape, "--prompt", str(options.prompt), "--tokens", str(options.tokens),
            "--threads", str(options.threads),
        ]  # fmt: skip
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peaks[f"batch {batch}"] = float(done.stdout.split()[-1])
    return peaks


def only(options: argparse.Namespace) -> None:
    """One contestant alone: prints its peak memory."""
    generate = ours(open_backend(options.folder)) if options.only == "ours" else theirs(load_peer(options.folder))
    generate(prompts_of(SHAPES[options.shape], options.batch[0], options.prompt), options.tokens)
    status = Path(
        "/proc/self/status"
    ).read_text()  # getrusage's figure is inherited from the process that started this one
    print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024)  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure peak memory")
    parser.add_argument("--only", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:
        only(options)
        return

    config = SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as folder:
        save_model(new_model(config), folder)
        backend, peer = open_backend(Path(folder)), load_peer(Path(folder))
        peer.load_state_dict(backend.model.state_dict(), strict=False, assign=True)
        peer.tie_weights()
        contestants = {"ours": ours(backend), "theirs": theirs(peer)}
        line: dict[str, Any] = {
            "shape": options.shape,
            "prompt": options.prompt,
            "tokens": options.tokens,
            "threads": options.threads,
        }
        for batch in options.batch:
            prompts = prompts_of(config, batch, options.prompt)
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
            tokens: dict[str, list[list[int]]] = {}
            for pair in range(options.pairs + 1):  # the first warms up
                for name in sorted(contestants, reverse=pair % 2 == 1):
                    first, whole, tokens[name] = timed(contestants[name], prompts, options.tokens)
                    if pair:
                        runs[name].append((first, whole))
            figures: dict[str, Any] = {
                "agreement": agreement(tokens["ours"], tokens["theirs"]),
                "ratio": spread([t[1] / o[1] for o, t in zip(runs["ours"], runs["theirs"], strict=True)]),
                "decode_ratio": spread(
                    [(t[1] - t[0]) / (o[1] - o[0]) for o, t in zip(runs["ours"], runs["theirs"], strict=True)]
                ),
            }
            for name, times in runs.items():
                rates = [batch * (options.tokens - 1) / (whole - first) for first, whole in times]
                figures[f"{name}_decode_tokens_per_s"] = spread(rates)
            line[f"batch {batch}"] = figures
            print(f"batch {batch}: {json.dumps(figures)}", flush=True)
        line["row_cost"] = round(row_cost(backend), 3)
        del peer, backend, contestants
        if not options.no_memory:
            line["peak_mebibytes"] = {name: peak_mebibytes(Path(folder), name, options) for name in ("ours", "theirs")}
        print(json.dumps({key: line[key] for key in ("row_cost", "peak_mebibytes") if key in line}))
    line |= {"torch": torch.__version__, "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
