"""Several packs as one source of training batches, each with its share, deterministic and without a table of the run.

Positions of the endless sequence of samples are dealt out by a pattern of at most `LONGEST_PERIOD` positions that
repeats: which pack a position takes, and the how-manieth sample of that pack it is, follow from its number alone. After
any number of positions each pack was taken within one sample of its share. Each pack keeps its own epochs and order.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from starloom.errors import ConfigError
from starloom.store import Built
from starloom.tokens import fim as infilling
from starloom.tokens.dataset import EVERY, Dataset, Place, Replay, Segments, stacked
from starloom.tokens.fim import FIM, Ids
from starloom.tokens.pack import validation_ranges

LONGEST_PERIOD = 1 << 16  # our choice: shares to five digits, dealt out in a tenth of a second


def shares(weights: Sequence[float]) -> tuple[int, ...]:
    """How often each pack is taken in a period, the sum of the numbers; nothing for a weight of 0.

    Exact where the weights, as they are written, have such a period; else to the nearest, at least once.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    total = sum(exact)
    exact = [weight / total for weight in exact]
    period = math.lcm(*(weight.denominator for weight in exact))
    if period <= LONGEST_PERIOD:
        return tuple(int(weight * period) for weight in exact)
    counts = [max(int(weight * LONGEST_PERIOD), weight > 0) for weight in exact]
    short = [weight * LONGEST_PERIOD - count for weight, count in zip(exact, counts, strict=True)]
    while (left := LONGEST_PERIOD - sum(counts)) != 0:  # at most one step for each pack
        change = 1 if left > 0 else -1
        chosen = max(
            (one for one in range(len(counts)) if counts[one] > (change < 0)), key=lambda one: change * short[one]
        )
        counts[chosen] += change
        short[chosen] -= change
    return tuple(counts)


