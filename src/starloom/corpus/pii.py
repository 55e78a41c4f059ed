"""Personal data and secrets: where they stand in a text. `pii_redaction.py` says what takes their place.

What is covered: e-mail addresses; public IPv4 and IPv6 addresses; keys and tokens by their issuers' formats, by the name
that they are given, or by their looks; private keys in PEM; whatever a `Tagger` finds (names, usernames, passwords).
What is not covered: addresses spelled out ("jo at site dot org"), telephone numbers, postal addresses, secrets shorter
than 16 characters or spread over several strings, and everything that a pattern or a model overlooks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, get_args

import pyarrow as pa

from starloom.corpus.fields import in_fields
from starloom.corpus.pii_addresses import find_emails, find_ips
from starloom.corpus.pii_keys import find_keys
from starloom.corpus.schemas import VERDICT, table_of
from starloom.errors import ConfigError, SourceError, suggestion
from starloom.stage import Facts, Stage, Work, external
from starloom.store import Built, write_table

Kind = Literal["EMAIL", "IP_ADDRESS", "KEY", "NAME", "USERNAME", "PASSWORD"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PATTERNS: tuple[Kind, ...] = ("EMAIL", "IP_ADDRESS", "KEY")  # those that need no model


class Entity(NamedTuple):
    """Bytes [start, end) of a text that are personal data or a secret."""

    start: int
    end: int
    kind: Kind


class Tagger(Protocol):
    """Finds entities that no pattern can: `models/tagger.py` wraps a model for token classification."""

    def tag(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, in byte offsets."""


def find_pii(text: str, kinds: Iterable[Kind] = PATTERNS) -> list[Entity]:
    """The entities that patterns find in a text, in order and apart from one another."""
    data = text.encode()
    wanted = frozenset(kinds)
    found: list[Entity] = []
    if "KEY" in wanted:
        found += (Entity(start, end, "KEY") for start, end in find_keys(data))
    if "EMAIL" in wanted:
        found += (Entity(start, end, "EMAIL") for start, end in find_emails(data))
    if "IP_ADDRESS" in wanted:
        found += (Entity(start, end, "IP_ADDRESS") for start, end in find_ips(data))
    return apart(found)


def apart(entities: Iterable[Entity]) -> list[Entity]:
    """Entities in order, of those that overlap the one that begins first, then the longer one, extended over both."""
    kept: list[Entity] = []
    for one in sorted(entities, key=lambda one: (one.start, -one.end, one.kind)):
        if kept and one.start < kept[-1].end:
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, one.end))
        else:
            kept.append(one)
    return kept


def found_in(files: pa.Table, kinds: Iterable[Kind] = PATTERNS, tagger: Tagger | None = None) -> pa.Table:
    """The verdict rows of a shard with columns id, path, text and fields: every file is kept, with the spans to redact.

    A path is looked at too, for e-mail addresses and keys (what looks like an address of a machine there is a version).
    """
    texts: list[str] = [text or "" for text in files["text"].to_pylist()]
    wanted = frozenset(kinds)
    tagged = [[] for _ in texts] if tagger is None else tagger.tag(texts)
    rows = []
    for document, path, text, ranges, more in zip(
        *(files[name].to_pylist() for name in ("id", "path")), texts, files["fields"].to_pylist(), tagged, strict=True
    ):
        found = apart([*find_pii(text, wanted), *(one for one in more if one.kind in wanted)])
        in_path = find_pii(path.decode(), wanted & {"EMAIL", "KEY"}) if is_utf8(path) else []
        spans = [{"field": "path", "start": one.start, "end": one.end, "reason": one.kind} for one in in_path]
        rows.append({"id": document, "keep": True, "reasons": [], "spans": [*spans, *_spans(ranges, found)]})
    return table_of(rows, VERDICT)


def is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True


def _spans(ranges: Sequence[Mapping[str, Any]] | None, found: Iterable[Entity]) -> Iterable[dict[str, Any]]:
    for one in found:
        for field, start, end in in_fields(ranges, [(one.start, one.end)]):
            yield {"field": field, "start": start, "end": end, "reason": one.kind}


@cache
def _loaded(load: Callable[[str], Tagger], checkpoint: str) -> Tagger:
    return load(checkpoint)


def _find_part(call: tuple[str, Built, tuple[Kind, ...], Callable[[str], Tagger] | None, str], folder: Path) -> Facts:
    part, files, kinds, load, checkpoint = call
    tagger = None if load is None else _loaded(load, checkpoint)
    table = found_in(files.table(part, ["id", "path", "text", "fields"]), kinds, tagger)
    write_table(folder / part, table)
    spans = table["spans"].to_pylist()
    found = Counter(span["reason"] for row in spans for span in row)
    return {"rows": len(table), "files": sum(map(bool, spans)), "found": dict(sorted(found.items()))}


@dataclass(frozen=True, slots=True)
class FindPII(Stage):
    """A verdict that drops nothing and says which bytes are personal data or secrets, for the mix to redact.

    `tagger` loads a model for names, usernames and passwords (`starloom.models.tagger.load`) from the folder
    `checkpoint`; without one, `kinds` are those that patterns find.
    """

    version: ClassVar[int] = 3

    files: Stage
    kinds: tuple[Kind, ...] = PATTERNS
    tagger: Callable[[str], Tagger] | None = None
    checkpoint: str = external("")

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"no kind '{kind}' of personal data in find_pii; {suggestion(kind, KINDS)}")
            if kind not in PATTERNS and self.tagger is None:
                raise ConfigError(
                    f"find_pii finds {kind} by a model only; give tagger=starloom.models.tagger.load and a checkpoint"
                )
        if (self.tagger is None) != (not self.checkpoint):
            raise ConfigError("find_pii takes tagger and checkpoint together, or neither")

    def external_digests(self) -> dict[str, str]:
        if not self.checkpoint:
            return {"checkpoint": ""}
        folder = Path(self.checkpoint)
        if not folder.is_dir():
            raise SourceError(
                f"no folder {self.checkpoint} with a checkpoint for find_pii; download one, or leave it out"
            )
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt")):
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return {"checkpoint": digest.hexdigest()}

    def produce(self, work: Work) -> None:
        files = work.input("files")
        calls = {
            part.removesuffix(".parquet"): (part, files, self.kinds, self.tagger, self.checkpoint)
            for part in files.parts()
        }
        for _, facts in work.map(_find_part, calls):
            work.count(rows_in=facts["rows"], rows_out=facts["rows"], files=facts["files"], found=facts["found"])
        found = ", ".join(f"{kind} {number:,}" for kind, number in work.counts.get("found", {}).items())
        work.summary = f"{work.counts.get('files', 0):,} of {work.counts.get('rows_in', 0):,} files" + (
            f" ({found})" if found else ""
        )
