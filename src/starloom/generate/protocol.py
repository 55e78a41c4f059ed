"""The two seams of generation: `Backend` below the engine (ids → logits), `Generator` above it (text → text).

A backend knows nothing of sampling, stops or text, and an engine nothing of how logits are made: torch, native kernels
and the tests' NumPy reference are interchangeable below; the local session, an endpoint, a file of completions and a
test's fake are interchangeable above, each saying what it can do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypedDict, Unpack, get_args

from starloom.errors import GenerationError
from starloom.generate.sampling import GREEDY, Logits, Sampling

FinishReason = Literal["stop", "length", "cancelled", "error"]
Capability = Literal["complete", "infill", "loglikelihood"]
Mode = Literal["psm", "spm"]
Keep = Literal["all", "end", "both_ends"]


class Backend(Protocol):
    """Holds sequences in numbered slots and extends them. The caller chooses the numbers; an unknown slot is empty.

    A slot's length is the count of ids that it holds. One caller at a time.
    """

    @property
    def vocabulary_size(self) -> int:
        """Ids are below this; logits have this many columns."""

    @property
    def context(self) -> int:
        """The most ids that a slot can hold."""

    @property
    def row_cost(self) -> float:
        """What one row more costs in a forward, as a share of a forward of one row: what a guess at the next ids risks."""

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], every: Collection[int] = ()) -> list[Logits]:
        """Append ids to slots, and return for each pair the float32 logits of what comes next.

        After the last of the pair's ids: [vocabulary]. For a slot named in `every`, after each of them:
        [ids, vocabulary]. A slot occurs once in a batch, and each pair has at least one id. Prefill, a single step and
        the verification of a draft are this one call.
        """

    def truncate(self, slot: int, length: int) -> None:
        """Keep the first `length` ids of a slot, as if the others had never been fed."""

    def share(self, source: int, slot: int, length: int) -> None:
        """Make an empty slot hold the first `length` ids of another; afterwards the two are independent."""

    def free(self, slot: int) -> None:
        """Empty a slot."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to extend, in ids. A stop id ends it and is not among its tokens; a forbidden id is never drawn.

    `surroundings` are ids that the sequence may well repeat, such as the file around a gap: drafts are taken from them, and
    never a token more or less.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = GREEDY
    stop: frozenset[int] = frozenset()
    forbid: frozenset[int] = frozenset()
    logprobs: bool = False
    top_logprobs: int = 0  # likeliest alternatives to give for each token
    surroundings: tuple[int, ...] = ()


