"""What watching a run costs, at the quickstart's size: a row of the log and of TensorBoard, and the samples of a look.

    starloom run quickstart --until pack
    python benchmarks/train_watch.py starloom-store/pack-*

Steps and rows are timed in turns, samples for a run of three minutes on this machine. Prints what each takes of a step or
of the run, and what one step of decoding costs in trained tokens (`train/samples.py` counts with 50). Appends one line to
benchmarks/results/train_watch.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from starloom.recipes.quickstart import quickstart
from starloom.stage import Runtime, Work, cores
from starloom.store import Built
from starloom.tokens.dataset import Dataset
from starloom.train import Pretrain, hardware, loop
from starloom.train.log import Row
from starloom.train.ranks import alone
from starloom.train.samples import Sampler, openings, tokens_each
from starloom.train.watch import Watch

RESULTS = Path(__file__).parent / "results" / "train_watch.jsonl"
MINUTES, LOOKS, SAMPLES = 3, 10, 3  # of the quickstart


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packed", type=Path, help="directory of the quickstart's pack")
    parser.add_argument("--seconds", type=float, default=20, help="of training")
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args()

    packed = Built.open(options.packed)
    dataset = Dataset(packed)
    stage = quickstart().step("pretrain")
    assert isinstance(stage, Pretrain)
    config = stage.fitted(dataset.vocabulary, dataset.context)
    precision = hardware.choose_precision("auto", "cpu")
    job = stage.job(config, precision, options.threads, "cpu")
    data = loop.Data(
        batch=lambda step, rank, ranks: dataset.batch(seed=0, step=step, size=stage.batch, fim=stage.fim),
        tokens_a_step=stage.batch * dataset.context,
        context=dataset.context,
        byte_lengths=dataset.vocabulary.byte_lengths,
        heldout={"": Dataset(packed, "heldout").tokens},
    )
    step_s = statistics.median(loop.step_times(job, data, 50 * options.seconds, alone()))
    steps = int(60 * MINUTES / step_s)
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), Runtime(watch=("tensorboard",)), {}, {})
        work.resolved = {"peak": {"flops_per_s": 1e11}}
        with Watch(work, job, data, alone(), b"") as watch:
            rows = [_row(step) for step in range(1, 501)]
            began = time.perf_counter()
            for row in rows:
                watch.after_step(row)
            row_s = (time.perf_counter() - began) / len(rows)

    tokens = tokens_each(SAMPLES, LOOKS, steps * data.tokens_a_step, "cpu")
    sampler = Sampler(openings([packed], SAMPLES, 0), dataset.vocabulary, max(tokens, 8), 0)
    with hardware.repeatable(options.threads, "cpu"):
        model, _ = loop.fresh(job, alone())
        sampler(model)
        times = []
        for _ in range(7):
            began = time.perf_counter()
            sampler(model)
            times.append(time.perf_counter() - began)
    sample_s = statistics.median(times)
    found = {
        "precision": precision,
        "threads": options.threads,
        "step_ms": round(1000 * step_s, 2),
        "row_ms": round(1000 * row_s, 3),
        "row_share_of_step": round(row_s / step_s, 5),
        "tokens_of_a_sample": tokens,
        "look_ms": round(1000 * sample_s, 1),
        "samples_share_of_run": round(LOOKS * sample_s / (60 * MINUTES), 5) if tokens else 0,
        "decoding_step_in_trained_tokens": round(sample_s / sampler.tokens / (step_s / data.tokens_a_step), 1),
    }
    print(json.dumps(found, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(found) + "\n")


def _row(step: int) -> Row:
    """A row as the loop makes it."""
    figures = ("loss", "bits_per_byte", "gradient_norm", "learning_rate", "seconds", "loader_wait_s")
    return {
        "step": step,
        "tokens": 2048 * step,
        "skipped": 0,
        "tokens_per_s": 6000.0,
        **dict.fromkeys(figures, 1.234567),
    }


if __name__ == "__main__":
    main()
