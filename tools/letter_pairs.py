"""Make src/starloom/corpus/data/letter_pairs.json: how often one letter follows another in the words of code.

    python tools/letter_pairs.py FOLDER [FOLDER ...]

Counts pairs of symbols (a to z, 0 for digits, - for the edge of a word) in the identifiers and words of Python, C and
JavaScript files; the shipped table is of CPython's own `Lib`. Tokens of 40 and more characters are left out: they may
be keys themselves. The counts are all that ships.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

from starloom.corpus.pii_gibberish import SYMBOLS, symbols

TARGET = Path(__file__).parent.parent / "src/starloom/corpus/data/letter_pairs.json"
SUFFIXES = {".py", ".c", ".h", ".js"}
TOKEN = re.compile(rb"[A-Za-z0-9_]{2,39}(?![A-Za-z0-9_])")
MOST = 20_000_000  # bytes read; the counts no longer move


def main(folders: list[str]) -> None:
    counts = [[0] * len(SYMBOLS) for _ in SYMBOLS]
    read = 0
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*") if path.suffix in SUFFIXES):
        if "site-packages" in path.parts or read > MOST:
            continue
        data = path.read_bytes()
        read += len(data)
        for token in TOKEN.findall(data):
            line = symbols(token)
            for one, two in itertools.pairwise(line):
                counts[one][two] += 1
    TARGET.write_text(json.dumps({"symbols": SYMBOLS, "counts": counts}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
