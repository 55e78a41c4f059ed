"""Benchmarks read from a file by path, from what the package carries, or from a folder of data."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from starloom.errors import ConfigError, SourceError, suggestion
from starloom.problems.benchmarks import BENCHMARKS
from starloom.problems.problem import Problem

# In the order of the benchmark's files; licenses and attribution beside them: data/README.md
MOST_BYTES = 8 << 30  # of one file, unpacked; our choice, since LiveCodeBench's files take gigabytes
CARRIED = {
    "humaneval": ("humaneval.jsonl.gz",),
    "humaneval-plus": ("humaneval-plus.jsonl.gz",),
    "mbpp": ("mbpp.jsonl.gz",),
    "mbpp-plus": ("mbpp-plus.jsonl.gz",),
    "gsm8k": ("gsm8k.jsonl.gz",),
    "cruxeval": ("cruxeval.jsonl.gz",),
    "humaneval-infilling": ("infilling-single-line.jsonl.gz",),
    "humaneval-infilling-random-span": ("infilling-random-span.jsonl.gz",),
    "humaneval-infilling-random-span-light": ("infilling-random-span-light.jsonl.gz",),
    "humaneval-x": tuple(f"humaneval-x-{name}.jsonl.gz" for name in ("cpp", "java", "js", "python")),
}


def load(spec: str, folder: str = "", language: str | None = None) -> tuple[Problem, ...]:
    """The problems of a benchmark: `humaneval`, or `humaneval=PATH` to read a file of one's own.

    Without a path, what the package carries is read, else the files below `folder`, laid out as `Benchmark.files` says.
    Of a benchmark in several languages, `language` (linguist's name) reads that one alone, and a file by path is its.
    Raises ConfigError for an unknown name, SourceError for data that is missing or malformed.
    """
    name, _, _ = spec.partition("=")
    problems = []
    for place, spoken, data in _contents(spec, folder, language):
        for number, row in enumerate(_rows(place, data)):
            try:
                problems.append(BENCHMARKS[name].problem(name, spoken, row, number))
            except (KeyError, TypeError, ValueError) as error:
                raise SourceError(
                    f"row {number + 1} of {place} is no problem of {name} ({type(error).__name__}: {error}); "
                    f"the published file is at {BENCHMARKS[name].origin}"
                ) from None
    return tuple(problems)


def digest_of(specs: Sequence[str], folder: str = "") -> str:
    """SHA-256 over the names and contents of benchmarks; where they lie on this machine is no part of it."""
    digest = hashlib.sha256()
    for spec in specs:
        for _, language, data in _contents(spec, folder):
            part = hashlib.sha256(_unzipped(data)).digest()
            digest.update(f"{spec.partition('=')[0]} {language} ".encode() + part)
    return digest.hexdigest()


def _contents(spec: str, folder: str, only: str | None = None) -> Iterator[tuple[str, str | None, bytes]]:
    """(where it lies, language, bytes) of each file of a benchmark, or of those in one of its languages."""
    name, given, path = spec.partition("=")
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark '{name}'; {suggestion(name, BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    languages = {language for _, language in benchmark.files}
    if given:
        named = next((known for file, known in benchmark.files if Path(file).name == Path(path).name), None)
        yield path, (only or named) if len(languages) > 1 else languages.pop(), _read(Path(path), name)
    elif name in CARRIED:
        for carried, (_, language) in zip(CARRIED[name], benchmark.files, strict=True):
            if only is None or len(languages) == 1 or language == only:
                file = resources.files("starloom.problems") / "data" / carried
                yield f"starloom.problems/data/{carried}", language, file.read_bytes()
    elif not folder:
        raise SourceError(
            f"the package does not carry {name} ({benchmark.license}); get {benchmark.origin} and write "
            f"'{name}=PATH', or name a folder that holds {benchmark.files[0][0]}"
        )
    else:
        for file_name, language in benchmark.files:
            if only is None or len(languages) == 1 or language == only:
                yield file_name, language, _read(Path(folder) / file_name, name)


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path} of benchmark {name} cannot be read ({error.strerror}); it comes from {BENCHMARKS[name].origin}"
        ) from None


def _unzipped(data: bytes) -> bytes:
    """A file's text. Raises OSError for one that unpacks to more than `MOST_BYTES`."""
    if data[:2] != b"\x1f\x8b":
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise OSError(f"it unpacks to more than {MOST_BYTES:,} bytes")
    return text


def _rows(place: str, data: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, or of one JSON list."""
    try:
        text = _unzipped(data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SourceError(f"{place} is damaged ({error}); get it again") from None
    try:
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place} is not JSON, one object a line ({error}); get it again") from None
    if not rows:
        raise SourceError(f"{place} holds no problem; get it again")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise SourceError(f"row {number + 1} of {place} is {type(row).__name__}, not an object; get it again")
        yield row
