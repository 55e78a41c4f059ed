"""What a journey's directories hold, recognized by their files and columns, so that a report needs no stage's code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starloom.report.show import flattened, machine_text
from starloom.report.training import Run
from starloom.stage import code_revision
from starloom.store import Built

Kind = Literal[
    "read",
    "attribute",
    "verdict",
    "group",
    "census",
    "mix",
    "vocabulary",
    "pack",
    "model",
    "scores",
    "completions",
    "comparison",
    "other",
]
# The columns that make a table what it is (docs/architecture.md, "what lies on disk").
_COLUMNS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("read", frozenset({"id", "repository", "path", "text"})),
    ("verdict", frozenset({"id", "keep", "reasons"})),
    ("attribute", frozenset({"id", "value", "how", "confidence"})),
    ("group", frozenset({"id", "group"})),
    ("census", frozenset({"id", "tokens", "bytes"})),
    ("mix", frozenset({"id", "parts", "split"})),
)
_ORDER: tuple[Kind, ...] = ("mix", "read", "verdict", "attribute", "census", "group")  # a mix has a column `group` too


def kind_of(built: Built) -> Kind:
    """What a directory holds."""
    files = built.manifest["files"]
    if "log.jsonl" in files:
        return "model"
    if "asked.json" in files or "results.html" in files:  # benchmarks: they have a page of their own
        return "other"
    if "completions.jsonl" in files:
        return "completions"
    if "comparison.json" in files:
        return "comparison"
    if "results.json" in files:
        return "scores"
    if any(name.startswith("segments-") for name in files):
        return "pack"
    if "tokenizer.json" in files:
        return "vocabulary"
    if built.parts():
        import pyarrow.parquet as pq

        names = set(pq.read_schema(built.path(built.parts()[0])).names)
        needed = dict(_COLUMNS)
        for kind in _ORDER:
            if needed[kind] <= names:
                return kind
    return "other"


class Steps:
    """The directories that a report tells of, by kind and by what was built from what."""

    def __init__(self, builts: Sequence[Built]) -> None:
        self.all = tuple(builts)
        self._kinds = {built.fingerprint: kind_of(built) for built in builts}
        self._known = {built.fingerprint: built for built in builts}

    def of(self, *kinds: Kind) -> list[Built]:
        """Directories of some kinds, in the journey's order."""
        return [built for built in self.all if self._kinds[built.fingerprint] in kinds]

    def inputs(self, built: Built, *kinds: Kind, field: str | None = None) -> list[Built]:
        """What a directory was built from directly, in the order that its stage names them, each once; `field` chooses
        one of the stage's fields."""
        found = map(self._known.get, dict.fromkeys(_fingerprints(built, field)))
        return [one for one in found if one and (self.kind(one) in kinds)]

    def upstream(self, built: Built, *kinds: Kind) -> list[Built]:
        """Everything of some kinds that a directory was built from, the nearest first."""
        found: dict[str, Built] = {}
        waiting = [built]
        while waiting:
            for one in map(self._known.get, _fingerprints(waiting.pop(0))):
                if one and one.fingerprint not in found:
                    found[one.fingerprint] = one
                    waiting.append(one)
        return [one for one in found.values() if self.kind(one) in kinds]

    def kind(self, built: Built) -> Kind:
        return self._kinds[built.fingerprint]


def _fingerprints(built: Built, field: str | None = None) -> Iterator[str]:
    for name, value in built.manifest["inputs"].items():
        if field in (None, name):
            yield from value if isinstance(value, list) else [value]


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step as the page's table shows it."""

    name: str
    summary: str
    rows_in: int | None
    rows_out: int | None
    seconds: float
    size_bytes: int
    fingerprint: str
    code: str
    other_code: bool
    settings: tuple[tuple[str, str], ...]
    outside: tuple[tuple[str, str], ...]


def step_line(built: Built) -> StepLine:
    manifest = built.manifest
    counts = manifest["counts"]
    return StepLine(
        built.name,
        manifest["summary"],
        counts.get("rows_in"),
        counts.get("rows_out"),
        manifest["seconds"],
        sum(entry["bytes"] for entry in manifest["files"].values()),
        built.fingerprint,
        manifest["code"],
        manifest["code"] != code_revision(),
        tuple(flattened(manifest["settings"])),
        tuple((name, f"{one['value']} ({one['digest']})") for name, one in manifest["externals"].items()),
    )


@dataclass(frozen=True, slots=True)
class Tokens:
    """A packed corpus: tokens and bytes of each split."""

    name: str
    vocabulary_size: int | None
    splits: tuple[tuple[str, int, int, int], ...]  # split, files, tokens, bytes

    @property
    def tokens(self) -> int:
        return sum(tokens for _, _, tokens, _ in self.splits)

    @property
    def size_bytes(self) -> int:
        return sum(size for _, _, _, size in self.splits)


def packed_tokens(steps: Steps, pack: Built) -> Tokens:
    """Counted from the segments, which lie side by side."""
    import pyarrow.compute as pc

    splits = []
    for name in sorted(pack.manifest["files"], reverse=True):
        if name.startswith("segments-") and name.endswith(".parquet"):
            table = pack.table(name, ["start", "end", "byte_start", "byte_end"])
            tokens, size = (
                int(pc.sum(pc.subtract(table[end], table[start])).as_py() or 0)
                for start, end in (("start", "end"), ("byte_start", "byte_end"))
            )
            splits.append((name.removeprefix("segments-").removesuffix(".parquet"), table.num_rows, tokens, size))
    vocabularies = steps.upstream(pack, "vocabulary")
    return Tokens(pack.name, vocabulary_size(vocabularies[0]) if vocabularies else None, tuple(splits))


def vocabulary_size(built: Built) -> int:
    """Entries of a tokenizer.json, control tokens among them."""
    tokenizer = json.loads(built.read_bytes("tokenizer.json"))
    return len({*tokenizer["model"]["vocab"].values(), *(one["id"] for one in tokenizer.get("added_tokens", []))})


def json_lines(built: Built, name: str) -> tuple[dict[str, Any], ...]:
    """The rows of a file of JSON lines, its SHA-256 checked."""
    return tuple(json.loads(line) for line in built.read_bytes(name).splitlines() if line.strip())


def training_run(built: Built) -> Run:
    return Run(built.name, json_lines(built, "log.jsonl"), built.manifest["resolved"])


def scores(built: Built) -> dict[str, Any]:
    """What `results.json` of an evaluation holds."""
    return dict(json.loads(built.read_bytes("results.json")))


def machines(steps: Steps) -> list[tuple[str, str]]:
    """(what ran on it, machine and library versions), steps that ran alike together."""
    found: dict[str, list[str]] = {}
    for built in steps.all:
        found.setdefault(machine_text(built.manifest["runtime"]), []).append(built.name)
    return [(", ".join(names), text) for text, names in found.items()]
