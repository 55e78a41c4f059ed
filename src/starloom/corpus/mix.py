"""Everything that was said about the files, joined late: which stay, in which split, as which training text."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from starloom.corpus.components import Duplicates, Edge
from starloom.corpus.decide import (
    Amounts,
    Candidate,
    Fixed,
    Kept,
    counted,
    decide,
    first_reason,
    joined_weight,
    matched,
    rank,
)
from starloom.corpus.fields import fields_of
from starloom.corpus.forms import IN_LAYOUT, NO_FORM, NotebookForm, rows_of
from starloom.corpus.language import Language
from starloom.corpus.layouts import LAYOUTS, METADATA, Document, Layout
from starloom.corpus.license import License
from starloom.corpus.pii import FindPII
from starloom.corpus.pii_redaction import REDACTION, Change, Redaction, changes_of, redacted
from starloom.corpus.rendered import Rendered
from starloom.corpus.schemas import MIX, OUTCOME, table_of
from starloom.corpus.selectors import Selector, with_numbers
from starloom.errors import ConfigError, suggestion
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, aligned, aligned_part, write_table

_FACTS = ("repository", "path", "size", "stars", "forks", "dates", "unread", "kind")
_LITTLE = 10  # times less than was asked for is worth a word; our choice
LARGEST_WEIGHT = 100  # times that a document is seen; our choice, far above any published epoch count
READ_COLUMNS = ["id", "repository", "path", "text", "stars", "kind", "fields"]  # of `Read`, that rows are made of


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
    kept_as = dict(zip(chosen["id"].to_pylist(), kept, strict=True))
    of: dict[bytes, dict[str, list[Change]]] = {}
    if pii is not None:
        of = changes_of(chosen, pii.take(pa.array([one.row for one in kept], pa.int64())), redaction, seed)
    rows = []
    for row in rows_of(layout, documents, metadata, seed, notebooks):
        first = kept_as[row.documents[0].id]
        weights = [kept_as[one.id].weight for one in row.documents]
        rows.append(
            {
                "id": row.documents[0].id,
                "group": first.group,
                "split": first.split,
                "validation": first.validation,
                "weight": joined_weight(weights, [len(one.text) for one in row.documents]),
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
    call: tuple[str, Built, Built | None, list[str | None], list[Kept], str, float, int, NotebookForm, Redaction],
    folder: Path,
) -> Facts:
    part, files, pii, reasons, kept, layout, metadata, seed, notebooks, redaction = call
    read, *said = aligned_part(part, [files, *([pii] if pii else [])], [READ_COLUMNS, *([["spans"]] if pii else [])])
    outcome = {"id": read["id"], "reason": pa.array(reasons, pa.string())}
    write_table(folder / f"outcome-{part}", pa.table(outcome, schema=OUTCOME))
    table = mixed(read, kept, layout, metadata, seed, notebooks, said[0] if said else None, redaction)
    write_table(folder / part, table)
    return {"documents": len(table)}


@dataclass(frozen=True, slots=True)
class Mix(Stage):
    """The files that every verdict keeps, one of each component of duplicates, as rows of training text.

    `metadata` is the chance of the layout's controls around a file (None: the published one); `heldout` the share of
    the hold-out groups that is kept for measuring. What is about the training split alone: `weights`
    (`language:Python=2`: seen twice; below 1 a sample of the files), `caps` (`language:JSON=1e9`: bytes, by sampling;
    without either, the natural distribution), and `apart`, whose near-duplicates of held-out files go. `validation`
    names sets of the held-out rows by selectors, the first that matches. `measured_as` is a mix of the same files that
    decides what is held out, so that models of different filters are measured on one set: its held-out files are held
    out here too, whatever the verdicts say, and nothing else of their groups stays. `outcome-part-*.parquet` has every
    document's reason, or none.
    """

    version: ClassVar[int] = 5
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
    weights: tuple[str, ...] = ()
    caps: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    apart: tuple[Stage, ...] = ()
    measured_as: Stage | None = None

    def __post_init__(self) -> None:
        for name in ("attributes", "verdicts", "groups", "apart"):
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
        for name in ("groups", "apart"):
            for stage in getattr(self, name):
                if not hasattr(stage, "reason"):
                    raise ConfigError(f"{name} of mix holds {stage.step}, which finds no duplicates")
        amounts = self.amounts()
        asked = {one.subject for one in (*(one for one, _ in (*amounts.weights, *amounts.caps)), *amounts.validation)}
        if "language" in asked and not any(isinstance(stage, Language) for stage in self.attributes):
            raise ConfigError("a setting of mix selects by language; give it a Language among its attributes")

    def amounts(self) -> Amounts:
        """The settings about amounts and sets, read."""
        weights = with_numbers(self.weights, "weights of mix")
        for selector, weight in weights:
            if weight > LARGEST_WEIGHT:
                raise ConfigError(f"weights of mix sees {selector} {weight:g} times; {LARGEST_WEIGHT} is the most")
        return Amounts(
            weights,
            with_numbers(self.caps, "caps of mix"),
            tuple(Selector.parse(one, "validation of mix") for one in self.validation),
        )

    def produce(self, work: Work) -> None:
        files = work.input("files")
        candidates = list(self._candidates(work))
        number = {one.id: position for position, one in enumerate(candidates)}
        duplicates = [
            Duplicates(stage.reason, _edges(built, number), getattr(stage, "same_content", True))  # type: ignore[attr-defined]
            for stage, built in zip(self.groups, work.many("groups"), strict=True)
        ]
        apart = [_edges(built, number) for built in work.many("apart")]
        fixed = None if self.measured_as is None else _fixed(work.input("measured_as"), number)
        reasons, kept = decide(candidates, duplicates, self.heldout, self.seed, apart, self.amounts(), fixed)
        self._count(work, candidates, reasons, kept)
        metadata = METADATA[self.layout] if self.metadata is None else self.metadata
        said: dict[str, list[str | None]] = {part: [] for part in files.parts()}
        for one, reason in zip(candidates, reasons, strict=True):
            said[one.part].append(reason)
        calls = {
            part.removesuffix(".parquet"): (
                part,
                files,
                None if self.redact is None else work.input("redact"),
                said[part],
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
        attributes = dict(zip(map(type, self.attributes), work.many("attributes"), strict=True))
        verdicts = work.many("verdicts")
        known = [kind for kind in (Language, License) if kind in attributes]
        others = (*(attributes[kind] for kind in known), *verdicts)
        columns = [_FACTS, *(["value"] for _ in known), *(["keep", "reasons"] for _ in verdicts)]
        for part, (files, *said) in aligned(work.input("files"), *others, columns=columns):
            values = {kind: said.pop(0)["value"].to_pylist() for kind in known}
            nothing = [None] * len(files)
            judged = [zip(one["keep"].to_pylist(), one["reasons"].to_pylist(), strict=True) for one in said]
            opinions = zip(*judged, strict=True) if judged else iter([()] * len(files))
            rows = zip(
                zip(*(files[name].to_pylist() for name in ("id", *_FACTS)), strict=True),
                values.get(Language, nothing),
                values.get(License, nothing),
                opinions,
                strict=True,
            )
            for row, (fact, language, license_, opinion) in enumerate(rows):
                document, repository, path, size, stars, forks, dates, unread, kind = fact
                order = rank(license_, stars, forks, dates, document)
                reason = first_reason(unread, opinion) or (None if kind in IN_LAYOUT[self.layout] else NO_FORM)
                yield Candidate(part, row, document, repository, path, size, kind, language, order, reason)

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
            **({"validation": counted(kept)} if self.validation else {}),
        )
        work.summary = f"{len(candidates):,} → {len(staying):,} files" + (f" ({said})" if said else "")
        out = sum(one.size for one in _held_out(candidates, kept))
        if self.heldout and not apart:
            work.summary += "; one group only, so nothing is held out"
        elif out < self.heldout * bytes_out / _LITTLE:
            work.summary += f"; only {out:,} bytes are held out: groups differ much in size, try another seed"
        for selector, number in matched(candidates, reasons, self.amounts()).items():
            work.summary += "" if number else f"; {selector} selects nothing"


def _edges(built: Built, number: Mapping[bytes, int]) -> list[Edge]:
    """The edges that a step found, between the numbers of documents."""
    edges = built.table("edges.parquet")
    columns = (edges[name].to_pylist() for name in ("a", "b", "jaccard"))
    return [(number[a], number[b], similarity) for a, b, similarity in zip(*columns, strict=True)]


def _fixed(other: Built, number: Mapping[bytes, int]) -> Fixed:
    """What another mix of the same documents holds out."""
    ids: set[bytes] = set()
    groups: set[str] = set()
    for table in other.tables(["parts", "split", "group"]):
        for row in table.filter(pc.equal(table["split"], "heldout")).to_pylist():
            ids |= {part["source"] for part in row["parts"] if part["source"] is not None}
            groups.add(row["group"])
    if not ids <= number.keys():
        raise ConfigError(f"measured_as of mix is {other.directory.name}, which was made of other files")
    return Fixed(frozenset(ids), frozenset(groups))


def _held_out(candidates: Sequence[Candidate], kept: Mapping[str, Sequence[Kept]]) -> Iterator[Candidate]:
    rows = {(part, one.row) for part, some in kept.items() for one in some if one.split == "heldout"}
    return (one for one in candidates if (one.part, one.row) in rows)
