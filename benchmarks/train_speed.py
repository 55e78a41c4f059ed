"""Training tokens per second of one GPTBigCode: ours, the Hugging Face Trainer, and a bare loop around transformers' model.

    python benchmarks/train_speed.py [--size quickstart 12m 30m] [--precision fp32 bf16] [--pairs 7] [--store DIR]

All train on the quickstart's packed tokens with AdamW (fused), the same configuration, context, batch and threads:

- ours: the stage `Pretrain` as `starloom run` starts it: batches drawn, clipping, log, TensorBoard; a checkpoint is never due;
- the Trainer: `transformers.Trainer` on the same samples as arrays; SDPA, fused AdamW; logs, saves and bars off;
- the bare loop: forward, backward, step on batches that are ready; SDPA, fused AdamW; no clipping, no log.

Each has a process of its own, as a user would start it, and pauses while the others take their turns, in another order every
time; a ratio is the median of the turns' ratios. Under bf16 the peers run under autocast. FLOP/s are model FLOPs by
`flops_per_token`: 6 for each matrix weight, head included, and the causal half of the attention products, 6·L·T·D; they are
set beside a 2048³ fp32 product, measured before each turn. Appends a line for each size and precision to
benchmarks/results/train_speed.jsonl.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view

from starloom.models import presets
from starloom.models.config import GPTBigCodeConfig
from starloom.progress import Lines, Progress
from starloom.recipes.quickstart import quickstart
from starloom.stage import Runtime, build
from starloom.store import Built, Store
from starloom.tokens.dataset import Dataset
from starloom.tokens.fim import FIM
from starloom.train import AdamW, Heldout, Pretrain, Schedule, Steps, hardware

RESULTS = Path(__file__).parent / "results" / "train_speed.jsonl"
OURS, TRAINER, BARE = "starloom", "transformers Trainer", "transformers, bare loop"
NAMES = (OURS, TRAINER, BARE)
CONTEXT = 512
FOREVER = 10**6  # steps
SETTINGS = AdamW(lr=2e-3)


def sized(layers: int, width: int) -> GPTBigCodeConfig:
    return GPTBigCodeConfig(
        vocab_size=8192, n_positions=512, n_embd=width, n_layer=layers, n_head=width // 64,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip


SIZES = {
    "quickstart": (presets.QUICKSTART, 4),
    "12m": (sized(6, 384), 8),
    "30m": (sized(8, 512), 8),
}  # sequences a step


@dataclass(frozen=True, slots=True)
class Match:
    """What all contestants compute."""

    size: str
    precision: str
    threads: int
    loader_workers: int  # of the Trainer

    @property
    def config(self) -> GPTBigCodeConfig:
        return SIZES[self.size][0]

    @property
    def sequences(self) -> int:
        return SIZES[self.size][1]


class Turns(Progress):
    """The contestant's side: does the steps that it is asked for, tells how long each took, and waits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = 2  # to warm up
        self._taken: list[float] = []
        self._began = time.perf_counter()

    def step_done(self) -> None:
        self._taken.append(time.perf_counter() - self._began)
        if len(self._taken) == self._asked:
            self._connection.send(self._taken)
            self._asked, self._taken = self._connection.recv(), []
        self._began = time.perf_counter()

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Callable[..., None]]:
        """What our loop calls after each step."""
        yield lambda amount, note="": self.step_done()


