"""What each number format of the torch backend loses beside float32, on the held-out text of a trained model.

    python benchmarks/generate_modes.py starloom-store/models/quickstart [--windows 40] [--prompts 40]

Every format sees the same windows of held-out tokens, fed at once: bits per byte, KL divergence from float32 and how often the
likeliest next token is float32's. Then all go on freely from the same beginnings, alone and eight at once: the share of tokens
before the first that differs, so that one near-tie costs all that follows. `float32, rounded` is float32 with its logits
rounded to bfloat16: what of bfloat16's loss the last rounding alone makes. Tokens per second are rough: one run, no
turns. Appends one line to benchmarks/results/generate_modes.jsonl and prints the table of docs/modes.md.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import torch

from starloom.evals.held_out_files import upstream
from starloom.generate.backends.torch import TorchBackend, open_backend
from starloom.generate.engine import Engine
from starloom.generate.protocol import Request
from starloom.store import Built
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.pack import open_tokens
from starloom.train.heldout import window_starts

RESULTS = Path(__file__).parent / "results" / "generate_modes.jsonl"
MODES = ("float32", "bfloat16", "float16", "int8")


def held_out(model: Path) -> Any:
    """The held-out tokens that the model's run set aside: its pack lies in the same store."""
    [packed] = [built for built in upstream(Built.open(model)) if (built.directory / "tokens-heldout.bin").exists()]
    return open_tokens(packed.directory / "tokens-heldout.bin")


def fed(backend: TorchBackend, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after each id, in float64."""
    [logits] = backend.forward([(0, ids)], every={0})
    backend.free(0)
    return torch.from_numpy(logits).double().log_softmax(-1)


class Sums:
    """Sums over predicted tokens."""

    def __init__(self) -> None:
        self.tokens = self.same = 0
        self.nats = self.divergence = 0.0
        self.worst = 0.0

    def add(self, ours_TV: torch.Tensor, reference_TV: torch.Tensor, targets_T: torch.Tensor) -> None:
        self.tokens += len(targets_T)
        self.nats -= ours_TV.gather(1, targets_T[:, None]).sum().item()
        kl_T = (reference_TV.exp() * (reference_TV - ours_TV)).sum(1)
        self.divergence += kl_T.sum().item()
        self.worst = max(self.worst, kl_T.max().item())
        self.same += int((ours_TV.argmax(1) == reference_TV.argmax(1)).sum())


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """Share of the tokens that come before the first difference."""
    pairs = [list(zip(one, other, strict=True)) for one, other in zip(ours, theirs, strict=True)]
    same = [next((place for place, (x, y) in enumerate(pair) if x != y), len(pair)) for pair in pairs]
    return sum(same) / sum(map(len, pairs))


def go_on(backend: TorchBackend, prompts: list[list[int]], count: int, slots: int) -> tuple[list[list[int]], float]:
    """What follows each prompt, and tokens per second with the prompts' own time."""
    engine = Engine(backend, slots=slots, kept_tokens=0)
    start = time.perf_counter()
    handles = [engine.submit(Request(tuple(prompt), count)) for prompt in prompts]
    while engine.busy:
        engine.step()
    return [handle.tokens for handle in handles], len(prompts) * count / (time.perf_counter() - start)


def weights_bytes(backend: TorchBackend) -> int:
    return sum(tensor.nbytes for tensor in (*backend.model.parameters(), *backend.model.buffers()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    folder = options.model.resolve()
    torch.set_num_threads(options.threads)

    tokens, lengths = held_out(folder), Vocabulary.load(folder).byte_lengths
    backends = {mode: open_backend(folder, dtype=mode) for mode in MODES}
    context = min(backends["float32"].context, 1024)
    sums = {mode: Sums() for mode in (*MODES, "float32, rounded")}
    in_bytes = 0
    starts = window_starts(len(tokens), context, options.windows * context)
    for start in starts:
        window = tokens[start : start + context + 1].astype("int64")
        targets = torch.from_numpy(window[1:])
        in_bytes += int(lengths[window[1:]].sum())
        reference = fed(backends["float32"], window[:-1].tolist())
        for mode, backend in backends.items():
            ours = reference if mode == "float32" else fed(backend, window[:-1].tolist())
            sums[mode].add(ours, reference, targets)
        sums["float32, rounded"].add(reference.bfloat16().double().log_softmax(-1), reference, targets)

    places = window_starts(len(tokens), context, options.prompts * context)
    room = context - options.tokens
    prompts = [tokens[start : start + min(room, 16 + 8 * at)].tolist() for at, start in enumerate(places)]
    made = {}
    for mode, backend in backends.items():
        go_on(backend, prompts[:1], 8, 1)
        made[mode] = {slots: go_on(backend, prompts, options.tokens, slots) for slots in (1, 8)}

    figures: dict[str, dict[str, Any]] = {}
    for mode, total in sums.items():
        figures[mode] = {
            "bits_per_byte": total.nats / math.log(2) / in_bytes,
            "kl_nats": total.divergence / total.tokens,
            "worst_kl_nats": total.worst,
            "next_token_same": total.same / total.tokens,
        }
        if mode in made:
            alone, beside = made[mode][1], made[mode][8]
            figures[mode] |= {
                "free_greedy_same": agreement(alone[0], made["float32"][1][0]),
                "alone_same_as_eight": agreement(beside[0], alone[0]),
                "tokens_per_s": round(alone[1], 1),
                "tokens_per_s_eight": round(beside[1], 1),
                "weights_bytes": weights_bytes(backends[mode]),
            }
    print(
        "| mode | weights, MB | bits per byte | KL to float32, nats (worst) | same next token | same free text | 8 at once = alone | tokens/s, 1 / 8 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for mode, row in figures.items():
        cells = [
            f"{row['weights_bytes'] / 1e6:.2f}" if "weights_bytes" in row else "",
            f"{row['bits_per_byte']:.4f}",
            f"{row['kl_nats']:.1e} ({row['worst_kl_nats']:.1e})",
            f"{row['next_token_same']:.2%}",
            *(
                [
                    f"{row['free_greedy_same']:.1%}",
                    f"{row['alone_same_as_eight']:.1%}",
                    f"{row['tokens_per_s']:.0f} / {row['tokens_per_s_eight']:.0f}",
                ]
                if mode in made
                else ["", "", ""]
            ),
        ]
        print(f"| {mode} | {' | '.join(cells)} |")
    line = {
        "model": folder.name,
        "parameters": backends["float32"].model.config.parameter_count(),
        "windows": len(starts),
        "predicted_tokens": sums["float32"].tokens,
        "prompts": len(prompts),
        "free_tokens": len(prompts) * options.tokens,
        "modes": figures,
        "threads": options.threads,
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {platform.system()}, {torch.backends.cpu.get_cpu_capability()}",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
