"""A server with an OpenAI-compatible `/v1/completions`: vLLM, llama.cpp's server, our own, or one that is rented.

What a server can do is asked or said, never assumed: it infills by its `suffix` field or by a family's frame if one says so,
and it gives likelihoods if it was seen to echo a prompt's log-probabilities. Prompts are text: where the server reads
sentinels in them as controls, it does so, except within a gap, where a spelled control is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, Unpack, cast, get_args

from starloom.errors import ConfigError, GenerationError, suggestion
from starloom.generate.generators.endpoint_stream import EndpointStream, first_choice
from starloom.generate.generators.http import Limits, RefusedError, Server
from starloom.generate.generators.whole import frame_text, needs, side_by_side
from starloom.generate.protocol import (
    DEFAULTS,
    Ask,
    Capability,
    Completion,
    Hole,
    Likelihood,
    Mode,
    Options,
    Prompt,
    Settings,
)
from starloom.records import uniform

Infill = Literal["no", "suffix", "santacoder", "starcoder", "starcoder2"]
BLANKS = " \t\r\n"


class _NoEcho(GenerationError):
    """The answer to a request for likelihoods has none."""


class Endpoint:
    """A `Generator` over HTTP. `infill` says how a gap is asked for: in the `suffix` field, or in a family's frame."""

    def __init__(self, server: Server, model: str, *, infill: Infill = "no", at_once: int = 8) -> None:
        if infill not in get_args(Infill):
            raise ConfigError(f"infill is one of {', '.join(get_args(Infill))}, not '{infill}'")
        if at_once < 1:
            raise ConfigError(f"at_once is a count of requests from 1 up, not {at_once}")
        self.server = server
        self.model = model
        self.infills_by = infill
        self.at_once = at_once

    @cached_property
    def capabilities(self) -> frozenset[Capability]:
        """What can be asked. The server is asked once whether it echoes log-probabilities."""
        known: set[Capability] = {"complete"}
        if self.infills_by != "no":
            known.add("infill")
        try:
            self._likelihood("a b", " c")
            known.add("loglikelihood")
        except _NoEcho:
            pass
        except RefusedError as error:
            if error.status not in (400, 422, 501):  # it does not do that; anything else says nothing about it
                raise
        return frozenset(known)

    def complete(self, prompt: str, **options: Unpack[Options]) -> Completion:
        """The text that follows a prompt."""
        return self._answer(Prompt(prompt, Settings(**options)))

    def infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Completion:
        """The text between a prefix and a suffix. With the `suffix` field, the order is the server's."""
        return self._answer(Hole(prefix, suffix, Settings(**options), mode))

    def start(self, ask: Ask) -> EndpointStream:
        """One ask, streamed."""
        return EndpointStream(self.server.stream("/completions", {**self._body(ask), "stream": True}), ask)

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
        """Many, `at_once` of them under way, in the order asked; one that failed is its error, and the others go on."""
        return side_by_side(self._answer, asks, at_once=self.at_once)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood | GenerationError]:
        """For each (context, continuation), how likely the continuation is; a pair that failed is its error.

        As a `Session` does it: blanks at the end of a context count as the continuation's.
        """
        needs("loglikelihood", self.capabilities, self.server.url, "it does not echo log-probabilities of a prompt")

        return list(side_by_side(lambda pair: self._likelihood(*pair), pairs, at_once=self.at_once))

    def _answer(self, ask: Ask) -> Completion:
        """Whole, so that it can be asked for again when it breaks off."""
        stream = EndpointStream(iter([self.server.post("/completions", self._body(ask))]), ask)
        return stream.completion

    def _body(self, ask: Ask) -> dict[str, Any]:
        settings = ask.settings
        for name, remedy in (
            ("keep", "cut it before it is sent: the server's tokens are not known here"),
            ("stop_tokens", "use stop strings"),
            ("new_document", "the server decides what stands before a prompt"),
            ("logit_bias", "ids are the server's own"),
            ("top_logprobs", "ask for logprobs"),
        ):
            if getattr(settings, name) != getattr(DEFAULTS, name):
                raise GenerationError(f"an endpoint does not know {name}={getattr(settings, name)!r}; {remedy}")
        if isinstance(ask, Prompt) and ask.header is not None:
            raise GenerationError("a header cannot be sent to a server; leave it out, or spell it in the text")
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": ask.text + settings.response_prefix if isinstance(ask, Prompt) else self._gap(ask),
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": _seed(settings.seed, ask.sample),
        }
        if settings.stop:
            body["stop"] = list(settings.stop)
        if settings.logprobs:
            body["logprobs"] = 1
        for name in (
            "top_k",
            "min_p",
            "repetition_penalty",
        ):  # what OpenAI's own does not know is sent if it was asked for
            if getattr(settings, name) != getattr(DEFAULTS, name):
                body[name] = getattr(settings, name)
        if isinstance(ask, Hole) and self.infills_by == "suffix":
            body["suffix"] = ask.suffix
        return body

    def _gap(self, hole: Hole) -> str:
        if self.infills_by == "no":
            raise GenerationError(
                f"nobody said how {self.server.url} infills; name the family of its model (infill=starcoder2), or "
                "infill=suffix if it takes that field"
            )
        if self.infills_by == "suffix":
            return hole.prefix + hole.settings.response_prefix
        return frame_text(hole, self.infills_by)

    def _likelihood(self, context: str, continuation: str) -> Likelihood:
        if not continuation:
            return Likelihood((), greedy=True)
        start = len(context.rstrip(BLANKS))
        if not start:
            raise GenerationError("a server gives no likelihood of a first token; give a context that is not blank")
        end = len(context) + len(continuation)
        answer = self.server.post(
            "/completions",
            {
                "model": self.model,
                "prompt": context + continuation,
                "max_tokens": 1,  # some servers take 0 for their default
                "temperature": 0,
                "logprobs": 1,
                "echo": True,
            },
        )
        try:
            told = first_choice(answer)["logprobs"]
            rows = list(zip(told["text_offset"], told["token_logprobs"], told["top_logprobs"], strict=True))
            ends = [*(offset for offset, _, _ in rows[1:]), end]
            scored = [
                (chance, top) for (at, chance, top), to in zip(rows, ends, strict=True) if at < end and to > start
            ]
            chances = tuple(float(chance) for chance, _ in scored)
            greedy = all(chance >= max(top.values()) for chance, top in scored)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _NoEcho(f"{self.server.url} does not echo the log-probabilities of a prompt") from None
        if not chances or not all(map(math.isfinite, chances)):
            raise _NoEcho(f"{self.server.url} gave no log-probabilities of the continuation, or not all")
        return Likelihood(chances, greedy)


def open_endpoint(
    url: str,
    model: str,
    *,
    key: str | None = None,
    infill: str = "no",
    at_once: int = 8,
    limits: Limits | None = None,
) -> Endpoint:
    """A server by its address; `key` is the name of the environment variable that holds the key, never the key itself."""
    secret = None
    if key is not None:
        secret = os.environ.get(key)
        if not secret:
            raise ConfigError("the environment variable that should hold the key is not set (key= takes its name)")
    base = url.rstrip("/")
    base = base if base.rpartition("/")[2].startswith("v") and base.rpartition("/")[2][1:].isdecimal() else base + "/v1"
    if infill not in get_args(Infill):
        raise ConfigError(f"no way to infill is called '{infill}'; {suggestion(infill, get_args(Infill))}")
    return Endpoint(Server(base, secret, limits or Limits()), model, infill=cast(Infill, infill), at_once=at_once)


def _seed(seed: int, sample: int) -> int:
    """A seed for each sample, within the 31 bits that servers take."""
    return seed % 2**31 if not sample else int(uniform(seed, "sample", sample) * 2**31)
