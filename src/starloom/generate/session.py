"""A trained model that speaks text: `load` a folder, then `complete`, `infill` or `stream`.

Prompts are text: a `<fim_prefix>` typed into one is encoded as text and never becomes a control token. A completion ends
at the first control token that the model emits (`end_of_document`, `file_separator`, …; redaction marks such as
`<EMAIL>` are written out), before the first stop string, or after `max_tokens`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

from starloom.errors import CheckpointError, GenerationError, MissingExtraError, TokenizerError
from starloom.generate import infill
from starloom.generate.engine import SLOTS, Engine
from starloom.generate.protocol import (
    Backend,
    Capability,
    Completion,
    Hole,
    Likelihood,
    Mode,
    Options,
    Prompt,
    Request,
    Settings,
)
from starloom.generate.text_stream import ControlTokens, Stream, TextStream
from starloom.models import checkpoint
from starloom.tokens.bpe import Vocabulary

# Rows of a matrix past the vocabulary: padding to a multiple of 128 × the tensor-parallel size (Megatron-LM); 8 is the
# largest that one machine held.
MOST_PADDING = 128 * 8


class Session:
    """Completes and infills text over a backend. Any number of threads may use one; their requests share its steps."""

    def __init__(
        self,
        backend: Backend,
        vocabulary: Vocabulary,
        *,
        name: str = "model",
        slots: int = SLOTS,
        stop_ids: Collection[int] = (),
    ) -> None:
        padding = backend.vocabulary_size - vocabulary.size
        if not 0 <= padding < MOST_PADDING:
            raise TokenizerError(
                f"the tokenizer of {name} has {vocabulary.size:,} tokens and its embedding {backend.vocabulary_size:,} rows: "
                "they do not belong together; use the tokenizer.json that the model was trained with"
            )
        self.name = name
        self.vocabulary = vocabulary
        self.engine = Engine(backend, slots=slots)
        self._controls = ControlTokens(vocabulary, stop_ids)
        self._unused_rows = frozenset(range(vocabulary.size, backend.vocabulary_size))

    @property
    def capabilities(self) -> frozenset[Capability]:
        known: set[Capability] = {"complete", "loglikelihood"}
        return frozenset(known | {"infill"} if self.vocabulary.has_control("fim_middle") else known)

    def complete(self, prompt: str, **options: Unpack[Options]) -> Completion:
        """The text that follows a prompt.

        An empty prompt starts a new document, from the `end_of_document` token; nothing is put before any other. The
        options are the fields of `Settings`. Raises GenerationError, for one when the prompt is longer than the context
        and `cut_prompt` is not set.
        """
        return self.stream(prompt, **options).completion

    def stream(self, prompt: str, **options: Unpack[Options]) -> Stream:
        """`complete`, in pieces as they become certain."""
        return self.start(Prompt(prompt, Settings(**options)))

    def infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Completion:
        """The text between a prefix and a suffix.

        Of long texts the code around the gap is kept. A middle that runs on into a copy of the suffix is cut before it
        (`stopped_by="suffix"`). Raises TokenizerError for a vocabulary without fill-in-the-middle controls.
        """
        return self.stream_infill(prefix, suffix, mode=mode, **options).completion

    def stream_infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Stream:
        """`infill`, in pieces as they become certain."""
        return self.start(Hole(prefix, suffix, Settings(**options), mode))

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood | GenerationError]:
        """For each (context, continuation), how likely the continuation is; a pair that failed is its error.

        Both are encoded as one string. Blanks at the end of a context count as the continuation's, since a token begins
        with its blank; a context that is too long loses its beginning.
        """
        batch = []
        for context, continuation in pairs:
            kept = context.rstrip()
            first = self.vocabulary.encode(kept)
            whole = self.vocabulary.encode(context + continuation)
            start = [self.vocabulary.end_of_document] if not first else []
            scored = whole[len(first) :]
            room = self.engine.backend.context + 1 - len(scored)
            batch.append(((start + whole[: len(first)])[-max(room, 1) :], scored))
        return self.engine.loglikelihood(batch)

    def run(self, asks: Iterable[Prompt | Hole]) -> Iterator[Completion | GenerationError]:
        """Many at once, in the order asked; one that failed is its error, and the others go on."""
        source = iter(asks)
        window: deque[Stream | GenerationError] = deque()
        try:
            while True:
                while len(window) < 4 * self.engine.slots and (ask := next(source, None)) is not None:
                    window.append(self._try(ask))
                if not window:
                    return
                results = [_result(entry) for entry in window]
                if results[0] is None:
                    self.engine.step()
                else:
                    window.popleft()
                    yield results[0]
        finally:
            for entry in window:
                if isinstance(entry, Stream):
                    entry.close()

    def _try(self, ask: Prompt | Hole) -> Stream | GenerationError:
        try:
            return self.start(ask)
        except GenerationError as error:
            return error

    def start(self, ask: Prompt | Hole) -> Stream:
        """Queue one ask; its text comes as it is taken."""
        settings = ask.settings
        if isinstance(ask, Prompt):
            ids, cut = self._prompt(ask.text, settings)
            copy = None
        else:
            ids, cut = self._frame(ask)
            copy = infill.suffix_copy(ask.suffix)
        request = Request(
            prompt=tuple(ids),
            max_tokens=settings.max_tokens,
            sampling=settings.sampling(),
            stop=self._controls.ends,
            forbid=self._unused_rows,
            logprobs=settings.logprobs,
            top_logprobs=settings.top_logprobs,
        )
        text = TextStream(self.vocabulary, self._controls, settings.stop, copy)
        return Stream(self.engine, self.engine.submit(request), text, self._controls, cut)

    def _room(self, settings: Settings) -> int:
        """Prompt ids that leave room for max_tokens, but at least half the context."""
        context = self.engine.backend.context
        return max(context - settings.max_tokens, context // 2, 1)

    def _prompt(self, text: str, settings: Settings) -> tuple[list[int], bool]:
        ids = self.vocabulary.encode(text) or [self.vocabulary.end_of_document]
        context = self.engine.backend.context
        if settings.cut_prompt:
            room = self._room(settings)
            return ids[-room:], len(ids) > room
        if len(ids) >= context:
            raise GenerationError(
                f"the prompt has {len(ids):,} tokens and the context of {self.name} is {context:,}; shorten it, or set "
                "cut_prompt (--cut-prompt) to keep its end"
            )
        return ids, False

    def _frame(self, hole: Hole) -> tuple[list[int], bool]:
        room = self._room(hole.settings) - infill.FRAME_TOKENS
        if room < 1:
            raise GenerationError(f"the context of {self.name}, {self.engine.backend.context}, is too short to infill")
        prefix = infill.end_of(hole.prefix, room, self.vocabulary.encode)
        suffix = infill.start_of(hole.suffix, room, self.vocabulary.encode)
        before, after = infill.share_room(len(prefix), len(suffix), room)
        ids = infill.frame(prefix[len(prefix) - before :], suffix[:after], self.vocabulary, hole.mode)
        return ids, before < len(prefix) or after < len(suffix)


def _result(entry: Stream | GenerationError) -> Completion | GenerationError | None:
    """What came of it; None while it is under way."""
    if isinstance(entry, GenerationError):
        return entry
    try:
        return entry.completion if entry.advance() else None
    except GenerationError as error:
        return error


def load(
    path: str | Path, *, device: str = "cpu", dtype: str = "float32", threads: int | None = None, slots: int = SLOTS
) -> Session:
    """Open a model folder in the Hugging Face layout: config.json, model.safetensors, tokenizer.json.

    `dtype` is float32, bfloat16, float16 or float64; `threads` sets how many cores torch uses in this process; `slots` is
    how many requests run at once. Raises CheckpointError or TokenizerError for a folder that cannot be used, a pickle
    among them.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"there is no model folder at {path}; `starloom run quickstart` trains one")
    stop_ids = checkpoint.stop_ids(folder)
    vocabulary = Vocabulary.load(folder)
    if stop_ids and vocabulary.end_of_document not in stop_ids:
        raise TokenizerError(
            f"{folder}: the model's config ends a document with id {', '.join(map(str, stop_ids))}, the tokenizer with "
            f"{vocabulary.end_of_document}: they do not belong together; use the tokenizer.json that the model was "
            "trained with"
        )
    try:
        from starloom.generate.backends.torch import open_backend
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "train") from None
    backend = open_backend(folder, device=device, dtype=dtype, threads=threads)
    return Session(backend, vocabulary, name=str(path), slots=slots, stop_ids=stop_ids)
