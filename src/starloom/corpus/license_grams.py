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
_GAP = 12  # words from one run of a text to its next, with a name between them
_GAP_OF_SAMPLES = 60  # the same, where an eighth of the runs is kept
_LONGEST_TEXT = 1 << 20

Grams = np.ndarray[Any, np.dtype[np.uint32]]
Covered = np.ndarray[Any, np.dtype[np.bool_]]  # one for each word


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


def matching_texts(text: str | Grams, explained: Iterable[str] = ()) -> dict[str, float]:
    """SPDX id → share of its text that the file holds, for every license whose text it holds beside the others.

    The best explanation comes first and takes its runs with it: what remains of another must still be most of it, so
    that one text is not found as each of its variants. `explained` are ids that were found otherwise.
    """
    index = _index()
    found = np.unique(grams(text) if isinstance(text, str) else text)
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


def own_share(found: Grams, name: str, others: Iterable[str]) -> float:
    """Of the runs that a license has and these others have not, the share that a file holds; 0 where there are none.

    A text that is another with little changed (Pixar's is Apache's) is only there where the change is.
    """
    index = _index()
    known = {one: number for number, one in enumerate(index.names)}
    theirs = index.grams[np.isin(index.licenses, [known[one] for one in others if one in known])]
    mine = index.grams[index.licenses == known[name]]
    own = mine[~np.isin(mine, theirs)]
    return float(np.isin(own, found).mean()) if len(own) else 0.0


def covered(words: list[str], runs: Grams, names: Iterable[str], least: float = 0.3) -> Covered:
    """Which words of a text belong to the texts of these licenses: places that hold at least this share of one's runs."""
    index = _index()
    result = np.zeros(len(words), bool)
    for name in names:
        mine = index.grams[index.licenses == index.names.index(name)]
        gap = _GAP_OF_SAMPLES if (mine % _KEPT == 0).all() else _GAP
        starts = np.flatnonzero(np.isin(runs, mine))
        for piece in np.split(starts, np.flatnonzero(np.diff(starts) > gap) + 1):
            if len(piece) and len(piece) >= least * len(mine):
                result[piece[0] : piece[-1] + RUN] = True
    return result


@cache
def _notices() -> dict[int, list[tuple[int, int, tuple[str, ...]]]]:
    import pyarrow.parquet as pq

    file = resources.files("starloom.corpus") / "data" / "license_notices.parquet"
    with resources.as_file(file) as path:
        columns = pq.read_table(path).to_pydict()
    found: dict[int, list[tuple[int, int, tuple[str, ...]]]] = {}
    rows = zip(columns["start"], columns["words"], columns["whole"], columns["licenses"], strict=True)
    for start, length, whole, licenses in rows:
        found.setdefault(start, []).append((length, whole, tuple(licenses.split())))
    return found


def noticed(words: list[str], runs: Grams, beside: Covered) -> set[str]:
    """SPDX ids of every wording known to ScanCode that stands there word for word; the longest where they overlap.

    What lies in the text of a license (`beside`) is that license's own.
    """
    known = _notices()
    result: set[str] = set()
    end = 0
    for at, run in enumerate(runs.tolist()):
        if at < end or run not in known or beside[at]:
            continue
        for length, whole, names in sorted(known[run], reverse=True):
            if at + length <= len(words) and zlib.crc32(" ".join(words[at : at + length]).encode()) == whole:
                result.update(names)
                end = at + length
                break
    return result
