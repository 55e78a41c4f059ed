"""Packed tokens as training batches: each a function of (seed, step, size, fim), and the way back from every token.

Sample i is tokens [i × context, i × context + context + 1): inputs and targets overlap by all but one, samples by one.
An epoch visits every sample once, in an order that is a function of (seed, epoch) and takes no memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from starloom.errors import ConfigError, DamagedError
from starloom.store import Built
from starloom.tokens import fim as infilling
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.fim import FIM, Ids
from starloom.tokens.pack import SPLITS, open_tokens, validation_ranges

EVERY = slice(None)  # line of a batch
_ROUNDS = 8  # of the Feistel network; four hide the input (Luby and Rackoff), eight are still cheap


def permuted(positions: npt.ArrayLike, count: int, *, seed: int, epoch: int) -> Ids:
    """Where positions below `count` go in a permutation of 0 … count − 1 that (seed, epoch) names.

    A Feistel network over the next power of four, walked on until it comes back below `count`: any position by itself,
    without a table, and the same under every NumPy.
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    digest = hashlib.blake2b(f"order of samples {seed} {epoch}".encode(), digest_size=8 * _ROUNDS).digest()
    keys = np.frombuffer(digest, "<u8")

    def walked(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = value >> shift, value & mask
        for key in keys:
            mixed = (right + key) * np.uint64(0xBF58476D1CE4E5B9)  # the multipliers of splitmix64
            mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(29))) & mask)
        return (left << shift) | right

    found = walked(np.atleast_1d(np.asarray(positions, np.uint64)))
    while (outside := found >= count).any():
        found[outside] = walked(found[outside])
    return found.astype(np.int64)


class Place(NamedTuple):
    """Which sample a line of a batch holds: in which epoch of which pack (0 where there is one only)."""

    epoch: int
    sample: int
    pack: int = 0


class Origin(NamedTuple):
    """Where a token comes from: a file, and bytes of the rendered text of a row (of a shard) of the mix."""

    source: bytes | None
    byte_start: int
    byte_end: int
    shard: int
    row: int


@dataclass(frozen=True, slots=True)
class Segments:
    """The columns of `segments-{split}.parquet`."""

    start: Ids
    end: Ids
    byte_start: Ids
    shard: Ids
    row: Ids
    source: list[bytes | None]


@dataclass(frozen=True, slots=True)
class Replay:
    """A batch, and for each of its tokens the segment (−1: added by FIM) and the bytes of the row's rendered text."""

    ids: Ids  # [size, context + 1], as `batch` gives them
    segments: Ids
    starts: Ids
    ends: Ids
    places: list[Place]  # of each line of the batch
    table: Segments

    def origin(self, line: int, token: int) -> Origin | None:
        """Where one token comes from; None for what FIM added. Controls have no bytes, but the file they stand before."""
        segment = int(self.segments[line, token])
        if segment < 0:
            return None
        table = self.table
        bytes_ = int(self.starts[line, token]), int(self.ends[line, token])
        return Origin(table.source[segment], *bytes_, int(table.shard[segment]), int(table.row[segment]))

    def sources(self) -> list[bytes]:
        """The files in the batch, each once, in the order of its tokens."""
        used = dict.fromkeys(self.table.source[segment] for segment in self.segments.ravel().tolist() if segment >= 0)
        return [source for source in used if source is not None]


