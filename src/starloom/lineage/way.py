"""One file's way through a store: what was found of it, decided about it, and which tokens it became."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starloom.corpus.sources.listing import printable
from starloom.errors import StoreError
from starloom.lineage.journal import Journal
from starloom.store import Built

_SHOWN = 6  # edits that are named in words; all of them are in the data
_INDENT = " " * 8


@dataclass(frozen=True, slots=True)
class Stop:
    """What one step says of the file: the step's directory, and its finding in words and as data."""

    directory: str
    text: str
    data: dict[str, Any]


@dataclass(slots=True)
class Way:
    """One row of a `Read`, and every stop of it."""

    id: bytes
    repository: str
    path: bytes
    stops: list[Stop] = field(default_factory=list)


def split_name(name: str) -> Iterator[tuple[str, bytes]]:
    """Every reading of REPOSITORY:PATH: both may hold colons, as `python:stdlib:json/decoder.py` does."""
    for position, character in enumerate(name):
        if character == ":" and name[position + 1 :]:
            yield name[:position], name[position + 1 :].encode("utf-8", "surrogateescape")


def ways_of(journal: Journal, name: str) -> list[Way]:
    """The ways of the files of that name, one for each `Read` and each version that holds it.

    Raises StoreError when no `Read` holds it, with what is near.
    """
    wanted = set(split_name(name))
    if not wanted:
        raise StoreError(f"'{printable(name)}' is no REPOSITORY:PATH, such as python:stdlib:json/decoder.py")
    ways = []
    for read in journal.kind("Read"):
        for part in read.parts():
            table = read.table(part, ["id", "kind", "repository", "path", "blob", "revisions", "size", "unread"])
            for row, (repository, path) in enumerate(
                zip(table["repository"].to_pylist(), table["path"].to_pylist(), strict=True)
            ):
                if (repository, path) in wanted:
                    facts = table.slice(row, 1).to_pylist()[0]
                    ways.append(_way(journal, read, part, row, facts))
    if not ways:
        raise _not_found(journal, name, wanted)
    return ways


def _not_found(journal: Journal, name: str, wanted: set[tuple[str, bytes]]) -> StoreError:
    import difflib

    repositories: set[str] = set()
    paths: set[str] = set()
    for read in journal.kind("Read"):
        for table in read.tables(["repository", "path"]):
            repositories.update(table["repository"].to_pylist())
            paths.update(
                printable(path)
                for repository, path in zip(table["repository"].to_pylist(), table["path"].to_pylist(), strict=True)
                if any(repository == one for one, _ in wanted)
            )
    if not paths:
        known = ", ".join(sorted(repositories)[:8]) or "none"
        return StoreError(f"no repository of '{printable(name)}' was read into {journal.store.root}; read: {known}")
    asked = printable(next(path for repository, path in wanted if repository in repositories))
    near = difflib.get_close_matches(asked, paths, n=3, cutoff=0.5)
    return StoreError(f"no file '{asked}' in that repository; near: {', '.join(near) or 'nothing'}")


def _way(journal: Journal, read: Built, part: str, row: int, facts: dict[str, Any]) -> Way:
    way = Way(facts["id"], facts["repository"], facts["path"])
    known = facts["unread"]
    way.stops.append(
        Stop(
            str(read.directory),
            f"{facts['kind']}, {facts['size']:,} bytes, blob {facts['blob'] or 'none'}, "
            f"revision {', '.join(facts['revisions']) or 'none'}"
            + (f", not read as text: {known}" if known else "")
            + f"  ({part} row {row})",
            {
                "id": facts["id"].hex(),
                "kind": facts["kind"],
                "blob": facts["blob"],
                "revisions": facts["revisions"],
                "part": part,
                "row": row,
                "unread": known,
            },
        )
    )
    for other in reversed(journal.after(read)):
        if other.parts() == read.parts() and other.manifest["stage"].rpartition(":")[2] != "Mix":
            way.stops.append(_said(other, part, row))
    for mix in journal.after(read, "Mix"):
        _through_mix(journal, mix, way, part, row)
    return way


