"""Fill-in-the-middle the plain way: decode a fragment, cut the text, encode each piece whole. What `fim.apply` must equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from starloom.tokens.bpe import Vocabulary
from starloom.tokens.fim import FIM, INSERTED, Chance, Ids, place

_WORD = 1 << 64


class Plain(NamedTuple):
    """The columns of a sample after FIM."""

    ids: Ids
    starts: Ids
    ends: Ids
    origins: Ids


class _Copy(NamedTuple):
    """Tokens [begin, end) of the sample as they are."""

    begin: int
    end: int


class _Text(NamedTuple):
    """Characters to be encoded as one string, which begin at a byte of the sample."""

    text: str
    byte: int


class _Sentinel(NamedTuple):
    """A token that FIM adds, and the byte of the sample that it stands at."""

    token: int
    byte: int


_Block = _Copy | _Text | _Sentinel


class _Sentinels(NamedTuple):
    prefix: int
    middle: int
    suffix: int


def apply(ids: npt.ArrayLike, vocabulary: Vocabulary, fim: FIM, *, seed: int, epoch: int, sample: int) -> Plain:
    """FIM on one packed sample of any length."""
    sample_ids = np.asarray(ids, np.int64)
    offsets = np.zeros(len(sample_ids) + 1, np.int64)
    np.cumsum(vocabulary.byte_lengths[sample_ids], out=offsets[1:])
    if fim.rate == 0:
        return Plain(sample_ids, offsets[:-1], offsets[1:], np.arange(len(sample_ids)))
    sentinels = _Sentinels(*(vocabulary.control(f"fim_{name}") for name in _Sentinels._fields))
    pad = vocabulary.control("fim_pad")
    blocks: list[_Block] = []
    begin = 0
    ends = np.flatnonzero(sample_ids == vocabulary.end_of_document).tolist()
    for fragment, end in enumerate([*ends, len(sample_ids)]):
        words = np.random.Philox(key=seed, counter=[0, fragment, sample, epoch])
        drawn = _chance(words, fim.rate, fim.spm)
        stops = [end]
        if fim.fragment_rate is not None:
            files = np.flatnonzero(sample_ids[begin:end] == vocabulary.control("file_separator")) + begin
            if len(files):
                stops = [*files.tolist(), end]
        for stop in stops:
            if len(stops) > 1:
                own = _chance(words, fim.fragment_rate or 0.0, fim.spm)
                one = own._replace(permuted=own.permuted and drawn.permuted)
            else:
                one = drawn
            readable = (
                _readable(sample_ids, offsets, begin, stop, vocabulary) if one.permuted and begin < stop else None
            )
            if readable is None:
                blocks.append(_Copy(begin, stop))
            else:
                blocks.extend(_permuted(readable, one, sentinels))
            blocks.append(_Copy(stop, min(stop + 1, len(sample_ids))))
            begin = stop + 1
    return _assembled(blocks, sample_ids, offsets, vocabulary, pad)


def _chance(words: np.random.Philox, rate: float, spm: float) -> Chance:
    """The next four words."""
    whether, one, other, order = (int(word) for word in words.random_raw(4))
    return Chance(whether < rate * _WORD, (one, other), order < spm * _WORD)


class _Readable(NamedTuple):
    """A fragment as text and controls, with the tokens of half characters before and behind."""

    byte: int  # of the sample, at which it begins
    head: _Copy
    items: list[_Text | _Copy]  # text, and single controls
    tail: _Copy


def _readable(ids: Ids, offsets: Ids, begin: int, end: int, vocabulary: Vocabulary) -> _Readable | None:
    """A fragment's text and controls; None when it has no text, or bytes inside it that are none."""
    controls = (np.flatnonzero(vocabulary.control_mask[ids[begin:end]]) + begin).tolist()
    items: list[_Text | _Copy] = []
    head, tail = _Copy(begin, begin), _Copy(end, end)
    first = begin
    for stop in [*controls, end]:
        if first < stop:
            data = vocabulary.bytes_of(ids[first:stop].tolist())
            boundaries = (offsets[first : stop + 1] - offsets[first]).tolist()
            low, high = _whole_characters(data, boundaries)
            if first == begin:
                head = _Copy(begin, begin + low)
            elif low > 0:
                return None
            if stop == end:
                tail = _Copy(first + high, end)
            elif high < stop - first:
                return None
            try:
                text = data[boundaries[low] : boundaries[high]].decode()
            except UnicodeDecodeError:
                return None
            if text:
                items.append(_Text(text, int(offsets[first]) + boundaries[low]))
        if stop < end:
            items.append(_Copy(stop, stop + 1))
        first = stop + 1
    return _Readable(int(offsets[begin]), head, items, tail) if any(isinstance(item, _Text) for item in items) else None


