"""How far the torch modes keep a request's greedy tokens independent of its batch-mates, and of the number format.

    python benchmarks/generate_agreement.py MODEL

Every prompt is the head of a module of Python's standard library. Each number format decodes them alone and eight at once;
a mode agrees with another up to the first token that differs, so one near-tie costs all that follows. Appends one line to
benchmarks/results/generate_agreement.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import sysconfig
import time
from pathlib import Path

import torch

import starloom
from starloom.generate.protocol import Completion, Prompt, Settings
from starloom.progress import for_terminal

RESULTS = Path(__file__).parent / "results" / "generate_agreement.jsonl"


def agreement(ours: list[Completion], theirs: list[Completion]) -> float:
    """Share of the tokens that come before the first difference."""
    same = total = 0
    for one, other in zip(ours, theirs, strict=True):
        total += max(len(one.tokens), len(other.tokens))
        same += next(
            (place for place, pair in enumerate(zip(one.tokens, other.tokens, strict=False)) if pair[0] != pair[1]),
            min(len(one.tokens), len(other.tokens)),
        )
    return same / total if total else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    options = parser.parse_args()

    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[: options.prompts]
    asks = [
        Prompt(path.read_text(encoding="utf-8", errors="replace")[: 200 + 40 * place], Settings(options.max_tokens))
        for place, path in enumerate(library)
    ]
    made: dict[str, list[Completion]] = {}
    speed: dict[str, float] = {}
    progress = for_terminal()
    for dtype in dict.fromkeys(["float64", *options.dtypes]):
        for slots in (1, 8):
            session = starloom.load(options.model, dtype=dtype, threads=options.threads, slots=slots)
            start = time.perf_counter()
            name, results = f"{dtype} x{slots}", []
            with progress.task(name, len(asks), "prompts") as advance:
                for result in session.run(asks):
                    assert isinstance(result, Completion), result
                    results.append(result)
                    advance(1)
            made[name] = results
            speed[name] = sum(len(result.tokens) for result in results) / (time.perf_counter() - start)

    line = {
        "model": Path(options.model).name,
        "parameters": session.engine.backend.model.config.parameter_count(),  # type: ignore[attr-defined]
        "prompts": len(asks),
        "tokens": sum(len(result.tokens) for result in made["float64 x1"]),
        "batch_agreement": {
            name[:-3]: agreement(made[name], made[name[:-1] + "1"]) for name in made if name.endswith("8")
        },
        "float64_agreement": {name: agreement(made[name], made["float64 x1"]) for name in made},
        "tokens_per_s": {name: round(value, 1) for name, value in speed.items()},
        "threads": options.threads,
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {platform.system()}, {torch.backends.cpu.get_cpu_capability()}",
    }
    print(f"{'mode':<14} {'8 at once = alone':>18} {'= float64 alone':>16} {'tokens/s':>10}")
    for name in made:
        beside = f"{line['batch_agreement'][name[:-3]]:.1%}" if name.endswith("8") else ""  # type: ignore[index]
        print(f"{name:<14} {beside:>18} {line['float64_agreement'][name]:>16.1%} {speed[name]:>10.0f}")  # type: ignore[index]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
