from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_backend import NumpyBackend
from scripted import ScriptedBackend, says, session_of, vocabulary

import starloom
from starloom.errors import CheckpointError, GenerationError, TokenizerError
from starloom.generate.protocol import (
    Completion,
    Generator,
    Hole,
    Keep,
    Likelihood,
    Mode,
    Options,
    Prompt,
    Settings,
    samples_of,
)
from starloom.generate.session import Session
from starloom.models import checkpoint
from starloom.models.config import GPTBigCodeConfig
from starloom.tokens.bpe import Vocabulary

TINY = GPTBigCodeConfig(vocab_size=400, n_positions=16, n_embd=8, n_layer=1, n_head=2)
texts = st.text(max_size=25)


def random_session(seed: int = 0) -> Session:
    """A real, random model over the real vocabulary."""
    words = vocabulary()
    return Session(NumpyBackend(words.rows, context=120, seed=seed), words)


@given(texts)
@settings(deadline=None)
def test_any_text_comes_out_as_it_is_in_whole_characters(text: str) -> None:
    session, _ = says(text)
    stream = session.stream("", max_tokens=1000)
    pieces = list(stream)
    assert "".join(pieces) == text == stream.completion.text
    assert (stream.completion.finish_reason, stream.completion.stopped_by) == ("stop", "end_of_document")


@given(texts.filter(bool), st.data())
@settings(deadline=None)
def test_a_text_that_ends_within_a_character_ends_before_it(text: str, data: st.DataObject) -> None:
    session, _ = says(text)
    length = len(vocabulary().encode(text))
    count = data.draw(st.integers(1, length))
    completion = session.complete("", max_tokens=count)
    whole = vocabulary().bytes_of(vocabulary().encode(text)[:count]).decode("utf-8", "ignore")
    assert completion.text == whole
    assert completion.finish_reason == "length"
    assert len(completion.tokens) == count


@given(st.lists(st.integers(38, 293), max_size=12))
@settings(deadline=None)
def test_bytes_that_are_no_text_become_replacement_characters(script: list[int]) -> None:
    words = vocabulary()
    session, _ = says([*script, words.encode("a")[0], words.end_of_document])
    assert session.complete("", max_tokens=100).text == words.bytes_of(script).decode("utf-8", "replace") + "a"


@given(texts, st.lists(st.text(min_size=1, max_size=3), max_size=2), st.data())
@settings(deadline=None)
def test_a_stop_string_ends_the_text_and_never_shows(text: str, strings: list[str], data: st.DataObject) -> None:
    if text:
        start = data.draw(st.integers(0, len(text) - 1))
        strings.append(text[start : data.draw(st.integers(start + 1, len(text)))])
    session, _ = says(text)
    stream = session.stream("", stop=strings, max_tokens=1000)
    shown = ""
    for piece in stream:
        shown += piece
        assert not any(string in shown for string in strings)
    found = [string for string in strings if string in text]
    assert stream.completion.stopped_by == "end_of_document" if not found else stream.completion.stopped_by in found
    assert text.startswith(shown)


def test_a_stop_string_ends_the_request_in_the_engine_too() -> None:
    session, backend = says("one two three")
    stream = session.stream("", stop=["two"])
    completion = stream.completion
    assert (completion.text, completion.stopped_by, completion.finish_reason) == ("one ", "two", "stop")
    assert not session.engine.busy
    assert not backend.held
    assert vocabulary().decode(completion.tokens).startswith("one two")


@pytest.mark.parametrize("name", ["file_separator", "fim_pad", "fim_prefix", "repository", "jupyter_code"])
def test_any_control_token_ends_a_completion(name: str) -> None:
    words = vocabulary()
    session, _ = says([*words.encode("ab"), words.control(name), *words.encode("cd")])
    completion = session.complete("x")
    assert (completion.text, completion.finish_reason, completion.stopped_by) == ("ab", "stop", name)


def test_a_redaction_mark_is_written_out() -> None:
    words = vocabulary()
    script = [*words.encode("mail "), words.control("redacted_email"), *words.encode("\n"), words.end_of_document]
    assert says(script)[0].complete("x").text == "mail <EMAIL>\n"


