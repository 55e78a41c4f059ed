"""Learning per second: held-out bits per byte of the quickstart recipe beside plain AdamW on the same corpus and seconds.

    python benchmarks/train_learning.py [--minutes 3] [--store DIR] [--source python:stdlib]

The recipe runs as `starloom run quickstart` does. The baseline is the one of the project's facts: transformers' GPTBigCode,
4 layers × 256, AdamW with lr 2e-3, a trapezoid (warm-up 5 %, decay 40 %), 4,096 tokens a step, fp32, a plain loop without
fill-in-the-middle; it gets the seconds that the recipe's steps took, its schedule follows the clock. Both are scored
by one function on the whole held-out split; gzip -9 and xz -9 are given the same files one by one. Appends one line to
benchmarks/results/train_learning.jsonl.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from train_speed import machine

from starloom.cluster import Local
from starloom.corpus.rendered import Rendered
from starloom.models.causal_lm import load_model
from starloom.models.config import GPTBigCodeConfig
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.progress import for_terminal
from starloom.recipes.quickstart import quickstart
from starloom.stage import Runtime, build
from starloom.store import Built, Store
from starloom.tokens.dataset import Dataset
from starloom.train import hardware, heldout

RESULTS = Path(__file__).parent / "results" / "train_learning.jsonl"
TOKENS_A_STEP = 4096
WARM_UP, DECAY = 0.05, 0.4


def baseline(dataset: Dataset, seconds: float, seed: int) -> tuple[GPTBigCode, int]:
    """Train the baseline for so many seconds of steps. Returns its weights in our model, and the tokens that it saw."""
    import transformers

    config = GPTBigCodeConfig(
        vocab_size=dataset.vocabulary.rows, n_positions=dataset.context, n_embd=256, n_layer=4, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    settings = {name: value for name, value in config.to_json().items() if name != "architectures"}
    torch.manual_seed(seed)
    model = transformers.GPTBigCodeForCausalLM(transformers.GPTBigCodeConfig(**settings, attn_implementation="sdpa"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    spent, step = 0.0, 0
    size = max(1, TOKENS_A_STEP // dataset.context)
    while spent < seconds:
        ids_BT = torch.from_numpy(dataset.batch(seed=seed, step=step, size=size))
        began = time.perf_counter()
        progress = spent / seconds
        factor = min(1.0, (progress + 1e-2) / WARM_UP, (1 - progress) / DECAY)
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * factor
        logits = model(ids_BT[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), ids_BT[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        spent += time.perf_counter() - began
        step += 1
        print(f"baseline: {spent:5.0f} s, loss {loss.item():.3f}", end="\r", file=sys.stderr, flush=True)
    ours = GPTBigCode(config, seed=None)
    ours.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"})
    return ours, step * size * dataset.context


def compressed(mix: Built) -> dict[str, Any]:
    """Bits per byte that gzip -9 and xz -9 need for each held-out file by itself, summed."""
    totals = {"bytes": 0, "gzip -9": 0, "xz -9": 0}
    for table in mix.tables(["parts", "edits", "split"]):
        for row in table.to_pylist():
            if row["split"] == "heldout":
                data = Rendered.of_row(row).text.encode()
                totals["bytes"] += len(data)
                totals["gzip -9"] += len(gzip.compress(data, 9))
                totals["xz -9"] += len(lzma.compress(data, preset=9))
    return {
        "bytes": totals["bytes"],
        **{name: 8 * totals[name] / max(1, totals["bytes"]) for name in ("gzip -9", "xz -9")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--store", type=Path, default=Path("starloom-store"))
    parser.add_argument("--source", default="python:stdlib")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    pool = Local(options.threads)
    runtime = Runtime(options.threads, options.threads, progress=for_terminal(), cluster=pool)
    steps = quickstart(options.source, options.minutes, seed=options.seed).steps()
    store = Store(options.store)
    mix, packed, trained = (build(steps[name], store, runtime) for name in ("mix", "pack", "pretrain"))
    pool.close()
    dataset, held = Dataset(packed, "train"), Dataset(packed, "heldout").tokens
    seconds = json.loads(trained.read_bytes("log.jsonl").splitlines()[-1])["seconds"]

    with hardware.repeatable(options.threads, "cpu"):
        where = machine()
        plain, plain_tokens = baseline(dataset, seconds, options.seed)
        lengths, context = dataset.vocabulary.byte_lengths, dataset.context
        ours_score = heldout.score(load_model(trained.directory), held, lengths, context)
        plain_score = heldout.score(plain, held, lengths, context)
    others = compressed(mix)
    ratio = ours_score.bits_per_byte / plain_score.bits_per_byte

    print(
        f"\n{where}\n{seconds:.0f} s of steps each; {ours_score.bytes:,} held-out bytes scored, {others['bytes']:,} in files"
    )
    print(f"quickstart recipe  {ours_score.bits_per_byte:.4f} bits per byte  {trained.counts['tokens']:,} tokens")
    print(f"AdamW baseline     {plain_score.bits_per_byte:.4f} bits per byte  {plain_tokens:,} tokens")
    print(f"ratio              {ratio:.4f}")
    print(f"gzip -9 / xz -9    {others['gzip -9']:.4f} / {others['xz -9']:.4f} bits per byte, each file by itself")
    assert math.isfinite(ratio)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        row = {
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": where,
            "source": options.source,
            "seconds": seconds,
            "seed": options.seed,
            "recipe": {"bits_per_byte": ours_score.bits_per_byte, "tokens": trained.counts["tokens"]},
            "baseline": {"bits_per_byte": plain_score.bits_per_byte, "tokens": plain_tokens},
            "ratio": ratio,
            "heldout_bytes": ours_score.bytes,
            "compressed": others,
            "fingerprint": trained.fingerprint,
            "settings": {k: v for k, v in trained.manifest["settings"].items() if k != "seed"},
        }
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
