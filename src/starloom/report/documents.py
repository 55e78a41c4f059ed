"""What became of the documents of a corpus: kept or dropped and why, by language, license and origin, with examples.

Shard by shard: of the documents only ids are held at once, and the text of the few that are shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starloom.report.facts import Steps
from starloom.store import Built, aligned_part

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = 4  # rows shown for each reason
EXCERPT = 400  # characters of each
BEFORE = 80  # of them in front of the place that decided
LARGEST = 12  # lines of a table of languages, licenses, repositories or groups
CLUSTERS = 5  # duplicate groups shown
UNKNOWN = "none found"
KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Example:
    """A document with an excerpt: what stands before the marked place, the place, and what follows."""

    repository: str
    path: bytes
    size_bytes: int
    reasons: tuple[str, ...]
    before: str = ""
    marked: str = ""
    after: str = ""
    unread: str | None = None


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


@dataclass(frozen=True, slots=True)
class Cluster:
    """Documents that are duplicates of one another, the first of them kept where any was."""

    members: tuple[tuple[str, bytes, int, bool], ...]  # repository, path, bytes, kept
    files: int


@dataclass(slots=True)
class Duplicates:
    """What one step of duplicate groups found."""

    step: str
    groups: int = 0
    files: int = 0  # in groups of two and more
    clusters: list[Cluster] = field(default_factory=list)


@dataclass(slots=True)
class Corpus:
    """All that a page says about the documents of one `Mix`, or of a `Read` that nothing was mixed from."""

    name: str
    source: str
    all: Amount = field(default_factory=Amount)
    dropped: dict[str, Amount] = field(default_factory=dict)  # reason → what it cost, most bytes first
    splits: dict[str, Amount] = field(default_factory=dict)
    tables: dict[str, dict[str, Amount]] = field(default_factory=dict)  # what is counted → value → amount
    held_out: dict[str, Amount] = field(default_factory=dict)  # hold-out group → amount
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
    smallest: dict[str, list[tuple[bytes, str, int]]] = defaultdict(list)  # reason → (id, part, row), smallest first
    for part in read.parts():
        table = _judged(part, read, attributes, verdicts, groups, mixed)
        _add(corpus, table, [one.name for one in attributes])
        for reason in corpus.dropped:
            rows = _smallest(table, reason)
            smallest[reason] = sorted([*smallest[reason], *((id_, part, row) for id_, row in rows)])[:EXAMPLES]
    corpus.dropped = dict(sorted(corpus.dropped.items(), key=lambda item: (-item[1].files, item[0])))
    corpus.examples = _examples(read, verdicts, smallest)
    corpus.duplicates = [_duplicates(read, one, mixed) for one in groups]
    if mix is not None:
        corpus.rendered = _rendered(mix)
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
    ids, split, group = (_array(whole[name]) for name in ("id", "split", "group"))
    return _Mixed(ids, split, group)


def _array(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _judged(
    part: str,
    read: Built,
    attributes: Sequence[Built],
    verdicts: Sequence[Built],
    groups: Sequence[Built],
    mixed: _Mixed | None,
) -> pa.Table:
    """One shard: id, row, size, repository, each attribute, and what became of the document (`outcome`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names: list[list[str]] = [["id", "repository", "size", "unread"]]
    names += [["value"]] * len(attributes) + [["keep", "reasons"]] * len(verdicts)
    files, *others = aligned_part(part, [read, *attributes, *verdicts], names)
    nothing = pa.nulls(files.num_rows, pa.string())
    reason = nothing
    for verdict in others[len(attributes) :]:
        first = pc.list_element(_padded(verdict["reasons"].combine_chunks()), 0)
        reason = pc.coalesce(reason, pc.if_else(verdict["keep"], pa.scalar(None, pa.string()), first))
    split = group = nothing
    if mixed is not None:
        place = pc.index_in(files["id"].combine_chunks(), value_set=mixed.ids)
        split, group = mixed.split.take(place), mixed.group.take(place)
        left_out = pc.coalesce(files["unread"].combine_chunks(), pa.scalar(duplicate_reason(groups)))
        reason = pc.if_else(pc.is_valid(split), pa.scalar(None, pa.string()), pc.coalesce(reason, left_out))
    columns = {
        "id": files["id"],
        "row": pa.array(range(files.num_rows), pa.int64()),
        "size": files["size"],
        "repository": files["repository"],
        "outcome": reason,
        "split": split,
        "group": group,
    }
    for built, attribute in zip(attributes, others, strict=False):
        columns[f"attribute:{built.name}"] = attribute["value"]
    return pa.table(columns)


def _padded(lists: pa.Array) -> pa.Array:
    """Lists of reasons with a null behind each, so that an empty one has a first element."""
    import pyarrow as pa

    return pa.array([[*(reasons or []), None] for reasons in lists.to_pylist()], lists.type)


def duplicate_reason(groups: Sequence[Built]) -> str:
    """What a document was left out for when every verdict kept it and it was read: another one stands for it."""
    return "duplicate" if groups else "left_out"


def _add(corpus: Corpus, table: pa.Table, attributes: Sequence[str]) -> None:
    def sums(*columns: str) -> Iterator[tuple[Any, ...]]:
        grouped = table.group_by(list(columns)).aggregate([("size", "count"), ("size", "sum")])
        yield from zip(*(grouped[name].to_pylist() for name in (*columns, "size_count", "size_sum")), strict=True)

    for reason, files, size in sums("outcome"):
        corpus.all.add(files, size or 0, reason is None)
        if reason is not None:
            corpus.dropped.setdefault(reason, Amount()).add(files, size or 0, False)
    for split, group, files, size in sums("split", "group"):
        if split is not None:
            corpus.splits.setdefault(split, Amount()).add(files, size or 0, True)
        if split == "heldout":
            corpus.held_out.setdefault(group or "", Amount()).add(files, size or 0, True)
    for title, column in [*((name, f"attribute:{name}") for name in attributes), ("repository", "repository")]:
        counted = corpus.tables.setdefault(title, {})
        for value, reason, files, size in sums(column, "outcome"):
            counted.setdefault(value or UNKNOWN, Amount()).add(files, size or 0, reason is None)


def _smallest(table: pa.Table, reason: str) -> list[tuple[bytes, int]]:
    """(id, row) of the documents dropped for a reason whose ids are smallest: ids are hashes, so this is chance."""
    import pyarrow.compute as pc

    chosen = table.filter(pc.equal(table["outcome"], reason))
    order = pc.sort_indices(chosen["id"].cast("binary"))[:EXAMPLES]
    return list(zip(chosen["id"].take(order).to_pylist(), chosen["row"].take(order).to_pylist(), strict=True))


def _examples(
    read: Built, verdicts: Sequence[Built], smallest: Mapping[str, Sequence[tuple[bytes, str, int]]]
) -> dict[str, list[Example]]:
    wanted: dict[str, list[tuple[str, int]]] = defaultdict(list)  # part → (reason, row)
    for reason, rows in smallest.items():
        for _, part, row in rows:
            wanted[part].append((reason, row))
    found: dict[str, list[tuple[bytes, Example]]] = defaultdict(list)
    for part, places in wanted.items():
        columns: list[list[str]] = [["repository", "path", "size", "text", "unread"]]
        files, *judged = aligned_part(part, [read, *verdicts], columns + [["reasons", "spans"]] * len(verdicts))
        for reason, row in places:
            said = [table.slice(row, 1).to_pylist()[0] for table in judged]
            facts = files.slice(row, 1).to_pylist()[0]
            found[reason].append((facts["id"], example(facts, reason, said)))
    return {reason: [one for _, one in sorted(rows, key=lambda item: item[0])] for reason, rows in found.items()}


def example(facts: Mapping[str, Any], reason: str, said: Sequence[Mapping[str, Any]]) -> Example:
    """A document's excerpt: around the first span that the reason names in its text, else from its beginning."""
    reasons = tuple(dict.fromkeys(one for verdict in said for one in verdict["reasons"] or ()))
    spans = [span for verdict in said for span in verdict["spans"] or ()]
    data = (facts["text"] or "").encode()
    start, end = next(
        ((one["start"], one["end"]) for one in spans if one["reason"] == reason and one["field"] == "text"), (0, 0)
    )
    before = data[max(0, start - 4 * BEFORE) : start].decode(errors="ignore")[-BEFORE:]
    marked = data[start : min(end, start + 4 * EXCERPT)].decode(errors="ignore")[: EXCERPT - len(before)]
    room = EXCERPT - len(before) - len(marked)
    after = data[end : end + 4 * room].decode(errors="ignore")[:room]
    return Example(
        facts["repository"] or "",
        facts["path"] or b"",
        facts["size"] or 0,
        reasons or (reason,),
        ("…" if start > len(before.encode()) else "") + before,
        marked,
        after + ("…" if end + len(after.encode()) < len(data) else ""),
        facts["unread"],
    )


def _duplicates(read: Built, groups: Built, mixed: _Mixed | None) -> Duplicates:
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pa.concat_tables([groups.table(name, ["group"]) for name in groups.parts()])
    counted = numbers.group_by("group").aggregate([([], "count_all")])
    several = counted.filter(pc.greater(counted["count_all"], 1))
    found = Duplicates(groups.name, several.num_rows, pc.sum(several["count_all"]).as_py() or 0)
    order = pc.sort_indices(several, sort_keys=[("count_all", "descending"), ("group", "ascending")])[:CLUSTERS]
    largest = several.take(order)
    members: dict[int, list[tuple[str, bytes, int, bool]]] = {number: [] for number in largest["group"].to_pylist()}
    for part in read.parts():
        files, grouped = aligned_part(part, [read, groups], [["repository", "path", "size"], ["group"]])
        rows = files.append_column("group", grouped["group"])
        rows = rows.filter(pc.is_in(rows["group"], value_set=_array(largest["group"])))
        for row in rows.to_pylist():
            kept = mixed is not None and pc.index(mixed.ids, pa.scalar(row["id"], mixed.ids.type)).as_py() >= 0
            members[row["group"]].append((row["repository"] or "", row["path"] or b"", row["size"] or 0, kept))
    for rows in members.values():
        rows.sort(key=lambda row: (not row[3], row[0], row[1]))
        found.clusters.append(Cluster(tuple(rows[:LARGEST]), len(rows)))
    return found


def _rendered(mix: Built) -> list[list[tuple[str | None, str]]]:
    """How the rows of smallest id are rendered for training: their controls and the beginnings of their texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    best: list[tuple[bytes, str, int]] = []
    for name in mix.parts():
        table = mix.table(name, ["id", "split"])
        rows = pa.table({"id": table["id"].cast("binary"), "row": pa.array(range(table.num_rows), pa.int64())})
        rows = rows.filter(pc.equal(table["split"], "train"))
        rows = rows.take(pc.sort_indices(rows["id"])[:2])
        best += [(id_, name, row) for id_, row in zip(rows["id"].to_pylist(), rows["row"].to_pylist(), strict=True)]
    shown = []
    for _, name, row in sorted(best)[:2]:
        parts = mix.table(name, ["parts"]).slice(row, 1).to_pylist()[0]["parts"]
        room, pieces = EXCERPT, []
        for one in parts:
            text = one["text"][: max(room, 0)]
            pieces.append((one["control"], text + ("…" if len(text) < len(one["text"]) else "")))
            room -= len(text)
        shown.append(pieces)
    return shown
