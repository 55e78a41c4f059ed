"""Where a seam is told, both sides of it are split as they are together; chance is NumPy's Philox."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_fim_local import CODE, odd_text
from tokenizers import Tokenizer

from starloom.tokens import philox
from starloom.tokens.seams import _WIDE_SPACES, SEAM, Seams
from starloom.tokens.tokenizer_json import PRE_TOKENIZER

BYTES = Seams([bytes([byte]) for byte in range(256)])
Words = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def words() -> Words:
    """The words that the library splits a text into."""
    empty = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": PRE_TOKENIZER}
    split = Tokenizer.from_str(json.dumps(empty)).pre_tokenizer.pre_tokenize_str
    return lambda text: [word for word, _ in split(text)]


def seams_of(text: str) -> list[int]:
    """The characters of a text before which one is told."""
    data = [character.encode() for character in text]
    return [
        place for place in range(1, len(text)) if SEAM[BYTES.left[data[place - 1][-1]] | BYTES.right[data[place][0]]]
    ]


def check(text: str, words: Words) -> int:
    together = words(text)
    for place in (found := seams_of(text)):
        assert words(text[:place]) + words(text[place:]) == together, (text, place)
    return len(found)


def test_a_seam_is_one_in_every_short_text(words: Words) -> None:
    # One or more of each class of characters, what begins a contraction, and white space outside ASCII.
    alphabet = " \n\ts'rl.9é日\u3000\x1c²"
    texts = [*product(alphabet, repeat=3), *product(" \ts'r.9日", repeat=4)]
    assert sum(check("".join(text), words) for text in texts) > 5000


def test_a_seam_is_one_in_odd_texts(words: Words) -> None:
    chance = random.Random(0)
    assert sum(check(odd_text(chance)[:200], words) for _ in range(60)) > 600


def test_no_seam_lies_behind_white_space_outside_ascii(words: Words) -> None:
    spaces = {chr(code) for code in range(0x80, 0x110000) if chr(code).isspace()}
    assert spaces <= set(_WIDE_SPACES)
    assert not any(seams_of(f"a{space}\n b") for space in spaces)


def test_most_tokens_of_code_lie_near_a_seam() -> None:
    found = [0, *seams_of(CODE), len(CODE)]
    assert np.mean(np.diff(found)) < 6  # characters


@given(key=st.integers(-(2**63), 2**64 - 1), counter=st.tuples(*[st.integers(0, 2**64 - 2)] * 4))
def test_words_of_chance_are_those_of_numpy(key: int, counter: tuple[int, int, int, int]) -> None:
    theirs = np.random.Philox(key=key % 2**64, counter=np.array(counter, np.uint64)).random_raw(4).tolist()
    assert list(philox.words(key, (counter[0] + 1, *counter[1:]))) == theirs
