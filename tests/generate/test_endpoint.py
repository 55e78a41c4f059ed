from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from completion_server import CompletionServer, Handler, choice, fails, raw, says, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom.errors import ConfigError, GenerationError
from starloom.generate.generators.endpoint import Endpoint, open_endpoint
from starloom.generate.generators.http import Limits, Server
from starloom.generate.protocol import Completion, Generator, Hole, Prompt, Settings, samples_of

QUICK = Limits(connect_s=5, silence_s=5, total_s=20, first_wait_s=0.001, longest_wait_s=0.002)


def endpoint(server: CompletionServer, limits: Limits = QUICK, **options: Any) -> Endpoint:
    return open_endpoint(server.url, "m", limits=limits, **options)


def test_a_prompt_goes_out_with_its_settings_and_comes_back_as_a_completion() -> None:
    with serving(says("größe 😀 = 1")) as server:
        asked = endpoint(server)
        whole = asked.complete("def ", max_tokens=9, temperature=0.5, stop=["\n\n"], seed=3, top_k=5)
        stream = asked.start(Prompt("def ", Settings(max_tokens=9)))
        pieces = list(stream)
    assert (whole.text, whole.finish_reason, whole.prompt_tokens) == ("größe 😀 = 1", "stop", 7)
    assert len(pieces) > 2
    assert "".join(pieces) == stream.completion.text == whole.text
    assert server.paths == ["/v1/completions"] * 2
    sent = server.bodies[0]
    assert {name: sent[name] for name in ("model", "prompt", "max_tokens", "temperature", "stop", "seed", "top_k")} == {
        "model": "m", "prompt": "def ", "max_tokens": 9, "temperature": 0.5, "stop": ["\n\n"], "seed": 3, "top_k": 5,
    }  # fmt: skip
    assert "min_p" not in sent
    assert server.bodies[1]["stream"] is True


def test_an_endpoint_is_a_generator() -> None:
    with serving(says("x")) as server:
        generator: Generator = endpoint(server, infill="suffix")
        assert generator.capabilities == {"complete", "infill"}


@given(st.text("ab\n#", max_size=20), st.lists(st.text("ab\n#", min_size=1, max_size=3), max_size=2), st.booleans())
@settings(max_examples=25, deadline=None)
def test_stop_strings_end_the_text_even_where_the_server_ignores_them(
    text: str, strings: list[str], streamed: bool
) -> None:
    with serving(says(text)) as server:
        ask = Prompt("x", Settings(stop=tuple(strings), response_prefix="> "))
        asked = endpoint(server)
        if streamed:
            shown = ""
            for piece in asked.start(ask):
                shown += piece
                assert not any(string in shown for string in strings)
        else:
            [result] = asked.run([ask])
            assert isinstance(result, Completion)
            shown = result.text
    assert shown.startswith("> ")
    assert server.bodies[0]["prompt"] == "x> "
    assert ("> " + text).startswith(shown)
    assert shown == "> " + text or any(string in "> " + text for string in strings)


def test_surrogates_that_a_server_tears_apart_are_one_character() -> None:
    torn = [choice("a\ud83d", None), choice("\ude00b", None), choice("\ud83d", None), choice("c", "stop")]
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in torn)
    with serving(raw(data + b"data: [DONE]\n\n", "text/event-stream")) as server:
        assert "".join(endpoint(server).start(Prompt("x"))) == "a😀b\ufffdc"


SUFFIX = "\n    return total\n"