def ours(turns: Turns, packed: Built, match: Match) -> None:
    upstream = quickstart().steps()["pack"]
    stage = Pretrain(
        upstream, model=match.config, fim=FIM(0), budget=Steps(FOREVER), batch=match.sequences, optimizer=SETTINGS,
        schedule=Schedule("constant"), heldout=Heldout(times=0), precision=match.precision, samples=0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(threads=match.threads, save_every_s=1e9, progress=turns)
        build(stage, Store(Path(folder)), runtime, built={id(upstream): packed})


def peer_model(config: GPTBigCodeConfig) -> Any:
    import transformers

    settings = {name: value for name, value in config.to_json().items() if name not in ("architectures", "use_cache")}
    torch.manual_seed(0)
    return transformers.GPTBigCodeForCausalLM(
        transformers.GPTBigCodeConfig(**settings, use_cache=False, attn_implementation="sdpa")
    )


def trainer(turns: Turns, samples: np.ndarray, match: Match) -> None:
    import transformers

    class Samples(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            ids = torch.from_numpy(samples[index].astype(np.int64))
            return {"input_ids": ids, "labels": ids}

    class AfterStep(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.step_done()

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, per_device_train_batch_size=match.sequences, max_steps=FOREVER, learning_rate=SETTINGS.lr,
            weight_decay=SETTINGS.weight_decay, adam_beta1=SETTINGS.beta1, adam_beta2=SETTINGS.beta2,
            optim="adamw_torch_fused", lr_scheduler_type="constant", max_grad_norm=1.0, bf16=match.precision == "bf16",
            use_cpu=True, logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
            dataloader_pin_memory=False, dataloader_num_workers=match.loader_workers, logging_nan_inf_filter=False,
        )  # fmt: skip
        torch.set_num_threads(match.threads)
        transformers.Trainer(
            peer_model(match.config), arguments, train_dataset=Samples(), callbacks=[AfterStep()],
            data_collator=transformers.default_data_collator,
        ).train()  # fmt: skip


def bare(turns: Turns, samples: np.ndarray, match: Match) -> None:
    torch.set_num_threads(match.threads)
    size = match.sequences
    model = peer_model(match.config)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=SETTINGS.lr, betas=(SETTINGS.beta1, SETTINGS.beta2),
        weight_decay=SETTINGS.weight_decay, fused=True,
    )  # fmt: skip
    batches = [torch.from_numpy(samples[size * i : size * (i + 1)].astype(np.int64)) for i in range(16)]
    for step in range(FOREVER):
        ids_BT = batches[step % len(batches)]
        with torch.autocast("cpu", torch.bfloat16, enabled=match.precision == "bf16"):
            logits = model(ids_BT[:, :-1]).logits
            loss = F.cross_entropy(logits.flatten(0, 1), ids_BT[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.step_done()


def contestant(connection: Connection, name: str, folder: Path, match: Match) -> None:
    """A process of one contestant, from imports to its last turn."""
    packed, turns = Built.open(folder), Turns(connection)
    tokens = Dataset(packed).tokens
    if name == OURS:
        ours(turns, packed, match)
    elif name == TRAINER:
        trainer(turns, tokens[: len(tokens) // CONTEXT * CONTEXT].reshape(-1, CONTEXT), match)
    else:
        bare(turns, sliding_window_view(tokens, CONTEXT + 1)[::CONTEXT], match)


def compare(packed: Built, match: Match, options: argparse.Namespace) -> dict[str, Any]:
    """All turns of one size and precision."""
    spawn = multiprocessing.get_context("spawn")
    at: dict[str, Connection] = {}
    processes = []
    slowest = 0.0
    for name in NAMES:
        at[name], other = spawn.Pipe()
        processes.append(spawn.Process(target=contestant, args=(other, name, packed.directory, match), daemon=True))
        processes[-1].start()
        other.close()
        slowest = max(slowest, at[name].recv()[-1])  # its warm-up
    steps = max(1, round(options.seconds / slowest))
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    products = [gemm(torch.float32)]
    for turn in range(options.pairs):
        for name in NAMES if turn % 2 else NAMES[::-1]:
            at[name].send(steps)
            times[name].append(sum(at[name].recv()) / steps)
        products.append(gemm(torch.float32))
        print(f"{match.size} {match.precision}: turn {turn + 1} of {options.pairs}", end="\r", file=sys.stderr)
    for process in processes:
        process.kill()
        process.join()

    config, size = match.config, match.sequences
    tokens, product = size * CONTEXT, statistics.median(products)
    flops = flops_per_token(config)
    print(f"\n{match.size}, {match.precision}: {config.parameter_count():,} parameters, {size} × {CONTEXT} tokens a step, "
          f"{options.pairs} turns of {steps}; 2048³ in fp32: {product:.0f} GFLOP/s ({min(products):.0f}–{max(products):.0f})")  # fmt: skip
    found: dict[str, Any] = {}
    for name in NAMES:
        rates = [tokens / seconds for seconds in times[name]]
        gflops = [rate * flops / 1e9 for rate in rates]
        found[name] = {
            "tokens_per_s": spread(rates),
            "gflops": spread(gflops),
            "of_fp32_gemm": round(statistics.median(gflops) / product, 4),
        }
        if name != OURS:
            found[name]["ours_times"] = spread(
                [their / our for their, our in zip(times[name], times[OURS], strict=True)]
            )
        line = found[name]
        ratio = " ".join(f"{key} {value:.3f}" for key, value in line.get("ours_times", {}).items())
        print(f"{name:<24} {line['tokens_per_s']['median']:7,.0f} tokens/s {line['gflops']['median']:5.0f} GFLOP/s "
              f"{line['of_fp32_gemm']:6.3f} of the product  {ratio and 'ours: ' + ratio}", flush=True)  # fmt: skip
    return {
        "size": match.size, "precision": match.precision, "parameters": config.parameter_count(), "sequences": size,
        "context": CONTEXT, "flops_per_token": flops, "pairs": options.pairs, "steps_a_turn": steps,
        "fp32_gemm_gflops": spread(products), "contestants": found,
    }  # fmt: skip


def flops_per_token(config: GPTBigCodeConfig) -> int:
    """As the config counts them, less the half of the attention products that is never needed."""
    return config.flops_per_token(CONTEXT) - 6 * config.n_layer * CONTEXT * config.n_embd


def gemm(dtype: torch.dtype, size: int = 2048, times: int = 5) -> float:
    """GFLOP/s of a square matrix product at this moment, the median of a few."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    rates = []
    for _ in range(times):
        began = time.perf_counter()
        a @ b
        rates.append(2 * size**3 / (time.perf_counter() - began) / 1e9)
    return statistics.median(rates)


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
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), help="default: fp32, and bf16 where fast")
    parser.add_argument("--pairs", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=1.5, help="about how long a turn takes, at least one step")
    parser.add_argument("--loader-workers", type=int, default=0, help="the Trainer's dataloader_num_workers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--store", type=Path, default=Path("starloom-store"))
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    options.precision = options.precision or (["fp32", "bf16"] if hardware.has_bf16("cpu") else ["fp32"])
    runtime = Runtime(options.threads, options.threads, progress=Lines())
    packed = build(quickstart().steps()["pack"], Store(options.store), runtime)
    where = machine()
    print(where)
    for size, precision in itertools.product(options.size, options.precision):
        row = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": where}
        row |= compare(packed, Match(size, precision, options.threads, options.loader_workers), options)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
