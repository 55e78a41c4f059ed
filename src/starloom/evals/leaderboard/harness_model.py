"""A generator as lm-evaluation-harness sees a model: `GeneratorLM(generator)` goes wherever the harness takes an LM.

What is encoded, cut and scored is what the harness' own `hf` model encodes, cuts and scores: context and continuation are
encoded as one string and parted where the context alone ends, blanks at its end counting as the continuation's; what is too
long loses its beginning; a text is generated greedily, from a prompt that leaves room for it, up to the end of the document
or the first of the stops. A server (`openai:`) encodes by itself: there the parting is by characters, and nothing is cut.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from starloom.errors import GenerationError
from starloom.generate.engine import Engine
from starloom.generate.protocol import Generator, Handle, Likelihood, Prompt, Request, Settings
from starloom.generate.session import Session

MAX_NEW: Final = 256  # tokens of a text where a task names no limit: the harness' default for `hf` models

Encoded = tuple[tuple[str, str] | None, list[int], list[int]]
Answer = tuple[float, bool] | GenerationError


class GeneratorLM(TemplateLM):  # type: ignore[misc]
    """Answers the harness' requests. A request that fails raises its GenerationError, unless `keep_errors`: it is then the
    answer, in the place of a result."""

    def __init__(self, generator: Generator, *, keep_errors: bool = False) -> None:
        super().__init__()
        self.generator = generator
        self.keep_errors = keep_errors
        self.session = generator if isinstance(generator, Session) else None
        self._encode_context = functools.lru_cache(maxsize=4)(self._encode)  # the choices of a question share it

    @property
    def eot_token_id(self) -> int:
        return self._session.vocabulary.end_of_document

    @property
    def max_length(self) -> int:
        """Ids that the model takes in."""
        return self._session.engine.backend.context

    @property
    def tokenizer_name(self) -> str:
        return self._session.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return list(self._encode_context(string))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._session.vocabulary.encode(text))

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[Any]:
        """(log-probability of the continuation, whether it is what greedy decoding gives) of each."""
        if self.session is not None:
            return list(super().loglikelihood(requests, disable_tqdm=True))
        pairs = [request.args for request in requests]
        return [self._given(one) for one in self.generator.loglikelihood(pairs)]

    def _loglikelihood_tokens(self, requests: Sequence[Encoded], **_: Any) -> list[Any]:
        room = self.max_length + 1  # the last id is scored and not taken in
        pairs = [
            ([*context, *continuation][-room:][: -len(continuation) or None], continuation)
            for _, context, continuation in requests
        ]
        engine = self._session.engine
        found: list[Any] = []
        for first in range(0, len(pairs), engine.slots):  # as many as run at once: choices find their context
            found += engine.loglikelihood(pairs[first : first + engine.slots])
        for place, pair in enumerate(pairs):
            if len(pair[1]) >= room:
                found[place] = GenerationError(
                    f"a continuation has {len(pair[1]):,} tokens and the model's context {self.max_length:,}"
                )
        return [self._given(one) for one in found]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[Any]:
        """Log-probability of each whole text, in windows as long as the model's context, each id scored once."""
        found: list[Any] = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]), prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length, context_len=1,
            )  # fmt: skip
            parts = self._loglikelihood_tokens([(None, *make_disjoint_window(window)) for window in windows])
            failed = next((part for part in parts if isinstance(part, GenerationError)), None)
            found.append(failed or sum(part[0] for part in parts))
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[Any]:
        """The text that follows each context, up to the first of its stops."""
        asks = [(request.args[0], normalize_gen_kwargs(request.args[1], MAX_NEW)) for request in requests]
        for _, settings in asks:
            if settings["do_sample"]:
                raise GenerationError(
                    "the leaderboard's texts are greedy; a task that samples is one for starloom eval run"
                )
        if self.session is not None:
            return [self._text(one) for one in written(self.session, [self._prompt(*ask) for ask in asks])]
        prompts = [
            Prompt(text, Settings(max_tokens=settings["max_gen_toks"], stop=_stops(settings)))
            for text, settings in asks
        ]
        answers = self.generator.run(prompts)
        return [self._text(one if isinstance(one, GenerationError) else one.text) for one in answers]

    def _prompt(self, text: str, settings: dict[str, Any]) -> tuple[list[int], int, Sequence[str]]:
        """Ids of the prompt, at most so many new ones, stops."""
        most = settings["max_gen_toks"]
        room = self.max_length - most
        if room < 1:  # a context that `hf` refuses: half of it is the prompt's
            room = self.max_length - (most := self.max_length // 2)
        return self.tok_encode(text)[-room:] or [self.eot_token_id], most, _stops(settings)

    def _text(self, answer: str | GenerationError) -> str | GenerationError:
        if isinstance(answer, GenerationError) and not self.keep_errors:
            raise answer
        return answer

    def _given(self, answer: Likelihood | GenerationError) -> Answer:
        if not isinstance(answer, GenerationError):
            return answer.total, answer.greedy
        if not self.keep_errors:
            raise answer
        return answer

    @property
    def _session(self) -> Session:
        if self.session is None:
            raise GenerationError(
                f"a {type(self.generator).__name__} does not show its tokens: whole texts can be scored only by a model "
                "folder that runs here"
            )
        return self.session


def _stops(settings: dict[str, Any]) -> tuple[str, ...]:
    until = settings.get("until") or ()
    return tuple(filter(None, (until,) if isinstance(until, str) else until))


def written(session: Session, prompts: Sequence[tuple[list[int], int, Sequence[str]]]) -> list[str | GenerationError]:
    """Greedy texts: each to the end of the document, to its first stop, or as long as it may be. Controls are no text."""
    engine, words = session.engine, session.vocabulary
    unused = frozenset(range(words.size, engine.backend.vocabulary_size))
    texts = [
        _Text(
            engine,
            words.bytes_of,
            stops,
            Request(tuple(ids), most, stop=frozenset({words.end_of_document}), forbid=unused),
        )
        for ids, most, stops in prompts
    ]
    under_way = texts
    try:
        while under_way := [text for text in under_way if not text.done()]:
            engine.step()
    finally:
        for text in texts:
            if text.handle is not None:
                engine.cancel(text.handle)
    return [text.error or text.text for text in texts]


class _Text:
    """One text under way; it is looked through for stops as its bytes come."""

    def __init__(self, engine: Engine, bytes_of: Any, stops: Sequence[str], request: Request) -> None:
        self._engine, self._bytes_of, self._stops = engine, bytes_of, [stop.encode() for stop in stops]
        self._longest = max(map(len, self._stops), default=1)
        self._seen, self._data = 0, b""
        self.handle: Handle | None = None
        self.error: GenerationError | None = None
        try:
            self.handle = engine.submit(request)
        except GenerationError as error:
            self.error = error

    def done(self) -> bool:
        handle = self.handle
        if handle is None:
            return True
        tokens = handle.tokens
        start = max(len(self._data) - self._longest + 1, 0)
        self._data += self._bytes_of(tokens[self._seen :])
        self._seen = len(tokens)
        if not handle.done and any(stop in self._data[start:] for stop in self._stops):
            self._engine.cancel(handle)
            self.handle = None
            return True
        self.error = handle.error
        return handle.done

    @property
    def text(self) -> str:
        text = self._data.decode("utf-8", "replace")
        for stop in self._stops:
            text = text.partition(stop.decode())[0]
        return text