@pytest.mark.parametrize(
    ("how", "mode", "prompt", "suffix"),
    [
        ("suffix", "psm", "def f():\n", SUFFIX),
        ("starcoder2", "psm", f"<fim_prefix>def f():\n<fim_suffix>{SUFFIX}<fim_middle>", None),
        ("santacoder", "spm", f"<fim-prefix><fim-suffix>{SUFFIX}<fim-middle>def f():\n", None),
    ],
)
def test_a_gap_is_asked_for_as_one_said_and_never_doubles_the_suffix(
    how: str, mode: Any, prompt: str, suffix: str | None
) -> None:
    with serving(says("    total = 1" + SUFFIX)) as server:
        completion = endpoint(server, infill=how).infill("def f():\n", SUFFIX, mode=mode)
        assert (completion.text, completion.stopped_by) == ("    total = 1", "suffix")
    assert (server.bodies[0]["prompt"], server.bodies[0].get("suffix")) == (prompt, suffix)


def test_a_gap_that_nobody_said_how_to_ask_for_or_that_spells_a_control_is_refused_before_anything_is_sent() -> None:
    with serving(says("x")) as server:
        with pytest.raises(GenerationError, match=r"nobody said how .* infills; name the family"):
            endpoint(server).infill("a", "b")
        with pytest.raises(GenerationError, match="the prefix of the gap spells <fim_suffix>"):
            endpoint(server, infill="starcoder").infill("x = '<fim_suffix>'", "b")
        with pytest.raises(GenerationError, match="does not know keep='end'"):
            endpoint(server).complete("a", keep="end")
        assert not server.bodies


def echo(handler: Handler, body: dict[str, Any]) -> None:
    """Tokens of three characters, of which the first has no chance; the likeliest is another where there is a 'z'."""
    text = body["prompt"] + "!!!"
    assert body["echo"]
    starts = range(0, len(text), 3)
    chances = [None, *(-float(start) for start in starts[1:])]
    tops = [None, *({"t": -0.5 if "z" in text[start : start + 3] else -float(start)} for start in starts[1:])]
    told = {"text_offset": list(starts), "token_logprobs": chances, "top_logprobs": tops}
    raw(json.dumps(choice(text, "length", logprobs=told)).encode())(handler, body)


def test_likelihoods_come_from_an_echo_and_are_those_of_the_continuation_s_tokens() -> None:
    with serving(echo) as server:
        asked = endpoint(server)
        assert asked.capabilities == {"complete", "loglikelihood"}
        found = asked.loglikelihood([("abcdef", "ghi"), ("abcde ", "fgzi"), ("abc", ""), ("", "x"), ("abcd", "ef")])
    assert [one.logprobs if not isinstance(one, GenerationError) else "error" for one in found] == [
        (-6.0,), (-3.0, -6.0, -9.0), (), "error", (-3.0,),
    ]  # fmt: skip
    assert [one.greedy for one in found if not isinstance(one, GenerationError)] == [True, False, True, True]


@pytest.mark.parametrize("answer", [says("x"), fails(400, "echo is not supported"), says("x", logprobs=None)])
def test_a_server_that_does_not_echo_has_no_likelihoods(answer: Any) -> None:
    with serving(answer) as server:
        asked = endpoint(server)
        assert asked.capabilities == {"complete"}
        with pytest.raises(GenerationError, match="cannot loglikelihood; it does not echo"):
            asked.loglikelihood([("a", "b")])


def test_a_server_that_is_down_says_nothing_about_what_it_can_do() -> None:
    with serving(fails(503), fails(503), fails(503), fails(503), fails(503), echo) as server:
        asked = endpoint(server)
        with pytest.raises(GenerationError, match="status 503: no, 5 times"):
            _ = asked.capabilities
        assert "loglikelihood" in asked.capabilities


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with serving(fails(status), fails(status), says("done")) as server:
        assert endpoint(server).complete("x").text == "done"
        assert len(server.bodies) == 3
    with serving(fails(status), says("done")) as server:
        assert "".join(endpoint(server).start(Prompt("x"))) == "done"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 302])
def test_what_will_not_pass_is_not_tried_again_and_says_why(status: int) -> None:
    with serving(fails(status, "the reason", Location="http://127.0.0.1:9/")) as server:
        with pytest.raises(GenerationError, match=f"status {status}: the reason"):
            endpoint(server).complete("x")
        assert len(server.bodies) == 1