class Dataset:
    """One split of a `Pack`, or one named validation set of it, memory-mapped; header and size are checked here, ids as
    they are read.

    Raises ConfigError for a split or a set that the pack has not, with those that it has.
    """

    def __init__(self, packed: Built, split: str = "train", *, validation: str | None = None) -> None:
        if split not in SPLITS:
            raise ConfigError(f"a pack has no split '{split}'; it has {' and '.join(SPLITS)}")
        self.packed = packed
        self.split = split
        self.context = int(packed.manifest["settings"]["context"])
        self.vocabulary = Vocabulary.load(packed)
        tokens = open_tokens(packed.path(f"tokens-{split}.bin"))
        self.first, self.end = 0, len(tokens)  # range of the split's tokens
        if validation is not None:
            self.first, self.end = _range_of(packed, split, validation)
            if self.end > len(tokens):
                raise DamagedError(
                    f"the validation set '{validation}' in {packed.directory} ends at {self.end:,} of {len(tokens):,} "
                    "tokens; build its pack again"
                )
        self.tokens = tokens[self.first : self.end]
        self.samples = max(0, len(self.tokens) - 1) // self.context

    def sample(self, index: int) -> Ids:
        """The ids of sample `index` in the order of the file, without FIM: [context + 1]."""
        if not 0 <= index < self.samples:
            raise IndexError(f"sample {index} of {self.samples} in {self.packed.directory}")
        ids = self.tokens[index * self.context : (index + 1) * self.context + 1].astype(np.int64)
        if ids.max() >= self.vocabulary.size:
            raise DamagedError(
                f"{self.packed.path(f'tokens-{self.split}.bin')} holds the token {ids.max()}, which its vocabulary of "
                f"{self.vocabulary.size:,} has not; `starloom verify {self.packed.directory}` looks at every file"
            )
        return ids

    def places(self, *, seed: int, step: int, size: int) -> list[Place]:
        """What each line of a batch holds. Raises ConfigError when the split is shorter than one sample."""
        return self.places_at(range(step * size, (step + 1) * size), seed=seed)

    def places_at(self, positions: Sequence[int], *, seed: int) -> list[Place]:
        """What lies at ascending positions of the endless sequence of samples, epoch after epoch."""
        if self.samples == 0:
            raise ConfigError(
                f"the {self.split} split in {self.packed.directory} has {len(self.tokens):,} tokens, too few for a sample "
                f"of {self.context + 1}; read more, or set pack.context lower"
            )
        epochs = sorted({position // self.samples for position in positions})
        found = []
        for epoch in epochs:
            inside = [position % self.samples for position in positions if position // self.samples == epoch]
            order = permuted(inside, self.samples, seed=seed, epoch=epoch).tolist()
            found += [Place(epoch, index) for index in order]
        return found

    def positions(self, first: int, last: int, *, seed: int, before: int, pack: int = 0) -> Ids:
        """The positions below `before` at which samples `first` to `last` lie, ascending."""
        assert pack == 0, "a split is of one pack"
        found = [np.zeros(0, np.int64)]
        for epoch in range(-(-before // self.samples) if self.samples else 0):
            here = np.arange(min(self.samples, before - epoch * self.samples))
            samples = permuted(here, self.samples, seed=seed, epoch=epoch)
            found.append(here[(samples >= first) & (samples <= last)] + epoch * self.samples)
        return np.concatenate(found)

    def batch(self, *, seed: int, step: int, size: int, fim: FIM | None = None, lines: slice = EVERY) -> Ids:
        """The ids of one training step, [size, context + 1], or of some of its lines: a function of the arguments and
        nothing else; only the lines that are asked for are read."""
        places = self.places(seed=seed, step=step, size=size)[lines]
        return np.stack([self.line(place, seed, fim).ids for place in places])

    def line(self, place: Place, seed: int, fim: FIM | None) -> infilling.FimSample:
        """One line of a batch."""
        return infilling.apply(
            self.sample(place.sample),
            self.vocabulary,
            fim or FIM(rate=0),
            seed=seed,
            epoch=place.epoch,
            sample=place.sample,
        )

    @cached_property
    def segments(self) -> Segments:
        """Which file each stretch of `tokens` came from, SHA-256 checked."""
        table = self.packed.table(f"segments-{self.split}.parquet")
        numbers: dict[str, Any] = {
            name: table[name].to_numpy().astype(np.int64) for name in ("start", "end", "byte_start", "shard", "row")
        }
        mine = (numbers["start"] >= self.first) & (numbers["end"] <= self.end)
        numbers = {name: column[mine] for name, column in numbers.items()}
        for name in ("start", "end"):
            numbers[name] -= self.first
        bounds = np.concatenate([[0], numbers["end"]])
        if not np.array_equal(numbers["start"], bounds[:-1]) or bounds[-1] != len(self.tokens):
            raise DamagedError(f"the segments in {self.packed.directory} do not cover its tokens; build it again")
        return Segments(**numbers, source=table["source"].filter(mine).to_pylist())

    def replay(self, *, seed: int, step: int, size: int, fim: FIM | None = None) -> Replay:
        """The batch of these arguments again, and where each of its tokens comes from, through FIM."""
        places = self.places(seed=seed, step=step, size=size)
        lines = [self.origins(place, self.line(place, seed, fim)) for place in places]
        return Replay(*stacked(lines), places, self.segments)

    def origins(self, place: Place, after: infilling.FimSample) -> Line:
        """The tokens of one line after FIM with their segments and rendered bytes."""
        table, lengths = self.segments, self.vocabulary.byte_lengths
        first = place.sample * self.context
        ids = self.sample(place.sample)
        offsets = np.zeros(len(ids), np.int64)
        np.cumsum(lengths[ids[:-1]], out=offsets[1:])
        segment = np.searchsorted(table.start, first + np.arange(len(ids)), side="right") - 1
        begin = np.maximum(table.start[segment] - first, 0)  # token of the sample with which each one's segment begins
        before = np.zeros(len(ids), np.int64)  # bytes of the segment that lie before the sample
        opening = int(segment[0])
        before[segment == opening] = lengths[self.tokens[int(table.start[opening]) : first]].sum()
        rendered = table.byte_start[segment] + before + offsets - offsets[begin]
        added = after.spans.origins == infilling.INSERTED
        origins = np.where(added, 0, after.spans.origins)
        starts = np.where(added, 0, rendered[origins] + after.spans.starts - offsets[origins])
        ends = starts + after.spans.ends - after.spans.starts
        return Line(after.ids, np.where(added, infilling.INSERTED, segment[origins]), starts, ends)


class Line(NamedTuple):
    """One line of a `Replay`."""

    ids: Ids
    segments: Ids
    starts: Ids
    ends: Ids


def stacked(lines: Sequence[Line]) -> tuple[Ids, Ids, Ids, Ids]:
    """Lines as arrays of a batch: ids, segments, starts and ends."""
    ids, segments, starts, ends = (np.stack(column) for column in zip(*lines, strict=True))
    return ids, segments, starts, ends


def _range_of(packed: Built, split: str, validation: str) -> tuple[int, int]:
    if split != "heldout":
        raise ConfigError(f"the validation set '{validation}' lies in the heldout split, not in {split}")
    ranges = validation_ranges(packed)
    if validation not in ranges:
        known = f"it has {', '.join(sorted(ranges))}" if ranges else "mix.validation names none"
        raise ConfigError(f"{packed.directory} has no validation set '{validation}'; {known}")
    return ranges[validation]


def check_tokens(packed: Sequence[Built], stopped: Callable[[], bool]) -> None:
    """Compare the tokens, which are memory-mapped and never read whole, with their hashes. Raises DamagedError."""
    for one in packed:
        for name in one.manifest["files"]:
            if name.endswith(".bin"):
                one.check(name, stopped)