@pytest.mark.parametrize("family", ["santacoder", "starcoder", "starcoder2"])
def test_a_sentinel_typed_into_a_prompt_stays_text(family: str) -> None:
    words = vocabulary(family)
    typed = "".join(words.spelling(token) for token in range(words.size) if words.is_control(token))
    session, backend = says("x", family)
    session.complete(typed)
    assert not any(words.is_control(token) for token in backend.last_prompt)
    assert words.decode(backend.last_prompt) == typed
    session.infill(typed, typed)
    assert sum(words.is_control(token) for token in backend.last_prompt) == 3


def test_an_empty_prompt_starts_from_the_end_of_document() -> None:
    session, backend = says("x")
    assert session.complete("").prompt_tokens == 1
    assert backend.last_prompt == [vocabulary().end_of_document]


def test_a_prompt_that_is_not_empty_gets_nothing_in_front() -> None:
    session, backend = says("x")
    session.complete("def hello")
    assert backend.last_prompt == vocabulary().encode("def hello")


def test_a_prompt_longer_than_the_context_is_an_error_that_says_what_to_do() -> None:
    session, _ = says("x", context=10)
    with pytest.raises(
        GenerationError, match=r"the prompt has 12 tokens and the context of scripted is 10; .*keep its end or both"
    ):
        session.complete("0123456789ab")


def test_a_prompt_is_cut_on_the_left_to_keep_room_when_asked() -> None:
    session, backend = says("x" * 50, context=20)
    for max_tokens, kept in ((4, "456789" + "0123456789"), (15, "0123456789")):
        completion = session.complete("0123456789" * 4, keep="end", max_tokens=max_tokens)
        assert vocabulary().decode(backend.last_prompt) == kept
        assert completion.prompt_cut
        assert len(completion.tokens) == min(max_tokens, 10)
    assert not session.complete("0123", keep="end", max_tokens=4).prompt_cut


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    session = random_session()
    first, again, other = (session.complete("def", temperature=1.0, seed=seed).text for seed in (1, 1, 2))
    assert first == again != other


def test_many_at_once_equal_one_after_the_other_in_the_order_asked() -> None:
    session = random_session()
    asks = [
        Prompt(
            "def " * (i % 5), Settings(max_tokens=3 + i % 7, temperature=0.9, seed=i, stop=("a", "\n"), logprobs=True)
        )
        for i in range(40)
    ]
    asks[11] = Prompt("x" * 500)
    together = list(session.run(asks))
    for ask, result in zip(asks, together, strict=True):
        if isinstance(result, GenerationError):
            assert ask is asks[11]
        else:
            assert result == session.start(ask).completion


def test_run_may_be_left_early() -> None:
    session = random_session()
    for _ in session.run(Prompt("def", Settings(max_tokens=50, seed=i)) for i in range(30)):
        break
    session.engine.step()
    assert not session.engine.busy


def test_a_stream_that_is_dropped_gives_its_place_back() -> None:
    session = random_session()
    stream = session.stream("def", max_tokens=100, temperature=1.0)
    next(stream)
    del stream
    assert not session.engine.busy


def test_not_finite_logits_are_one_request_s_error() -> None:
    words = vocabulary()
    poison = words.encode("é")[0]
    session = Session(NumpyBackend(words.rows, context=60, poison=poison), words)
    good, bad = Settings(max_tokens=5), Settings(max_tokens=5, seed=1)
    results = list(session.run([Prompt("abc", good), Prompt("é", bad), Prompt("abc", good)]))
    assert isinstance(results[1], GenerationError)
    assert results[0] == results[2]
    with pytest.raises(GenerationError, match="not finite"):
        session.complete("é")
    assert isinstance(session.complete("abc"), Completion)


def test_an_error_after_the_stop_string_does_not_lose_the_text() -> None:
    words = vocabulary()
    session = session_of(ScriptedBackend(words.encode("one two three"), words.rows, beyond=None), words)
    stream = session.stream("", stop=["two"])
    while session.engine.busy:
        session.engine.step()  # another request's asker steps, while nobody looks at this one
    assert stream.completion.text == "one "


def test_the_likelihood_of_a_text_is_that_of_its_ids() -> None:
    session = random_session()
    words = vocabulary()
    context, continuation = "def hello(  ", "world):"
    cut = len(words.encode("def hello("))
    whole = words.encode(context + continuation)
    results = session.loglikelihood([(context, continuation), ("", "world"), ("x" * 119, "  y"), ("a", "x" * 200)])
    expected = session.engine.loglikelihood(
        [(whole[:cut], whole[cut:]), ([words.end_of_document], words.encode("world"))]
    )
    assert results[:2] == expected
    assert isinstance(results[2], Likelihood)  # the context lost its beginning
    assert isinstance(results[3], GenerationError)