class Handle:
    """A submitted request as its asker sees it; the engine alone changes it."""

    __slots__ = (
        "error", "finish_reason", "guessed", "guessed_right", "ids", "logprobs", "request", "stop_id", "top_logprobs"
    )  # fmt: skip

    def __init__(self, request: Request) -> None:
        self.request = request
        self.ids: list[int] = list(request.prompt)
        self.logprobs: list[float] = []  # of each token under the model itself: temperature 1, nothing changed
        self.top_logprobs: list[tuple[tuple[int, float], ...]] = []  # the same of the likeliest ids, likeliest first
        self.finish_reason: FinishReason | None = None
        self.stop_id: int | None = None  # the stop id that ended it
        self.error: GenerationError | None = None
        self.guessed = self.guessed_right = 0  # ids that speculation put forward, and those of them that were drawn

    @property
    def tokens(self) -> list[int]:
        """What was drawn so far, without the prompt."""
        return self.ids[len(self.request.prompt) :]

    @property
    def done(self) -> bool:
        return self.finish_reason is not None


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a continuation is: natural logarithms, one per id, and whether greedy decoding would give it."""

    logprobs: tuple[float, ...]
    greedy: bool

    @property
    def total(self) -> float:
        return sum(self.logprobs)


class Options(TypedDict, total=False):
    """The keyword arguments of `complete`, `infill` and `stream`: the fields of `Settings`."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    logit_bias: Mapping[int, float] | None
    seed: int
    stop: Sequence[str]
    logprobs: bool
    top_logprobs: int
    keep: Keep
    stop_tokens: Sequence[str]
    response_prefix: str
    new_document: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """How a completion is made, in terms that every generator understands.

    - At most `max_tokens` ids. Temperature 0 is greedy; top_k 0, top_p 1, min_p 0 and repetition_penalty 1 are off
      (`Sampling` says what each does). The same seed gives the same text.
    - The text ends before the first of the `stop` strings, and before any of the `stop_tokens`, each a text that is one
      token such as `###`.
    - `response_prefix` is how the answer begins; it counts as the answer's, and a stop string may begin in it.
    - Of a prompt that is too long, `keep` says what to keep: all of it (which is then an error), its end, or both ends, a
      quarter the beginning. There is then room for `max_tokens`, but at least half the context is the prompt's.
    - `new_document` puts `end_of_document` before the prompt, as what stands before a file in training; chat templates begin
      with it too. An empty prompt has it in any case.
    - `logprobs` gives each id's log-probability, and `top_logprobs` that many alternatives.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] | None = None
    seed: int = 0
    stop: Sequence[str] = ()
    logprobs: bool = False
    top_logprobs: int = 0
    keep: Keep = "all"
    stop_tokens: Sequence[str] = ()
    response_prefix: str = ""
    new_document: bool = False

    def __post_init__(self) -> None:
        for name in ("stop", "stop_tokens"):
            strings = getattr(self, name)
            if isinstance(strings, str):
                raise GenerationError(f"{name} is a list of strings; write {name}=[{strings!r}]")
            if not all(strings):
                raise GenerationError(f"a string of {name} is empty; every text would end at once")
            object.__setattr__(self, name, tuple(strings))
        if self.keep not in get_args(Keep):
            raise GenerationError(f"keep is one of {', '.join(get_args(Keep))}, not '{self.keep}'")
        if self.top_logprobs < 0:
            raise GenerationError(f"top_logprobs is a count from 0 up, not {self.top_logprobs}")

    def sampling(self, sample: int = 0) -> Sampling:
        """How ids are drawn for the sample of this number, from 0."""
        bias = tuple(sorted((self.logit_bias or {}).items()))
        return Sampling(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p, seed=self.seed,
            repetition_penalty=self.repetition_penalty, logit_bias=bias, sample=sample,
        )  # fmt: skip


DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Header:
    """What a frame or a prompt says about its file: (control, the text behind it) in order, before it or within its prefix."""

    fields: tuple[tuple[str, str], ...]
    within: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text to go on from. `sample` numbers the samples of one seed, `id` names the ask, such as a problem.

    With `raw`, a text that is exactly one fill-in-the-middle frame is taken as one (`frames`); any other is text. What stands
    behind the last control of a `header` is encoded together with the text, as in training.
    """

    text: str
    settings: Settings = DEFAULTS
    sample: int = 0
    id: str | None = None
    raw: bool = False
    header: Header | None = None


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap to fill between two texts. With `as_written` the answer also keeps a copy of the suffix that it runs on into."""

    prefix: str
    suffix: str
    settings: Settings = DEFAULTS
    mode: Mode = "psm"
    sample: int = 0
    id: str | None = None
    header: Header | None = None
    as_written: bool = False


Ask = Prompt | Hole


def samples_of(ask: Ask, count: int) -> list[Ask]:
    """The same ask `count` times over: each is another draw from its seed, the first being the ask's own."""
    if count < 1:
        raise GenerationError(f"n is a count from 1 up, not {count}")
    return [replace(ask, sample=ask.sample + number) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a generator made. Its text is exact; the ids may reach past it, to the end of the id that held the stop."""

    text: str  # begins with the response prefix
    tokens: tuple[int, ...]  # without those of the response prefix; empty where a generator does not tell
    finish_reason: FinishReason
    stopped_by: str | None = None  # a stop string, a control's name such as "end_of_document", or "suffix"
    prompt_tokens: int = 0
    prompt_cut: bool = False  # whether some of the prompt was left out to make room
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] | None = None  # of each id, the likeliest (id, logprob)


class TextPieces(Protocol):
    """A completion as it comes: pieces of text, then the whole."""

    def __iter__(self) -> Iterator[str]: ...

    def __next__(self) -> str: ...

    @property
    def completion(self) -> Completion:
        """The whole; runs to the end whatever was not taken yet."""

    def close(self) -> None:
        """Stop here."""


class Generator(Protocol):
    """Anything that completes text. What is not among its capabilities raises GenerationError."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def complete(self, prompt: str, **options: Unpack[Options]) -> Completion:
        """The text that follows a prompt."""

    def infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Completion:
        """The text between a prefix and a suffix."""

    def start(self, ask: Ask) -> TextPieces:
        """One ask, in pieces."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood | GenerationError]:
        """For each (context, continuation), how likely the continuation is; a pair that failed is its error."""

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
        """Many at once, in the order asked; one that failed is its error, and the others go on."""
