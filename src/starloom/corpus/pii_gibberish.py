"""Whether a string looks drawn by chance or made of words: the mean surprise of its letter pairs.

The table (`tools/letter_pairs.py`) counts which letter follows which in the words of code. In place of
gibberish-detector's model of English prose, which BigCode used: identifiers have digits, capitals and abbreviations.
"""

from __future__ import annotations

import itertools
import json
import math
from functools import cache
from importlib import resources

SYMBOLS = "abcdefghijklmnopqrstuvwxyz0-"  # 0: digits; -: the edge of a word, or anything else
_DIGIT, _EDGE = 26, 27
SURPRISE = 4.9  # bits per pair from which on a string is gibberish; tuned on tests/data/pii/tuning.jsonl


def symbols(value: bytes) -> list[int]:
    """Numbers in SYMBOLS, an edge at both ends and in front of a capital behind a small letter (`fooBar`); digits in a row
    are one symbol, as numbers say nothing about words."""
    found = [_EDGE]
    small = False
    for octet in value:
        if 97 <= octet <= 122:
            found.append(octet - 97)
            small = True
            continue
        if 65 <= octet <= 90:
            if small:
                found.append(_EDGE)
            found.append(octet - 65)
        elif 48 <= octet <= 57:
            if found[-1] != _DIGIT:
                found.append(_DIGIT)
        elif found[-1] != _EDGE:
            found.append(_EDGE)
        small = False
    if found[-1] != _EDGE:
        found.append(_EDGE)
    return found


@cache
def _surprises() -> list[list[float]]:
    """-log2 of the chance of a symbol behind another, every pair counted once more than it was seen."""
    text = (resources.files("starloom.corpus") / "data" / "letter_pairs.json").read_text()
    counts = json.loads(text)["counts"]
    return [[-math.log2((count + 1) / (sum(row) + len(row))) for count in row] for row in counts]


def surprise(value: bytes) -> float:
    """Mean bits per pair of symbols: about 3.5 for words of code, above 5 for letters and digits by chance."""
    line, table = symbols(value), _surprises()
    if len(line) < 3:
        return 0.0
    return sum(table[one][two] for one, two in itertools.pairwise(line)) / (len(line) - 1)


def is_gibberish(value: bytes) -> bool:
    """Whether a string looks drawn by chance."""
    return surprise(value) >= SURPRISE
