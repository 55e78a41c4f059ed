"""Rows of a mix → one stream of tokens for each split, and the file that every stretch of it came from.

`tokens-{split}.bin` is a header of 64 bytes and little-endian tokens of 2 or 4 bytes; `segments-{split}.parquet` has a
row for each file: its tokens, the controls before it among them, and the bytes of the row's rendered text that they hold.
Held-out rows of a named validation set lie together, sets by name and rows without one last; `validation.json`, there
when any is named, has each set's range of tokens, bytes and rows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from starloom.corpus.rendered import Rendered
from starloom.errors import ConfigError, DamagedError, StoreError, TokenizerError
from starloom.records import ID_BYTES, uniform
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, canonical_json, write_table
from starloom.tokens.bpe import Vocabulary

SPLITS = ("train", "heldout")
MAGIC = b"STARLOOM"
FORMAT = 1
_HEADER = struct.Struct("<8sIIQ40x")  # magic, format, bytes per token, tokens
HEADER_BYTES = _HEADER.size
ROWS_AT_ONCE = 256  # rows that are encoded in one call
VALIDATION = "validation.json"

assert HEADER_BYTES == 64


class Segment(NamedTuple):
    """One file's stretch of tokens [start, end), and the bytes of the row's rendered text that they hold."""

    start: int
    end: int
    source: bytes | None
    byte_start: int
    byte_end: int


def header(itemsize: int, tokens: int) -> bytes:
    """The first 64 bytes of a file of tokens."""
    return _HEADER.pack(MAGIC, FORMAT, itemsize, tokens)


def open_tokens(path: Path) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Memory-map a file of tokens. Raises DamagedError unless its header and its size agree."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    size = path.stat().st_size
    magic, version, itemsize, count = _HEADER.unpack(head) if len(head) == HEADER_BYTES else (b"", 0, 0, 0)
    if magic != MAGIC:
        raise DamagedError(f"{path} does not begin as a file of tokens; build its pack again")
    if version != FORMAT or itemsize not in (2, 4):
        raise StoreError(
            f"{path} has format {version} with {itemsize}-byte tokens; this starloom reads format {FORMAT}: update it"
        )
    if size != HEADER_BYTES + itemsize * count:
        raise DamagedError(
            f"{path} has {size:,} bytes where its header promises {count:,} tokens; build its pack again"
        )
    if count == 0:
        return np.zeros(0, f"<u{itemsize}")
    return np.memmap(path, f"<u{itemsize}", "r", HEADER_BYTES, (count,))


def tokenize(rows: Sequence[Rendered], vocabulary: Vocabulary) -> Iterator[tuple[npt.NDArray[np.int64], list[Segment]]]:
    """Ids and segments (counted from 0) of each row: a control by its id, the text up to the next one as one string.

    Raises TokenizerError for a control that the vocabulary's family lacks; redaction marks become text instead.
    """
    rows = [row.with_marks(vocabulary.marks_as_text()) for row in rows]
    runs = [list(row.runs()) for row in rows]
    encoded = iter(vocabulary.encode_batch([run.text for row_runs in runs for run in row_runs]))
    for row, row_runs in zip(rows, runs, strict=True):
        ids: list[int] = []
        first_tokens = []  # of each run
        for run in row_runs:
            first_tokens.append(len(ids))
            if run.control is not None:
                ids.append(vocabulary.control(run.control))
            ids.extend(next(encoded))
        array = np.array(ids, np.int64)
        offsets = np.concatenate([[0], np.cumsum(vocabulary.byte_lengths[array], dtype=np.int64)])
        assert offsets[-1] == row.offsets[-1], "tokens hold the bytes of the text"
        starts: list[tuple[int, bytes | None]] = []  # first token and source of each segment
        for run, first_token in zip(row_runs, first_tokens, strict=True):
            fresh = True  # no file of this run was met yet: the run's control belongs to the first
            for number in run.parts:
                source = row.parts[number].source
                if source is None:
                    continue
                if not starts:
                    starts.append((0, source))
                elif starts[-1][1] != source:
                    token = first_token if fresh else int(np.searchsorted(offsets[:-1], row.offsets[number]))
                    starts.append((token, source))
                fresh = False
        bounds = [*(token for token, _ in starts or [(0, None)]), len(ids)]
        sources = [source for _, source in starts] or [None]
        yield (
            array,
            [
                Segment(begin, end, source, int(offsets[begin]), int(offsets[end]))
                for begin, end, source in zip(bounds, bounds[1:], sources, strict=False)
            ],
        )


def repeats(weight: float, row_id: bytes) -> int:
    """How often a training row of this weight is packed: its whole part, and once more with the chance of the rest."""
    return int(weight) + (uniform(0, "pack", row_id) < weight % 1)


@dataclass(frozen=True, slots=True)
class Pack(Stage):
    """The tokens of a mix in its order, with the vocabulary's files beside them. A model of `context` tokens reads it."""

    version: ClassVar[int] = 3

    clean: Stage
    vocab: Stage
    context: int = 8192  # StarCoderBase

    def produce(self, work: Work) -> None:
        if self.context < 2:
            raise ConfigError(f"pack.context is {self.context}; a sample has at least 2 tokens")
        mix, vocab = work.input("clean"), work.input("vocab")
        vocabulary = Vocabulary.load(vocab)
        units = {name.removesuffix(".parquet"): (mix, vocab, shard, name) for shard, name in enumerate(mix.parts())}
        shards = list(work.map(pack_shard, units, scratch=True))
        stretches = {
            split: in_order(Stretch(unit, *one) for unit, facts in shards for one in facts[split]) for split in SPLITS
        }
        totals = {split: sum(one.tokens for one in stretches[split]) for split in SPLITS}
        sizes = {split: sum(one.size_bytes for one in stretches[split]) for split in SPLITS}
        named = named_ranges(stretches["heldout"])
        with work.unit("tokens") as unit:
            for name, data in vocabulary.files(max_length=self.context).items():
                unit.path(name).write_bytes(data)
            for split, own in stretches.items():
                _join_tokens(unit.path(f"tokens-{split}.bin"), work.directory, split, own, _itemsize(vocabulary))
                _join_segments(unit.path(f"segments-{split}.parquet"), work.directory, split, own)
            if named:
                unit.path(VALIDATION).write_bytes(canonical_json(named))
        for _, facts in shards:
            work.count(rows_in=facts["rows_in"], rows_out=facts["rows_out"])
        work.count(tokens=totals, bytes=sizes)
        if named:
            work.count(validation_tokens={name: end - start for name, (start, end) in _ranges(named).items()})
        ratio = f", {sum(sizes.values()) / sum(totals.values()):.2f} bytes per token" if sum(totals.values()) else ""
        work.summary = " + ".join(f"{totals[split]:,} {split}" for split in SPLITS) + f" tokens{ratio}"