def pattern(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Which pack each position of a period takes, so that every prefix of it has each within one of its share.

    The j-th turn of a pack with share c of P belongs between positions ⌊(j − 1)P/c⌋ and ⌈jP/c⌉, where it keeps the
    prefix within one; of the turns that may be taken, the one that is due first is (Tijdeman's chairman assignment).
    """
    period = sum(counts)
    waiting = [(0, pack) for pack, count in enumerate(counts) if count]  # first position of the next turn, pack
    heapq.heapify(waiting)
    taken = [0] * len(counts)
    due: list[tuple[int, int]] = []  # position that the turn must lie before, pack
    found = np.zeros(period, np.int64)
    for position in range(period):
        while waiting and waiting[0][0] <= position:
            pack = heapq.heappop(waiting)[1]
            heapq.heappush(due, (-(-(taken[pack] + 1) * period // counts[pack]), pack))
        before, pack = heapq.heappop(due)
        assert before > position, "turns in order of urgency are never late"
        found[position] = pack
        taken[pack] += 1
        heapq.heappush(waiting, (taken[pack] * period // counts[pack], pack))
    return found


def open_packs(packed: Sequence[Built], mixture: Sequence[float] = ()) -> Dataset | Blend:
    """The training batches of one pack, or of several with weights."""
    check_weights(mixture, len(packed))
    packs = [Dataset(one) for one in packed]
    return packs[0] if len(packs) == 1 else Blend(packs, mixture)


def held_out_sets(packed: Sequence[Built]) -> dict[str, npt.NDArray[np.generic]]:
    """Held-out tokens by the name of their validation set, "" being all of them; packs of one name one after the other.

    Those of one pack stay as they lie in its file.
    """
    found: dict[str, list[npt.NDArray[np.generic]]] = {"": []}
    for one in packed:
        found[""].append(Dataset(one, "heldout").tokens)
        for name in validation_ranges(one):
            found.setdefault(name, []).append(Dataset(one, "heldout", validation=name).tokens)
    return {name: sets[0] if len(sets) == 1 else np.concatenate(sets) for name, sets in found.items()}


def check_weights(weights: Sequence[float], packs: int) -> None:
    """Raise ConfigError unless there are none, or one for each pack that is 0 or more, and not all 0."""
    said = ", ".join(f"{weight:g}" for weight in weights)
    if weights and len(weights) != packs:
        raise ConfigError(f"{len(weights)} weights ({said}) for {packs} packs; give each pack one, or give none")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or (weights and not any(weights)):
        raise ConfigError(f"the weights {said} are no shares; use numbers from 0 on, one of them above 0")


class Blend:
    """Training batches of several packs, as `Dataset` gives them of one.

    Weights need not add up to anything; without any, packs have their shares of the tokens (the natural distribution).
    Raises ConfigError for packs of different vocabularies or contexts, and for weights that say nothing.
    """

    def __init__(self, packs: Sequence[Dataset], weights: Sequence[float] = ()) -> None:
        check_weights(weights, len(packs))
        self.packs = tuple(packs)
        for other in self.packs[1:]:
            _check_alike(self.packs[0], other)
        self.context = self.packs[0].context
        self.vocabulary = self.packs[0].vocabulary
        natural = [len(pack.tokens) if pack.samples else 0 for pack in self.packs]
        if not weights and not any(natural):
            self.packs[0].places(seed=0, step=0, size=1)  # too short, as all of them: it says what to do
        self.shares = shares(weights or natural)
        self.samples = sum(pack.samples for pack, share in zip(self.packs, self.shares, strict=True) if share)
        self._pattern = pattern(self.shares)
        self._turns = [np.flatnonzero(self._pattern == pack) for pack in range(len(self.packs))]
        self._turn = np.zeros(len(self._pattern), np.int64)  # how many turns of the same pack lie before in the period
        for turns in self._turns:
            self._turn[turns] = np.arange(len(turns))

    def places(self, *, seed: int, step: int, size: int) -> list[Place]:
        """What each line of a batch holds. Raises ConfigError when a pack with a share is shorter than one sample."""
        positions = np.arange(step * size, (step + 1) * size)
        periods, within = np.divmod(positions, len(self._pattern))
        chosen = self._pattern[within]
        places: list[Place | None] = [None] * size
        for pack in np.unique(chosen).tolist():
            lines = np.flatnonzero(chosen == pack)
            own = periods[lines] * self.shares[pack] + self._turn[within[lines]]
            found = self.packs[pack].places_at(own.tolist(), seed=_seed(seed, pack))
            for line, place in zip(lines.tolist(), found, strict=True):
                places[line] = place._replace(pack=pack)
        return [place for place in places if place is not None]

    def positions(self, first: int, last: int, *, seed: int, before: int, pack: int = 0) -> Ids:
        """The positions below `before` at which samples `first` to `last` of a pack lie, ascending."""
        periods, rest = divmod(before, len(self._pattern))
        turns = self._turns[pack]
        if not len(turns):
            return turns
        own = periods * len(turns) + int(np.searchsorted(turns, rest))
        found = self.packs[pack].positions(first, last, seed=_seed(seed, pack), before=own)
        return found // len(turns) * len(self._pattern) + turns[found % len(turns)]

    def batch(self, *, seed: int, step: int, size: int, fim: FIM | None = None, lines: slice = EVERY) -> Ids:
        """The ids of one training step, [size, context + 1], or of some of its lines: a function of the arguments and
        nothing else; only the lines that are asked for are read."""
        places = self.places(seed=seed, step=step, size=size)[lines]
        return np.stack([self.line(place, seed, fim).ids for place in places])

    def line(self, place: Place, seed: int, fim: FIM | None) -> infilling.FimSample:
        """One line of a batch."""
        return self.packs[place.pack].line(place, _seed(seed, place.pack), fim)

    def replay(self, *, seed: int, step: int, size: int, fim: FIM | None = None) -> Replay:
        """The batch of these arguments again, and where each of its tokens comes from, through FIM.

        Shards and rows are those of the mix behind the pack that `places` names for the line.
        """
        places = self.places(seed=seed, step=step, size=size)
        lines = []
        for place in places:
            line = self.packs[place.pack].origins(place, self.line(place, seed, fim))
            behind = np.where(line.segments == infilling.INSERTED, 0, self._first_segments[place.pack])
            lines.append(line._replace(segments=line.segments + behind))
        return Replay(*stacked(lines), places, self.segments)

    @cached_property
    def _first_segments(self) -> list[int]:
        return np.cumsum([0, *(len(pack.segments.start) for pack in self.packs)]).tolist()  # type: ignore[no-any-return]

    @cached_property
    def segments(self) -> Segments:
        """The segments of all packs, one pack behind the other; tokens are counted in each pack."""
        tables = [pack.segments for pack in self.packs]
        columns = {
            name: np.concatenate([getattr(table, name) for table in tables])
            for name in ("start", "end", "byte_start", "shard", "row")
        }
        return Segments(**columns, source=[source for table in tables for source in table.source])


def _seed(seed: int, pack: int) -> int:
    """Packs have orders and cuts of their own; the first has those that it would have alone."""
    return seed if pack == 0 else int.from_bytes(blake2b(f"blend {seed} {pack}".encode(), digest_size=8).digest())


def _check_alike(one: Dataset, other: Dataset) -> None:
    digests = [pack.packed.manifest["files"]["tokenizer.json"]["sha256"] for pack in (one, other)]
    where = f"{one.packed.directory} and {other.packed.directory}"
    if digests[0] != digests[1]:
        raise ConfigError(f"{where} have different vocabularies; pack both with one")
    if one.context != other.context:
        raise ConfigError(
            f"{where} are packed to contexts of {one.context:,} and {other.context:,} tokens; pack both to one"
        )