def _said(built: Built, part: str, row: int) -> Stop:
    """What an attribute, a verdict or a group says of one row."""
    said = built.table(part).slice(row, 1).to_pylist()[0]
    said.pop("id")
    if "reasons" in said:
        text = "keep" if said["keep"] else f"drop: {', '.join(said['reasons'])}"
        found = Counter(span["reason"] for span in said["spans"] or ())
        text += "".join(f", {reason} {count:,}" for reason, count in sorted(found.items()))
    elif "tokens" in said:
        text = "no text" if said["tokens"] is None else f"{said['tokens']:,} tokens"
    elif "group" in said:
        mates = sum(table["group"].to_pylist().count(said["group"]) for table in built.tables(["group"]))
        text = "alone of its kind" if mates == 1 else f"group {said['group']}, {mates} files alike"
    else:
        text = "nothing known" if said["value"] is None else f"{said['value']}  ({said['how']})"
    return Stop(str(built.directory), text, said)


def _through_mix(journal: Journal, mix: Built, way: Way, part: str, place: int) -> None:
    rows = 0
    for number, name in enumerate(mix.parts()):
        for row in _rows_with(mix.table(name, ["parts"])["parts"], way.id):
            columns = mix.table(name, ["split", "group", "parts", "edits"])
            _in_row(journal, mix, way, number, row, columns.slice(row, 1).to_pylist()[0])
            rows += 1
    if not rows:
        reason = mix.table(f"outcome-{part}", ["reason"])["reason"][place].as_py() or "no text in this layout"
        way.stops.append(Stop(str(mix.directory), f"out: {reason}", {"split": None, "reasons": [reason]}))


def _rows_with(parts: Any, source: bytes) -> list[int]:
    """The training rows that hold a document: several for a notebook in two forms, one of many in a repository's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = parts.combine_chunks()
    sources = pc.struct_field(pc.list_flatten(whole), "source")
    mine = pc.filter(
        pc.list_parent_indices(whole), pc.fill_null(pc.equal(sources, pa.scalar(source, sources.type)), False)
    )
    return sorted(set(mine.to_pylist()))


def _in_row(journal: Journal, mix: Built, way: Way, number: int, row: int, facts: dict[str, Any]) -> None:
    """A training row of the file, and the tokens that it became."""
    own = [number for number, part in enumerate(facts["parts"]) if part["source"] == way.id]
    size = sum(len(facts["parts"][number]["text"].encode()) for number in own)
    edits = [
        {"field": facts["parts"][one["part"]]["field"], "start": one["source_start"], "end": one["source_end"],
         "control": facts["parts"][one["part"]]["control"],
         "text": facts["parts"][one["part"]]["text"].encode()[one["start"] : one["end"]].decode(errors="replace")}
        for one in facts["edits"] if one["part"] in own
    ]  # fmt: skip
    data = {
        "split": facts["split"],
        "group": facts["group"],
        "bytes": size,
        "edits": edits,
        "part": mix.parts()[number],
        "row": row,
    }
    way.stops.append(
        Stop(
            str(mix.directory),
            f"in: split {facts['split']} with {facts['group']}, {size:,} bytes, "
            f"{len(edits)} edits  ({mix.parts()[number]} row {row})"
            + "".join(f"\n{_INDENT}{_edit(one)}" for one in edits[:_SHOWN])
            + (f"\n{_INDENT}… and {len(edits) - _SHOWN:,} more" if len(edits) > _SHOWN else ""),
            data,
        )
    )
    for pack in journal.after(mix, "Pack"):
        _through_pack(journal, pack, way, facts["split"], number, row)


def _edit(one: Mapping[str, Any]) -> str:
    """What became of bytes of a document that are not copied as they are."""
    place = f"{one['field']} {one['start']:,} to {one['end']:,}"
    return f"{place} → " + (repr(one["text"][:40]) if one["text"] else f"<{one['control'] or 'nothing'}>")


def _through_pack(journal: Journal, pack: Built, way: Way, split: str, shard: int, row: int) -> None:
    import pyarrow.compute as pc

    table = pack.table(f"segments-{split}.parquet")
    mine = table.filter(pc.and_(pc.equal(table["shard"], shard), pc.equal(table["row"], row)))
    for segment in mine.to_pylist():
        if segment["source"] != way.id:
            continue
        start, end = segment["start"], segment["end"]
        way.stops.append(
            Stop(
                str(pack.directory),
                f"tokens {start:,} to {end:,} of tokens-{split}.bin ({end - start:,} tokens)",
                {"split": split, "start": start, "end": end},
            )
        )
        for model in journal.after(pack, "Pretrain"):
            if split == "train":
                from starloom.lineage.batch import steps_that_saw

                steps = steps_that_saw(pack, model, start, end)
                shown = ", ".join(map(str, steps[:8])) + (", …" if len(steps) > 8 else "")
                way.stops.append(
                    Stop(str(model.directory), f"trained on in {len(steps)} steps: {shown or 'none'}", {"steps": steps})
                )
