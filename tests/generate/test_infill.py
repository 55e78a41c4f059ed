from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted import says, vocabulary

from starloom.errors import GenerationError
from starloom.generate import infill
from starloom.generate.protocol import Mode
from starloom.tokens import fim

code = st.text(st.sampled_from("ab_1 \n()é"), max_size=40)
SUFFIX = "\n    return total\n\n\ndef second(value):\n    return value\n"


@given(code, code)
@settings(deadline=None)
def test_a_prompt_is_the_published_frame_around_texts_encoded_apart(prefix: str, suffix: str) -> None:
    words = vocabulary()
    pre, mid, suf = (words.control(f"fim_{name}") for name in ("prefix", "middle", "suffix"))
    before, after = words.encode(prefix), words.encode(suffix)
    session, backend = says("x")
    session.infill(prefix, suffix)
    assert backend.last_prompt == [pre, *before, suf, *after, mid]
    session.infill(prefix, suffix, mode="spm")
    assert backend.last_prompt == [pre, suf, *after, mid, *before]


@pytest.mark.parametrize("family", ["santacoder", "starcoder", "starcoder2"])
def test_the_frame_is_what_the_family_s_tokenizer_makes_of_the_published_spelling(family: str) -> None:
    from tokenizers import Tokenizer

    words = vocabulary(family)
    hyphen = "-" if family == "santacoder" else "_"
    prefix, suffix = "def print_hello_world():\n    ", "\n    print('Hello world!')"
    spelled = f"<fim{hyphen}prefix>{prefix}<fim{hyphen}suffix>{suffix}<fim{hyphen}middle>"
    published = Tokenizer.from_str(words.files()["tokenizer.json"].decode()).encode(spelled).ids
    assert infill.frame(words.encode(prefix), words.encode(suffix), words, "psm") == published


@given(code.filter(bool), st.integers(0, 2**32), st.sampled_from(["psm", "spm"]))
@settings(deadline=None)
def test_a_prompt_is_how_training_writes_a_document_up_to_its_middle(text: str, seed: int, mode: Mode) -> None:
    words = vocabulary()
    drawn = fim.chance(fim.FIM(rate=1), seed=seed, epoch=0, sample=0, fragment=0)
    low, high = sorted(fim.place(word, len(text) + 1) for word in drawn.cuts)
    session, backend = says("x")
    session.infill(text[:low], text[high:], mode=mode)
    sample = [*words.encode(text), *[words.end_of_document] * 60]  # room for sentinels and for text that is cut in two
    trained = fim.apply(sample, words, fim.FIM(rate=1, spm=mode == "spm"), seed=seed, epoch=0, sample=0).ids.tolist()
    assert trained[: len(backend.last_prompt)] == backend.last_prompt


@pytest.mark.parametrize(
    "name", ["end_of_document", "fim_pad", "fim_prefix", "fim_suffix", "fim_middle", "file_separator"]
)
def test_a_middle_ends_at_any_control(name: str) -> None:
    words = vocabulary()
    session, _ = says([*words.encode("mid"), words.control(name), *words.encode("dle")])
    completion = session.infill("a", SUFFIX)
    assert (completion.text, completion.stopped_by) == ("mid", name)


@given(code, st.integers(0, 60))
@settings(deadline=None)
@example("x = 1", 60)
def test_a_middle_that_runs_on_into_the_suffix_does_not_double_it(middle: str, extra: int) -> None:
    session, _ = says(middle + SUFFIX + "and so on")
    sure = len("\n    return total")
    completion = session.infill("def first():\n", SUFFIX, max_tokens=500)
    assert completion.stopped_by == "suffix"
    assert completion.text == middle
    whole = (middle + SUFFIX)[: len(middle) + min(sure + extra, len(SUFFIX))]  # the model stops within its copy
    assert says(whole)[0].infill("def first():\n", SUFFIX, max_tokens=500).text == middle


def test_a_stop_string_that_reaches_further_back_than_a_copy_of_the_suffix_leaves_what_is_text() -> None:
    session, _ = says("total = 1\n    return total")
    completion = session.infill("def first():\n    ", SUFFIX, stop=["= 1\n    return totals"])
    assert (completion.text, completion.stopped_by) == ("total = 1", "suffix")


def test_no_piece_of_a_stream_shows_a_copy_of_the_suffix() -> None:
    session, _ = says("total = 1" + SUFFIX)
    stream = session.stream_infill("def first():\n    ", SUFFIX)
    shown = ""
    for piece in stream:
        shown += piece
        assert "total = 1".startswith(shown)
    assert shown == "total = 1"


