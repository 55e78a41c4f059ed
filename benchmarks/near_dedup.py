"""Near-de-duplication beside exact Jaccard similarity of all pairs, and beside datasketch, on real files.

    pip install datasketch==2.0.0        # the peer, for this script only; scipy comes with it
    python benchmarks/near_dedup.py [--files 5000] [--rounds 2] [--folder DIR ...]

The files are code of this Python's standard library and installed packages (or of the folders given); files of one
name are taken together, in the order of a hash of the name. All three use BigCode's shingles: 5 consecutive pieces of
`[^A-Za-z_0-9]`, empty ones kept, at least 5 of them; 256 permutations, threshold 0.7.

* exact: every pair's Jaccard similarity by an inverted index over shingles that plain Python makes: the oracle.
* ours: the stage, from the Parquet shards of `Read` to groups and edges on disk, one worker.
* datasketch: its documented use (MinHash.update_batch, MinHashLSH with its own bands, query, insert), from the same shards.

Ours and datasketch take turns; a ratio is the median of the rounds' ratios of CPU seconds (user + system). "Removed" is
what a mix would drop with every other verdict set to keep. Appends one line to benchmarks/results/near_dedup.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import statistics
import sysconfig
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from starloom.cluster import Local
from starloom.corpus import NearDedup, Read
from starloom.corpus.components import Forest
from starloom.stage import Runtime, build
from starloom.store import Built, Store

RESULTS = Path(__file__).parent / "results" / "near_dedup.jsonl"
SUFFIXES = {
    ".py",
    ".pyi",
    ".js",
    ".ts",
    ".c",
    ".h",
    ".hpp",
    ".cpp",
    ".cc",
    ".cuh",
    ".css",
    ".sh",
    ".pyx",
    ".java",
    ".go",
}
THRESHOLD, PERMUTATIONS, NGRAM, LEAST = 0.7, 256, 5, 5
SEPARATOR = re.compile("[^A-Za-z_0-9]")
Pair = tuple[int, int]


def chosen(folders: Sequence[Path], count: int) -> list[bytes]:
    """Contents of about `count` files of code, those of one name together."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for path in folder.rglob("*"):
            if path.suffix in SUFFIXES and path.is_file() and 0 < path.stat().st_size <= 1 << 20:
                by_name[path.name].append(path)
    found: list[bytes] = []
    for name in sorted(by_name, key=lambda name: hashlib.blake2b(name.encode()).digest()):
        if len(found) >= count:
            break
        found += [path.read_bytes() for path in sorted(by_name[name])]
    return found


def shingles(text: str) -> set[str]:
    """BigCode's shingles in plain Python."""
    pieces = SEPARATOR.split(text)
    if len(pieces) < LEAST:
        return set()
    return {" ".join(pieces[start : start + NGRAM]) for start in range(len(pieces) - NGRAM + 1)}


