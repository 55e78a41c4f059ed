"""Asking a model for the middle between two texts: the prompt's ids, the code around the cursor, where a middle ends.

Prefix and suffix are encoded apart from each other and the controls are put in by id, as in training
(Megatron-LM, gpt_dataset.py: each of the three parts is tokenized on its own).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starloom.errors import GenerationError, TokenizerError
from starloom.generate.protocol import Mode
from starloom.tokens.bpe import Vocabulary

FRAME_TOKENS = 3  # the controls of either mode
SUFFIX_SHARE = 0.25  # of the room where both texts are too long: what precedes the cursor says more (our choice)
CHARACTERS_PER_TOKEN = 8  # a first guess at how much of a long text fills the room; code has 3 to 4 (our choice)

# When a middle ends in the suffix's own beginning, the model ran on into it. To be sure, that takes whole lines with this
# many letters or digits in all: `)` or `end` may well come twice. After two lines more nobody waits for the rest.
SURE = 6  # letters and digits (our choice)
LINES_MORE = 2  # (our choice)
LOOK_AHEAD = 2000  # characters of the suffix that are compared at all (our choice)


def frame(prefix: Sequence[int], suffix: Sequence[int], vocabulary: Vocabulary, mode: Mode) -> list[int]:
    """A prompt whose continuation is the middle.

    PSM is `fim_prefix` prefix `fim_suffix` suffix `fim_middle`; SPM is `fim_prefix` `fim_suffix` suffix `fim_middle`
    prefix, so that the middle directly continues the prefix. Raises TokenizerError for a vocabulary without them.
    """
    missing = [name for name in ("fim_prefix", "fim_suffix", "fim_middle") if not vocabulary.has_control(name)]
    if missing:
        raise TokenizerError(
            f"the model's vocabulary has no {', '.join(missing)}, so it cannot infill; it can complete, or use a model that "
            "was trained with fill-in-the-middle"
        )
    before, after, middle = (vocabulary.control(name) for name in ("fim_prefix", "fim_suffix", "fim_middle"))
    if mode == "psm":
        return [before, *prefix, after, *suffix, middle]
    if mode == "spm":
        return [before, after, *suffix, middle, *prefix]
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


@dataclass(frozen=True, slots=True)
class SuffixCopy:
    """How a middle looks that ran on into the suffix: it ends in at least `sure` characters of `head`."""

    head: str
    sure: int


def suffix_copy(suffix: str) -> SuffixCopy | None:
    """What to watch for; None when the suffix has too few letters and digits to tell a copy from code."""
    seen, end, sure, more = 0, -1, 0, 0
    lines = suffix[:LOOK_AHEAD].split("\n")
    for line in lines:
        letters = sum(map(str.isalnum, line))
        seen += letters
        end += 1 + len(line)
        if sure and letters:
            more += 1
        elif seen >= SURE and not sure:
            sure = end
        if more == LINES_MORE:
            break
    return SuffixCopy(suffix[:end], sure) if sure else None
