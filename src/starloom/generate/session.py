"""A trained model that speaks text: `load` a folder, then `complete`, `infill` or `stream`.

Prompts are text: a `<fim_prefix>` typed into one is encoded as text and never becomes a control token, unless the whole is
one frame and was said to be raw. A completion ends at the first control token that the model emits (`end_of_document`,
`file_separator`, …; redaction marks such as `<EMAIL>` are written out), at a stop token, before the first stop string, or
after `max_tokens`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

from starloom.errors import CheckpointError, GenerationError, MissingExtraError, TokenizerError
from starloom.generate import holes
from starloom.generate.engine import SLOTS, Engine
from starloom.generate.prompts import Prompts
from starloom.generate.protocol import (
    Ask,
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
    samples_of,
)
from starloom.generate.requests import failed
from starloom.generate.suffix_copy import SuffixCopy
from starloom.generate.text_stream import ControlTokens, Ending, Stream, TextStream
from starloom.models import checkpoint, revisions
from starloom.tokens.bpe import Vocabulary

# Rows of a matrix past the vocabulary: padding to a multiple of 128 × the tensor-parallel size (Megatron-LM); 8 is the
# largest that one machine held. Nobody pads to less than a multiple of 8: another count is another tokenizer's.
MOST_PADDING = 128 * 8
LEAST_MULTIPLE = 8


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
        if not 0 <= padding < MOST_PADDING or (padding and backend.vocabulary_size % LEAST_MULTIPLE):
            raise TokenizerError(
                f"the tokenizer of {name} has {vocabulary.size:,} tokens and its embedding {backend.vocabulary_size:,} rows: "
                "they do not belong together; use the tokenizer.json that the model was trained with"
            )
        self.name = name
        self.vocabulary = vocabulary
        self.engine = Engine(backend, slots=slots, speculation="auto")
        self._prompts = Prompts(vocabulary, backend.context, name)
        self._controls = ControlTokens(vocabulary, stop_ids)
        self._unused_rows = frozenset(range(vocabulary.size, backend.vocabulary_size))

    @property
    def capabilities(self) -> frozenset[Capability]:
        known: set[Capability] = {"complete", "loglikelihood"}
        return frozenset(known | {"infill"} if self.vocabulary.has_control("fim_middle") else known)

    def complete(self, prompt: str, *, raw: bool = False, **options: Unpack[Options]) -> Completion:
        """The text that follows a prompt.

        An empty prompt starts a new document, from the `end_of_document` token; nothing is put before any other. With
        `raw`, a prompt that is exactly one fill-in-the-middle frame is infilled. The options are the fields of `Settings`.
        Raises GenerationError, for one when the prompt is longer than the context and `keep` is "all".
        """
        return self.stream(prompt, raw=raw, **options).completion

    def stream(self, prompt: str, *, raw: bool = False, **options: Unpack[Options]) -> Stream:
        """`complete`, in pieces as they become certain."""
        return self.start(Prompt(prompt, Settings(**options), raw=raw))

    def samples(self, prompt: str, n: int, **options: Unpack[Options]) -> list[Completion]:
        """`n` completions of one prompt, made together; the first is what `complete` gives."""
        streams = [self.start(ask) for ask in samples_of(Prompt(prompt, Settings(**options)), n)]
        return [stream.completion for stream in streams]

    def infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Completion:
        """The text between a prefix and a suffix.

        Of long texts the code around the gap is kept. A middle that runs on into a copy of the suffix is cut before it
        (`stopped_by="suffix"`). Raises TokenizerError for a vocabulary without fill-in-the-middle controls.
        """
        return self.stream_infill(prefix, suffix, mode=mode, **options).completion

    def stream_infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Stream:
        """`infill`, in pieces as they become certain."""
        return self.start(Hole(prefix, suffix, Settings(**options), mode))

    def infill_many(
        self,
        text: str,
        gaps: Sequence[holes.Gap],
        *,
        apart: bool = False,
        mode: Mode = "psm",
        **options: Unpack[Options],
    ) -> holes.Filled:
        """Fill several gaps of one text, each seeing those filled before it, or all `apart`; see `holes.infill_many`."""
        return holes.infill_many(self, text, gaps, settings=Settings(**options), apart=apart, mode=mode)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood | GenerationError]:
        """For each (context, continuation), how likely the continuation is; a pair that failed is its error.

        Both are encoded as one string; see `Prompts.scored`.
        """
        batch: list[tuple[list[int], list[int]] | GenerationError] = []
        for pair in pairs:
            try:
                batch.append(self._prompts.scored(*pair))
            except GenerationError as error:
                batch.append(error)
        found = iter(self.engine.loglikelihood([one for one in batch if not isinstance(one, GenerationError)]))
        return [one if isinstance(one, GenerationError) else next(found) for one in batch]

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
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

    def _try(self, ask: Ask) -> Stream | GenerationError:
        try:
            return self.start(ask)
        except GenerationError as error:
            return error
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # one that is no ask fails alone
            return failed(error, "this ask cannot be understood")

    def start(self, ask: Ask) -> Stream:
        """Queue one ask; its text comes as it is taken."""
        settings = ask.settings
        understood = self._prompts.understood(ask)
        prompt = self._prompts.ids(understood)
        copy = None
        if isinstance(understood, Hole) and not understood.as_written:
            copy = SuffixCopy(understood.prefix + settings.response_prefix, understood.suffix)
        request = Request(
            prompt=tuple(prompt.ids),
            max_tokens=settings.max_tokens,
            sampling=settings.sampling(ask.sample),
            stop=self._controls.ends | self._prompts.stop_ids(settings),
            forbid=self._unused_rows,
            logprobs=settings.logprobs,
            top_logprobs=settings.top_logprobs,
            surroundings=prompt.surroundings,
        )
        ending = Ending(settings.stop, copy, settings.response_prefix)
        text = TextStream(self.vocabulary, self._controls, ending)
        handle = self.engine.submit(request)
        return Stream(self.engine, handle, text, self._controls, before=settings.response_prefix, cut=prompt.cut)


def _result(entry: Stream | GenerationError) -> Completion | GenerationError | None:
    """What came of it; None while it is under way."""
    if isinstance(entry, GenerationError):
        return entry
    try:
        return entry.completion if entry.advance() else None
    except GenerationError as error:
        return error


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    slots: int = SLOTS,
    compile: bool = False,
    revision: str | None = None,
    hub: str | Path | None = None,
) -> Session:
    """Open a model folder in the Hugging Face layout: config.json, model.safetensors, tokenizer.json.

    What is no folder is the name of a published model: `me/santacoder`, `me/santacoder@no-fim`, or with `revision`, a name or
    a commit; `hub` is the hub folder (else what HF_HUB_CACHE names, else starloom-store/hub).
    `dtype` is float32, bfloat16, float16, float64, or int8 for the weights alone (docs/modes.md says what each loses);
    `threads` sets how many cores torch uses in this process; `slots` is how many requests run at once; `compile` has
    torch's compiler make kernels, which takes a minute. Raises CheckpointError or TokenizerError for a folder that cannot
    be used, a pickle among them, and HubError, naming those that exist, for an unknown model or revision.
    """
    folder = _folder(path, revision, hub)
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
    backend = open_backend(folder, device=device, dtype=dtype, threads=threads, compile=compile)
    name = str(path) if revision is None else f"{path}@{revision}"
    return Session(backend, vocabulary, name=name, slots=slots, stop_ids=stop_ids)


def _folder(path: str | Path, revision: str | None, hub: str | Path | None) -> Path:
    """The model folder of a path, or of a published model's name."""
    folder = Path(path)
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(f"{path} is a folder, which has no revisions; leave revision={revision!r} out")
        return folder
    name = str(path)
    if revision is not None or hub is not None or revisions.is_published(name, hub):
        return revisions.locate(name, revision, hub)
    hint = "; starloom.generator opens servers and files" if ":" in str(path) else ""
    raise CheckpointError(f"there is no model folder at {path}; `starloom run quickstart` trains one{hint}")