def test_waits_double_are_a_random_share_and_obey_the_server_within_reason() -> None:
    waits: list[float] = []
    with serving(*[fails(500)] * 3, fails(429, Retry_After="7"), fails(429, Retry_After="3600"), says("x")) as server:
        limits = Limits(tries=6, first_wait_s=4, longest_wait_s=10)
        Server(server.url + "/v1", limits=limits, sleep=waits.append, chance=random.Random(1)).post("/completions", {})
    chance = random.Random(1)
    assert waits == [chance.random() * 4, chance.random() * 8, chance.random() * 10, 7, 10]


def drip(handler: Handler, body: dict[str, Any]) -> None:
    handler.head()
    for _ in range(1000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def drip_head(handler: Handler, body: dict[str, Any]) -> None:
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.02)


def stall(handler: Handler, body: dict[str, Any]) -> None:
    handler.head()
    handler.wfile.write(b'{"choices')
    handler.wfile.flush()
    time.sleep(1)


def reset_in_the_middle(handler: Handler, body: dict[str, Any]) -> None:
    handler.head(kind="text/event-stream" if body.get("stream") else "application/json")
    handler.wfile.write(b"data: " + json.dumps(choice("begun", None)).encode() + b"\n\n")
    handler.wfile.flush()
    time.sleep(0.05)
    handler.reset()


def close_in_the_middle(handler: Handler, body: dict[str, Any]) -> None:
    handler.head(Content_Length="1000")
    handler.wfile.write(b'{"choices": [')


def endless_body(handler: Handler, body: dict[str, Any]) -> None:
    handler.head(kind="text/event-stream" if body.get("stream") else "application/json")
    for _ in range(3000):
        handler.wfile.write(b"x" * 65536)


TIGHT = Limits(
    connect_s=5, silence_s=0.2, total_s=0.4, tries=2, first_wait_s=0.001, longest_wait_s=0.002, body_bytes=1 << 20,
    line_bytes=1 << 18,
)  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "message", "tries"),
    [
        (drip, r"the answer was not whole after 0\.4 s, 2 times", 2),
        (drip_head, r"not whole after 0\.4 s, 2 times", 2),
        (stall, "no answer in time, 2 times", 2),
        (reset_in_the_middle, "the connection failed .*, 2 times", 2),
        (close_in_the_middle, "the connection ended before the answer did, 2 times", 2),
        (endless_body, "the answer is larger than 1,048,576 bytes", 1),
        (raw(b"{"), "the answer is not JSON: {", 1),
        (raw(b"[" * 100_000), "the answer is not JSON", 1),
        (raw(b"\xff\xfe"), "the answer is not JSON", 1),
        (raw(b"<html>hello</html>", "text/html"), "the answer is of type 'text/html' and not JSON", 1),
        (raw(b"{}"), "the server's answer is not a completion: {}", 1),
        (raw(b"[]"), "not a completion", 1),
        (raw(b'{"choices": [{"text": 3}]}'), "the server's answer has no text", 1),
        (raw(b'{"choices": [{"text": "x"}]}'), "ended without saying why", 1),
        (
            raw(b'{"choices": [{"text": "x", "finish_reason": "content_filter"}]}'),
            "for a reason of its own: content_filter",
            1,
        ),
        (raw(b'{"error": {"message": "overloaded"}}'), "the server reports: .*overloaded", 1),
    ],
)
def test_a_hostile_answer_is_an_error_in_bounded_time_and_space(answer: Any, message: str, tries: int) -> None:
    with serving(answer) as server:
        with pytest.raises(GenerationError, match=message):
            endpoint(server, TIGHT).complete("x")
        assert len(server.bodies) == tries


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (reset_in_the_middle, "the connection failed .* in the middle of an answer"),
        (raw(b"data: " + json.dumps(choice("begun", None)).encode() + b"\n\n", "text/event-stream"), "broke off .* in the middle"),
        (endless_body, "a line of the stream is longer than 262,144 bytes"),
        (raw(b"data: {nonsense\n\n", "text/event-stream"), "the answer is not JSON: {nonsense"),
        (raw(b"data: x\n\n", "text/plain"), "a stream was asked for and the answer is of type 'text/plain'"),
    ],
)  # fmt: skip
def test_a_hostile_stream_is_an_error_and_what_came_before_stays_with_who_took_it(answer: Any, message: str) -> None:
    taken: list[str] = []
    with serving(answer) as server, pytest.raises(GenerationError, match=message):
        taken.extend(endpoint(server, TIGHT).start(Prompt("x")))
    assert taken in ([], ["begun"])


