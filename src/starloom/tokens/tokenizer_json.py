"""A tokenizer.json that nobody vouches for → its tables, checked, before the tokenizers library sees any of it.

What is covered: size, JSON that nests or repeats, ids that clash or leave gaps, merges of tokens that do not exist,
controls that text could reach, normalizers and pre-tokenizers other than BigCode's, symbols that are missing.
What is not: whether the merges are good ones. `rebuilt` makes the JSON that the library gets from the checked tables
alone, so what was not looked at has no way in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starloom.errors import TokenizerError
from starloom.tokens import byte_alphabet
from starloom.tokens.special import Family, family_of

LARGEST_FILE = 64 * 2**20  # bytes; StarCoder's is 2 MB (facts/reliability.md §5)
MOST_TOKENS = 1_000_000  # facts/reliability.md §5
LONGEST_TOKEN = 4096  # bytes, our choice: BigCode's longest are runs of a few hundred spaces

# Digits one by one, then GPT-2's regex and byte alphabet, no space in front (BigCode "digit-bytelevel-bpe").
PRE_TOKENIZER: dict[str, Any] = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
DECODER: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


@dataclass(frozen=True, slots=True)
class Tables:
    """What a checked tokenizer consists of."""

    family: Family
    tokens: dict[str, int]  # ordinary tokens in the byte alphabet → id
    merges: tuple[tuple[str, str], ...]
    controls: dict[str, int]  # spelling → id
    token_bytes: tuple[bytes, ...]  # by id; controls are empty


def read(data: bytes, where: str) -> Tables:
    """Check a tokenizer.json and return its tables. Raises TokenizerError saying what is wrong with `where`."""

    def refuse(what: str) -> TokenizerError:
        return TokenizerError(
            f"{where} {what}; use the file of a SantaCoder, StarCoder or StarCoder2 tokenizer, or train one"
        )

    if len(data) > LARGEST_FILE:
        raise refuse(f"has {len(data):,} bytes, more than the {LARGEST_FILE:,} that a tokenizer may have")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise refuse(f"is no JSON ({error})") from None
    try:
        return _tables(value)
    except _RefusedError as refused:
        raise refuse(str(refused)) from None


class _RefusedError(Exception):
    """What is wrong, without where."""


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise _RefusedError(what)


def _tables(value: Any) -> Tables:
    _need(isinstance(value, dict), "is no JSON object")
    model = value.get("model")
    _need(isinstance(model, dict) and model.get("type", "BPE") == "BPE", "holds no BPE model")
    _need(value.get("normalizer") is None, "normalizes text, so that text does not come back")
    _need(
        _pre_tokenizer_is_bigcode(value.get("pre_tokenizer")),
        "does not split text as BigCode does (digits, byte level)",
    )
    for key in ("post_processor", "decoder"):
        part = value.get(key)
        _need(part is None or (isinstance(part, dict) and part.get("type") == "ByteLevel"), f"has a foreign {key}")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"):
        _need(not model.get(key), f"sets {key} of its BPE model to {model.get(key)!r:.40}, which BigCode does not")
    controls = _controls(value.get("added_tokens"))
    tokens = _tokens(model.get("vocab"), controls)
    ids = {*tokens.values(), *controls.values()}
    count = len(tokens) + len(controls)
    _need(
        len(ids) == count and max(ids) == count - 1,
        f"has {count:,} tokens whose ids are not 0 to {count - 1:,}, each once",
    )
    missing = [byte for byte, symbol in enumerate(byte_alphabet.ALPHABET) if symbol not in tokens]
    _need(not missing, f"lacks the symbols of {len(missing)} bytes, so that some text cannot be encoded")
    merges = _merges(model.get("merges"), tokens)
    token_bytes = [b""] * count
    for token, number in tokens.items():
        spelled = byte_alphabet.to_bytes(token)
        _need(spelled is not None and 0 < len(spelled) <= LONGEST_TOKEN, f"has a token {token!r:.60} that is no bytes")
        token_bytes[number] = spelled or b""
    return Tables(family_of(controls), tokens, merges, controls, tuple(token_bytes))


def _pre_tokenizer_is_bigcode(value: Any) -> bool:
    def bare(steps: Any) -> Any:  # without what concerns offsets in characters, which nobody here asks for
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            return None
        return [{key: item for key, item in step.items() if key != "trim_offsets"} for step in steps]

    known = bare(PRE_TOKENIZER["pretokenizers"])
    return (
        isinstance(value, dict) and value.get("type") == "Sequence" and bool(bare(value.get("pretokenizers")) == known)
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS


def _controls(added: Any) -> dict[str, int]:
    _need(isinstance(added, list) and len(added) <= MOST_TOKENS, "has no list of added tokens")
    controls: dict[str, int] = {}
    for entry in added:
        sound = isinstance(entry, dict) and _is_id(entry.get("id")) and isinstance(entry.get("content"), str)
        _need(sound and bool(entry["content"]), f"has an added token {entry!r:.80} without text or id")
        _need(entry["content"] not in controls, f"adds the token {entry['content']!r:.60} twice")
        controls[entry["content"]] = entry["id"]
    return controls


def _tokens(vocab: Any, controls: Mapping[str, int]) -> dict[str, int]:
    """The ordinary tokens: every entry but the controls, which may stand in the model's table too, under the same id."""
    _need(isinstance(vocab, dict) and len(vocab) <= MOST_TOKENS, f"has no table of at most {MOST_TOKENS:,} tokens")
    for token, number in vocab.items():
        _need(_is_id(number), f"gives the token {token!r:.60} the id {number!r:.40}")
        _need(controls.get(token, number) == number, f"gives the token {token!r:.60} two ids")
    return {token: number for token, number in vocab.items() if token not in controls}


def _merges(merges: Any, tokens: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    _need(isinstance(merges, list) and len(merges) <= MOST_TOKENS, f"has no list of at most {MOST_TOKENS:,} merges")
    pairs: dict[tuple[str, str], None] = {}
    for entry in merges:
        pair = entry.split(" ") if isinstance(entry, str) else entry
        sound = isinstance(pair, list) and len(pair) == 2 and all(isinstance(half, str) for half in pair)
        _need(sound, f"has a merge {entry!r:.80} that is no pair")
        left, right = pair
        known = left in tokens and right in tokens and left + right in tokens
        _need(known, f"merges {left!r:.40} and {right!r:.40}, not all of which are ordinary tokens")
        _need((left, right) not in pairs, f"merges {left!r:.40} and {right!r:.40} twice")
        pairs[left, right] = None
    return tuple(pairs)


def rebuilt(tables: Tables, *, with_controls: bool) -> dict[str, Any]:
    """A tokenizer.json of these tables: with the controls, as it is published; without, no text can become one."""
    vocab = dict(tables.tokens)
    if with_controls and not tables.family.on_top:
        vocab.update(tables.controls)
    added = [
        {
            "id": number,
            "content": spelling,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for spelling, number in sorted(tables.controls.items(), key=lambda item: item[1])
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added if with_controls else [],
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZER,
        "post_processor": None,
        "decoder": DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [list(pair) for pair in tables.merges],
        },
    }
