"""Byte-level BPE: any text comes back, text never becomes a control, and `transformers` loads what we save."""

from __future__ import annotations

import copy
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_mix import PROSE, texts, vocabulary

from starloom.errors import ConfigError, TokenizerError
from starloom.tokens import bpe
from starloom.tokens.bpe import Vocabulary, short_runs, train, with_merges
from starloom.tokens.special import FAMILIES, every_spelling

families = st.sampled_from(sorted(FAMILIES))
EVERY_SENTINEL = "".join(f"{spelling}x {spelling}\n" for spelling in every_spelling())


@given(text=texts, family=families)
def test_any_text_comes_back_from_its_ids(text: str, family: str) -> None:
    words = vocabulary(family)
    ids = words.encode(text)
    assert words.decode(ids) == text
    assert words.bytes_of(ids) == text.encode()
    assert sum(words.byte_lengths[ids]) == len(text.encode())


@given(text=texts)
def test_digits_are_tokens_of_their_own(text: str) -> None:
    for token in vocabulary().encode(text):
        spelled = vocabulary().bytes_of([token])
        assert len(spelled) == 1 or not any(byte in b"0123456789" for byte in spelled)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sentinel_of_every_family_ends_as_ordinary_tokens(family: str) -> None:
    words = vocabulary(family)
    ids = words.encode(EVERY_SENTINEL)
    assert not any(words.is_control(token) for token in ids)
    assert words.decode(ids) == EVERY_SENTINEL


def test_sentinels_in_the_training_text_are_text_and_win_no_token() -> None:
    words = train([EVERY_SENTINEL * 20, *PROSE], vocab_size=600)
    assert words.control("fim_prefix") == 1
    spelled = {words.bytes_of([token]).decode(errors="replace") for token in range(19, words.size)}
    assert not spelled & set(every_spelling())
    assert words.decode(words.encode(EVERY_SENTINEL)) == EVERY_SENTINEL


def test_controls_have_no_bytes_and_are_spelled_only_for_people() -> None:
    words = vocabulary()
    ids = [words.control("file_name"), *words.encode("a.py\n"), words.end_of_document]
    assert words.decode(ids) == "a.py\n"
    assert words.decode(ids, spell_controls=True) == "<filename>a.py\n<|endoftext|>"
    assert words.byte_lengths[ids[0]] == 0


def test_half_a_surrogate_pair_is_refused_with_its_place() -> None:
    with pytest.raises(TokenizerError, match="surrogate pair at character 2"):
        vocabulary().encode("ab\ud800c")


def test_an_id_past_the_vocabulary_is_refused() -> None:
    with pytest.raises(TokenizerError, match="outside this vocabulary of 700"):
        vocabulary().bytes_of([700])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("front", ["", "# ", "# ## ### #### ##### *### #* "])
def test_three_number_signs_are_one_ordinary_token_and_the_size_is_exact(front: str, family: str) -> None:
    words = train([front + text.replace("#", "") for text in PROSE * 9], vocab_size=330, family=family)
    assert words.size == (335 if family == "santacoder" else 330)
    (token,) = words.encode("###")
    assert not words.is_control(token)
    assert token in words.encode("\n### Response\n")
    added = json.loads(words.files()["tokenizer.json"])["added_tokens"]
    assert "###" not in [entry["content"] for entry in added]


merges = st.lists(st.tuples(st.sampled_from("ab#"), st.sampled_from("ab#")), unique=True, max_size=9)


@given(pairs=merges, room=st.integers(0, 3))
def test_needed_merges_replace_the_last_learned_ones(pairs: list[tuple[str, str]], room: int) -> None:
    tokens = {token: number for number, token in enumerate(["a", "b", "#", "c", "d", "cd", "dc"])}
    learned = [("c", "d"), ("d", "c")]
    for pair in pairs:
        tokens.setdefault("".join(pair), len(tokens))
        learned.append(pair)
    size = len(tokens) + room
    after, now = with_merges(tokens, learned, bpe.MERGES_NEEDED, size)
    assert len(after) <= size
    assert sorted(after.values()) == list(range(len(after)))
    assert all({left, right, left + right} <= after.keys() for left, right in now)
    assert set(bpe.MERGES_NEEDED) <= set(now)
    assert [pair for pair in now if pair not in bpe.MERGES_NEEDED] == [
        pair for pair in learned if pair in now and pair not in bpe.MERGES_NEEDED
    ]


def test_a_small_corpus_makes_a_smaller_vocabulary_and_too_small_a_size_is_refused() -> None:
    assert train(["one two"], vocab_size=49152).size < 300
    with pytest.raises(ConfigError, match="vocab_size 100 cannot be"):
        train(PROSE, vocab_size=100)


def test_training_is_the_same_without_threads() -> None:
    code = (
        "import sys, json; from starloom.tokens.bpe import train;"
        "sys.stdout.buffer.write(train(json.load(sys.stdin), vocab_size=600).files()['tokenizer.json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(PROSE * 20).encode(),
        capture_output=True,
        check=True,
        env={"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"},
    )
    assert done.stdout == train(PROSE * 20, vocab_size=600).files()["tokenizer.json"]


@pytest.mark.parametrize("unit", ["a", " ", "=", "é", "ab "])
@pytest.mark.parametrize("length", [1, 999, 1000, 1001, 5000])
def test_long_runs_are_learned_from_in_pieces(unit: str, length: int) -> None:
    text = f"x = 1\n{unit * length}\ny = 2"
    pieces = list(short_runs(text))
    assert "".join(pieces) == text
    assert all(len(run) <= bpe.LONGEST_RUN for piece in pieces for run in piece.split())


