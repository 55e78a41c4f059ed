"""Requests per second of the leaderboard's tasks: our engine behind lm-evaluation-harness beside the harness' own `hf` model.

    pip install 'starloom[leaderboard,test]'
    python benchmarks/leaderboard_speed.py --data DATA [--pairs 7] [--threads 2] [--batch 8]

Random weights in the quickstart's shape, a vocabulary of 8,192 trained on the data themselves, fp32, the same requests of the
same process. They take turns on the next few documents of a task, the first of a pair changing from pair to pair; a ratio is
the median of the pairs'. The harness' model has the batch size that is named, and its cache of one-token answers is on, as by
default. The time includes encoding and leaves out the making of prompts, which the harness does for both; that they answer
alike is checked on the way. Appends one line to benchmarks/results/leaderboard_speed.jsonl.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from starloom.evals.leaderboard.asking import documents
from starloom.evals.leaderboard.board import named
from starloom.evals.leaderboard.data import Splits, read
from starloom.evals.leaderboard.harness_tasks import harness_module, harness_tasks, harness_version
from starloom.generate.session import load
from starloom.models import presets
from starloom.models.causal_lm import new_model, save_model
from starloom.tokens.bpe import train

RESULTS = Path(__file__).parent / "results" / "leaderboard_speed.jsonl"
# Documents of a turn. MMLU: one context, four answers of one token. TruthfulQA: many answers. Winogrande: two contexts that
# begin alike. ARC: contexts longer than the model's, so that the answers share nothing. GSM8K: texts.
DOCUMENTS = {"mmlu": 8, "truthfulqa": 3, "winogrande": 6, "hellaswag": 2, "arc_challenge": 1, "gsm8k": 2}
SLOTS = 32


def folder_of_a_model(where: Path, data: str) -> Path:
    texts = [
        json.dumps(row)
        for task in ("arc_challenge", "gsm8k", "truthfulqa")
        for splits in read(task, data).sets.values()
        for rows in splits.values()
        for row in rows[:2000]
    ]
    vocabulary = train(texts, vocab_size=8192)
    end = vocabulary.end_of_document
    config = replace(presets.QUICKSTART, vocab_size=vocabulary.rows, bos_token_id=end, eos_token_id=end)
    save_model(new_model(config), where)
    vocabulary.save(where)
    return where


def asked(task: str, data: str, turns: int) -> list[list[Any]]:
    """The requests of each turn."""
    splits = read(task, data)
    if task == "mmlu":
        splits = Splits(dict(list(splits.sets.items())[:1]), ())
    found = documents(harness_tasks(named(task), splits), turns * DOCUMENTS[task])
    return [
        [request for document in itertools.islice(found, DOCUMENTS[task]) for request in document.requests]
        for _ in range(turns)
    ]


def agree(ours: list[Any], theirs: list[Any]) -> bool:
    if isinstance(ours[0], str):
        return ours == theirs
    return bool(np.allclose([one[0] for one in ours], [one[0] for one in theirs], atol=1e-3))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the leaderboard's files")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="batch size of the harness' model")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    own = harness_module("starloom.evals.leaderboard.harness_model")
    peer = harness_module("lm_eval.models.huggingface")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    line: dict[str, Any] = {
        "threads": options.threads, "batch": options.batch, "pairs": options.pairs, "harness": harness_version(), "tasks": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        where = folder_of_a_model(Path(folder), options.data)
        session = load(where, slots=SLOTS)
        models = {
            "ours": own.GeneratorLM(session),
            "theirs": peer.HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=options.batch),
        }
        for task in DOCUMENTS:
            rates: dict[str, list[float]] = {name: [] for name in models}
            alike = True
            for turn, requests in enumerate(asked(task, options.data, options.pairs + 1)):
                answers = {}
                for name in sorted(models, reverse=bool(turn % 2)):
                    session.engine.forget()
                    start = time.perf_counter()
                    answers[name] = getattr(models[name], requests[0].request_type)(requests, disable_tqdm=True)
                    took = time.perf_counter() - start
                    if turn:  # the first warms up
                        rates[name].append(len(requests) / took)
                alike = alike and agree(answers["ours"], answers["theirs"])
            ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates["theirs"], strict=True)]
            low, high = (round(float(np.quantile(ratios, share)), 2) for share in (0.1, 0.9))
            line["tasks"][task] = {
                **{name: round(statistics.median(values), 1) for name, values in rates.items()},
                "ratio": round(statistics.median(ratios), 2), "p10": low, "p90": high, "alike": alike,
            }  # fmt: skip
            print(f"{task:<14}", line["tasks"][task], flush=True)
    line |= {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
