"""Byte-level BPE as BigCode defines it: any text to ids and back, trained on a corpus, loaded by `transformers` as is.

What we encode is text, whatever it says: the encoder in here has no control tokens at all, so a typed `<fim_prefix>`
cannot become one. The files that we save parse specials, as the published tokenizers do.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from starloom.errors import ConfigError, TokenizerError
from starloom.store import Built
from starloom.tokens import tokenizer_json
from starloom.tokens.byte_alphabet import ALPHABET
from starloom.tokens.encoder import Encoder
from starloom.tokens.seams import Seams
from starloom.tokens.special import END_OF_DOCUMENT, family_named

# The class that takes tokenizer.json as it is. The published files name GPT2TokenizerFast, which since transformers 5 splits as
# GPT-2 does, whatever the file says: spaces before a digit then have other ids than those that a model was trained on.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"
FILES = ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
RARELY = 2  # times that a pair occurs at least to be merged; our choice: what occurs once belongs to one file
LONGEST_MERGE = 128  # bytes, our choice: longer tokens are some file's own data or rulers
# Training takes time quadratic in the longest word (tokenizers 0.23: 3.5 s for 10^5 letters, minutes for 10^6), so runs
# without a space, or of space, are learned from in pieces of this many characters; our choice. Encoding never cuts:
# it is linear (10^6 letters 0.3 s), and cutting would give other ids than `transformers`.
LONGEST_RUN = 1000
_LONG_SPACE = re.compile(rf"\s{{{LONGEST_RUN + 1}}}")
_LONG_RUN = re.compile(rf"(?<!\S)\S{{{LONGEST_RUN + 1},}}|(?<!\s)\s{{{LONGEST_RUN + 1},}}")
# `###` is one token in every vocabulary that we train: StarCoder2-Instruct stops at it (model card).
MERGES_NEEDED = (("#", "#"), ("##", "#"))


class Vocabulary:
    """Text ↔ ids of one tokenizer. Read-only; `load` opens a folder, a built stage or a tokenizer.json."""

    def __init__(self, data: bytes, where: str) -> None:
        """From the bytes of a tokenizer.json. Raises TokenizerError, naming `where`, for one that is not sound."""
        tables = tokenizer_json.read(data, where)
        self._data = data
        self._family = tables.family
        self._token_bytes = tables.token_bytes
        self._spellings = {number: spelling for spelling, number in tables.controls.items()}
        known = dict(tables.family.controls)
        self._controls = {name: tables.controls[known[name]] for name in known if known[name] in tables.controls}
        library = Tokenizer.from_str(json.dumps(tokenizer_json.rebuilt(tables, with_controls=False)))
        self._encoder = Encoder(library, len(tables.token_bytes))
        self.byte_lengths: npt.NDArray[np.int32] = np.array([len(token) for token in tables.token_bytes], np.int32)
        self.byte_lengths.flags.writeable = False
        self.control_mask: npt.NDArray[np.bool_] = np.zeros(len(tables.token_bytes), np.bool_)
        self.control_mask[list(self._spellings)] = True
        self.control_mask.flags.writeable = False

    @functools.cached_property
    def seams(self) -> Seams:
        """Between which tokens text may be cut; made when first asked for."""
        return Seams(self._token_bytes)

    @classmethod
    def load(cls, place: Path | str | Built) -> Vocabulary:
        """Open the tokenizer of a folder, of a built stage (SHA-256 checked) or of a tokenizer.json."""
        if isinstance(place, Built):
            return _opened(place.read_bytes("tokenizer.json"), str(place.path("tokenizer.json")))
        path = Path(place)
        path = path / "tokenizer.json" if path.is_dir() else path
        try:
            with path.open("rb") as file:
                data = file.read(tokenizer_json.LARGEST_FILE + 1)
        except OSError as error:
            raise TokenizerError(
                f"{path} cannot be read ({error.strerror}); point to a folder with a tokenizer.json"
            ) from None
        return cls(data, str(path))

    @property
    def size(self) -> int:
        """How many tokens there are, controls among them; ids are 0 to size − 1."""
        return len(self._token_bytes)

    @property
    def rows(self) -> int:
        """Rows of the embedding matrix as the family pads it (SantaCoder: 49,280 for 49,157 tokens)."""
        return self._family.matrix_rows(self.size)

    @property
    def family(self) -> str:
        return self._family.name

    @property
    def end_of_document(self) -> int:
        return self._controls[END_OF_DOCUMENT]

    def control(self, name: str) -> int:
        """The id of an abstract control. Raises TokenizerError when the family, or this tokenizer, lacks it."""
        if name not in self._controls:
            spelling = self._family.spelling(name)
            raise TokenizerError(
                f"this {self.family} tokenizer has no {spelling} ({name}), as the earliest ones had not; use a later one"
            )
        return self._controls[name]

    def has_control(self, name: str) -> bool:
        return name in self._controls

    def marks_as_text(self) -> dict[str, str]:
        """Redaction marks without a token here → the text that takes their place."""
        return self._family.marks_as_text()

    def is_control(self, token: int) -> bool:
        return token in self._spellings

    def spelling(self, token: int) -> str:
        """How a control token is written, for people to read. Raises TokenizerError for an ordinary token."""
        if token not in self._spellings:
            raise TokenizerError(f"token {token} is no control token")
        return self._spellings[token]

    def encode(self, text: str) -> list[int]:
        """Ids of a text as one string; sentinels typed in it stay text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of several texts. Raises TokenizerError for half a surrogate pair, which is no text."""
        try:
            return self._encoder.encode(texts)
        except TypeError:
            for text in texts:
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    raise TokenizerError(
                        f"the text holds half a surrogate pair at character {error.start}, which UTF-8 cannot write; "
                        "replace it"
                    ) from None
            raise

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """Exactly the bytes that the ids stand for; controls have none. Raises TokenizerError for an id past the end."""
        table = self._token_bytes
        try:
            return b"".join([table[number] for number in ids])
        except IndexError:
            raise TokenizerError(f"an id lies outside this vocabulary of {self.size:,} tokens") from None

    def decode(self, ids: Iterable[int], *, spell_controls: bool = False) -> str:
        """Text of ids; bytes that are no UTF-8 (half a character at an edge) become U+FFFD. Controls are left out,
        or spelled, for people to read."""
        if not spell_controls:
            return self.bytes_of(ids).decode("utf-8", "replace")
        spelled = [
            self._spellings[number].encode() if number in self._spellings else self.bytes_of((number,))
            for number in ids
        ]
        return b"".join(spelled).decode("utf-8", "replace")

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        """Write tokenizer.json and what `transformers.AutoTokenizer` reads beside it; `max_length` in tokens."""
        for name, data in self.files(max_length=max_length).items():
            (folder / name).write_bytes(data)

    def files(self, *, max_length: int | None = None) -> dict[str, bytes]:
        """File name → content of a tokenizer folder. bos, eos and unk are all the end of a document, as published."""
        end = self._spellings[self.end_of_document]
        roles = {"bos_token": end, "eos_token": end, "unk_token": end}
        specials = [self._spellings[number] for number in sorted(self._spellings)]
        config = {
            "add_prefix_space": False,
            "additional_special_tokens": specials,
            **roles,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": max_length or self._family.max_length,
            "tokenizer_class": TOKENIZER_CLASS,
        }
        return {
            "special_tokens_map.json": _json({"additional_special_tokens": specials, **roles}),
            "tokenizer.json": self._data,
            "tokenizer_config.json": _json(config),
        }


@functools.lru_cache(maxsize=2)
def _opened(data: bytes, where: str) -> Vocabulary:
    """The same one for the same bytes: opening the published size takes half a second, and each shard asks for it."""
    return Vocabulary(data, where)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def check_size(vocab_size: int, family: str) -> None:
    """Raises ConfigError for a vocabulary that cannot hold every byte and the controls, or is absurdly large."""
    dialect = family_named(family)
    least = (0 if dialect.on_top else len(dialect.spellings)) + len(ALPHABET) + len(MERGES_NEEDED)
    if not least <= vocab_size <= tokenizer_json.MOST_TOKENS - len(dialect.spellings):
        raise ConfigError(f"vocab_size {vocab_size:,} cannot be; a {family} vocabulary has {least} to 999,000 tokens")


def train(texts: Iterable[str], *, vocab_size: int, family: str = "starcoder") -> Vocabulary:
    """Train a vocabulary on texts; the same texts in the same order give the same bytes, whatever the threads.

    `vocab_size` counts as the published 49,152 does: with the controls where they are the first ids (StarCoder,
    StarCoder2), without where they follow (SantaCoder). A corpus with fewer pairs than that gives a smaller one.
    Sentinels in the texts are text and win nothing. Raises ConfigError for a size that cannot hold every byte.
    """
    check_size(vocab_size, family)
    dialect = family_named(family)
    specials = [] if dialect.on_top else list(dialect.spellings)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=RARELY,
        max_token_length=LONGEST_MERGE,
        special_tokens=specials,
        initial_alphabet=sorted(ALPHABET),
        show_progress=False,
    )
    learner.train_from_iterator((piece for text in texts for piece in short_runs(text)), trainer)
    learned = json.loads(learner.to_str())["model"]
    controls = {spelling: number for number, spelling in enumerate(specials)}
    tokens = {token: number for token, number in learned["vocab"].items() if token not in controls}
    tokens, merges = with_merges(
        tokens, [(left, right) for left, right in learned["merges"]], MERGES_NEEDED, vocab_size - len(controls)
    )
    if dialect.on_top:
        controls = {spelling: len(tokens) + place for place, spelling in enumerate(dialect.spellings)}
    tables = tokenizer_json.Tables(dialect, tokens, tuple(merges), controls, ())
    vocabulary = Vocabulary(_json(tokenizer_json.rebuilt(tables, with_controls=True)), "the trained tokenizer")
    assert len(vocabulary.encode("###")) == 1, "### is one token"
    return vocabulary


def short_runs(text: str) -> Iterator[str]:
    """The text to learn from, in pieces without a run of over LONGEST_RUN characters; most texts are one piece."""
    if max(map(len, text.split("\n"))) <= LONGEST_RUN and _LONG_SPACE.search(text) is None:
        yield text  # no long line, so no long run without a space: three times as fast as to look for one
        return
    done = 0
    for match in _LONG_RUN.finditer(text):
        for cut in range(match.start(), match.end(), LONGEST_RUN):
            yield text[done:cut]
            done = cut
    yield text[done:]


def with_merges(
    tokens: dict[str, int], merges: list[tuple[str, str]], needed: Sequence[tuple[str, str]], size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary with the needed merges in it; where it is full, the last learned tokens are given up for them."""
    tokens, merges = dict(tokens), list(merges)
    kept = {half for pair in needed for half in pair} | {"".join(pair) for pair in needed}
    for pair in needed:
        if pair in merges:
            continue
        made = "".join(pair)
        if made not in tokens:
            tokens[made] = _give_up(tokens, merges, kept) if len(tokens) >= size else max(tokens.values()) + 1
        merges.append(pair)
    return tokens, merges


def _give_up(tokens: dict[str, int], merges: list[tuple[str, str]], kept: set[str]) -> int:
    """Remove the last merge that no other one builds on, with its token, whose id is returned."""
    uses = Counter(half for pair in merges for half in pair) + Counter("".join(pair) for pair in merges)
    for position in reversed(range(len(merges))):
        made = "".join(merges[position])
        if made not in kept and uses[made] == 1:
            del merges[position]
            return tokens.pop(made)
    raise AssertionError("a full vocabulary has a merge to give up")