@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_what_we_save_and_parses_specials_as_published(
    family: str, with_config: bool, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    words = vocabulary(family)
    words.save(tmp_path, max_length=512)
    if with_config:
        kind = "starcoder2" if family == "starcoder2" else "gpt_bigcode"
        ends = {"bos_token_id": words.end_of_document, "eos_token_id": words.end_of_document}
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": words.size, **ends}))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == words.size
    assert {theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id} == {words.end_of_document}
    assert theirs.model_max_length == 512
    assert theirs.clean_up_tokenization_spaces is False
    for text in (*PROSE, "if x:\n        1 + 1\n\t\t22   333", inspect.getsource(textwrap)):
        assert theirs(text)["input_ids"] == words.encode(text)
        assert theirs.decode(words.encode(text)) == text
    for control, spelling in FAMILIES[family].controls:
        assert theirs(f"a{spelling}b")["input_ids"] == [*words.encode("a"), words.control(control), *words.encode("b")]
        assert theirs.convert_tokens_to_ids(spelling) == words.control(control)
    assert "token_type_ids" not in theirs("x")


@settings(max_examples=60)
@given(text=texts)
def test_ids_equal_those_of_the_saved_file(text: str) -> None:
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_str(vocabulary().files()["tokenizer.json"].decode())
    theirs.encode_special_tokens = True
    assert theirs.encode(text).ids == vocabulary().encode(text)


def test_the_older_spelling_of_merges_is_the_same_tokenizer() -> None:
    value = json.loads(vocabulary().files()["tokenizer.json"])
    value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    older = Vocabulary(json.dumps(value).encode(), "older")
    assert [older.encode(text) for text in PROSE] == [vocabulary().encode(text) for text in PROSE]


# What a hostile tokenizer.json does, and what the error says.
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "normalizer": (
        lambda v: v.update(normalizer={"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}),
        "normalizes",
    ),
    "pre-tokenizer": (
        lambda v: v.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}),
        "does not split text as BigCode does",
    ),
    "no digits": (lambda v: v["pre_tokenizer"]["pretokenizers"].pop(0), "does not split"),
    "post-processor": (lambda v: v.update(post_processor={"type": "TemplateProcessing"}), "foreign post_processor"),
    "decoder": (lambda v: v.update(decoder={"type": "Metaspace"}), "foreign decoder"),
    "dropout": (lambda v: v["model"].update(dropout=0.5), "sets dropout"),
    "other model": (lambda v: v["model"].update(type="Unigram"), "no BPE model"),
    "unknown merge": (lambda v: v["model"]["merges"].append(["a", "no such"]), "not all of which are ordinary"),
    "merge into a control": (
        lambda v: v["model"]["merges"].append(["<filename", ">"]),
        "not all of which are ordinary",
    ),
    "merge of three": (lambda v: v["model"]["merges"].append(["a", "b", "c"]), "no pair"),
    "merge twice": (lambda v: v["model"]["merges"].append(v["model"]["merges"][0]), "twice"),
    "gap": (lambda v: v["model"]["vocab"].update(ab_=9999), "whose ids are not 0 to"),
    "same id": (lambda v: v["model"]["vocab"].update(ab_=300), "whose ids are not 0 to"),
    "negative id": (lambda v: v["model"]["vocab"].update(ab_=-1), "the id -1"),
    "true as id": (lambda v: v["model"]["vocab"].update(ab_=True), "the id True"),
    "control past the end": (lambda v: v["added_tokens"].append({"id": 10**5, "content": "<x>"}), "whose ids are not"),
    "control twice": (lambda v: v["added_tokens"].append(v["added_tokens"][0]), "twice"),
    "control with two ids": (lambda v: v["added_tokens"][1].update(id=2), "two ids"),
    "control without text": (lambda v: v["added_tokens"][1].update(content=""), "without text or id"),
    "no controls": (lambda v: v.update(added_tokens=[]), "no bytes|belongs to none"),
    "no byte 0xff": (lambda v: v["model"]["vocab"].pop("ÿ"), "whose ids are not|lacks the symbols"),
    "list for a table": (lambda v: v["model"].update(vocab=[]), "no table"),
    "not an object": (lambda v: v.clear(), "no BPE model"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tokenizer_is_refused_with_the_reason(name: str) -> None:
    change, reason = HOSTILE[name]
    value = json.loads(vocabulary().files()["tokenizer.json"])
    change(value)
    with pytest.raises(TokenizerError, match=reason):
        Vocabulary(json.dumps(value).encode(), "given")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"model": NaN}', b"1" * 5000])
def test_what_is_no_tokenizer_is_refused(data: bytes) -> None:
    with pytest.raises(TokenizerError, match="given"):
        Vocabulary(data, "given")


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(200 << 20)  # a hole: nothing on the disk
    with pytest.raises(TokenizerError, match="more than the 67,108,864"):
        Vocabulary.load(tmp_path)
    with pytest.raises(TokenizerError, match="point to a folder"):
        Vocabulary.load(tmp_path / "missing")


junk = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just([]), st.just({}), st.floats())


@settings(max_examples=150)
@given(data=st.data())
def test_a_changed_tokenizer_is_refused_or_still_gives_back_any_text(data: st.DataObject) -> None:
    value = copy.deepcopy(json.loads(vocabulary("starcoder", 300).files()["tokenizer.json"]))
    place: Any = value
    while True:  # walk to any place in the file, and change what is there
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not (isinstance(inner, (dict, list)) and inner) or data.draw(st.integers(0, 3)) == 0:
            break
        place = inner
    place[key] = data.draw(junk)
    try:
        words = Vocabulary(json.dumps(value).encode(), "given")
    except TokenizerError:
        return
    text = "".join(PROSE) + EVERY_SENTINEL
    assert words.decode(words.encode(text)) == text