def test_a_session_is_a_generator_and_says_what_it_can_do() -> None:
    session: Generator = random_session()
    assert session.capabilities == {"complete", "infill", "loglikelihood"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": "\n"}, r"stop is a list of strings; write stop=\['\\n'\]"),
        ({"stop": ["a", ""]}, "a string of stop is empty"),
        ({"keep": "start"}, "keep is one of all, end, both_ends, not 'start'"),
        ({"stop_tokens": ["two words"]}, r"stop token 'two words' is \d+ tokens .* make it a stop string"),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        random_session().complete("x", **options)  # type: ignore[arg-type]


def test_a_tokenizer_of_another_model_is_refused() -> None:
    words = vocabulary()
    for rows in (words.size - 1, words.size + 2000):
        with pytest.raises(TokenizerError, match=f"{words.size} tokens and its embedding .* rows: they do not belong"):
            Session(ScriptedBackend([], rows), words)


def test_padding_rows_of_the_embedding_are_never_drawn() -> None:
    words = vocabulary("santacoder")
    assert words.rows > words.size
    session = session_of(ScriptedBackend([words.rows - 1], words.rows, beyond=words.end_of_document), words)
    assert all(token < words.size for token in session.complete("x", max_tokens=5).tokens)


def test_a_missing_folder_and_a_missing_tokenizer_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model folder at .*nowhere"):
        starloom.load(str(tmp_path / "nowhere"))
    checkpoint.save(tmp_path, TINY, {name: np.zeros(shape, np.float32) for name, shape in TINY.shapes().items()})
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        starloom.load(str(tmp_path))


def without_fim() -> Vocabulary:
    """SantaCoder's earliest tokenizer: no control but end_of_document."""
    tokenizer = json.loads(vocabulary("santacoder").files()["tokenizer.json"])
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if "fim" not in token["content"]]
    return Vocabulary(json.dumps(tokenizer).encode(), "test")


def test_a_vocabulary_without_fill_in_the_middle_completes_and_says_that_it_cannot_infill() -> None:
    words = without_fim()
    session = session_of(ScriptedBackend([words.end_of_document], words.rows), words)
    assert session.complete("x").text == ""
    assert "infill" not in session.capabilities
    with pytest.raises(TokenizerError, match="no fim_prefix, fim_suffix, fim_middle, so it cannot infill"):
        session.infill("a", "b")
    with pytest.raises(TokenizerError, match="cannot infill"):
        list(session.run([Hole("a", "b")]))


def test_an_answer_as_written_keeps_the_copy_of_the_suffix_that_it_runs_on_into() -> None:
    suffix = "\n    return world + 1\n\n\nprint('Hello world!')\n"
    answers = {}
    for as_written in (False, True):
        session, _ = says("\n    world = 1" + suffix)
        (answer,) = session.run([Hole("def hello(world):", suffix, as_written=as_written)])
        assert isinstance(answer, Completion)
        answers[as_written] = answer
    assert (answers[False].text.strip(), answers[False].stopped_by) == ("world = 1", "suffix")
    assert (answers[True].text, answers[True].stopped_by) == ("\n    world = 1" + suffix, "end_of_document")


@given(texts, st.text(max_size=8), st.lists(st.text(min_size=1, max_size=3), max_size=2), st.data())
@settings(deadline=None)
def test_a_response_prefix_begins_the_answer_and_a_stop_string_may_begin_in_it(
    text: str, prefix: str, strings: list[str], data: st.DataObject
) -> None:
    answer = prefix + text
    if text:  # a stop string that lies in the answer, perhaps across the border
        start = data.draw(st.integers(0, len(answer) - 1))
        strings.append(answer[start : data.draw(st.integers(start + 1, len(answer)))])
    session, backend = says(text)
    stream = session.stream("def ", response_prefix=prefix, stop=strings, max_tokens=1000)
    assert "".join(stream) == stream.completion.text
    assert backend.last_prompt == vocabulary().encode("def " + prefix)
    ends = [
        (at, -len(string), string)
        for string in strings
        for at in range(len(prefix) + 1, len(answer) + 1)
        if answer[:at].endswith(string)
    ]
    if ends:
        end, length, string = min(ends)
        assert stream.completion.text == prefix + answer[len(prefix) : max(end + length, len(prefix))]
        assert stream.completion.stopped_by == string
    else:
        assert (stream.completion.text, stream.completion.stopped_by) == (answer, "end_of_document")


