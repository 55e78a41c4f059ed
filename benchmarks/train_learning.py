"""Learning per second: held-out bits per byte of our recipe beside plain AdamW on the same corpus and seconds.

    python benchmarks/train_learning.py [--seconds 300 600] [--store DIR] [--source list:benchmarks/learning_corpus.txt]

The recipe runs as `starloom run quickstart` does, its model and optimizer those of the recipe unless --layers, --width or
--set say otherwise. The baseline is the one of the project's facts: transformers' GPTBigCode, 4 layers × 256, AdamW with lr
2e-3, a trapezoid (warm-up 5 %, decay 40 %), 4,096 tokens a step, fp32 (or --baseline-precision bf16), a plain loop without
fill-in-the-middle; it gets the seconds that the recipe's steps took, its schedule follows the clock. Both are scored by
the stage `HeldOut` on the same held-out files, with gzip -9 and xz -9 for each file by itself. The seconds in which a model
must come under gzip are scaled by 245 GFLOP/s over this run's fp32 GEMM. Appends a line to results/train_learning.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from train_speed import machine

from starloom.cluster import Local
from starloom.evals import HeldOut
from starloom.flags import Assignment
from starloom.journey import Journey
from starloom.models import causal_lm
from starloom.models.config import GPTBigCodeConfig
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.progress import for_terminal
from starloom.recipes.quickstart import quickstart
from starloom.stage import Runtime, Stage, Work, build
from starloom.store import Store
from starloom.tokens.dataset import Dataset
from starloom.train import hardware

RESULTS = Path(__file__).parent / "results" / "train_learning.jsonl"
CORPUS = f"list:{Path(__file__).parent / 'learning_corpus.txt'}"
TOKENS_A_STEP = 4096
WARM_UP, DECAY = 0.05, 0.4
FACTS_GEMM = 245.0  # GFLOP/s of the machine that the facts' seconds hold for


@dataclass(frozen=True, slots=True)
class Baseline(Stage):
    """The plain loop around transformers' model, for so many seconds of steps."""

    packed: Stage
    seconds: float
    bf16: bool = False
    seed: int = 0

    def produce(self, work: Work) -> None:
        dataset = Dataset(work.input("packed"), "train")
        with hardware.repeatable(work.runtime.threads, "cpu"):
            model, tokens = self._trained(dataset)
        with work.unit("model") as unit:
            causal_lm.save_model(model, unit.folder)
            for name, content in dataset.vocabulary.files(max_length=dataset.context).items():
                unit.path(name).write_bytes(content)
        work.count(tokens=tokens)
        work.summary = f"{tokens:,} tokens in {self.seconds:.0f} s"

    def _trained(self, dataset: Dataset) -> tuple[GPTBigCode, int]:
        import transformers

        config = GPTBigCodeConfig(
            vocab_size=dataset.vocabulary.rows, n_positions=dataset.context, n_embd=256, n_layer=4, n_head=4,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            bos_token_id=dataset.vocabulary.end_of_document, eos_token_id=dataset.vocabulary.end_of_document,
        )  # fmt: skip
        settings = {name: value for name, value in config.to_json().items() if name != "architectures"}
        torch.manual_seed(self.seed)
        model = transformers.GPTBigCodeForCausalLM(
            transformers.GPTBigCodeConfig(**settings, attn_implementation="sdpa")
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        spent, step = 0.0, 0
        size = max(1, TOKENS_A_STEP // dataset.context)
        while spent < self.seconds:
            ids_BT = torch.from_numpy(dataset.batch(seed=self.seed, step=step, size=size))
            began = time.perf_counter()
            progress = spent / self.seconds
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1.0, (progress + 1e-2) / WARM_UP, (1 - progress) / DECAY)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[300, 600])
    parser.add_argument("--store", type=Path, default=Path("starloom-store"))
    parser.add_argument("--source", default=CORPUS)
    parser.add_argument("--layers", type=int, default=None)
    parser.add_argument("--width", type=int, default=None)
    parser.add_argument("--set", action="append", default=[], help="as of starloom run, of the recipe's pretrain")
    parser.add_argument("--baseline-precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit-bytes", type=int, default=2_000_000, help="of the held-out files that are scored")
    options = parser.parse_args()

    pool = Local(options.threads)
    runtime = Runtime(options.threads, options.threads, progress=for_terminal(), cluster=pool)
    store = Store(options.store)
    where = machine()
    for seconds in options.seconds:
        journey = quickstart(options.source, seconds / 60, seed=options.seed).with_settings(
            [
                *map(Assignment.parse, options.set),
                *(
                    Assignment.parse(f"pretrain.model.{key}={value}")
                    for key, value in (("n_layer", options.layers), ("n_embd", options.width))
                    if value is not None
                ),
            ]
        )
        row = compared(journey, runtime, store, seconds, options)
        row |= {"machine": where, "gzip_within_s": round(600 * FACTS_GEMM / where["gemm_gflops"]["fp32"])}
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
    pool.close()
    print(f"{where}\nunder gzip -9 within {row['gzip_within_s']} s on this machine is what is asked")


def compared(
    journey: Journey, runtime: Runtime, store: Store, seconds: float, options: argparse.Namespace
) -> dict[str, Any]:
    """One line of results: both models after the same seconds of steps."""
    steps = journey.steps()
    trained = build(steps["pretrain"], store, runtime)
    spent = json.loads(trained.read_bytes("log.jsonl").splitlines()[-1])["seconds"]
    plain = Baseline(steps["pack"], spent, options.baseline_precision == "bf16", options.seed)
    tokens = build(plain, store, runtime).counts["tokens"]
    scores = {
        name: json.loads(
            build(
                HeldOut(stage, steps["pack"], steps["mix"], options.limit_bytes, label=name), store, runtime
            ).read_bytes("results.json")
        )
        for name, stage in (("recipe", steps["pretrain"]), ("baseline", plain))
    }
    bits = {name: one["bits_per_byte"]["model"] for name, one in scores.items()}
    others = {name: scores["recipe"]["bits_per_byte"][name] for name in ("gzip", "xz")}
    print(
        f"\n{spent:.0f} s of steps each, {scores['recipe']['scored']}\n"
        f"recipe          {bits['recipe']:.4f} bits per byte  {trained.counts['tokens']:,} tokens\n"
        f"AdamW baseline  {bits['baseline']:.4f} bits per byte  {tokens:,} tokens\n"
        f"ratio           {bits['recipe'] / bits['baseline']:.4f}\n"
        f"gzip -9, xz -9  {others['gzip']:.4f}, {others['xz']:.4f} bits per byte, each file by itself"
    )
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "source": Path(options.source).name,
        "asked_s": seconds,
        "seconds": spent,
        "seed": options.seed,
        "recipe": {"bits_per_byte": bits["recipe"], "tokens": trained.counts["tokens"]},
        "baseline": {
            "bits_per_byte": bits["baseline"],
            "tokens": tokens,
            "precision": options.baseline_precision,
        },
        "ratio": bits["recipe"] / bits["baseline"],
        "scored": scores["recipe"]["scored"],
        "compressed": others,
        "fingerprint": trained.fingerprint,
        "settings": {k: v for k, v in trained.manifest["settings"].items() if k != "seed"},
    }


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
