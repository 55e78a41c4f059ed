"""Near-duplicates as groups and verified edges: MinHash finds candidates, exact Jaccard similarity decides.

Published tools merge whatever shares a band: about 0.7 of such pairs are similar enough (facts measured on 5,017 files;
`docs/sources.md`). Here a pair is an edge only when the shingle sets themselves reach the threshold, so that bands may
be many and short, chosen for recall. Nobody is chosen: `Mix` takes components over the rows that everything else keeps.

A document that is too short (`Unit.min_tokens`, `min_words`) takes no part. BigCode gives all of those one signature,
by which they collapse into one; exact copies among them are `ExactDedup`'s.
"""

from __future__ import annotations

import dataclasses
import tempfile
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pyarrow.parquet import read_table

from starloom.corpus.components import Forest
from starloom.corpus.minhash import agreement, bands_for, candidates, surely_below
from starloom.corpus.prefix_hash import Int64s, UInt64s
from starloom.corpus.schemas import EDGES, GROUP
from starloom.corpus.shingles import Alphabet, Unit, jaccard
from starloom.corpus.sketches import Sketches, write_sketches
from starloom.errors import ConfigError, suggestion
from starloom.stage import Facts, Stage, Work, as_json
from starloom.store import Built, write_table

# Commits, issues and pull requests take no part, as published: a commit holds its file twice, and would be its copy.
_KINDS = ("file", "notebook")
_PAIRS = 100_000  # verified by one call of a worker; our choice
_GATHERED = 4096  # pairs whose signatures are in memory at a time
LARGEST_BUCKET = 500  # documents of a band that are all compared with each other; our choice
REACH = 3  # in a larger bucket, with how many a document is compared, others in each band; our choice


@dataclass(frozen=True, slots=True)
class Method:
    """What near-duplicates are: shingles, how many permutations, and the least exact similarity of an edge."""

    unit: Unit
    permutations: int
    threshold: float


# bigcode.md §1.5: unit, separators, least tokens, n, permutations and threshold as published. The bands are ours (a pair
# at the threshold is found with chance 0.99), and so are verification and `min_words`, which is the published least
# number of tokens asked of words that are not empty: else files of punctuation alone would all be one.
Preset = Literal["starcoder", "dedup-alt", "santacoder", "the-stack-v2", "selfcodealign", "selfcodealign-seeds"]
PRESETS: Final[Mapping[Preset, Method]] = {
    # bigcode-dataset, near_deduplication/minhash_deduplication.py: StarCoder
    "starcoder": Method(Unit(5, "ascii", False, True, 5, 5), 256, 0.7),
    # the same with `--min-token-length 10 --fast`: SantaCoder's dedup-alt and final
    "dedup-alt": Method(Unit(5, "ascii", False, True, 10, 10), 256, 0.7),
    # bigcode-analysis, near-deduplication/minhash_deduplication.py: The Stack v1, SantaCoder's other models
    "santacoder": Method(Unit(1, "ascii", False, False, 10, 10), 256, 0.85),
    # bigcode-dataset, near_deduplication/bigcode-v2/intra_dedup.py
    "the-stack-v2": Method(Unit(5, "unicode", True, True, 5, 5), 250, 0.7),
    # selfcodealign, minhash_dedup.py (text-dedup's unit): instructions, and seed functions
    "selfcodealign": Method(Unit(5, "unicode", True, True, 5, 5), 250, 0.7),
    "selfcodealign-seeds": Method(Unit(5, "unicode", True, True, 5, 5), 250, 0.5),
}


def equal_sets(digests: Sequence[bytes]) -> tuple[Int64s, list[tuple[int, int]]]:
    """(the first document of each distinct digest, a chain of pairs through each group of equal ones)."""
    last: dict[bytes, int] = {}
    firsts, chain = [], []
    for document, digest in enumerate(digests):
        if digest in last:
            chain.append((last[digest], document))
        else:
            firsts.append(document)
        last[digest] = document
    return np.array(firsts, np.int64), chain


def verified(sketches: Sketches, codes: UInt64s, method: Method) -> Iterator[tuple[int, int, float]]:
    """The candidate pairs (codes first · documents + second, sorted) whose exact similarity reaches the threshold."""
    least = surely_below(method.threshold, method.permutations)
    for start in range(0, len(codes), _GATHERED):
        pairs = np.divmod(codes[start : start + _GATHERED], np.uint64(len(sketches)))
        one, other = (side.astype(np.int64) for side in pairs)
        sizes = sketches.sizes[one], sketches.sizes[other]
        hopeful = np.minimum(*sizes) / np.maximum(*sizes) >= method.threshold  # J is at most the ratio of the sizes
        one, other = one[hopeful], other[hopeful]
        near = agreement(sketches.signatures(one), sketches.signatures(other)) >= least
        held, shingles = -1, np.empty(0, np.uint64)
        for a, b in zip(one[near].tolist(), other[near].tolist(), strict=True):
            if a != held:
                held, shingles = a, sketches.shingles(a)
            similarity = jaccard(shingles, sketches.shingles(b))
            if similarity >= method.threshold:
                yield a, b, similarity


