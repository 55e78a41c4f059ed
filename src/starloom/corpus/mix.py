"""Everything that was said about the files, joined late: which stay, in which split, as which training text."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from starloom.corpus.components import Duplicates, reasons_to_drop
from starloom.corpus.fields import fields_of
from starloom.corpus.forms import IN_LAYOUT, NO_FORM, NotebookForm, rows_of
from starloom.corpus.layouts import LAYOUTS, METADATA, Document, Layout
from starloom.corpus.license import License
from starloom.corpus.license_expressions import LICENSE_TYPES, license_type
from starloom.corpus.pii import FindPII
from starloom.corpus.pii_redaction import REDACTION, Change, Redaction, changes_of, redacted
from starloom.corpus.rendered import Rendered
from starloom.corpus.schemas import MIX, table_of
from starloom.corpus.split import groups_of, held_out
from starloom.errors import ConfigError, suggestion
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, aligned, aligned_part, write_table

_FACTS = ("repository", "path", "size", "stars", "forks", "dates", "unread", "kind")
READ_COLUMNS = ["id", "repository", "path", "text", "stars", "kind", "fields"]  # of `Read`, that rows are made of


class Candidate(NamedTuple):
    """What is decided upon: a file, without its text."""

    part: str
    row: int  # in its part
    id: bytes
    repository: str
    path: bytes
    size: int
    rank: tuple[Any, ...]  # the least of a component stays
    reason: str | None  # the first reason against it, in recipe order


class Kept(NamedTuple):
    """A file that stays, where it goes."""

    row: int
    group: str
    split: str


def rank(
    license_: str | None, stars: int | None, forks: int | None, dates: Sequence[Any], document: bytes
) -> tuple[Any, ...]:
    """Who stands for a component: the most permissive, then most stars, most forks, latest (The Stack v2), then by id."""
    latest = max((date.timestamp() for date in dates), default=float("-inf"))
    unknown = -1
    return (
        LICENSE_TYPES.index(license_type(license_)),
        -(unknown if stars is None else stars),
        -(unknown if forks is None else forks),
        -latest,
        document,
    )


def first_reason(unread: str | None, verdicts: Sequence[tuple[bool, Sequence[str]]]) -> str | None:
    """Why a file is dropped, by the first verdict against it in recipe order; None when all keep it."""
    for keep, reasons in verdicts:
        if not keep:
            return reasons[0]
    return unread


def decide(
    candidates: Sequence[Candidate], duplicates: Sequence[Duplicates], heldout: float, seed: int
) -> tuple[list[str | None], dict[str, list[Kept]]]:
    """(reason to drop each candidate, or None; part → its files that stay, in order)."""
    reasons = [one.reason for one in candidates]
    twins = reasons_to_drop([reason is None for reason in reasons], [one.rank for one in candidates], duplicates)
    reasons = [reason or twin for reason, twin in zip(reasons, twins, strict=True)]
    alive = [one for one, reason in zip(candidates, reasons, strict=True) if reason is None]
    groups = groups_of([(one.repository, one.path) for one in alive]) if alive else []
    sizes: Counter[str] = Counter()
    for one, group in zip(alive, groups, strict=True):
        sizes[group] += one.size
    apart = held_out(sizes, heldout, seed)
    kept: dict[str, list[Kept]] = {one.part: [] for one in candidates}
    for one, group in zip(alive, groups, strict=True):
        kept[one.part].append(Kept(one.row, group, "heldout" if group in apart else "train"))
    return reasons, kept


def mixed(
    files: pa.Table,
    kept: Sequence[Kept],
    layout: str,
    metadata: float,
    seed: int,
    notebooks: NotebookForm = "both",
    pii: pa.Table | None = None,
    redaction: Redaction = "marks",
) -> pa.Table:
    """The training rows of a shard with the columns `READ_COLUMNS`, the spans of `pii` redacted."""
    chosen = files.take(pa.array([one.row for one in kept], pa.int64()))
    columns = [chosen[name].to_pylist() for name in ("id", "repository", "path", "text", "stars")]
    kinds = chosen["kind"].to_pylist()
    fields = map(fields_of, chosen["text"].to_pylist(), chosen["fields"].to_pylist())
    documents = list(map(Document, *columns, [one.group for one in kept], kinds, fields))
    splits = {one.group: one.split for one in kept}
    of: dict[bytes, dict[str, list[Change]]] = {}
    if pii is not None:
        of = changes_of(chosen, pii.take(pa.array([one.row for one in kept], pa.int64())), redaction, seed)
    rows = []
    for row in rows_of(layout, documents, metadata, seed, notebooks):
        first = row.documents[0]
        rows.append(
            {
                "id": first.id,
                "group": first.group,
                "split": splits[first.group],
                "weight": 1.0,
                **_columns(redacted(row.rendered, of)),
            }
        )
    return table_of(rows, MIX)


def _columns(rendered: Rendered) -> dict[str, Any]:
    return {
        "parts": [
            {"control": one.control, "text": one.text, "source": one.source, "field": one.field}
            for one in rendered.parts
        ],
        "edits": [
            {
                "part": one.part,
                "start": one.start,
                "end": one.end,
                "source_start": one.source_start,
                "source_end": one.source_end,
            }
            for one in rendered.edits
        ],
    }


def _mix_part(
    call: tuple[str, Built, Built | None, list[Kept], str, float, int, NotebookForm, Redaction], folder: Path
) -> Facts:
    part, files, pii, kept, layout, metadata, seed, notebooks, redaction = call
    read, *said = aligned_part(part, [files, *([pii] if pii else [])], [READ_COLUMNS, *([["spans"]] if pii else [])])
    table = mixed(read, kept, layout, metadata, seed, notebooks, said[0] if said else None, redaction)
    write_table(folder / part, table)
    return {"documents": len(table)}


@dataclass(frozen=True, slots=True)
class Mix(Stage):
    """The files that every verdict keeps, one of each component of duplicates, as rows of training text.

    `metadata` is the chance of the layout's controls around a file (None: the published one); `heldout` the share of
    the hold-out groups that is kept for measuring.
    """

    version: ClassVar[int] = 3
    files: Stage
    attributes: tuple[Stage, ...] = ()
    verdicts: tuple[Stage, ...] = ()
    groups: tuple[Stage, ...] = ()
    layout: Layout = "starcoder"
    metadata: float | None = None
    heldout: float = 0.05  # our choice
    seed: int = 0
    notebooks: NotebookForm = "both"  # StarCoder had a set of each
    redact: Stage | None = None  # a FindPII: what it found is replaced
    redaction: Redaction | None = None  # None: the layout's published way

    def __post_init__(self) -> None:
        for name in ("attributes", "verdicts", "groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.layout not in LAYOUTS:
            raise ConfigError(f"no layout '{self.layout}' of mix; {suggestion(self.layout, typing.get_args(Layout))}")
        if self.notebooks not in typing.get_args(NotebookForm):
            known = typing.get_args(NotebookForm)
            raise ConfigError(f"no form '{self.notebooks}' of notebooks in mix; {suggestion(self.notebooks, known)}")
        if not 0 <= self.heldout < 1:
            raise ConfigError(f"heldout of mix is {self.heldout}; it is a share from 0 to below 1")
        if self.metadata is not None and not 0 <= self.metadata <= 1:
            raise ConfigError(f"metadata of mix is {self.metadata}; it is a chance from 0 to 1")
        if self.layout == "santacoder" and self.metadata:
            raise ConfigError("metadata of mix: layout 'santacoder' has no controls for it; leave it out")
        if self.redact is not None and not isinstance(self.redact, FindPII):
            raise ConfigError(f"redact of mix is {self.redact.step}; it takes a FindPII")
        if self.redaction not in (None, *typing.get_args(Redaction)):
            known = typing.get_args(Redaction)
            raise ConfigError(
                f"no way '{self.redaction}' of redaction in mix; {suggestion(str(self.redaction), known)}"
            )
        for stage in self.groups:
            if not hasattr(stage, "reason"):
                raise ConfigError(f"groups of mix holds {stage.step}, which finds no duplicates")

    def produce(self, work: Work) -> None:
        files = work.input("files")
        candidates = list(self._candidates(work))
        reasons, kept = decide(candidates, list(self._duplicates(work, candidates)), self.heldout, self.seed)
        self._count(work, candidates, reasons, kept)
        metadata = METADATA[self.layout] if self.metadata is None else self.metadata
        calls = {
            part.removesuffix(".parquet"): (
                part,
                files,
                None if self.redact is None else work.input("redact"),
                kept.get(part, []),
                self.layout,
                metadata,
                self.seed,
                self.notebooks,
                self.redaction or REDACTION[self.layout],
            )
            for part in files.parts()
        }
        for _, facts in work.map(_mix_part, calls):
            work.count(documents=facts["documents"])

    def _candidates(self, work: Work) -> Iterator[Candidate]:
        attributes, verdicts = work.many("attributes"), work.many("verdicts")
        licenses = [
            built for built, stage in zip(attributes, self.attributes, strict=True) if isinstance(stage, License)
        ]
        others = (*licenses[:1], *verdicts)
        columns = [_FACTS, *(["value"] for _ in licenses[:1]), *(["keep", "reasons"] for _ in verdicts)]
        for part, (files, *said) in aligned(work.input("files"), *others, columns=columns):
            spdx = said.pop(0)["value"].to_pylist() if licenses else [None] * len(files)
            judged = [zip(one["keep"].to_pylist(), one["reasons"].to_pylist(), strict=True) for one in said]
            opinions = zip(*judged, strict=True) if judged else iter([()] * len(files))
            facts = zip(*(files[name].to_pylist() for name in ("id", *_FACTS)), strict=True)
            for row, (fact, license_, opinion) in enumerate(zip(facts, spdx, opinions, strict=True)):
                document, repository, path, size, stars, forks, dates, unread, kind = fact
                order = rank(license_, stars, forks, dates, document)
                reason = first_reason(unread, opinion) or (None if kind in IN_LAYOUT[self.layout] else NO_FORM)
                yield Candidate(part, row, document, repository, path, size, order, reason)

    def _duplicates(self, work: Work, candidates: Sequence[Candidate]) -> Iterator[Duplicates]:
        number = {one.id: position for position, one in enumerate(candidates)}
        for stage, built in zip(self.groups, work.many("groups"), strict=True):
            edges = built.table("edges.parquet")
            columns = (edges[name].to_pylist() for name in ("a", "b", "jaccard"))
            yield Duplicates(
                stage.reason,  # type: ignore[attr-defined]
                [(number[a], number[b], similarity) for a, b, similarity in zip(*columns, strict=True)],
            )

    def _count(
        self, work: Work, candidates: Sequence[Candidate], reasons: Sequence[str | None], kept: dict[str, list[Kept]]
    ) -> None:
        dropped: Counter[str] = Counter()
        dropped_bytes: Counter[str] = Counter()
        bytes_out = 0
        for one, reason in zip(candidates, reasons, strict=True):
            if reason is None:
                bytes_out += one.size
            else:
                dropped[reason] += 1
                dropped_bytes[reason] += one.size
        staying = [one for part in kept.values() for one in part]
        said = ", ".join(f"{reason} {number:,}" for reason, number in dropped.most_common())
        if not staying:
            raise ConfigError(f"mix keeps none of {len(candidates):,} files ({said}); loosen a rule, or read more")
        apart = {one.group for one in staying if one.split == "heldout"}
        work.count(
            rows_in=len(candidates),
            rows_out=len(staying),
            dropped=dict(sorted(dropped.items())),
            bytes_in=bytes_out + dropped_bytes.total(),
            bytes_out=bytes_out,
            dropped_bytes=dict(sorted(dropped_bytes.items())),
            groups=len({one.group for one in staying}),
            heldout_groups=len(apart),
            heldout_rows=sum(one.split == "heldout" for one in staying),
        )
        work.summary = f"{len(candidates):,} → {len(staying):,} files" + (f" ({said})" if said else "")
        if self.heldout and not apart:
            work.summary += "; one group only, so nothing is held out"
