"""Encoding by words gives the ids of the tokenizers library, on any text, whatever was encoded before."""

from __future__ import annotations

import itertools
import json
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_mix import PROSE, texts, vocabulary
from tokenizers import Tokenizer

from starloom.tokens import encoder, tokenizer_json
from starloom.tokens.encoder import Encoder

LIBRARY = Tokenizer.from_str(
    json.dumps(
        tokenizer_json.rebuilt(tokenizer_json.read(vocabulary().files()["tokenizer.json"], "here"), with_controls=False)
    )
)
ENCODER = Encoder(LIBRARY, vocabulary().size)


def by_library(given_texts: list[str]) -> list[list[int]]:
    return [found.ids for found in LIBRARY.encode_batch_fast(given_texts, add_special_tokens=False)]


ascii_text = st.text(st.sampled_from([chr(code) for code in range(128)] + list(" \n\t'1sa#") * 12), max_size=60)
mixed = st.lists(st.one_of(ascii_text, texts, st.text(st.characters(codec="utf-8"), max_size=5)), max_size=6)


@given(batch=st.lists(mixed.map("\n".join), max_size=4))
def test_any_batch_of_texts_has_the_librarys_ids(batch: list[str]) -> None:
    assert ENCODER.encode(batch) == by_library(batch)


def test_every_short_string_of_each_kind_of_character_has_the_librarys_ids() -> None:
    kinds = [" ", "\n", "\t", "\x1c", "a", "s", "'", "7", "#", "\r"]
    every = ["".join(letters) for length in range(5) for letters in itertools.product(kinds, repeat=length)]
    assert ENCODER.encode(every) == by_library(every)


def test_every_pair_of_ascii_characters_has_the_librarys_ids() -> None:
    every = [f"x{chr(one)}{chr(other)}y" for one in range(128) for other in range(128)]
    every += [f" {chr(one)} {chr(other)}\n" for one in range(128) for other in range(128)]
    assert ENCODER.encode(every) == by_library(every)


@pytest.mark.parametrize(
    "character", [*"\x85\xa0\u2028\u3000\u200b\ufeff", "é", "字", "½", "Ⅷ", "٣", "一", "🙂", "\u0301"]
)
def test_ascii_beside_any_other_character_has_the_librarys_ids(character: str) -> None:
    around = ["", " ", "\n", "a", "1", "'", "a\n", "a \n", "\n a", " 1", "s\n\n", "#\n  "]
    every = [left + character + right for left in around for right in around]
    assert ENCODER.encode(every) == by_library(every)


def test_real_files_have_the_librarys_ids() -> None:
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:60]
    real = [*(path.read_text(encoding="utf-8", errors="replace") for path in paths), "".join(PROSE)]
    assert Encoder(LIBRARY, vocabulary().size).encode(real) == by_library(real)


@pytest.mark.parametrize(("words", "characters"), [(50, 10**6), (10**6, 300)])
def test_what_is_kept_is_bounded_and_forgetting_changes_nothing(
    words: int, characters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "MOST_WORDS", words)
    monkeypatch.setattr(encoder, "MOST_CHARACTERS", characters)
    small = Encoder(LIBRARY, vocabulary().size)
    for number in range(200):
        word = "".join(chr(97 + number * 7 % (place + 5) % 26) for place in range(number % 40))
        text = f"{word} = other{number}({word}, {number})\n" * 2
        assert small.encode([text]) == by_library([text])
        assert len(small._known) <= words
        assert sum(map(len, small._known)) <= characters


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(TypeError):
        ENCODER.encode(["fine", "a\nb\ud800c"])
