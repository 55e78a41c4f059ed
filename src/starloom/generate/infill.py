"""Asking a model for the middle between two texts: the prompt's ids, and the code around the cursor that fits.

Prefix and suffix are encoded apart from each other and the controls are put in by id, as in training
(Megatron-LM, gpt_dataset.py: each of the three parts is tokenized on its own).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starloom.errors import GenerationError, TokenizerError
from starloom.generate.protocol import Mode
from starloom.tokens.bpe import Vocabulary

FRAME_TOKENS = 3  # the controls of either mode
SUFFIX_SHARE = 0.25  # of the room where both texts are too long: what precedes the cursor says more (our choice)
CHARACTERS_PER_TOKEN = 8  # a first guess at how much of a long text fills the room; code has 3 to 4 (our choice)
LONGEST_CHARACTER = 4  # bytes of UTF-8, so at most as many tokens


def frame(
    prefix: Sequence[int], suffix: Sequence[int], vocabulary: Vocabulary, mode: Mode, middle: Sequence[int] = ()
) -> list[int]:
    """A prompt whose continuation is the middle, or the rest of a middle that begins as given.

    PSM is `fim_prefix` prefix `fim_suffix` suffix `fim_middle`; SPM is `fim_prefix` `fim_suffix` suffix `fim_middle`
    prefix, so that the middle directly continues the prefix (the published "variant 2"). Raises TokenizerError for a
    vocabulary without them.
    """
    missing = [name for name in ("fim_prefix", "fim_suffix", "fim_middle") if not vocabulary.has_control(name)]
    if missing:
        raise TokenizerError(
            f"the model's vocabulary has no {', '.join(missing)}, so it cannot infill; it can complete, or use a model that "
            "was trained with fill-in-the-middle"
        )
    before, after, here = (vocabulary.control(name) for name in ("fim_prefix", "fim_suffix", "fim_middle"))
    if mode == "psm":
        return [before, *prefix, after, *suffix, here, *middle]
    if mode == "spm":
        return [before, after, *suffix, here, *prefix, *middle]
    raise GenerationError(f"mode is 'psm' or 'spm', not '{mode}'")


def share_room(prefix: int, suffix: int, room: int) -> tuple[int, int]:
    """How many ids of each fit into the room: a quarter is the suffix's, and each takes what the other leaves."""
    of_suffix = min(suffix, max(int(room * SUFFIX_SHARE), room - prefix))
    return min(prefix, room - of_suffix), of_suffix


def end_of(text: str, room: int, encode: Callable[[str], list[int]]) -> list[int]:
    """Ids of a text, or of enough of its end to fill the room with some to spare: a huge file is not all encoded."""
    length = room * CHARACTERS_PER_TOKEN
    while length < len(text):
        ids = encode(text[-length:])
        if len(ids) > room:
            return ids
        length *= 2
    return encode(text)


def start_of(text: str, room: int, encode: Callable[[str], list[int]]) -> list[int]:
    """Ids of a text, or of enough of its start to fill the room with some to spare."""
    length = room * CHARACTERS_PER_TOKEN
    while length < len(text):
        ids = encode(text[:length])
        if len(ids) > room:
            return ids
        length *= 2
    return encode(text)


def last_ids(ids: Sequence[int], count: int, vocabulary: Vocabulary) -> list[int]:
    """The last ids of a text, at most `count`, that do not begin within a character if a few less can do that."""
    start = max(len(ids) - count, 0)
    for whole in range(start, min(start + LONGEST_CHARACTER, len(ids) + 1)):
        if whole == len(ids) or not _continues(ids[whole], vocabulary):
            return list(ids[whole:])
    return list(ids[start:])


def first_ids(ids: Sequence[int], count: int, vocabulary: Vocabulary) -> list[int]:
    """The first ids of a text, at most `count`, that do not end within a character if a few less can do that."""
    for whole in range(count, max(count - LONGEST_CHARACTER, -1), -1):
        if whole == 0 or whole >= len(ids) or not _continues(ids[whole], vocabulary):
            return list(ids[:whole])
    return list(ids[:count])


def _continues(token: int, vocabulary: Vocabulary) -> bool:
    """Whether a token begins within a character of UTF-8."""
    data = vocabulary.bytes_of((token,))
    return data[:1] != b"" and data[0] & 0xC0 == 0x80
