"""License texts recognized by what they share with the texts themselves: runs of six words.

What is covered: every English text with an SPDX id in the ScanCode LicenseDB, whole or nearly so, whatever its layout.
What is not covered: short notices that only name a license, and texts of which more than a quarter was changed.
`tools/license_grams.py` makes the data: checksums, not texts.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

RUN = 6  # words; our choice
LONG = 1200  # runs; of a longer text an eighth is kept
_KEPT = 8
WHOLE = 0.75  # share of a license's runs that a file must hold; our choice, measured by benchmarks/licenses.py
_BESIDE = 0.6  # the same, without those that a license found before explains
_LONGEST_TEXT = 1 << 20

Grams = np.ndarray[Any, np.dtype[np.uint32]]


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers; quotes, comment marks and line breaks are none."""
    return re.findall(r"[a-z0-9]+", text[:_LONGEST_TEXT].lower())


def grams(text: str) -> Grams:
    """Checksums of every run of six words, in order."""
    words = words_of(text)
    runs = (" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1))
    return np.fromiter((zlib.crc32(run.encode()) for run in runs), np.uint32)


def sampled(found: Grams) -> Grams:
    """The eighth that is kept of a long text."""
    chosen: Grams = found[found % _KEPT == 0]
    return chosen


class _Index(NamedTuple):
    names: list[str]
    totals: np.ndarray[Any, np.dtype[np.int64]]
    grams: Grams  # sorted, one entry for each (gram, license)
    licenses: np.ndarray[Any, np.dtype[np.int32]]


@cache
def _index() -> _Index:
    import pyarrow.parquet as pq

    file = resources.files("starloom.corpus") / "data" / "license_grams.parquet"
    with resources.as_file(file) as path:
        table = pq.read_table(path)
    lists = table["grams"].combine_chunks()
    totals = np.diff(lists.offsets.to_numpy())
    every = lists.values.to_numpy()
    owner = np.repeat(np.arange(len(totals), dtype=np.int32), totals)
    order = np.argsort(every, kind="stable")
    return _Index(table["license"].to_pylist(), totals.astype(np.int64), every[order], owner[order])


def known_texts() -> frozenset[str]:
    """SPDX ids whose texts are known."""
    return frozenset(_index().names)


def matching_texts(text: str, explained: Iterable[str] = ()) -> dict[str, float]:
    """SPDX id → share of its text that the file holds, for every license whose text it holds beside the others.

    The best explanation comes first and takes its runs with it: what remains of another must still be most of it, so
    that one text is not found as each of its variants. `explained` are ids that were found otherwise.
    """
    index = _index()
    found = np.unique(grams(text))
    first = np.searchsorted(index.grams, found, "left")
    last = np.searchsorted(index.grams, found, "right")
    held = np.flatnonzero(last > first)
    if not len(held):
        return {}
    gram = np.repeat(np.arange(len(held)), (last - first)[held])
    license_ = np.concatenate([index.licenses[first[one] : last[one]] for one in held])
    left = np.ones(len(held), bool)
    result: dict[str, float] = {}
    shares = np.bincount(license_, minlength=len(index.names)) / index.totals
    already = {name: number for number, name in enumerate(index.names)}
    for name in explained:
        if name in already:
            left[gram[license_ == already[name]]] = False
    whole = shares >= WHOLE
    while True:
        hits = np.bincount(license_[left[gram]], minlength=len(index.names))
        beside = hits / index.totals
        weight = np.where(whole & (beside >= _BESIDE), hits * shares**3, 0)  # whole texts before their variants
        best = int(weight.argmax())
        if weight[best] <= 0:
            return result
        result[index.names[best]] = float(shares[best])
        left[gram[license_ == best]] = False
