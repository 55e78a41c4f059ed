"""Fill-in-the-middle as BigCode trained it: on the packed sample, document by document, while training.

A sample is split at its end-of-document tokens. Each fragment draws on its own whether it is permuted, where its two
cuts fall and in which of two forms it is written; the fragments are joined again, and the sample is cut or padded with
`fim_pad` to its length, so it can lose the end of its last middle (Megatron-LM fork, megatron/data/gpt_dataset.py).
With `fragment_rate`, a document that holds `file_separator` draws once for itself, and then each of its files does.

Ours differs from the published code in four places, on purpose:
- Chance is a function of (seed, epoch, sample, fragment), so neither workers nor resuming change a batch.
- Bytes of a character that the sample's edge has cut in two are no text. Their tokens stay as they are, at the front
  of the prefix or at the end of the suffix; U+FFFD never appears.
- Control tokens inside a fragment (`repository`, `file_name`, …) are never decoded. A control is one more place to cut
  before or behind, as a character is, and moves with its piece as the id that it was.
- An empty fragment stays empty. The published code drops the end of document, or the separator, behind one, and may put
  sentinels around nothing at the end of a sample.
A fragment without a character of text, or whose bytes are no UTF-8 elsewhere than at the edges, is left as it is.

The ids are those of decoding a fragment, cutting it and encoding each piece, but only what lies between a cut and its
nearest seams is encoded (`tokens/seams.py`); all other ids are copied. So are those beyond the first and last seam of a
fragment that the sample's edges have cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from starloom.errors import ConfigError, TokenizerError
from starloom.tokens import philox
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.pieces import Copy, Cut, Piece, Sample, Text

Ids = npt.NDArray[np.int64]
INSERTED = -1  # origin of a sentinel or a pad
_WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class FIM:
    """Share of fragments that are permuted, and share of those that are written suffix first (both .5 as published).

    With a `fragment_rate` (.5 where it was used), `rate` is the share of documents in which files are permuted at all, and
    `fragment_rate` the share of the files of such a document.
    """

    rate: float = 0.5
    spm: float = 0.5
    fragment_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("rate", "spm", "fragment_rate"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"fim.{name} is {share}; it is a share from 0 to 1")


class Chance(NamedTuple):
    """What one fragment draws."""

    permuted: bool
    cuts: tuple[int, int]  # 64-bit words; `place` makes positions of them
    spm: bool


def chance(fim: FIM, *, seed: int, epoch: int, sample: int, fragment: int, file: int | None = None) -> Chance:
    """What a fragment of a sample draws, or a file of it: one block of random words each, whoever asks and when."""
    block = 1 if file is None else file + 2
    whether, one, other, order = philox.words(seed, (block, fragment, sample, epoch))
    rate = fim.rate if file is None else fim.fragment_rate or 0.0
    return Chance(whether < rate * _WORD, (one, other), order < fim.spm * _WORD)


def place(word: int, positions: int) -> int:
    """A uniform position below `positions` from a 64-bit word."""
    return word * positions >> 64


class _Sentinel(NamedTuple):
    """A token that FIM adds, and the token of the sample at whose first byte it stands."""

    id: int
    token: int


class _Permuted(NamedTuple):
    """A fragment cut in three, and its first token."""

    prefix: Piece
    middle: Piece
    suffix: Piece
    begin: int
    spm: bool

    def blocks(self, sentinels: _Sentinels) -> list[_Block]:
        """What is written, in order; the middle comes last in both forms."""
        prefix, middle, suffix = (_Sentinel(id, self.begin) for id in sentinels)
        if self.spm:  # the second variant: the prefix follows the middle sentinel
            return [prefix, suffix, *self.suffix, middle, *self.prefix, *self.middle]
        return [prefix, *self.prefix, suffix, *self.suffix, middle, *self.middle]


_Block = Copy | Text | _Sentinel
_Sentinels = tuple[int, int, int]  # prefix, middle, suffix
_Part = Copy | _Permuted


class Spans(NamedTuple):
    """For each token of a sample after FIM, which bytes of the sample before it that it holds.

    `origins` is the token of the sample in which those bytes begin, or the control itself; INSERTED for what FIM added.
    Spans of controls, sentinels and pads are empty.
    """

    starts: Ids
    ends: Ids
    origins: Ids


class Fit(NamedTuple):
    """What it costs that a sample keeps its length."""

    permuted: int  # fragments
    shortened: int  # of these, how many lost the end of their middle, or all of it
    gone: int  # of these, how many lost all of it
    lost: int  # tokens of any kind behind the end
    pads: int


class FimSample:
    """A sample after FIM, as long as before. The way back, and what was lost, are found when they are asked for."""

    def __init__(self, before: Ids, parts: list[_Part], vocabulary: Vocabulary, sentinels: _Sentinels) -> None:
        self._before = before
        self._vocabulary = vocabulary
        self._parts = parts
        self._blocks: list[_Block] = []
        for part in parts:
            self._blocks += (part,) if type(part) is Copy else part.blocks(sentinels)  # type: ignore[union-attr]
        self.texts = [block.text for block in self._blocks if type(block) is Text]  # all that is encoded, in one call
        self._encoded = vocabulary.encode_batch(self.texts)
        self.ids = self._ids()

    def _ids(self) -> Ids:
        before, length = self._before, len(self._before)
        found = np.empty(length, np.int64)
        encoded = iter(self._encoded)
        at = 0
        for block in self._blocks:
            if type(block) is Copy:
                end = at + block.end - block.begin
                new: Ids | list[int] = before[block.begin : block.end]
            else:
                new = next(encoded) if type(block) is Text else [block.id]  # type: ignore[union-attr]
                end = at + len(new)
            if end > length:
                found[at:] = new[: length - at]
                return found
            found[at:end] = new
            at = end
        if at < length:
            found[at:] = self._vocabulary.control("fim_pad")
        return found

    def _sizes(self) -> list[int]:
        """Tokens of each block."""
        encoded = iter(self._encoded)
        return [
            block.end - block.begin if isinstance(block, Copy) else len(next(encoded)) if isinstance(block, Text) else 1
            for block in self._blocks
        ]

    @cached_property
    def spans(self) -> Spans:
        before, lengths = self._before, self._vocabulary.byte_lengths
        offsets = np.zeros(len(before) + 1, np.int64)
        np.cumsum(lengths[before], out=offsets[1:])
        encoded = iter(self._encoded)
        columns: list[tuple[Ids, Ids, Ids]] = []
        for block in self._blocks:
            if isinstance(block, Copy):
                columns.append((offsets[:-1][slice(*block)], offsets[1:][slice(*block)], np.arange(*block)))
            elif isinstance(block, Text):
                sizes = lengths[next(encoded)]
                ends = offsets[block.token] + block.offset + np.cumsum(sizes, dtype=np.int64)
                starts = ends - sizes
                columns.append((starts, ends, np.searchsorted(offsets, starts, side="right") - 1))
            else:
                edge = offsets[block.token : block.token + 1]
                columns.append((edge, edge, np.array([INSERTED])))
        pads = self.fit.pads
        columns.append((np.full(pads, offsets[-1]), np.full(pads, offsets[-1]), np.full(pads, INSERTED)))
        return Spans(*(np.concatenate(column)[: len(before)] for column in zip(*columns, strict=True)))

    @cached_property
    def fit(self) -> Fit:
        length, at, permuted, shortened, gone = len(self._before), 0, 0, 0, 0
        sizes = iter(self._sizes())
        for part in self._parts:
            if isinstance(part, Copy):
                at += next(sizes)
                continue
            others = 3 + len(part.prefix) + len(part.suffix)
            middle = at + sum(next(sizes) for _ in range(others))
            at = middle + sum(next(sizes) for _ in part.middle)
            permuted += 1
            shortened += middle < at > length
            gone += middle < at and middle >= length
        return Fit(permuted, shortened, gone, max(0, at - length), max(0, length - at))


def apply(ids: npt.ArrayLike, vocabulary: Vocabulary, fim: FIM, *, seed: int, epoch: int, sample: int) -> FimSample:
    """FIM on one packed sample of any length. Raises TokenizerError when the vocabulary lacks the sentinels."""
    before = np.ascontiguousarray(ids, np.int64)
    if fim.rate == 0:
        return FimSample(before, [Copy(0, len(before))], vocabulary, (0, 0, 0))
    prefix, middle, suffix, _ = (vocabulary.control(f"fim_{name}") for name in ("prefix", "middle", "suffix", "pad"))
    separator = None if fim.fragment_rate is None else _separator(vocabulary)
    parts: list[_Part] = []
    whole = Sample(before, vocabulary)
    begin = 0
    for fragment, end in enumerate([*whole.positions(vocabulary.end_of_document), len(before)]):
        files = [] if separator is None else whole.positions(separator, begin, end)
        drawn = chance(fim, seed=seed, epoch=epoch, sample=sample, fragment=fragment)
        if not files or not drawn.permuted:
            parts.append(_part(whole, begin, end, drawn))
        else:
            for file, stop in enumerate([*files, end]):
                drawn = chance(fim, seed=seed, epoch=epoch, sample=sample, fragment=fragment, file=file)
                parts.append(_part(whole, begin, stop, drawn))
                parts.append(Copy(stop, min(stop + 1, end)))
                begin = stop + 1
        parts.append(Copy(end, min(end + 1, len(before))))
        begin = end + 1
    return FimSample(before, parts, vocabulary, (prefix, middle, suffix))


def _separator(vocabulary: Vocabulary) -> int:
    """The token between the files of a document."""
    try:
        return vocabulary.control("file_separator")
    except TokenizerError as error:
        raise TokenizerError(f"fim.fragment_rate is for files within a document: {error}, or set it to none") from None


def _part(sample: Sample, begin: int, end: int, drawn: Chance) -> _Part:
    """A fragment, permuted if it has drawn so and can be: a cut falls before, between or behind its characters."""
    text = sample.text_of(begin, end) if drawn.permuted and begin < end else None
    if text is None:
        return Copy(begin, end)
    low, high = text
    first, places = sample.places(low, high)
    one, other = sorted([place(word, places) for word in drawn.cuts])
    left, right = sample.cut(first + one, high), sample.cut(first + other, high)
    prefix, middle = sample.piece(Cut(low, 0), left), sample.piece(left, right)
    suffix = sample.piece(right, Cut(high, 0))
    if (low, high) != (begin, end):  # half characters stay outside
        prefix, suffix = [Copy(begin, low), *prefix], [*suffix, Copy(high, end)]
    return _Permuted(prefix, middle, suffix, begin, drawn.spm)