def _whole_characters(data: bytes, boundaries: Sequence[int]) -> tuple[int, int]:
    """First and last token boundary between which no character is cut in two; (n, n) when there is no such text.

    `boundaries` are the byte offsets of the tokens and of their end.
    """
    last = len(boundaries) - 1

    def clean(offset: int) -> bool:
        return data[offset] & 0xC0 != 0x80 if offset < len(data) else _ends_whole(data)

    low = next((place for place, offset in enumerate(boundaries) if clean(offset)), last)
    high = next((place for place in range(last, low, -1) if clean(boundaries[place])), low)
    return low, high


def _ends_whole(data: bytes) -> bool:
    """Whether the last character has all its bytes."""
    lead = len(data) - 1
    while lead > 0 and data[lead] & 0xC0 == 0x80 and len(data) - lead < 4:
        lead -= 1
    first = data[lead]
    needed = 1 if first < 0x80 else 2 if first >> 5 == 0b110 else 3 if first >> 4 == 0b1110 else 4
    return len(data) - lead >= needed


def _permuted(fragment: _Readable, drawn: Chance, sentinels: _Sentinels) -> Iterator[_Block]:
    """The blocks of one fragment in PSM, or in SPM's second variant, where the prefix follows the middle sentinel."""
    units = sum(_units(item) for item in fragment.items)
    low, high = sorted(place(word, units + 1) for word in drawn.cuts)
    pieces: tuple[list[_Block], ...] = ([fragment.head], [], [])
    done = 0
    for item in fragment.items:
        size = _units(item)
        first, second = (max(0, min(size, cut - done)) for cut in (low, high))
        byte = item.byte if isinstance(item, _Text) else 0
        for piece, begin, end in zip(pieces, (0, first, second), (first, second, size), strict=True):
            if isinstance(item, _Text) and begin < end:
                text = item.text[begin:end]
                piece.append(_Text(text, byte))
                byte += len(text.encode())
            elif begin < end:
                piece.append(item)
        done += size
    prefix, middle, suffix = pieces
    suffix.append(fragment.tail)
    yield _Sentinel(sentinels.prefix, fragment.byte)
    if not drawn.spm:
        yield from prefix
    yield _Sentinel(sentinels.suffix, fragment.byte)
    yield from suffix
    yield _Sentinel(sentinels.middle, fragment.byte)
    if drawn.spm:
        yield from prefix
    yield from middle


def _units(item: _Text | _Copy) -> int:
    return len(item.text) if isinstance(item, _Text) else 1


def _assembled(blocks: Sequence[_Block], ids: Ids, offsets: Ids, vocabulary: Vocabulary, pad: int) -> Plain:
    """The blocks as tokens, cut or padded to the length of the sample."""
    length = len(ids)
    encoded = iter(vocabulary.encode_batch([block.text for block in blocks if isinstance(block, _Text)]))
    columns: list[tuple[Any, Any, Any, Any]] = []
    for block in blocks:
        if isinstance(block, _Copy):
            chosen = slice(block.begin, block.end)
            origins = np.arange(block.begin, block.end)
            columns.append((ids[chosen], offsets[chosen], offsets[1:][chosen], origins))
        elif isinstance(block, _Sentinel):
            columns.append(([block.token], [block.byte], [block.byte], [INSERTED]))
        else:
            new = np.array(next(encoded), np.int64)
            ends = block.byte + np.cumsum(vocabulary.byte_lengths[new], dtype=np.int64)
            starts = ends - vocabulary.byte_lengths[new]
            columns.append((new, starts, ends, np.searchsorted(offsets, starts, side="right") - 1))
    missing = length - sum(len(column[0]) for column in columns)
    if missing > 0:
        edge = [int(offsets[-1])] * missing
        columns.append(([pad] * missing, edge, edge, [INSERTED] * missing))
    return Plain(*(np.concatenate(parts)[:length].astype(np.int64) for parts in zip(*columns, strict=True)))
