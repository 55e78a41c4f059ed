"""What became of each document: everything that was said of it, joined shard by shard. Only ids are held at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starloom.errors import AlignmentError
from starloom.report.facts import Steps
from starloom.store import Built, aligned_part

if TYPE_CHECKING:
    import pyarrow as pa

    Arrays = dict[str, pa.Array]

LEFT_OUT = "left_out"  # kept by every step, and in no row of the mix
BEFORE_GROUPS = (
    "kind_not_in_layout",
)  # reasons of `Mix` itself, in the order in which it decides (`corpus/decide.py`)
AFTER_GROUPS = ("held_out_elsewhere", "near_duplicate_of_heldout", "down_sampled")
_TITLES = {
    "kind_not_in_layout": "layout",
    "held_out_elsewhere": "hold-out",
    "near_duplicate_of_heldout": "hold-out",
    "down_sampled": "sampling",
}


@dataclass(frozen=True, slots=True)
class Basis:
    """The directories that speak of the documents of one `Read`, each list in the order of the recipe."""

    read: Built
    mix: Built | None
    attributes: tuple[Built, ...]
    verdicts: tuple[Built, ...]  # those that drop
    groups: tuple[Built, ...]  # of duplicates, of which one stays
    spoken: tuple[Built, ...]  # every verdict, also what only marks personal data
    census: Built | None

    @classmethod
    def of(cls, steps: Steps, read: Built, mix: Built | None) -> Basis:
        """What a mix was made from; without a mix, whatever was said about the documents."""
        if mix is None:
            attributes, verdicts, groups = (
                tuple(one for one in steps.of(kind) if steps.upstream(one, "read")[:1] == [read])
                for kind in ("attribute", "verdict", "group")
            )
            spoken = verdicts
        else:
            attributes = tuple(steps.inputs(mix, "attribute"))
            verdicts = tuple(steps.inputs(mix, "verdict", field="verdicts"))
            groups = tuple(steps.inputs(mix, "group", field="groups"))
            spoken = tuple(steps.inputs(mix, "verdict"))
        censuses = [one for one in steps.of("census") if read in steps.inputs(one, "read")]
        if mix is not None:
            censuses.sort(key=lambda one: mix not in steps.upstream(one, "mix"))  # that of its own vocabulary first
        return cls(read, mix, attributes, verdicts, groups, spoken, censuses[0] if censuses else None)

    def stations(self) -> list[str]:
        """Where a document can leave, in order: the names of steps, and reasons that are the mix's own."""
        order = [one.name for one in self.verdicts]
        order += [self.read.name, *BEFORE_GROUPS, *(one.name for one in self.groups), *AFTER_GROUPS, LEFT_OUT]
        return list(dict.fromkeys(order))

    def step_of(self, station: str) -> str:
        """The step that a station belongs to."""
        own = self.mix is not None and station in (*BEFORE_GROUPS, *AFTER_GROUPS, LEFT_OUT)
        return self.mix.name if own and self.mix is not None else station

    def kept_as(self) -> Rows | None:
        return None if self.mix is None else Rows.of(self.mix)


@dataclass(frozen=True, slots=True)
class Rows:
    """The documents in the rows of a `Mix`, in one order: ids, split, hold-out group and validation set."""

    ids: pa.Array
    split: pa.Array
    group: pa.Array
    validation: pa.Array

    @classmethod
    def of(cls, mix: Built) -> Rows:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        names = ["split", "group", "validation"]
        pieces = []
        for part in mix.parts():
            rows_of_part = pq.ParquetFile(pa.BufferReader(mix.read_bytes(part)))
            table = rows_of_part.read(columns=["parts.list.element.source", *names], use_threads=False)
            parts = table["parts"].combine_chunks()
            rows = pc.list_parent_indices(parts)
            columns = {name: pc.take(table[name], rows) for name in names}
            one = pa.table({"id": pc.struct_field(pc.list_flatten(parts), "source"), **columns})
            pieces.append(one.filter(pc.is_valid(one["id"])).group_by(["id", *names]).aggregate([]))
        whole = pa.concat_tables(pieces).combine_chunks()
        return cls(*(joined(whole[name]) for name in ("id", *names)))


def station_title(station: str) -> str:
    """A station in a word, for the head of a column."""
    return _TITLES.get(station, station)


def duplicate_reason(groups: Built) -> str:
    """What `Mix` says of a document that another one stands for: what the stage says, or near_dedup → near_duplicate."""
    said = getattr(loaded(groups.manifest["stage"]), "reason", None)
    return said if isinstance(said, str) else groups.name.partition(":")[0].replace("dedup", "duplicate")