def candidate_codes(sketches: Sketches, firsts: Int64s) -> tuple[UInt64s, int]:
    """Pairs of `firsts` that share a band, as codes for `verified`; and how many buckets were too large to try whole."""
    local, large = candidates(sketches.keys(firsts), len(firsts), LARGEST_BUCKET, REACH)
    one, other = np.divmod(local, np.uint64(max(len(firsts), 1)))
    return firsts[one].astype(np.uint64) * np.uint64(len(sketches)) + firsts[other].astype(np.uint64), large


def near_duplicates(
    texts: Sequence[str | None], method: Method, bands: int | None = None
) -> list[tuple[int, int, float]]:
    """Pairs of texts and their exact similarity; texts of equal shingles as a chain, the first standing for all."""
    bands = bands or bands_for(method.threshold, method.permutations)
    with tempfile.TemporaryDirectory() as folder:
        facts = write_sketches(texts, method.unit, method.permutations, bands, Path(folder), "texts")
        sketches = Sketches(Path(folder), ["texts"], [facts["rows"]], method.permutations, bands)
        firsts, chain = equal_sets(sketches.digests)
        edges = [(a, b, 1.0) for a, b in chain]
        edges += verified(sketches, candidate_codes(sketches, firsts)[0], method)
        place = sketches.rows.tolist()
    return sorted((place[a], place[b], similarity) for a, b, similarity in edges)


def below_one(similarity: float) -> float:
    """A similarity under 1 as a float32 that is under 1 too: 1 means equal."""
    nearest = np.float32(similarity)
    if similarity < 1 and nearest == 1:
        nearest = np.nextafter(np.float32(1), np.float32(0))
    return float(nearest)


def _sketch_part(call: tuple[str, Built, Method, int], folder: Path) -> Facts:
    part, files, method, bands = call
    table = files.table(part, ["text", "kind"])
    texts = [
        text if kind in _KINDS else None
        for text, kind in zip(table["text"].to_pylist(), table["kind"].to_pylist(), strict=True)
    ]
    return write_sketches(texts, method.unit, method.permutations, bands, folder, folder.name)


def _verify_pairs(call: tuple[Path, list[str], list[int], Method, int, int], folder: Path) -> Facts:
    directory, names, rows, method, bands, start = call
    sketches = Sketches(directory, names, rows, method.permutations, bands)
    codes = np.fromfile(directory / "candidates", "<u8", count=_PAIRS, offset=8 * start).astype(np.uint64)
    edges = list(verified(sketches, codes, method))
    columns = list(zip(*edges, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            "a": pa.array(columns[0], pa.int64()),
            "b": pa.array(columns[1], pa.int64()),
            "jaccard": pa.array(columns[2], pa.float64()),
        }
    )
    write_table(folder / f"{folder.name}.parquet", table)
    return {"edges": len(edges)}


