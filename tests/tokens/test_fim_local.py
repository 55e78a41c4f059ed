"""FIM that encodes only what lies around its cuts gives the ids of decoding, cutting and encoding each piece whole."""

from __future__ import annotations

import inspect
import json
import random
import textwrap

import fim_oracle
import pytest
from small_mix import PROSE, vocabulary

from starloom.tokens.bpe import Vocabulary
from starloom.tokens.fim import FIM, apply
from starloom.tokens.seams import _WIDE_SPACES

FAMILIES = ("santacoder", "starcoder", "starcoder2")
CODE = inspect.getsource(json.decoder) + inspect.getsource(textwrap)
# What pre-tokenization tells apart, what Unicode calls space, digit or letter, and characters of one to four bytes.
ODD = (
    *("\r\n", "\n", "\r", "\t", " ", "  ", "    ", " \n", "\n\n\n", " \t ", "\t\t", "\x0b", "\x0c", "\x1c", "\x1f", "\x00"),
    *_WIDE_SPACES,
    *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "''", "'S", "d'", " 's", "x's", ".'re"),
    *("0", "7", "42", "1234567", "3.14", "x1", "1x", "_1", "٣", "²", "½", "Ⅷ", "五", "１"),
    *("é", "e\u0301", "ß", "naïve", "Ж", "日本", "語", "。", "，", "\u200b", "\ufeff", "\u200d", "🦀", "👩‍💻", "\U0010ffff"),
    *("###", "_", "__", "->", "=>", "...", "(", ")", "):", '"""', "\\n", "\x7f", "a", "Z", "self.", " def", "<fim_prefix>"),
)  # fmt: skip


def odd_text(chance: random.Random) -> str:
    """Text of odd pieces, of real code, or of both."""
    found = []
    for _ in range(chance.choice((0, 1, 2, 4, 8, 20))):
        kind = chance.random()
        if kind < 0.25:
            begin = chance.randrange(len(CODE))
            found.append(CODE[begin : begin + chance.randrange(120)])
        elif kind < 0.35:
            found.append(chance.choice(PROSE))
        elif kind < 0.45:
            found.append(chance.choice((" ", "\n", "\t", "\r\n", "a", "1", "日", "é", "'")) * chance.randrange(1, 12))
        else:
            found.append(chance.choice(ODD))
    return "".join(found)


def packed(words: Vocabulary, chance: random.Random) -> list[int]:
    """Tokens of a few documents with controls inside, cut anywhere between two tokens, as the edges of a context cut them."""
    controls = [name for name in ("repository", "file_separator", "file_name", "stars") if words.has_control(name)]
    ids: list[int] = []
    for _ in range(chance.randrange(1, 4)):
        ids += words.encode(odd_text(chance))
        for _ in range(chance.choice((0, 0, 1, 3)) if controls else 0):
            ids += [words.control(chance.choice(controls)), *words.encode(odd_text(chance))]
        ids.append(words.end_of_document)
    begin = chance.randrange(len(ids)) if chance.random() < 0.7 else 0
    if chance.random() < 0.5:
        return ids[begin : chance.randrange(begin, len(ids) + 1)]
    return ids[begin:] + [words.end_of_document] * chance.choice((0, 20))  # with room, so that no end is lost


def check_cases(cases: int, family: str, size: int, seed: int) -> None:
    """So many permuted fragments, on the same cuts, with the same ids and spans as the oracle's."""
    words = vocabulary(family, size)
    chance = random.Random(f"{family} {size} {seed}")
    rates: list[float | None] = [None, 1.0, 0.5] if words.has_control("file_separator") else [None]
    done = number = 0
    while done < cases:
        number += 1
        ids = packed(words, chance)
        fim = FIM(1, 0.5, chance.choice(rates))
        asked = {"seed": seed, "epoch": 0, "sample": number}
        expected, *spans = (column.tolist() for column in fim_oracle.apply(ids, words, fim, **asked))
        found = apply(ids, words, fim, **asked)
        assert found.ids.tolist() == expected, (family, ids, number)
        assert [column.tolist() for column in found.spans] == spans, (family, ids, number)
        done += found.fit.permuted


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_and_spans_equal_those_of_encoding_whole_pieces(family: str) -> None:
    check_cases(800, family, 700, 0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [700, 3000])
@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_whole_pieces_in_a_hundred_thousand_cases(family: str, size: int) -> None:
    check_cases(17_000, family, size, 1)
