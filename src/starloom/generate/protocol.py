"""The two seams of generation: `Backend` below the engine (ids → logits), `Generator` above it (text → text).

A backend knows nothing of sampling, stops or text, and an engine nothing of how logits are made: torch, native kernels
and the tests' NumPy reference are interchangeable below; the local session, an endpoint, a file of completions and a
test's fake are interchangeable above, each saying what it can do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, Unpack

from starloom.errors import GenerationError
from starloom.generate.sampling import GREEDY, Logits, Sampling

FinishReason = Literal["stop", "length", "cancelled", "error"]
Capability = Literal["complete", "infill", "loglikelihood"]
Mode = Literal["psm", "spm"]


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

    __slots__ = ("error", "finish_reason", "ids", "logprobs", "request", "stop_id", "top_logprobs")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.ids: list[int] = list(request.prompt)
        self.logprobs: list[float] = []  # of each token under the model itself: temperature 1, nothing changed
        self.top_logprobs: list[tuple[tuple[int, float], ...]] = []  # the same of the likeliest ids, likeliest first
        self.finish_reason: FinishReason | None = None
        self.stop_id: int | None = None  # the stop id that ended it
        self.error: GenerationError | None = None

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
    n: int
    cut_prompt: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """How a completion is made, in terms that every generator understands.

    At most `max_tokens` ids; temperature 0 is greedy; top_k 0, top_p 1, min_p 0 and repetition_penalty 1 are off (`Sampling`
    says what each does); the same seed gives the same text; the text ends before the first of the `stop` strings. With
    `top_logprobs`, that many alternatives are given for each id. `n` samples differ in their draws alone. With `cut_prompt`, a prompt keeps its end only, so that there is
    room for `max_tokens` but at least half the context is the prompt's; without, one longer than the context is an error.
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
    n: int = 1
    cut_prompt: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise GenerationError(f"stop is a list of strings; write stop=[{self.stop!r}]")
        if not all(self.stop):
            raise GenerationError("a stop string is empty; every text would end at once")
        if self.n < 1 or self.top_logprobs < 0:
            raise GenerationError(
                f"n is a count from 1 up and top_logprobs from 0, not {self.n} and {self.top_logprobs}"
            )
        object.__setattr__(self, "stop", tuple(self.stop))

    def sampling(self, sample: int = 0) -> Sampling:
        """How ids are drawn for the sample of this number, from 0."""
        bias = tuple(sorted((self.logit_bias or {}).items()))
        return Sampling(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p, seed=self.seed,
            repetition_penalty=self.repetition_penalty, logit_bias=bias, sample=sample,
        )  # fmt: skip


DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text to go on from."""

    text: str
    settings: Settings = DEFAULTS


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap to fill between two texts."""

    prefix: str
    suffix: str
    settings: Settings = DEFAULTS
    mode: Mode = "psm"


@dataclass(frozen=True, slots=True)
class Completion:
    """What a generator made. Its text is exact; the ids may reach past it, to the end of the id that held the stop."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    stopped_by: str | None = None  # a stop string, a control's name such as "end_of_document", or "suffix"
    prompt_tokens: int = 0
    prompt_cut: bool = False  # whether some of the prompt was left out to make room
    logprobs: tuple[float, ...] | None = None


class Generator(Protocol):
    """Anything that completes text. What is not among its capabilities raises GenerationError."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def complete(self, prompt: str, **options: Unpack[Options]) -> Completion:
        """The text that follows a prompt."""

    def infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Completion:
        """The text between a prefix and a suffix."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood | GenerationError]:
        """For each (context, continuation), how likely the continuation is; a pair that failed is its error."""

    def run(self, asks: Iterable[Prompt | Hole]) -> Iterator[Completion | GenerationError]:
        """Many at once, in the order asked; one that failed is its error, and the others go on."""
