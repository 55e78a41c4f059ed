"""What became of the documents of a corpus: kept or dropped and why, by language, license and origin.

Shard by shard: of the documents only ids are held at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starloom.report.examples import (
    EXAMPLES,
    Duplicates,
    Example,
    Place,
    duplicates,
    examples,
    joined,
    rendered,
    repeated,
)
from starloom.report.facts import Steps
from starloom.store import Built, aligned_part

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = "none found"


@dataclass(slots=True)
class Amount:
    """Documents and their bytes, as read and as kept."""

    files: int = 0
    size_bytes: int = 0
    kept_files: int = 0
    kept_bytes: int = 0

    def add(self, files: int, size_bytes: int, kept: bool) -> None:
        self.files += files
        self.size_bytes += size_bytes
        self.kept_files += files * kept
        self.kept_bytes += size_bytes * kept


@dataclass(slots=True)
class Corpus:
    """All that a page says about the documents of one `Mix`, or of a `Read` that nothing was mixed from."""

    name: str
    source: str
    all: Amount = field(default_factory=Amount)
    dropped: dict[str, Amount] = field(default_factory=dict)  # reason → what it cost, most bytes first
    splits: dict[str, Amount] = field(default_factory=dict)
    tables: dict[str, dict[str, Amount]] = field(default_factory=dict)  # what is counted → value → amount
    trained: dict[str, Amount] = field(default_factory=dict)  # hold-out group → amount, of those trained on
    held_out: dict[str, Amount] = field(default_factory=dict)  # and of those held out
    examples: dict[str, list[Example]] = field(default_factory=dict)  # reason → documents
    duplicates: list[Duplicates] = field(default_factory=list)
    rendered: list[list[tuple[str | None, str]]] = field(default_factory=list)  # (control, text) parts of rows


@dataclass(frozen=True, slots=True)
class _Mixed:
    """The documents that a `Mix` kept, in one order: ids, split and hold-out group."""

    ids: pa.Array
    split: pa.Array
    group: pa.Array


def corpora(steps: Steps) -> list[Corpus]:
    """One for each `Mix`, and one for each `Read` that no `Mix` of the journey took."""
    found, taken = [], set()
    for mix in steps.of("mix"):
        read = next(iter(steps.upstream(mix, "read")), None)
        if read is not None:
            taken.add(read.fingerprint)
            found.append(_corpus(steps, read, mix))
    found += [_corpus(steps, read, None) for read in steps.of("read") if read.fingerprint not in taken]
    return found


def _corpus(steps: Steps, read: Built, mix: Built | None) -> Corpus:
    source = ", ".join(one["value"] for one in read.manifest["externals"].values())
    corpus = Corpus((mix or read).name, source)
    if mix is not None:
        attributes, verdicts, groups = (
            [one for one in steps.inputs(mix, kind) if read in steps.upstream(one, "read")]
            for kind in ("attribute", "verdict", "group")
        )
    else:
        attributes, verdicts, groups = (
            [one for one in steps.of(kind) if steps.upstream(one, "read")[:1] == [read]]
            for kind in ("attribute", "verdict", "group")
        )
    mixed = _mixed(mix) if mix is not None else None
    several = [repeated(read, one) for one in groups]
    smallest: dict[str, list[Place]] = defaultdict(list)
    for part in read.parts():
        table = _judged(part, read, attributes, verdicts, list(zip(groups, several, strict=True)), mixed)
        _add(corpus, table, [one.name for one in attributes])
        for reason in corpus.dropped:
            smallest[reason] = sorted([*smallest[reason], *_smallest(table, part, reason)])[:EXAMPLES]
    corpus.dropped = dict(sorted(corpus.dropped.items(), key=lambda item: (-item[1].files, item[0])))
    corpus.examples = examples(read, attributes, verdicts, smallest)
    kept = mixed.ids if mixed is not None else None
    corpus.duplicates = [duplicates(read, one, found, kept) for one, found in zip(groups, several, strict=True)]
    if mix is not None:
        corpus.rendered = rendered(mix)
    return corpus


def _mixed(mix: Built) -> _Mixed:
    import pyarrow as pa
    import pyarrow.compute as pc

    pieces = []
    for name in mix.parts():
        table = mix.table(name, ["parts", "split", "group"])
        parts = table["parts"].combine_chunks()
        rows = pc.list_parent_indices(parts)
        sources = pc.struct_field(pc.list_flatten(parts), "source")
        one = pa.table({"id": sources, "split": pc.take(table["split"], rows), "group": pc.take(table["group"], rows)})
        pieces.append(one.filter(pc.is_valid(one["id"])).group_by(["id", "split", "group"]).aggregate([]))
    whole = pa.concat_tables(pieces).combine_chunks()
    ids, split, group = (joined(whole[name]) for name in ("id", "split", "group"))
    return _Mixed(ids, split, group)


def _judged(
    part: str,
    read: Built,
    attributes: Sequence[Built],
    verdicts: Sequence[Built],
    groups: Sequence[tuple[Built, pa.Table]],
    mixed: _Mixed | None,
) -> pa.Table:
    """One shard: id, row, size, repository, each attribute, and what became of the document (`outcome`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [["repository", "size", "unread"], *[["value"]] * len(attributes), *[["keep", "reasons"]] * len(verdicts)]
    said = aligned_part(
        part, [read, *attributes, *verdicts, *(one for one, _ in groups)], [*columns, *[["group"]] * len(groups)]
    )
    files, rest = said[0], iter(said[1:])
    table = {"id": files["id"], "size": files["size"], "repository": files["repository"]}
    table["row"] = pa.array(range(files.num_rows), pa.int64())
    for built in attributes:
        table[f"attribute:{built.name}"] = next(rest)["value"]
    reason = table["split"] = table["group"] = pa.nulls(files.num_rows, pa.string())
    for _ in verdicts:
        verdict = next(rest)
        first = pc.list_slice(verdict["reasons"].combine_chunks(), 0, 1, return_fixed_size_list=True).values
        reason = pc.coalesce(reason, pc.if_else(verdict["keep"].combine_chunks(), pa.scalar(None, pa.string()), first))
    if mixed is not None:
        place = pc.index_in(files["id"].combine_chunks(), value_set=mixed.ids)
        table["split"], table["group"] = mixed.split.take(place), mixed.group.take(place)
        reason = pc.coalesce(reason, files["unread"].combine_chunks())
        for built, several in groups:
            copied = pc.is_in(next(rest)["group"].combine_chunks(), value_set=joined(several["group"]))
            reason = pc.coalesce(reason, pc.if_else(copied, duplicate_reason(built), pa.scalar(None, pa.string())))
        reason = pc.if_else(pc.is_valid(table["split"]), pa.scalar(None, pa.string()), pc.coalesce(reason, "left_out"))
    return pa.table({**table, "outcome": reason})


def duplicate_reason(groups: Built) -> str:
    """What `Mix` says of a document that another one stands for: near_dedup → near_duplicate."""
    return groups.name.partition(":")[0].replace("dedup", "duplicate")


def _add(corpus: Corpus, table: pa.Table, attributes: Sequence[str]) -> None:
    def sums(*columns: str) -> Iterator[tuple[Any, ...]]:
        grouped = table.group_by(list(columns)).aggregate([([], "count_all"), ("size", "sum")])
        yield from zip(*(grouped[name].to_pylist() for name in (*columns, "count_all", "size_sum")), strict=True)

    for reason, files, size in sums("outcome"):
        corpus.all.add(files, size or 0, reason is None)
        if reason is not None:
            corpus.dropped.setdefault(reason, Amount()).add(files, size or 0, False)
    for split, group, files, size in sums("split", "group"):
        if split is not None:
            corpus.splits.setdefault(split, Amount()).add(files, size or 0, True)
            side = corpus.held_out if split == "heldout" else corpus.trained
            side.setdefault(group or "", Amount()).add(files, size or 0, True)
    for title, column in [*((name, f"attribute:{name}") for name in attributes), ("repository", "repository")]:
        counted = corpus.tables.setdefault(title, {})
        for value, reason, files, size in sums(column, "outcome"):
            counted.setdefault(value or UNKNOWN, Amount()).add(files, size or 0, reason is None)


def _smallest(table: pa.Table, part: str, reason: str) -> list[Place]:
    """The documents of a shard that were dropped for a reason, those with the smallest ids."""
    import pyarrow.compute as pc

    chosen = table.filter(pc.equal(table["outcome"], reason))
    chosen = chosen.take(pc.sort_indices(chosen["id"].cast("binary"))[:EXAMPLES])
    return [(id_, part, row) for id_, row in zip(chosen["id"].to_pylist(), chosen["row"].to_pylist(), strict=True)]