def loaded(name: str) -> object | None:
    """The object `module:attribute` when its module is loaded: no code is imported at a manifest's word."""
    module, _, attribute = name.partition(":")
    return getattr(sys.modules.get(module), attribute, None)


def judged(basis: Basis, part: str, kept: Rows | None, several: Sequence[pa.Array]) -> pa.Table:
    """One shard: id, row, size, repository, each attribute, reason and step that dropped it, where it is if it stays.

    `several` holds, for each step of groups, the numbers of its groups of two and more. `step` is one of `stations`;
    `end` is that or the split. `tokens`, `characters` and `text_bytes` are null without a census.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    beside = [(one, ["value"]) for one in basis.attributes]
    beside += [(one, ["keep", "reasons"]) for one in basis.verdicts] + [(one, ["group"]) for one in basis.groups]
    beside += [(basis.census, ["tokens", "characters", "bytes"])] if basis.census else []
    columns = [["repository", "size", "unread"], *(names for _, names in beside)]
    files, *said = map(_arrays, aligned_part(part, [basis.read, *(one for one, _ in beside)], columns))
    values, said = said[: len(basis.attributes)], said[len(basis.attributes) :]
    verdicts, said = said[: len(basis.verdicts)], said[len(basis.verdicts) :]
    grouped, census = said[: len(basis.groups)], said[len(basis.groups) :]
    reason, step = _dropped(basis, part, files, verdicts, grouped, several)
    nothing = pa.nulls(len(files["id"]), pa.string())
    where = {"split": nothing, "group": nothing, "validation": nothing}
    if kept is not None:
        place = pc.index_in(files["id"], value_set=kept.ids)
        where = {name: getattr(kept, name).take(place) for name in where}
        lost = pc.and_(pc.is_null(reason), pc.is_null(where["split"]))
        reason, step = pc.if_else(lost, LEFT_OUT, reason), pc.if_else(lost, LEFT_OUT, step)
    figures = census[0] if census else None
    return pa.table(
        {
            "id": files["id"],
            "row": pa.array(range(len(nothing)), pa.int64()),
            "size": files["size"],
            "repository": files["repository"],
            **{f"attribute:{one.name}": table["value"] for one, table in zip(basis.attributes, values, strict=True)},
            "reason": reason,
            "step": step,
            **where,
            "end": pc.coalesce(step, where["split"]),
            **{
                name: pa.nulls(len(nothing), pa.int64()) if figures is None else figures[column]
                for name, column in (("tokens", "tokens"), ("characters", "characters"), ("text_bytes", "bytes"))
            },
        }
    )


def _dropped(
    basis: Basis,
    part: str,
    files: Arrays,
    verdicts: Sequence[Arrays],
    grouped: Sequence[Arrays],
    several: Sequence[pa.Array],
) -> tuple[pa.Array, pa.Array]:
    """(why each document was dropped, the station where), null for those that stay."""
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pa.scalar(None, pa.string())
    reason = step = pa.nulls(len(files["id"]), pa.string())
    for built, table in zip(basis.verdicts, verdicts, strict=True):
        fresh = pc.and_(pc.is_null(step), pc.invert(table["keep"]))
        first = pc.list_slice(table["reasons"], 0, 1, return_fixed_size_list=True).values
        reason, step = pc.if_else(fresh, first, reason), pc.if_else(fresh, built.name, step)
    if basis.mix is None:
        return reason, step
    outcome = _arrays(basis.mix.table(f"outcome-{part}", ["id", "reason"]))
    if not outcome["id"].equals(files["id"]):
        raise AlignmentError(
            f"{basis.mix.directory / f'outcome-{part}'} does not hold the rows of {basis.read.directory / part} in "
            f"their order; build {basis.mix.name} again"
        )
    reason = outcome["reason"]
    step = pc.if_else(pc.is_valid(reason), step, nothing)
    step = pc.coalesce(
        step, pc.if_else(pc.fill_null(pc.equal(reason, files["unread"]), False), basis.read.name, nothing)
    )
    said = [pc.fill_null(pc.equal(reason, duplicate_reason(built)), False) for built in basis.groups]
    beside = [pc.is_in(table["group"], value_set=numbers) for table, numbers in zip(grouped, several, strict=True)]
    for built, mine, alike in zip(basis.groups, said, beside, strict=True):
        step = pc.coalesce(step, pc.if_else(pc.and_(mine, alike), built.name, nothing))
    for built, mine in zip(basis.groups, said, strict=True):
        step = pc.coalesce(step, pc.if_else(mine, built.name, nothing))
    return reason, pc.coalesce(step, reason)


def _arrays(table: pa.Table) -> Arrays:
    return {name: joined(table[name]) for name in table.column_names}


def joined(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, also when it is empty."""
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
