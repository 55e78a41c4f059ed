"""Seconds and memory to load a checkpoint of SantaCoder's shape: ours beside transformers', each in a process of its own.

    python benchmarks/load_checkpoint.py [--preset santacoder] [--turns 3] [--threads 1] [--folder /tmp]

Writes the preset with random float32 weights (4.5 GB for SantaCoder) under --folder and deletes it afterwards. Contestants take
turns; before each turn the file is dropped from the page cache (`cold`) or read through once (`warm`). `load` is from the call
to the model that is ready, without imports; `first token` adds a prompt of 16 ids. Memory is the process's own after loading
and after the token (RssAnon of /proc/self/status: pages of the file that are only mapped are the page cache's). Appends one line
to benchmarks/results/load_checkpoint.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from starloom.models import checkpoint
from starloom.models.config import ModelConfig
from starloom.models.presets import PRESETS

RESULTS = Path(__file__).parent / "results" / "load_checkpoint.jsonl"
PROMPT = list(range(100, 116))


def write(folder: Path, config: ModelConfig) -> int:
    """A model folder of random float32 weights, written tensor by tensor; the bytes of its weights."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in config.shapes().items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at := at + 4 * math.prod(shape)]}
    if shutil.disk_usage(folder).free < 1.2 * at:
        sys.exit(f"{at:,} bytes are to be written to {folder}, which has not that much room; choose another --folder")
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.Generator(np.random.Philox(0))
    with (folder / checkpoint.WEIGHTS).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in config.shapes().values():
            values = generator.standard_normal(math.prod(shape), dtype=np.float32)
            file.write((values * np.float32(0.02)).data)
        file.flush()
        os.fsync(file.fileno())
    for name, content in checkpoint.config_files(config).items():
        (folder / name).write_bytes(content)
    return at


def memory_mb() -> dict[str, int]:
    """This process's anonymous and file-backed memory."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}


def timed(load: Callable[[], Any], first: Callable[[Any], Any]) -> dict[str, Any]:
    before, began = memory_mb()["RssAnon"], time.perf_counter()
    model = load()
    loaded, after = time.perf_counter() - began, memory_mb()
    first(model)
    total, last = time.perf_counter() - began, memory_mb()
    return {
        "load_s": loaded, "first_token_s": total, "load_mb": after["RssAnon"] - before, "mapped_mb": after["RssFile"],
        "first_token_mb": last["RssAnon"] - before,
    }  # fmt: skip


def ours(folder: str) -> dict[str, Any]:
    from starloom.models.causal_lm import load_model

    return timed(lambda: load_model(folder), lambda model: model.step([(0, PROMPT)], model.new_cache()))


def theirs(folder: str) -> dict[str, Any]:
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    auto = transformers.AutoModelForCausalLM
    _ = transformers.GPTBigCodeForCausalLM, transformers.Starcoder2ForCausalLM  # which it would import while loading

    def first(model: Any) -> None:
        with torch.inference_mode():
            model(torch.tensor([PROMPT]), logits_to_keep=1)

    return timed(lambda: auto.from_pretrained(folder), first)


CONTESTANTS: dict[str, Callable[[str], dict[str, Any]]] = {"starloom": ours, "transformers": theirs}


def settle(weights: Path, cold: bool) -> None:
    """The file dropped from the page cache, or read into it."""
    with weights.open("rb") as file:
        if cold:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while file.read(2**24):
                pass


def turn(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """One contestant in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--contestant", name, "--folder", str(folder)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="santacoder")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--contestant", choices=sorted(CONTESTANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](str(options.folder))))
        return

    config = PRESETS[options.preset]
    row: dict[str, Any] = {"preset": options.preset, "parameters": config.parameter_count(), "threads": options.threads,
                           "turns": options.turns, "machine": platform.processor() or platform.machine()}  # fmt: skip
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        size = write(folder, config)
        print(f"{options.preset}: {size / 1e9:.2f} GB of float32, {options.turns} turns, {options.threads} threads")
        for state in ("warm", "cold"):
            found: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in CONTESTANTS}
            for _ in range(options.turns):
                for contestant in CONTESTANTS:
                    settle(folder / checkpoint.WEIGHTS, cold=state == "cold")
                    found[contestant].append(turn(contestant, folder, options.threads))
            for contestant, results in found.items():
                middle = {key: round(statistics.median(one[key] for one in results), 3) for key in results[0]}
                row[f"{contestant} {state}"] = middle
                print(f"{state} {contestant:12}  " + "  ".join(f"{key} {value}" for key, value in middle.items()))
            one, other = row[f"starloom {state}"], row[f"transformers {state}"]
            print(f"{state} transformers / starloom: load {other['load_s'] / one['load_s']:.2f} ×, "
                  f"to the first token {other['first_token_s'] / one['first_token_s']:.2f} ×")  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
