"""Whether guesses at the next ids pay: the same requests with speculation and without, taking turns, on a trained model.

    python benchmarks/speculation.py MODEL [--prompts 24] [--dtype float32] [--slots 1]

Prompts are heads of modules of Python's standard library, and holes of six lines in them, with the file around as
surroundings. Says how many guessed ids were right, how many ids a step gave, the ratio of the times (above 1: it pays), and
how many of the tokens came before a first difference: all of them in float64. Appends one line to
benchmarks/results/speculation.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import sysconfig
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from starloom.generate import infill
from starloom.generate.backends.torch import TorchBackend, open_backend
from starloom.generate.engine import Engine, Speculation
from starloom.generate.protocol import Handle, Request
from starloom.generate.sampling import Sampling
from starloom.tokens.bpe import Vocabulary

RESULTS = Path(__file__).parent / "results" / "speculation.jsonl"


def requests_of(
    vocabulary: Vocabulary, context: int, count: int, most: int, temperature: float
) -> dict[str, list[Request]]:
    """Heads to go on from, and holes to fill, of as many modules."""
    requests: dict[str, list[Request]] = {"complete": [], "infill": []}
    room = context - most - infill.FRAME_TOKENS
    stop = frozenset({vocabulary.end_of_document})
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:count]:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        middle = len(lines) // 2
        before, after = "".join(lines[:middle]), "".join(lines[middle + 6 :])
        head, tail = vocabulary.encode(before), vocabulary.encode(after)
        sampling = Sampling(temperature, top_p=0.95)
        if not head:
            continue
        requests["complete"].append(Request(tuple(head[-room:]), most, sampling, stop))
        if vocabulary.has_control("fim_middle"):
            frame = infill.frame(head[-room * 3 // 4 :], tail[: room // 4], vocabulary, "psm")
            requests["infill"].append(Request(tuple(frame), most, sampling, stop, surroundings=(*head, *tail)))
    return {kind: asked for kind, asked in requests.items() if asked}


def run(
    backend: TorchBackend, requests: list[Request], slots: int, speculation: Speculation
) -> tuple[float, int, list[Handle]]:
    """Seconds, steps and what came."""
    engine = Engine(backend, slots=slots, kept_tokens=0, speculation=speculation)
    handles = [engine.submit(request) for request in requests]
    start, steps = time.perf_counter(), 0
    while engine.busy:
        engine.step()
        steps += 1
    engine._slots.clear()
    return time.perf_counter() - start, steps, handles


def same(one: list[Handle], other: list[Handle]) -> float:
    """Share of the tokens before a first difference."""
    count = 0
    for a, b in zip(one, other, strict=True):
        pairs = enumerate(zip(a.tokens, b.tokens, strict=False))
        count += next((place for place, (x, y) in pairs if x != y), min(len(a.tokens), len(b.tokens)))
    return count / max(sum(len(handle.tokens) for handle in one), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args()
    backend = open_backend(options.model, dtype=options.dtype, threads=options.threads)
    vocabulary = Vocabulary.load(options.model)
    line: dict[str, Any] = {name: getattr(options, name) for name in ("slots", "dtype", "threads", "temperature")}
    line |= {"model": options.model.name, "parameters": backend.model.config.parameter_count()}
    asked = requests_of(vocabulary, backend.context, options.prompts, options.max_tokens, options.temperature)
    for kind, requests in asked.items():
        ratios = []
        for pair in range(options.pairs):
            order: list[Speculation] = ["auto", "off"] if pair % 2 else ["off", "auto"]
            runs = {speculation: run(backend, requests, options.slots, speculation) for speculation in order}
            ratios.append(runs["off"][0] / runs["auto"][0])
        (_, steps, handles), plain = runs["auto"], runs["off"][2]
        guessed, right = (sum(getattr(handle, name) for handle in handles) for name in ("guessed", "guessed_right"))
        figures = {
            "tokens": sum(len(handle.tokens) for handle in handles),
            "steps_saved": round(1 - steps / runs["off"][1], 3),
            "guessed": guessed,
            "right": round(right / max(guessed, 1), 3),
            "ratio": [round(float(np.quantile(ratios, share)), 3) for share in (0.1, 0.5, 0.9)],
            "same": round(same(plain, handles), 4),
        }
        line[kind] = figures
        print(f"{kind}: {json.dumps(figures)}", flush=True)
    line |= {"torch": torch.__version__, "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