@dataclass(frozen=True, slots=True)
class NearDedup(Stage):
    """Groups of similar files, and an edge for each pair that was found and verified.

    `preset` names a published method; a setting that is not None replaces its value. Documents with the same shingles
    are joined by a chain of edges of similarity 1, of which the first stands for all in other edges.
    """

    version: ClassVar[int] = 2
    reason: ClassVar[str] = "near_duplicate"  # why `Mix` drops all but one of a group
    files: Stage
    preset: Preset = "starcoder"
    ngram: int | None = None
    permutations: int | None = None
    threshold: float | None = None
    bands: int | None = None  # None: the fewest that find a pair at the threshold with chance 0.99
    alphabet: Alphabet | None = None
    lower: bool | None = None
    keep_empty: bool | None = None
    min_tokens: int | None = None
    min_words: int | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f"no preset '{self.preset}' of near_dedup; {suggestion(self.preset, PRESETS)}")
        if self.alphabet not in (None, *typing.get_args(Alphabet)):
            raise ConfigError(f"alphabet of near_dedup is '{self.alphabet}'; it is ascii or unicode")
        method = self.method()
        for name, value in (("ngram", method.unit.ngram), ("permutations", method.permutations), ("bands", self.bands)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} of near_dedup is {value}; it is at least 1")
        if not 0 < method.threshold <= 1:
            raise ConfigError(f"threshold of near_dedup is {method.threshold}; it is a similarity above 0, up to 1")
        if self.bands is not None and self.bands > method.permutations:
            raise ConfigError(f"bands of near_dedup is {self.bands}, more than its {method.permutations} permutations")

    def method(self) -> Method:
        """The preset with the settings that were given."""
        preset = PRESETS[self.preset]
        given = {name: value for name in _CHANGES if (value := getattr(self, name)) is not None}
        unit = dataclasses.replace(preset.unit, **{name: given[name] for name in given if name in _OF_UNIT})
        return dataclasses.replace(preset, unit=unit, **{name: given[name] for name in given if name not in _OF_UNIT})

    def settings(self) -> dict[str, Any]:
        """Every value written out, so that a fingerprint covers what a preset means."""
        method = self.method()
        found = Stage.settings(self) | {name: getattr(method.unit, name) for name in _OF_UNIT}
        found |= {"permutations": method.permutations, "threshold": as_json(method.threshold, "threshold")}
        return found | {"bands": self.bands or bands_for(method.threshold, method.permutations)}

    def produce(self, work: Work) -> None:
        files, method = work.input("files"), self.method()
        bands = self.bands or bands_for(method.threshold, method.permutations)
        parts = files.parts()
        names = {f"sketch-{part.removesuffix('.parquet')}": (part, files, method, bands) for part in parts}
        facts = dict(work.map(_sketch_part, names, scratch=True))
        rows = [facts[name]["rows"] for name in names]
        sketches = Sketches(work.directory, names, rows, method.permutations, bands)
        firsts, chain = equal_sets(sketches.digests)
        found = _find_candidates(work, sketches, firsts)
        calls = {
            f"verify-{number:05d}": (work.directory, list(names), rows, method, bands, start)
            for number, start in enumerate(range(0, found["pairs"], _PAIRS))
        }
        edges = [(a, b, 1.0) for a, b in chain]
        for unit, _ in work.map(_verify_pairs, calls, scratch=True):
            table = read_table(work.directory / f"{unit}.parquet", use_threads=False)
            edges += zip(*(table[name].to_pylist() for name in ("a", "b", "jaccard")), strict=True)
        place = sketches.rows.tolist()
        in_corpus = sorted((place[a], place[b], below_one(similarity)) for a, b, similarity in edges)
        groups = _write_groups(work, parts, rows, in_corpus)
        _write_edges(work, files, parts, in_corpus)
        took_part, total = len(sketches), sum(rows)
        work.count(
            rows_in=total,
            rows_out=total,
            groups=groups,
            too_short=total - took_part - sum(one["unread"] for one in facts.values()),
            candidates=found["pairs"],
            large_buckets=found["large_buckets"],
            edges=len(in_corpus),
            equal_sets=len(chain),
        )
        work.summary = f"{total:,} files, {total - groups:,} of them near-duplicates of another"


_OF_UNIT: Final = tuple(item.name for item in dataclasses.fields(Unit))
_CHANGES: Final = (*_OF_UNIT, "permutations", "threshold")


def _find_candidates(work: Work, sketches: Sketches, firsts: Int64s) -> Facts:
    known = work.finished("candidates")
    if known is not None:
        return known
    with work.unit("candidates", scratch=True) as writing:
        codes, large = candidate_codes(sketches, firsts)
        writing.path("candidates").write_bytes(codes.astype("<u8").tobytes())
        writing.facts = {"pairs": len(codes), "large_buckets": large}
    return writing.facts


def _write_groups(
    work: Work, parts: Sequence[str], rows: Sequence[int], edges: Sequence[tuple[int, int, float]]
) -> int:
    """Write the group of every row, numbered in the order of their first rows; how many there are."""
    forest = Forest(sum(rows))
    for a, b, _ in edges:
        forest.join(a, b)
    numbers: dict[int, int] = {}
    groups = [numbers.setdefault(forest.find(row), len(numbers)) for row in range(sum(rows))]
    start = 0
    files = work.input("files")
    for part, count in zip(parts, rows, strict=True):
        unit = part.removesuffix(".parquet")
        if work.finished(unit) is None:
            with work.unit(unit) as writing:
                ids = files.table(part, ["id"])["id"]
                columns = {"id": ids, "group": pa.array(groups[start : start + count], pa.int64())}
                write_table(writing.path(part), pa.table(columns, schema=GROUP))
        start += count
    return len(numbers)


def _write_edges(work: Work, files: Built, parts: Sequence[str], edges: Sequence[tuple[int, int, float]]) -> None:
    if work.finished("edges") is None:
        ids = [document for part in parts for document in files.table(part, ["id"])["id"].to_pylist()]
        with work.unit("edges") as writing:
            columns = {
                "a": [ids[a] for a, _, _ in edges],
                "b": [ids[b] for _, b, _ in edges],
                "jaccard": [similarity for _, _, similarity in edges],
            }
            write_table(writing.path("edges.parquet"), pa.table(columns, schema=EDGES))
