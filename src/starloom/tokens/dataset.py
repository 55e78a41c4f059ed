"""Packed tokens as training batches: each a function of (seed, step, size, fim), and the way back from every token.

Sample i is tokens [i × context, i × context + context + 1): inputs and targets overlap by all but one, samples by one.
An epoch visits every sample once, in an order that is a function of (seed, epoch) and takes no memory.
"""

from __future__ import annotations

import hashlib
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
from starloom.tokens.pack import SPLITS, open_tokens

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
    samples: list[tuple[int, int]]  # epoch and sample of each line of the batch
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
    """One split of a `Pack`, memory-mapped; header and size are checked here, ids as they are read."""

    def __init__(self, packed: Built, split: str = "train") -> None:
        if split not in SPLITS:
            raise ConfigError(f"a pack has no split '{split}'; it has {' and '.join(SPLITS)}")
        self.packed = packed
        self.split = split
        self.context = int(packed.manifest["settings"]["context"])
        self.vocabulary = Vocabulary.load(packed)
        self.tokens = open_tokens(packed.path(f"tokens-{split}.bin"))
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

    def places(self, *, seed: int, step: int, size: int) -> list[tuple[int, int]]:
        """Epoch and sample of each line of a batch. Raises ConfigError when the split is shorter than one sample."""
        if self.samples == 0:
            raise ConfigError(
                f"the {self.split} split in {self.packed.directory} has {len(self.tokens):,} tokens, too few for a sample "
                f"of {self.context + 1}; read more, or set pack.context lower"
            )
        positions = range(step * size, (step + 1) * size)
        epochs = sorted({position // self.samples for position in positions})
        found = []
        for epoch in epochs:
            inside = [position % self.samples for position in positions if position // self.samples == epoch]
            found += [(epoch, index) for index in permuted(inside, self.samples, seed=seed, epoch=epoch).tolist()]
        return found

    def batch(self, *, seed: int, step: int, size: int, fim: FIM | None = None) -> Ids:
        """The ids of one training step, [size, context + 1]: a function of the arguments and nothing else."""
        return np.stack(
            [self._permuted(place, seed, fim).ids for place in self.places(seed=seed, step=step, size=size)]
        )

    def _permuted(self, place: tuple[int, int], seed: int, fim: FIM | None) -> infilling.FimSample:
        epoch, index = place
        return infilling.apply(
            self.sample(index), self.vocabulary, fim or FIM(rate=0), seed=seed, epoch=epoch, sample=index
        )

    @cached_property
    def segments(self) -> Segments:
        """Which file each stretch of tokens came from, SHA-256 checked."""
        table = self.packed.table(f"segments-{self.split}.parquet")
        numbers: dict[str, Any] = {
            name: table[name].to_numpy().astype(np.int64) for name in ("start", "end", "byte_start", "shard", "row")
        }
        bounds_agree = np.array_equal(numbers["start"][1:], numbers["end"][:-1])
        if not bounds_agree or (int(numbers["end"][-1]) if table.num_rows else 0) != len(self.tokens):
            raise DamagedError(f"the segments in {self.packed.directory} do not cover its tokens; build it again")
        return Segments(**numbers, source=table["source"].to_pylist())

    def replay(self, *, seed: int, step: int, size: int, fim: FIM | None = None) -> Replay:
        """The batch of these arguments again, and where each of its tokens comes from, through FIM."""
        places = self.places(seed=seed, step=step, size=size)
        lines = [self._origins(place, self._permuted(place, seed, fim)) for place in places]
        ids, segments, starts, ends = (np.stack(column) for column in zip(*lines, strict=True))
        return Replay(ids, segments, starts, ends, places, self.segments)

    def _origins(self, place: tuple[int, int], after: infilling.FimSample) -> tuple[Ids, Ids, Ids, Ids]:
        """Ids, segments, and rendered bytes of the tokens of one sample after FIM."""
        table, lengths = self.segments, self.vocabulary.byte_lengths
        first = place[1] * self.context
        ids = self.sample(place[1])
        offsets = np.zeros(len(ids), np.int64)
        np.cumsum(lengths[ids[:-1]], out=offsets[1:])
        segment = np.searchsorted(table.start, first + np.arange(len(ids)), side="right") - 1
        begin = np.maximum(table.start[segment] - first, 0)  # token of the sample with which each one's segment begins
        before = np.zeros(len(ids), np.int64)  # bytes of the segment that lie before the sample
        opening = int(segment[0])
        before[segment == opening] = lengths[self.tokens[int(table.start[opening]) : first]].sum()
        rendered = table.byte_start[segment] + before + offsets - offsets[begin]
        added = after.origins == infilling.INSERTED
        origins = np.where(added, 0, after.origins)
        starts = np.where(added, 0, rendered[origins] + after.starts - offsets[origins])
        ends = starts + after.ends - after.starts
        return after.ids, np.where(added, infilling.INSERTED, segment[origins]), starts, ends