class Stretch(NamedTuple):
    """Tokens of one shard and split that stay together: those of one named validation set, or of none."""

    unit: str
    validation: str | None
    rows: int
    size_bytes: int
    first_token: int  # in the shard's file of this split
    tokens: int
    first_segment: int
    segments: int


def in_order(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Named sets by name, then what has no name; shards in their order within each."""
    return sorted(stretches, key=lambda one: (one.validation is None, one.validation or ""))


def named_ranges(stretches: Sequence[Stretch]) -> dict[str, dict[str, Any]]:
    """Name → tokens [start, end), bytes and rows of each named set of a split whose stretches lie in this order."""
    found: dict[str, dict[str, Any]] = {}
    at = 0
    for one in stretches:
        if one.validation is not None:
            entry = found.setdefault(one.validation, {"tokens": [at, at], "bytes": 0, "rows": 0})
            assert entry["tokens"][1] == at, "a set is one range"
            entry["tokens"][1] += one.tokens
            entry["bytes"] += one.size_bytes
            entry["rows"] += one.rows
        at += one.tokens
    return found


def validation_ranges(packed: Built) -> dict[str, tuple[int, int]]:
    """Name → range of held-out tokens of each named validation set of a pack, SHA-256 checked."""
    return _ranges(json.loads(packed.read_bytes(VALIDATION))) if VALIDATION in packed.manifest["files"] else {}


def _ranges(named: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    return {name: (entry["tokens"][0], entry["tokens"][1]) for name, entry in named.items()}


def pack_shard(call: tuple[Built, Built, int, str], folder: Path) -> Facts:
    """Tokens and segments of one shard of a mix, to be joined; tokens are counted from the shard's first."""
    mix, vocab, shard, name = call
    vocabulary = Vocabulary.load(vocab)
    dtype = f"<u{_itemsize(vocabulary)}"
    table = mix.table(name, ["id", "parts", "edits", "split", "validation", "weight"])
    splits = table["split"].to_pylist()
    if foreign := set(splits) - set(SPLITS):
        raise StoreError(f"{mix.path(name)} has a row of split '{min(foreign)}'; it is one of {', '.join(SPLITS)}")
    sets = [
        set_ if split == "heldout" else None
        for split, set_ in zip(splits, table["validation"].to_pylist(), strict=True)
    ]
    order = sorted(range(table.num_rows), key=lambda row: (sets[row] is None, sets[row] or ""))
    segments: dict[str, list[tuple[Segment, int]]] = {split: [] for split in SPLITS}
    tokens = dict.fromkeys(SPLITS, 0)
    stretches: dict[tuple[str, str | None], list[int]] = {}  # (split, set) → rows, bytes, tokens, segments
    said: Facts = {"rows_in": table.num_rows, "rows_out": 0}
    stem = name.removesuffix(".parquet")
    files = {split: (folder / f"{stem}.{split}.bin").open("wb") for split in SPLITS}
    try:
        for begin in range(0, len(order), ROWS_AT_ONCE):
            numbers = order[begin : begin + ROWS_AT_ONCE]
            rows = table.take(numbers).to_pylist()
            rendered = [Rendered.of_row(row) for row in rows]
            try:
                packed = list(tokenize(rendered, vocabulary))
            except TokenizerError as error:
                raise TokenizerError(f"{mix.path(name)}: {error}") from None
            for number, row, (ids, found) in zip(numbers, rows, packed, strict=True):
                split = row["split"]
                times = repeats(row["weight"], row["id"]) if split == "train" else 1
                said["rows_out"] += times > 0
                sums = stretches.setdefault((split, sets[number]), [0] * 4)
                for _ in range(times):
                    first = tokens[split]
                    moved = (one._replace(start=one.start + first, end=one.end + first) for one in found)
                    segments[split].extend((one, number) for one in moved)
                    ids.astype(dtype).tofile(files[split])
                    tokens[split] += len(ids)
                    for place, value in enumerate((1, found[-1].byte_end, len(ids), len(found))):
                        sums[place] += value
    finally:
        for file in files.values():
            file.close()
    for split in SPLITS:
        write_table(folder / f"{stem}.{split}.parquet", _segment_table(segments[split], shard))
        said[split] = []  # of Stretch, without the unit
        token = segment = 0
        for (own, set_), (rows_, size, count, many) in stretches.items():
            if own == split:
                said[split].append([set_, rows_, size, token, count, segment, many])
                token, segment = token + count, segment + many
    return said


def _itemsize(vocabulary: Vocabulary) -> int:
    return 2 if vocabulary.size <= 1 << 16 else 4


def _segment_table(segments: Sequence[tuple[Segment, int]], shard: int) -> Any:
    import pyarrow as pa

    columns = list(zip(*(segment for segment, _ in segments), strict=True)) or [()] * len(Segment._fields)
    types = (pa.int64(), pa.int64(), pa.binary(ID_BYTES), pa.int64(), pa.int64())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    arrays += [pa.array([shard] * len(segments), pa.int32()), pa.array([row for _, row in segments], pa.int32())]
    return pa.table(arrays, names=[*Segment._fields, "shard", "row"])


def _join_tokens(path: Path, folder: Path, split: str, stretches: Sequence[Stretch], itemsize: int) -> None:
    with path.open("wb") as joined:
        joined.write(header(itemsize, sum(one.tokens for one in stretches)))
        for one in stretches:
            with (folder / f"{one.unit}.{split}.bin").open("rb") as file:
                file.seek(one.first_token * itemsize)
                left = one.tokens * itemsize
                while left:
                    data = file.read(min(left, 1 << 20))
                    assert data, "a shard's file holds its tokens"
                    joined.write(data)
                    left -= len(data)


def _join_segments(path: Path, folder: Path, split: str, stretches: Sequence[Stretch]) -> None:
    """One table of the stretches' rows, their token numbers moved behind the stretches before."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables = [_segment_table([], 0)]
    first = 0
    for one in stretches:
        table = pq.read_table(folder / f"{one.unit}.{split}.parquet", use_threads=False)
        table = table.slice(one.first_segment, one.segments)
        moved = pa.scalar(first - one.first_token, pa.int64())
        for number, name in ((0, "start"), (1, "end")):
            table = table.set_column(number, name, pc.add(table[name], moved))
        tables.append(table)
        first += one.tokens
    write_table(path, pa.concat_tables(tables))