def test_a_server_that_does_not_stream_is_taken_at_its_one_answer() -> None:
    with serving(raw(json.dumps(choice("whole")).encode())) as server:
        assert list(endpoint(server).start(Prompt("x"))) == ["whole"]


def test_nobody_there_is_an_error_that_names_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(GenerationError, match=f"http://127.0.0.1:{port}/v1: the connection failed .*, 5 times"):
        open_endpoint(f"http://127.0.0.1:{port}", "m", limits=QUICK).complete("x")


def test_many_run_side_by_side_within_the_bound_and_come_in_the_order_asked() -> None:
    together = threading.Barrier(4, timeout=5)

    def numbered(handler: Handler, body: dict[str, Any]) -> None:
        together.wait()  # only four at once get through
        answer = fails(400, "bad") if body["prompt"] == "5" else says(body["prompt"] * 2)
        answer(handler, body)

    with serving(numbered) as server:
        results = list(endpoint(server, at_once=4).run(Prompt(str(number)) for number in range(20)))
        assert server.most_under_way == 4
    texts = [result.text if isinstance(result, Completion) else "error" for result in results]
    assert texts == [str(number) * 2 if number != 5 else "error" for number in range(20)]


def test_a_run_that_is_left_asks_for_few_more_than_were_taken() -> None:
    def asks() -> Iterator[Prompt]:
        for number in range(1000):
            asked.append(number)
            yield Prompt(str(number))

    asked: list[int] = []
    with serving(says("x")) as server:
        next(endpoint(server, at_once=2).run(asks()))
    assert len(asked) <= 6


def test_samples_have_seeds_of_their_own() -> None:
    with serving(says("x")) as server:
        list(
            endpoint(server, at_once=1).run(samples_of(Hole("a", "b", Settings(seed=5)), 3))
        )  # no infill: nothing is sent
        list(endpoint(server, at_once=1).run(samples_of(Prompt("a", Settings(seed=5)), 3)))
    seeds = [body["seed"] for body in server.bodies]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3


def test_a_key_comes_from_a_variable_by_name_and_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret-123")
    with serving(fails(400, "your key secret-123 is bad"), says("x")) as server:
        asked = endpoint(server, key="SOME_KEY")
        assert "secret" not in repr(asked.server)
        with pytest.raises(GenerationError, match="your key … is bad"):
            asked.complete("x")
        assert asked.complete("x").text == "x"
        assert server.keys == ["Bearer secret-123"] * 2
    with pytest.raises(ConfigError, match="the environment variable that should hold the key is not set"):
        open_endpoint("https://example.org", "m", key="secret-123")
    with pytest.raises(ConfigError, match=r"the key would travel to example\.org unencrypted; use https"):
        open_endpoint("http://example.org", "m", key="SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "two\nlines")
    with pytest.raises(ConfigError, match="a character that no header can carry"):
        open_endpoint("https://example.org", "m", key="SOME_KEY")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://x",
        "http://",
        "file:///etc/passwd",
        "https://user:pw@host",
        "http://h:99999",
        "http://[",
        "http://h:x",
        "http://h/a b",
        "http://h/\r\nX: y",
        "http://h?x=1",
    ],
)
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"no address of a server|holds a password"):
        open_endpoint(url, "m")
