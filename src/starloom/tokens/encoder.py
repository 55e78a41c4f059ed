"""Text → ids, word by word: the library's own ids, several times as fast where words repeat, as they do in code.

Pre-tokenization cuts text into words that are merged each on its own, so a word has the same ids wherever it stands.
Words of ASCII text are found by `WORDS` and looked up; the library encodes those that are new, and all other text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain, groupby

from tokenizers import Tokenizer

# Digits one by one, then GPT-2's regex on what lies between them (`tokenizer_json.PRE_TOKENIZER`), for ASCII. Between digits a
# run of space ends as at the end of a text: whole.
WORDS = re.compile(
    r"[0-9]|'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[^ \t\n\r\f\v0-9A-Za-z]+"
    r"|[ \t\n\r\f\v]+(?![^ \t\n\r\f\v0-9])|[ \t\n\r\f\v]+"
)
# No word holds a line break behind something other than space: text may be cut there, and its ASCII lines told apart.
_CUT = re.compile(r"(?<=[!-~])(?=\n)")
MOST_WORDS = (
    200_000  # that are kept, some 40 MB; 150 MB of code in a dozen languages have two million, most of them once
)
MOST_CHARACTERS = 4_000_000  # of kept words


class Encoder:
    """The ids of a tokenizer of BigCode's pre-tokenization and without special tokens. Threads may share it."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        """`size` is one more than the highest id."""
        self._tokenizer = tokenizer
        self._ids = list(range(size))  # one object for each id that kept words hold
        self._known: dict[str, tuple[int, ...]] = {}
        self._characters = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of several texts. Raises TypeError for half a surrogate pair."""
        if all(map(str.isascii, texts)):
            return [self._by_words(text) for text in texts]
        pieces = [_pieces(text) for text in texts]
        others = iter(self._by_library(piece for own in pieces for ascii, piece in own if not ascii))
        found = []
        for own in pieces:
            parts = [self._by_words(piece) if ascii else next(others) for ascii, piece in own]
            found.append(parts[0] if len(parts) == 1 else list(chain.from_iterable(parts)))
        return found

    def _by_library(self, texts: Iterable[str]) -> list[list[int]]:
        return [one.ids for one in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _by_words(self, text: str) -> list[int]:
        words = WORDS.findall(text)
        known = self._known
        try:
            return list(chain.from_iterable(map(known.__getitem__, words)))
        except KeyError:
            fresh = [word for word in dict.fromkeys(words) if word not in known]
        self._characters += sum(map(len, fresh))
        if len(known) + len(fresh) > MOST_WORDS or self._characters > MOST_CHARACTERS:
            fresh = list(dict.fromkeys(words))
            self._known = known = {}
            self._characters = sum(map(len, fresh))
        shared = self._ids
        for word, ids in zip(fresh, self._by_library(fresh), strict=True):
            known[word] = tuple([shared[one] for one in ids])
        return list(chain.from_iterable(map(known.__getitem__, words)))


def _pieces(text: str) -> list[tuple[bool, str]]:
    """The text in pieces that no word crosses, and whether each is ASCII."""
    if text.isascii():
        return [(True, text)]
    return [(ascii, "".join(lines)) for ascii, lines in groupby(_CUT.split(text), str.isascii)]
