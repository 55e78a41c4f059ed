"""Files that hold a benchmark's problem or its solution, as verdicts that name the problem.

*Covered*: a published string word for word, case ignored; a solution with other names, layout, comments, quotes and
brackets; a task's text with other white space or punctuation; a file whose set of words is a problem's.
*Not covered*: a solution rewritten with other statements, or with statements of one's own between its own; a translation to
another language than the benchmark's; text inside of a string literal with escapes (JSON, notebooks in notebooks); most
solutions of fewer than 13 tokens under other names (`code_tokens.py` says what a token is), which are too common to tell,
and some up to 25 where annotations are added or taken away as well. `benchmarks/decontamination.py` counts them.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from starloom.corpus.leaks import Leak, Leaks
from starloom.corpus.schemas import VERDICT, table_of
from starloom.errors import ConfigError, SourceError
from starloom.problems import Problem, digest_of, load
from starloom.stage import Facts, Stage, Work, external
from starloom.store import Built, write_table

MATCHES = pa.schema(
    [
        ("id", pa.binary(16)),
        ("repository", pa.string()),
        ("path", pa.binary()),
        ("benchmark", pa.string()),
        ("problem", pa.string()),
        ("reason", pa.string()),
        ("start", pa.int64()),  # bytes of the text
        ("end", pa.int64()),
        ("score", pa.float32()),  # 1 for a substring, the share of n-grams, the Jaccard similarity
    ]
)


@functools.lru_cache(maxsize=4)  # a worker judges many shards with the same problems
def _leaks(specs: tuple[str, ...], folder: str, digest: str, share: float, jaccard: float) -> Leaks:
    if digest_of(specs, folder) != digest:
        raise SourceError("a file of benchmark problems changed while being read; run again when nothing writes to it")
    problems: list[Problem] = [problem for spec in specs for problem in load(spec, folder)]
    return Leaks(problems, share, jaccard)


def matches_of(files: pa.Table, leaks: Leaks) -> list[dict[str, Any]]:
    """A row of MATCHES for each leak in a shard with columns id, repository, path, text."""
    columns = [files[name].to_pylist() for name in ("id", "repository", "path", "text")]
    found = leaks.find([text or "" for text in columns[3]])
    return [
        {
            "id": document,
            "repository": repository,
            "path": path,
            "benchmark": leaks.problems[leak.problem].benchmark,
            "problem": leaks.problems[leak.problem].id,
            "reason": f"benchmark_{leak.how}",
            **dict(zip(("start", "end"), _in_bytes(text, leak), strict=True)),
            "score": leak.score,
        }
        for document, repository, path, text, mine in zip(*columns, found, strict=True)
        for leak in mine
    ]


def _in_bytes(text: str, leak: Leak) -> tuple[int, int]:
    before = len(text[: leak.start].encode())
    return before, before + len(text[leak.start : leak.end].encode())


def verdicts_of(ids: list[bytes], matches: list[dict[str, Any]]) -> pa.Table:
    """A verdict on each document; a span's reason names the problem: `benchmark_ngrams:HumanEval/0`."""
    of: dict[bytes, list[dict[str, Any]]] = {}
    for match in matches:
        of.setdefault(match["id"], []).append(match)
    rows = []
    for document in ids:
        mine = of.get(document, [])
        spans = [
            {
                "field": "text",
                "start": one["start"],
                "end": one["end"],
                "reason": f"{one['reason']}:{one['problem']}",
            }
            for one in mine
        ]
        reasons = list(dict.fromkeys(one["reason"] for one in mine))
        rows.append({"id": document, "keep": not mine, "reasons": reasons, "spans": spans})
    return table_of(rows, VERDICT)


def _judge_part(call: tuple[str, Built, tuple[str, ...], str, str, float, float], folder: Path) -> Facts:
    part, files, *how = call
    table = files.table(part, ["id", "repository", "path", "text"])
    matches = matches_of(table, _leaks(*how))
    write_table(folder / part, verdicts_of(table["id"].to_pylist(), matches))
    write_table(folder / f"matches-{part}", table_of(matches, MATCHES))
    first: dict[bytes, str] = {}
    for match in matches:
        first.setdefault(match["id"], match["reason"])
    holders = Counter(name for name, _ in {(f"{one['benchmark']}:{one['problem']}", one["id"]) for one in matches})
    return {
        "rows": len(table),
        "dropped": dict(sorted(Counter(first.values()).items())),
        "problems": dict(sorted(holders.items())),  # files that hold each
    }


@dataclass(frozen=True, slots=True)
class Decontaminate(Stage):
    """A verdict on each file: whether it holds a problem of a benchmark. `matches-part-*.parquet` names both.

    `problems` are names of `starloom.problems`, or NAME=PATH; what the package does not carry is looked for below
    `folder`. A file holds a problem's n-grams when it has the `share` of them close together.
    """

    version: ClassVar[int] = 2

    files: Stage
    problems: tuple[str, ...] = external(("humaneval", "mbpp", "gsm8k"))
    folder: str = external("")
    share: float = 0.6  # our choice
    jaccard: float = 0.58  # bigcode-dataset, decontamination/minhash.py

    def __post_init__(self) -> None:
        object.__setattr__(self, "problems", tuple(self.problems))
        if not self.problems:
            raise ConfigError("problems of decontaminate names no benchmark; leave the step out instead")
        for name, value in (("share", self.share), ("jaccard", self.jaccard)):
            if not 0 < value <= 1:
                raise ConfigError(f"{name} of decontaminate is {value}; it is above 0, up to 1")

    def external_digests(self) -> dict[str, str]:
        return {"problems": digest_of(self.problems, self.folder), "folder": ""}

    def produce(self, work: Work) -> None:
        files = work.input("files")
        how = (self.problems, self.folder, work.externals["problems"], self.share, self.jaccard)
        calls = {part.removesuffix(".parquet"): (part, files, *how) for part in files.parts()}
        for _, facts in work.map(_judge_part, calls):
            kept = facts["rows"] - sum(facts["dropped"].values())
            work.count(rows_in=facts["rows"], rows_out=kept, dropped=facts["dropped"], problems=facts["problems"])
        counts = work.counts
        said = ", ".join(f"{reason} {number:,}" for reason, number in Counter(counts.get("dropped", {})).most_common())
        work.summary = f"{counts.get('rows_in', 0):,} → {counts.get('rows_out', 0):,} files" + (
            f" ({said})" if said else ""
        )
