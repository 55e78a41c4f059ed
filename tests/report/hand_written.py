"""A journey whose steps are written down by hand, in the columns that the real ones have (docs/architecture.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from starloom.corpus.schemas import ATTRIBUTE, GROUP, MIX, OUTCOME, READ, VERDICT, table_of
from starloom.stage import Runtime, Stage, Work, build, external
from starloom.store import Built, Store, write_table

Files = Mapping[str, Any]
SEGMENTS = pa.schema(
    [
        *((name, pa.int64()) for name in ("start", "end", "byte_start", "byte_end")),
        *(("source", pa.binary(16)), ("shard", pa.int32()), ("row", pa.int32())),
    ]
)


@dataclass(frozen=True, slots=True)
class Given(Stage):
    """Writes what a function returns: file name → table, text, or rows of JSON lines; `counts` and `summary` apart."""

    make: Callable[[], Files]
    after: tuple[Stage, ...] = ()

    def produce(self, work: Work) -> None:
        files = dict(self.make())
        work.summary = files.pop("summary", "done")
        work.count(**files.pop("counts", {}))
        with work.unit("all") as unit:
            for name, content in files.items():
                if isinstance(content, pa.Table):
                    write_table(unit.path(name), content)
                elif isinstance(content, list):
                    unit.path(name).write_text("".join(json.dumps(row) + "\n" for row in content))
                else:
                    unit.path(name).write_text(content if isinstance(content, str) else json.dumps(content))


class Language(Given): ...


class License(Given): ...


class Rules(Given): ...


class ExactDedup(Given): ...


@dataclass(frozen=True, slots=True)
class Mix(Given):
    verdicts: tuple[Stage, ...] = ()
    groups: tuple[Stage, ...] = ()


class TrainBPE(Given): ...


class Pack(Given): ...


class Pretrain(Given): ...


class HeldOut(Given): ...


class Samples(Given): ...


@dataclass(frozen=True, slots=True)
class Read(Given):
    source: str = external("folder:example")

    def external_digests(self) -> dict[str, str]:
        return {"source": hashlib.sha256(self.source.encode()).hexdigest()}


HOSTILE_PATH = b"a/<script>alert(1)</script>\xff\xe2\x80\xae.py"
HOSTILE_TEXT = "</pre></script><script>alert(2)</script><img src=http://evil.example/x.png>\u202egnp.exe\x1b[31m\n"
TEXTS = [
    ("lib/one.py", "def one():\n    return 1\n", None),
    ("lib/two.py", "def two():\n    return 2\n", None),
    ("lib/two_again.py", "def two():\n    return 2\n", None),
    ("app/three.py", "def three():\n    return 3\n" * 9, None),
    ("app/long.py", "x = 1\n" + "y" * 700 + "\nz = 2\n", "long_line"),
    (HOSTILE_PATH, HOSTILE_TEXT, "few_letters"),
    ("app/data.bin", None, None),
]


def ident(number: int) -> bytes:
    return hashlib.blake2b(bytes([number]), digest_size=16).digest()


def path_of(path: str | bytes) -> bytes:
    return path.encode() if isinstance(path, str) else path


def size_of(text: str | None) -> int:
    return len(text.encode()) if text is not None else 4000


def read() -> Files:
    rows = [
        {
            "id": ident(n),
            "kind": "file",
            "repository": "folder:example" if n != 5 else "github.com/<b>evil</b>/x",
            "path": path_of(path),
            "blob": "0" * 40,
            "revisions": [],
            "size": size_of(text),
            "text": text,
            "unread": None if text is not None else "binary",
        }
        for n, (path, text, _) in enumerate(TEXTS)
    ]
    both = {"part-00000.parquet": table_of(rows[:4], READ), "part-00001.parquet": table_of(rows[4:], READ)}
    return {**both, "counts": {"rows_out": 7}, "summary": "7 files"}


def beside(values: list[dict[str, Any]], schema: pa.Schema) -> Files:
    rows = [{"id": ident(n), **value} for n, value in enumerate(values)]
    return {"part-00000.parquet": table_of(rows[:4], schema), "part-00001.parquet": table_of(rows[4:], schema)}


def language() -> Files:
    return beside([{"value": "Python", "how": "extension", "confidence": 1.0}] * 6 + [{"how": "none"}], ATTRIBUTE)


def license_() -> Files:
    names = ["MIT", "MIT", "MIT", "Apache-2.0", "Apache-2.0", "<i>GPL</i>", None]
    return beside([{"value": name, "how": "file", "confidence": 1.0} for name in names], ATTRIBUTE)


def rules() -> Files:
    span = {"field": "text", "start": 6, "end": 706, "reason": "long_line"}
    rows = []
    for _, _, reason in TEXTS:
        spans = [span] if reason == "long_line" else []
        rows.append({"keep": reason is None, "reasons": [reason] if reason else [], "spans": spans})
    dropped = {"long_line": 1, "few_letters": 1}
    return {**beside(rows, VERDICT), "counts": {"rows_in": 7, "rows_out": 5, "dropped": dropped}}


def groups() -> Files:
    return beside([{"group": n} for n in (0, 1, 1, 2, 3, 4, 5)], GROUP)


def mix() -> Files:
    rows = []
    for n, split in ((0, "train"), (1, "train"), (3, "heldout")):
        path, text, _ = TEXTS[n]
        parts = [
            {"control": "file_name", "text": path, "source": ident(n), "field": "path"},
            {"control": None, "text": "\n", "source": None, "field": None},
            {"control": None, "text": text, "source": ident(n), "field": "text"},
            {"control": "end_of_document", "text": "", "source": None, "field": None},
        ]
        group = str(path).partition("/")[0]
        rows.append({"id": ident(n), "parts": parts, "edits": [], "group": group, "split": split, "weight": 1.0})
    dropped = {"long_line": 1, "few_letters": 1, "exact_duplicate": 1, "binary": 1}
    counts = {"rows_in": 7, "rows_out": 3, "dropped": dropped}
    reasons = (None, None, "exact_duplicate", None, "long_line", "few_letters", "binary")
    outcomes = beside([{"reason": reason} for reason in reasons], OUTCOME)
    return {
        "part-00000.parquet": table_of(rows, MIX),
        **{f"outcome-{name}": table for name, table in outcomes.items()},
        "counts": counts,
        "summary": "7 → 3 files",
    }


def vocabulary() -> Files:
    return {"tokenizer.json": {"model": {"vocab": {"a": 0, "b": 1, "c": 2}}, "added_tokens": [{"id": 3}]}}


def pack() -> Files:
    def segments(*ends: int) -> pa.Table:
        rows = [
            {"start": start, "end": end, "source": ident(0), "byte_start": 0, "byte_end": 3 * (end - start)}
            for start, end in zip((0, *ends), ends, strict=False)
        ]
        return pa.Table.from_pylist(rows, SEGMENTS)

    return {"segments-train.parquet": segments(1000, 2500), "segments-heldout.parquet": segments(777)}


def pretrain() -> Files:
    rows = []
    for step in range(1, 401):
        row = {
            "step": step,
            "tokens": step * 1024,
            "loss": 9 * step**-0.2,
            "bits_per_byte": 4 * step**-0.2,
            "gradient_norm": 1.0 + step % 7 / 10,
            "learning_rate": 0.02 * min(step / 40, 1),
            "skipped": 0,
            "tokens_per_s": 2000.5,
            "seconds": step / 2,
        }
        if step % 100 == 0:
            row["heldout_bits_per_byte"] = 4.1 * step**-0.2
        rows.append(row)
    return {"log.jsonl": rows, "config.json": "{}"}


def held_out() -> Files:
    rates = {"model": 1.2345, "gzip": 1.8191, "xz": 1.7402}
    amounts = {"files": 1, "bytes": 243}
    results = {
        "note": None,
        "how": "the model sees a window of 512 tokens.",
        "bits_per_byte": rates,
        "scored": {**amounts, "tokens": 100},
        "held_out": amounts,
        "languages": {},
    }
    return {"results.json": results}


def samples() -> Files:
    base = {
        "id": ident(3).hex(),
        "repository": "folder:example",
        "path": "app/<u>three</u>.py",
        "line": 3,
        "finish_reason": "length",
        "stopped_by": None,
        "tokens": 9,
        "error": None,
        "settings": {"temperature": 0.2, "seed": 0},
    }
    one = {"kind": "completion", "prompt": "def three():\n", "text": "    return </mark>4\n", "truth": "    return 3\n"}
    two = {"kind": "infilling", "prefix": "def three():\n", "text": "    x = 3\n", "truth": "    pass\n"}
    return {"completions.jsonl": [{**base, **one}, {**base, **two, "suffix": "    return 3\n"}]}


def journey() -> tuple[Stage, ...]:
    files = Read(read)
    attributes = (Language(language, (files,)), License(license_, (files,)))
    verdict, twins = Rules(rules, (files, *attributes)), ExactDedup(groups, (files,))
    clean = Mix(mix, (files, *attributes), (verdict,), (twins,))
    words = TrainBPE(vocabulary, (clean,))
    packed = Pack(pack, (clean, words))
    base = Pretrain(pretrain, (packed,))
    return (
        *(files, *attributes, verdict, twins, clean, words, packed, base),
        HeldOut(held_out, (base, packed, clean)),
        Samples(samples, (base, clean)),
    )


def built(folder: Path, stages: tuple[Stage, ...] | None = None) -> list[Built]:
    stages = journey() if stages is None else stages
    known: dict[int, Built] = {}
    return [build(stage, Store(folder), Runtime(), None, known) for stage in stages]