@pytest.mark.parametrize("mode", ["psm", "spm"])
def test_a_response_prefix_of_a_middle_is_where_the_model_goes_on(mode: Mode) -> None:
    words = vocabulary()
    session, backend = says("return total")
    completion = session.infill("def f():\n", "\n    return total\n", mode=mode, response_prefix="    x = 1\n    ")
    assert completion.text == "    x = 1\n    "
    assert words.decode(backend.last_prompt).endswith("    x = 1\n    ")
    [middle] = [place for place, token in enumerate(backend.last_prompt) if token == words.control("fim_middle")]
    assert backend.last_prompt[middle + 1 :] == words.encode(
        ("" if mode == "psm" else "def f():\n") + "    x = 1\n    "
    )


def test_several_stop_tokens_end_an_answer_and_only_as_whole_tokens() -> None:
    words = vocabulary()
    for script, kept, by in (("ab###c", "ab", "###"), ("ab\n#c", "ab", "\n"), ("a # b", "a # b", "end_of_document")):
        session, _ = says(script)
        completion = session.complete("x", stop_tokens=["###", "\n"])
        assert (completion.text, completion.stopped_by) == (kept, by)
        assert completion.tokens == tuple(words.encode(kept))


@given(
    st.text("ab é\u2003\n", max_size=120), st.integers(6, 60), st.integers(1, 50), st.sampled_from(["end", "both_ends"])
)
@settings(deadline=None)
def test_what_is_kept_of_a_long_prompt_are_its_ends_in_whole_characters(
    text: str, context: int, max_tokens: int, keep: Keep
) -> None:
    session, backend = says("x", context=context)
    completion = session.complete(text, keep=keep, max_tokens=max_tokens)
    ids = vocabulary().encode(text) or [vocabulary().end_of_document]
    room = max(context - max_tokens, context // 2, 1)
    kept = backend.last_prompt
    assert len(kept) <= room
    assert completion.prompt_cut == (len(ids) > room)
    if len(ids) <= room:
        assert kept == ids
    else:
        shown = vocabulary().decode(kept)
        splits = [at for at in range(len(shown) + 1) if text.startswith(shown[:at]) and text.endswith(shown[at:])]
        assert splits  # a beginning and an end, no half character
        assert keep == "both_ends" or 0 in splits
        assert len(kept) >= room - 6  # what is lost is at most half a character at either cut


def test_samples_of_a_prompt_differ_and_begin_with_the_completion_itself() -> None:
    session = random_session()
    options: Options = {"temperature": 1.0, "seed": 3, "max_tokens": 12}
    made = session.samples("def", 4, **options)
    assert made[0] == session.complete("def", **options)
    assert len({completion.text for completion in made}) == 4
    assert made == session.samples("def", 6, **options)[:4]
    assert made == list(session.run(samples_of(Prompt("def", Settings(**options)), 4)))
    with pytest.raises(GenerationError, match="n is a count from 1 up, not 0"):
        session.samples("def", 0)


def test_half_a_surrogate_pair_is_one_ask_s_error_and_the_others_go_on() -> None:
    session = random_session()
    results = list(session.run([Prompt("a\ud800"), Prompt("a"), Hole("\udc00", "b"), Hole("a", "b")]))
    assert [isinstance(result, GenerationError) for result in results] == [True, False, True, False]
    assert "half a surrogate pair" in str(results[0])
    found = session.loglikelihood([("a", "b"), ("a", "\ud800"), ("a", "c")])
    assert [isinstance(one, GenerationError) for one in found] == [False, True, False]
    assert [found[0], found[2]] == session.loglikelihood([("a", "b"), ("a", "c")])


def test_samples_of_a_prompt_share_its_computation() -> None:
    words = vocabulary()
    backend = NumpyBackend(words.rows, context=120)
    prompt = "def hello(world):\n    return world\n" * 4
    Session(backend, words).samples(prompt, 4, temperature=1.0, max_tokens=3)
    assert backend.shared == 3 * (len(words.encode(prompt)) - 1)
