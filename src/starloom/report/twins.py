"""Groups of duplicates: how many there are, the largest of them, and of each the file that stays beside one that goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starloom.report import plain
from starloom.report.examples import masked
from starloom.report.outcomes import AFTER_GROUPS, Basis, joined
from starloom.report.side_by_side import Excerpt, side_by_side
from starloom.store import Built, aligned_part

if TYPE_CHECKING:
    import pyarrow as pa

CLUSTERS = 6  # duplicate groups shown
MEMBERS = 8  # documents shown of each


@dataclass(frozen=True, slots=True)
class Member:
    """A document of a group, with what decides which one stays."""

    id: bytes
    part: str
    row: int
    repository: str
    path: bytes
    size_bytes: int
    blob: str | None
    license: str | None
    stars: int | None
    forks: int | None
    latest: str | None  # day of its newest revision
    step: str | None  # where it was dropped

    @property
    def kept(self) -> bool:
        return self.step is None

    @property
    def survived(self) -> bool:
        """Whether it was the one of its component that stays; what comes later may still have dropped it."""
        return self.step is None or self.step in AFTER_GROUPS

    @property
    def facts(self) -> list[str]:
        """What it is ranked by, in words."""
        found = [self.license or "no license found"]
        found += [plain.several(self.stars, "star")] if self.stars is not None else []
        found += [plain.several(self.forks, "fork")] if self.forks is not None else []
        return [*found, *([f"last changed {self.latest}"] if self.latest else [])]


@dataclass(frozen=True, slots=True)
class Pair:
    """A document that stays and one that goes for it; `similarity` is None when other documents join them."""

    stays: Member
    goes: Member
    similarity: float | None
    why: str
    excerpt: Excerpt | None  # None when both have the same bytes, or what differs is masked


@dataclass(frozen=True, slots=True)
class Cluster:
    """Documents that are duplicates of one another, the first of them kept where any was."""

    members: tuple[Member, ...]
    files: int
    pair: Pair | None = None


@dataclass(slots=True)
class Duplicates:
    """What one step of duplicate groups found."""

    step: str
    groups: int = 0
    files: int = 0  # in groups of two and more
    dropped: int = 0  # of them, by this step
    clusters: list[Cluster] = field(default_factory=list)


def repeated(read: Built, groups: Built) -> pa.Table:
    """The numbers (`group`) of the groups of two and more, how many documents each has (`count_all`), and their bytes
    together (`size_sum`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = []
    for name in groups.parts():
        files, grouped = aligned_part(name, [read, groups], [["size"], ["group"]])
        numbers.append(pa.table({"group": grouped["group"], "size": files["size"]}))
    counted = pa.concat_tables(numbers).group_by("group").aggregate([([], "count_all"), ("size", "sum")])
    return counted.filter(pc.greater(counted["count_all"], 1))


def duplicates(basis: Basis, groups: Built, several: pa.Table, fates: pa.Table) -> Duplicates:
    """The groups of two and more that one step found, and those in which it dropped most bytes, then the largest;
    `fates` has the id, size and step of every document in order."""
    import pyarrow.compute as pc

    found = Duplicates(groups.name, several.num_rows, pc.sum(several["count_all"]).as_py() or 0)
    lost = _lost(basis, groups, fates)
    ranked = several.append_column("lost", pc.take(lost["size_sum"], pc.index_in(several["group"], lost["group"])))
    ranked = ranked.set_column(ranked.num_columns - 1, "lost", pc.fill_null(ranked["lost"], 0))
    keys = [("lost", "descending"), ("size_sum", "descending"), ("group", "ascending")]
    order = pc.sort_indices(ranked, sort_keys=keys)[:CLUSTERS]
    found.dropped = pc.sum(lost["count_all"]).as_py() or 0
    numbers = joined(several.take(order)["group"])
    clusters: dict[int, list[Member]] = {number: [] for number in numbers.to_pylist()}
    for number, member in _members(basis, groups, numbers, fates):
        clusters[number].append(member)
    edges = _edges(groups, [one.id for members in clusters.values() for one in members])
    chosen = {number: chosen_pair(members, edges, groups.name) for number, members in clusters.items()}
    texts = _texts(basis, [one for pair in chosen.values() if pair for one in pair[:2]])
    for number, members in clusters.items():
        pair = chosen[number]
        shown = None
        if pair is not None:
            stays, goes, similarity = pair
            different = stays.blob is None or stays.blob != goes.blob
            excerpt = side_by_side(texts[stays.id], texts[goes.id]) if different else None
            shown = Pair(stays, goes, similarity, reason_to_stay(stays, goes), excerpt)
        members.sort(key=lambda one: (not one.kept, one.repository, one.path, one.id))
        found.clusters.append(Cluster(tuple(members[:MEMBERS]), len(members), shown))
    return found


def _lost(basis: Basis, groups: Built, fates: pa.Table) -> pa.Table:
    """Of each group what the step dropped: `group`, `count_all`, `size_sum`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pa.concat_tables([groups.table(part, ["group"]) for part in basis.read.parts()])["group"]
    of = pa.table({"group": numbers, "size": fates["size"]})
    of = of.filter(pc.fill_null(pc.equal(fates["step"], groups.name), False))
    return of.group_by("group").aggregate([([], "count_all"), ("size", "sum")])


def _members(basis: Basis, groups: Built, numbers: pa.Array, fates: pa.Table) -> Iterator[tuple[int, Member]]:
    """(group, document) for the documents of some groups."""
    import pyarrow as pa
    import pyarrow.compute as pc

    licenses = [one for one in basis.attributes if one.name.partition(":")[0] == "license"][:1]
    columns = [
        ["repository", "path", "size", "blob", "stars", "forks", "dates"],
        ["group"],
        *[["value"]] * len(licenses),
    ]
    start = 0
    for part in basis.read.parts():
        files, grouped, *said = aligned_part(part, [basis.read, groups, *licenses], columns)
        rows = files.append_column("group", grouped["group"])
        rows = rows.append_column("row", pa.array(range(len(rows)), pa.int64()))
        rows = rows.append_column("license", said[0]["value"] if said else pa.nulls(len(rows), pa.string()))
        rows = rows.append_column("step", fates["step"].slice(start, len(rows)))
        start += len(rows)
        for row in rows.filter(pc.is_in(rows["group"], value_set=numbers)).to_pylist():
            yield row["group"], _member(row, part)


def _member(row: Mapping[str, Any], part: str) -> Member:
    latest = max((date for date in row["dates"] or () if date is not None), default=None)
    return Member(
        row["id"],
        part,
        row["row"],
        row["repository"] or "",
        row["path"] or b"",
        row["size"] or 0,
        row["blob"],
        row["license"],
        row["stars"],
        row["forks"],
        None if latest is None else latest.date().isoformat(),
        row["step"],
    )


def _edges(groups: Built, ids: Sequence[bytes]) -> list[tuple[bytes, bytes, float]]:
    """The edges between some documents."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "edges.parquet" not in groups.manifest["files"]:
        return []
    table = groups.table("edges.parquet")
    table = table.filter(pc.is_in(table["a"], value_set=pa.array(ids, table["a"].type)))
    return list(zip(*(table[name].to_pylist() for name in ("a", "b", "jaccard")), strict=True))


def chosen_pair(
    members: Sequence[Member], edges: Sequence[tuple[bytes, bytes, float]], step: str
) -> tuple[Member, Member, float | None] | None:
    """A document that stays, one that the step dropped for it, and their similarity: the least alike of the pairs.

    Documents joined by edges of similarity 1 have the same edges. Without an edge between two of those, one that stays
    alone in its group stands for all, through others.
    """
    known = {one.id: one for one in sorted(members, key=lambda one: one.id)}
    stands = {document: document for document in known}

    def first(document: bytes) -> bytes:
        while stands[document] != document:
            stands[document] = stands[stands[document]]
            document = stands[document]
        return document

    mine = [edge for edge in edges if edge[0] in known and edge[1] in known]
    for a, b, similarity in mine:
        if similarity == 1.0:
            low, high = sorted((first(a), first(b)))
            stands[high] = low
    staying: dict[bytes, list[Member]] = defaultdict(list)
    going: dict[bytes, list[Member]] = defaultdict(list)
    for document, one in known.items():
        if one.survived:
            staying[first(document)].append(one)
        elif one.step == step:
            going[first(document)].append(one)
    equal = [(document, document, 1.0) for document in known]
    both = [(first(a), first(b), similarity) for a, b, similarity in mine]
    both += [(b, a, similarity) for a, b, similarity in both]
    found = [
        (similarity, stays.id, goes.id)
        for a, b, similarity in (*both, *equal)
        for stays in staying[a][:1]
        for goes in going[b][:1]
    ]
    if found:
        similarity, stays_id, goes_id = min(found)
        return known[stays_id], known[goes_id], similarity
    alone = [one for one in known.values() if one.survived]
    others = [one for one in known.values() if one.step == step]
    return (alone[0], others[0], None) if len(alone) == 1 and others else None


def reason_to_stay(stays: Member, goes: Member) -> str:
    """Why one was preferred, as `Mix` ranks: license type, stars, forks, latest date, then by chance (its id)."""
    rest = next(
        (
            f"{name} ({_said(one)}, {_said(other)})"
            for name, one, other in (
                ("stars", stays.stars, goes.stars),
                ("forks", stays.forks, goes.forks),
                ("latest change", stays.latest, goes.latest),
            )
            if one != other
        ),
        "its id, all else being equal",
    )
    if stays.license == goes.license:
        return rest
    return f"license type ({_said(stays.license)}, {_said(goes.license)}); where both are of one type, {rest}"


def _said(value: object) -> str:
    return "none known" if value is None else str(value)


def _texts(basis: Basis, wanted: Sequence[Member]) -> dict[bytes, str]:
    """The texts of some documents, personal data masked."""
    places: dict[str, list[Member]] = defaultdict(list)
    for one in wanted:
        places[one.part].append(one)
    found = {}
    for part, members in places.items():
        columns = [["text", "fields"], *[["spans"]] * len(basis.spoken)]
        tables = aligned_part(part, [basis.read, *basis.spoken], columns)
        for one in members:
            facts, *said = (table.slice(one.row, 1).to_pylist()[0] for table in tables)
            spans = [span for verdict in said for span in verdict["spans"] or ()]
            found[one.id] = masked((facts["text"] or "").encode(), facts["fields"], spans).decode(errors="replace")
    return found