def exact_pairs(sets: Iterable[set[str]]) -> dict[Pair, float]:
    """Every pair at or above the threshold with its Jaccard similarity, by counting shared shingles of all pairs."""
    digests = [
        np.frombuffer(b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in shingle), "<u8")
        for shingle in sets
    ]
    sizes = np.array([len(one) for one in digests])
    owner = np.repeat(np.arange(len(digests)), sizes)
    known, number = np.unique(np.concatenate(digests), return_inverse=True)
    order = np.argsort(number, kind="stable")
    owners, first = owner[order], np.searchsorted(number[order], np.arange(len(known) + 1))
    begin = np.concatenate([[0], np.cumsum(sizes)])
    found = {}
    for document in range(len(digests)):
        mine = number[begin[document] : begin[document + 1]]
        lengths = first[mine + 1] - first[mine]
        if not lengths.sum():
            continue
        offsets = np.repeat(first[mine] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        shared = np.bincount(owners[offsets + np.arange(lengths.sum())], minlength=len(digests))
        similarity = shared / (sizes[document] + sizes - shared)
        for other in np.flatnonzero(similarity >= THRESHOLD).tolist():
            if other > document:
                found[document, other] = float(similarity[other])
    return found


def removed(pairs: Iterable[Pair], documents: int) -> int:
    """Files that go when one of each component stays."""
    forest = Forest(documents)
    for one, other in pairs:
        forest.join(one, other)
    return documents - len({forest.find(document) for document in range(documents)})


def ours(read: Read, store: Path) -> Built:
    """The stage, built anew."""
    return build(NearDedup(read), Store(store), Runtime(cluster=Local(1)))


def our_pairs(files: Built, built: Built) -> set[Pair]:
    """Pairs on disk, those of documents with equal shingles included: one of them stands for all in other edges."""
    number = {document: place for place, document in enumerate(_column(files, "id"))}
    edges = [(number[row["a"]], number[row["b"]], row["jaccard"]) for row in built.table("edges.parquet").to_pylist()]
    equal = Forest(len(number))
    for one, other, similarity in edges:
        if similarity == 1:
            equal.join(one, other)
    members: dict[int, list[int]] = defaultdict(list)
    for document in range(len(number)):
        members[equal.find(document)].append(document)
    found = {(one, other) for group in members.values() for one in group for other in group if one < other}
    for a, b, similarity in edges:
        if similarity < 1:
            for one in members[equal.find(a)]:
                found |= {(min(one, other), max(one, other)) for other in members[equal.find(b)]}
    return found


def datasketch_pairs(files: Built) -> set[Pair]:
    """What datasketch takes for similar."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    found = set()
    for place, text in enumerate(_column(files, "text")):
        shingle = shingles(text or "")
        if not shingle:
            continue
        minhash = MinHash(num_perm=PERMUTATIONS, seed=42)
        minhash.update_batch([one.encode() for one in shingle])
        found |= {(other, place) for other in index.query(minhash)}
        index.insert(place, minhash, check_duplication=False)
    return found


def _column(files: Built, name: str) -> list[Any]:
    return [value for table in files.tables([name]) for value in table[name].to_pylist()]


def quality(pairs: set[Pair], truth: set[Pair], documents: int) -> dict[str, Any]:
    right = len(pairs & truth)
    return {
        "pairs": len(pairs),
        "precision": round(right / max(len(pairs), 1), 4),
        "recall": round(right / max(len(truth), 1), 4),
        "removed": removed(pairs, documents),
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"cpu": model, "python": platform.python_version(), "numpy": np.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=2, help="turns of ours and datasketch; 0 leaves datasketch out")
    parser.add_argument("--folder", type=Path, action="append", help="read these instead of what is installed")
    flags = parser.parse_args()
    folders = flags.folder or [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "code"
        source.mkdir()
        contents = chosen(folders, flags.files)
        for place, content in enumerate(contents):
            (source / f"{place:06d}").write_bytes(content)
        read = Read(f"folder:{source}")
        files = build(read, Store(Path(temporary) / "store"), Runtime(cluster=Local(1)))
        texts = _column(files, "text")
        line: dict[str, Any] = {
            "files": len(texts),
            "megabytes": round(sum(len(text or "") for text in texts) / 1e6, 1),
            "machine": machine(),
        }
        print(f"{line['files']:,} files, {line['megabytes']} MB")
        started = time.process_time()
        truth = exact_pairs(shingles(text or "") for text in texts)
        line["exact"] = {
            "pairs": len(truth),
            "removed": removed(truth, len(texts)),
            "cpu_s": round(time.process_time() - started, 1),
        }
        print("exact", line["exact"])
        seconds: dict[str, list[float]] = {"ours": [], "datasketch": []}
        for turn in range(max(flags.rounds, 1)):
            started = time.process_time()
            built = ours(read, Path(temporary) / "store")
            seconds["ours"].append(time.process_time() - started)
            if turn == 0:
                line["ours"] = quality(our_pairs(files, built), set(truth), len(texts)) | {
                    "candidates": built.counts["candidates"]
                }
                print("ours", line["ours"])
            for path in sorted(built.directory.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            built.directory.rmdir()
            if flags.rounds:
                started = time.process_time()
                theirs = datasketch_pairs(files)
                seconds["datasketch"].append(time.process_time() - started)
                if turn == 0:
                    line["datasketch"] = quality(theirs, set(truth), len(texts))
                    print("datasketch", line["datasketch"])
        line["cpu_s"] = {name: [round(one, 2) for one in values] for name, values in seconds.items() if values}
        if flags.rounds:
            ratios = [b / a for a, b in zip(seconds["ours"], seconds["datasketch"], strict=True)]
            line["times_as_fast"] = round(statistics.median(ratios), 2)
        print("CPU seconds", line["cpu_s"], "times as fast", line.get("times_as_fast"))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
