"""Derive src/starloom/problems/data/*.jsonl.gz from a folder of published benchmarks.

    python tools/problems_data.py FOLDER

The rows are copied as they are; compression is made to depend on nothing but them. Only benchmarks whose license lets
them be passed on, with attribution, are carried: data/README.md says which, from where, and their licenses lie beside.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

from starloom.problems.benchmarks import BENCHMARKS
from starloom.problems.load import CARRIED

TARGET = Path(__file__).parents[1] / "src/starloom/problems/data"


def main() -> None:
    folder = Path(sys.argv[1])
    for name, targets in CARRIED.items():
        for target, (source, _) in zip(targets, BENCHMARKS[name].files, strict=True):
            data = (folder / source).read_bytes()
            if data[:2] == b"\x1f\x8b":
                data = gzip.decompress(data)
            (TARGET / target).write_bytes(gzip.compress(data, 9, mtime=0))
            print(f"{target}: {len(data.splitlines()):,} problems")


if __name__ == "__main__":
    main()
