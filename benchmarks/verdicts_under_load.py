"""Whether verdicts flip when the machine is busy: a task's own solutions, judged ten times by four times as many workers as cores.

    python benchmarks/verdicts_under_load.py --data DIR [--task humaneval] [--rounds 10] [--times 4] [--tier auto]

Every solution must pass in every round, but for the exceptions that the task names. Prints what each round came to and exits
with 1 when a verdict was another one. Appends one line to benchmarks/results/verdicts_under_load.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from starloom.evals.bench import Bench
from starloom.evals.harness.named import task_named
from starloom.evals.verdict import Verdict
from starloom.problems import Problem
from starloom.registry import resolve

RESULTS = Path(__file__).parent / "results" / "verdicts_under_load.jsonl"
Judge = Callable[[Bench, Sequence[tuple[Problem, str]]], Iterator[Verdict]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of the benchmarks")
    parser.add_argument("--task", default="humaneval")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--times", type=int, default=4, help="workers for each core")
    parser.add_argument("--tier", choices=("auto", "namespaces", "landlock"), default="auto")
    options = parser.parse_args()
    task, workers = task_named(options.task), options.times * len(os.sched_getaffinity(0))
    judge = cast(Judge, resolve(task.judge, "judge"))
    pairs = [
        (problem, task.solution(problem, text))
        for problem in task.problems(options.data)
        if (text := task.canonical(problem)) is not None and problem.id not in task.exceptions
    ]
    rounds: list[dict[str, int]] = []
    others: dict[str, list[str]] = {}
    seconds: list[float] = []
    with Bench(workers=workers, tier=options.tier, data=options.data) as bench:
        for turn in range(options.rounds):
            start = time.perf_counter()
            verdicts = list(judge(bench, pairs))
            seconds.append(round(time.perf_counter() - start, 1))
            for (problem, _), verdict in zip(pairs, verdicts, strict=True):
                if not verdict.passed:
                    others.setdefault(problem.id, []).append(f"round {turn}: {verdict.status}: {verdict.detail}")
            rounds.append(dict(Counter(verdict.status for verdict in verdicts)))
            print(f"round {turn}: {rounds[-1]} of {len(pairs)}  {seconds[-1]} s", flush=True)
        layers = bench.layers()
    line = {
        "task": task.name, "problems": len(pairs), "exceptions": len(task.exceptions), "workers": workers,
        "cores": len(os.sched_getaffinity(0)), "tier": (layers or {}).get("tier"), "rounds": rounds, "seconds": seconds,
        "flipped": others, "kernel": platform.release(), "python": platform.python_version(),
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
    for problem_id, said in others.items():
        print(problem_id, *said[:3], sep="\n  ")
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