@pytest.mark.parametrize(
    ("prefix", "middle", "suffix"),
    [
        ("print(foo(", "x)", ")\n"),  # both brackets are meant
        ("if a:\n  ", "while b:\n    c\n  end", "\nend\n"),
        ("value = ", "other", "\nvalue = other\n"),
        ("", "x\n", "\n\n"),
        ("a = ", "b", ""),
        ("print(len(", "x)", ")\nreturn value\n"),  # the suffix's beginning, but not a whole line of it
    ],
)
def test_a_middle_that_only_resembles_the_suffix_stays_whole(prefix: str, middle: str, suffix: str) -> None:
    assert says(middle)[0].infill(prefix, suffix).text == middle


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 400))
def test_the_room_is_shared_without_waste(prefix: int, suffix: int, room: int) -> None:
    before, after = infill.share_room(prefix, suffix, room)
    assert before <= prefix
    assert after <= suffix
    assert before + after == min(room, prefix + suffix)
    assert after >= min(suffix, int(room * infill.SUFFIX_SHARE))
    assert before >= min(prefix, room - int(room * infill.SUFFIX_SHARE))


def test_a_long_file_keeps_the_code_around_the_gap() -> None:
    words = vocabulary()
    prefix = "".join(f"before_{i}(hello)\n" for i in range(3000))
    suffix = "".join(f"after_{i}(world)\n" for i in range(3000))
    session, backend = says("x", context=200)
    completion = session.infill(prefix, suffix, max_tokens=50)
    assert completion.prompt_cut
    ids = backend.last_prompt
    middle, end = ids.index(words.control("fim_suffix")), len(ids) - 1
    assert prefix.endswith(words.decode(ids[1:middle]))
    assert suffix.startswith(words.decode(ids[middle + 1 : end]))
    assert (len(ids), end - middle - 1) == (150, int(147 * infill.SUFFIX_SHARE))


@given(st.text("ab \n1", min_size=1, max_size=400), st.integers(1, 20))
@settings(deadline=None)
def test_reading_only_the_end_or_start_of_a_text_fills_the_room(text: str, room: int) -> None:
    words = vocabulary()
    end, start = infill.end_of(text, room, words.encode), infill.start_of(text, room, words.encode)
    assert text.endswith(words.decode(end))
    assert text.startswith(words.decode(start))
    assert min(len(end), len(start)) >= min(room, len(words.encode(text)))


def test_a_mode_that_does_not_exist_is_named() -> None:
    with pytest.raises(GenerationError, match="mode is 'psm' or 'spm', not 'pms'"):
        says("x")[0].infill("a", "b", mode="pms")  # type: ignore[arg-type]


@given(
    st.text("ab1 \né\u2003", max_size=300),
    st.text("ab1 \né\u2003", max_size=300),
    st.integers(12, 150),
    st.integers(1, 100),
    st.sampled_from(["psm", "spm"]),
    st.sampled_from(["santacoder", "starcoder", "starcoder2"]),
)
@settings(deadline=None)
def test_whatever_the_lengths_the_prompt_fits_and_holds_whole_characters_right_around_the_cursor(
    prefix: str, suffix: str, context: int, max_tokens: int, mode: Mode, family: str
) -> None:
    words = vocabulary(family)
    session, backend = says("x", family, context)
    completion = session.infill(prefix, suffix, mode=mode, max_tokens=max_tokens)
    ids = backend.last_prompt
    room = max(context - max_tokens, context // 2)
    assert len(ids) <= room
    before, after, middle = (ids.index(words.control(f"fim_{name}")) for name in ("prefix", "suffix", "middle"))
    assert before == 0
    kept = (ids[1:after], ids[after + 1 : middle]) if mode == "psm" else (ids[middle + 1 :], ids[2:middle])
    assert prefix.endswith(words.decode(kept[0]))
    assert suffix.startswith(words.decode(kept[1]))
    whole = len(words.encode(prefix)) + len(words.encode(suffix)) + 3
    assert completion.prompt_cut == (whole > room)
    assert len(ids) == whole if whole <= room else len(ids) >= room - 6  # at most half a character at either cut


def test_more_of_a_long_file_than_the_prompt_holds_is_there_for_drafts() -> None:
    session, _ = says("x", context=100)
    stream = session.stream_infill("before(hello)\n" * 300, "after(world)\n" * 300)
    request = stream._handle.request
    assert len(request.surroundings) > 2 * len(request.prompt)
    assert session.stream_infill("a", "b")._handle.request.surroundings == ()
