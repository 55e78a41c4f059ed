"""Line and character statistics on one core: each instruction set, the NumPy twin and the rule in pure Python.

    python benchmarks/native_lines.py [--pairs 9]

The standard library's own files as they are, and with their letters written in Greek (two bytes each) and in Chinese
(three), in process CPU seconds, so that a busy machine does not count. Contestants take turns; a ratio is the median of
the turns' ratios, with the 10th and 90th percentile. Pure Python is given text that is decoded already. Results must
agree. Appends one line to benchmarks/results/native_lines.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sysconfig
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from starloom import native
from starloom.native.alphanumeric import table

RESULTS = Path(__file__).parent / "results" / "native_lines.jsonl"
PYTHON = "pure Python"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
REPEATS = 5  # of a native run in one turn: a single one takes milliseconds


def rule(texts: list[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rule in pure Python: [5, documents]."""
    rows = []
    for text in texts:
        lengths = [len(line) for line in text.splitlines()]
        longest = max(lengths, default=0)
        rows.append((len(lengths), longest, sum(lengths), len(text), sum(map(str.isalnum, text))))
    return np.array(rows, np.int64).T


def standard_library() -> list[str]:
    """Its Python files that are UTF-8."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in sorted(folder.rglob("*.py")) if not {"site-packages", "dist-packages"} & {*path.parts}]
    texts = []
    for path in files:
        try:
            texts.append(path.read_bytes().decode())
        except UnicodeDecodeError:
            continue
    return texts


def spread(values: list[float]) -> dict[str, float]:
    tenth, _, _, _, half, _, _, _, ninetieth = statistics.quantiles(values, n=10, method="inclusive")
    return {"median": round(half, 1), "p10": round(tenth, 1), "p90": round(ninetieth, 1)}


def compared(texts: list[str], pairs: int) -> dict[str, Any]:
    """MB per CPU second of each contestant, and how many times as fast as pure Python it is."""
    data = b"".join(encoded := [text.encode() for text in texts])
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def compute() -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.stack(astuple(native.line_statistics(data, offsets)))

    def seconds(work: Callable[[], object], repeats: int) -> float:
        began = time.process_time()
        for _ in range(repeats):
            work()
        return (time.process_time() - began) / repeats

    expected = rule(texts)
    took: dict[str, list[float]] = {name: [] for name in (*native.choices()[::-1], PYTHON)}
    for _ in range(pairs):
        for name, times in took.items():
            if name == PYTHON:
                times.append(seconds(lambda: rule(texts), 1))
                continue
            native.use(name)
            assert (compute() == expected).all(), name  # also warms the caches, for each alike
            times.append(seconds(compute, 1 if name == "twin" else REPEATS))
    native.use("auto")
    size = len(data) / 1e6
    return {
        name: {
            "mb_per_cpu_second": spread([size / each for each in times]),
            "times_pure_python": spread([python / each for python, each in zip(took[PYTHON], times, strict=True)]),
        }
        for name, times in took.items()
    } | {"megabytes": round(size, 1), "files": len(texts)}


def machine() -> dict[str, str]:
    """The processor, what the library uses of it, and the versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return {
        "cpu": next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()),
        "native": native.status().describe(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9, help="turns of each contestant, 7 or more for a record")
    pairs = max(2, parser.parse_args().pairs)

    where = machine()
    print(f"{where['cpu']}; {where['native']}; Python {where['python']}")
    began = time.process_time()
    table()
    record: dict[str, Any] = {"machine": where, "pairs": pairs, "table_ms": round(1e3 * (time.process_time() - began))}
    ascii_texts = standard_library()
    greek = str.maketrans({letter: chr(0x3B1 + i % 25) for i, letter in enumerate(LETTERS)})
    chinese = str.maketrans({letter: chr(0x4E00 + 7 * i) for i, letter in enumerate(LETTERS)})
    corpora = {
        "standard library": ascii_texts,
        "in Greek letters": [text.translate(greek) for text in ascii_texts],
        "in Chinese letters": [text.translate(chinese) for text in ascii_texts],
    }
    for corpus, texts in corpora.items():
        record[corpus] = found = compared(texts, pairs)
        print(f"{corpus}: {found['files']} files, {found['megabytes']} MB")
        for name, result in found.items():
            if isinstance(result, dict):
                speed, ratio = result["mb_per_cpu_second"], result["times_pure_python"]
                print(
                    f"  {name:<12} {speed['median']:>9,.0f} MB per CPU second   "
                    f"{ratio['median']:>7,.1f} x pure Python ({ratio['p10']:,.1f} to {ratio['p90']:,.1f})"
                )
    print(f"the table of alphanumeric characters, once per process: {record['table_ms']} ms")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as out:
        out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
