"""vLLM in this process, on a folder that starloom exported. Needs a GPU and the extra `vllm`.

Untested here but for the calls that it makes: there is no GPU. Prompts go in as ids of our own tokenizer, so text never becomes
a control token, and what is kept of long texts is the local session's rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

from starloom.errors import GenerationError, MissingExtraError, TokenizerError
from starloom.generate.generators.whole import Whole, ending
from starloom.generate.prompts import Prompts
from starloom.generate.protocol import (
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
from starloom.generate.text_stream import ControlTokens, TextStream
from starloom.models import checkpoint
from starloom.tokens.bpe import Vocabulary

AT_ONCE = 256  # asks handed to vLLM at once, which batches them itself (our choice)


class VLLM:
    """A `Generator` over `vllm.LLM`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """`options` are vLLM's own, such as `tensor_parallel_size`. Raises MissingExtraError."""
        try:
            import vllm
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise
            raise MissingExtraError("vllm", "vllm") from None
        self._vllm = vllm
        self.vocabulary = Vocabulary.load(folder)
        self._controls = ControlTokens(self.vocabulary, checkpoint.stop_ids(folder))
        self._llm = vllm.LLM(model=str(folder), skip_tokenizer_init=True, **options)
        context = int(self._llm.llm_engine.model_config.max_model_len)
        self._prompts = Prompts(self.vocabulary, context, str(folder))

    @property
    def capabilities(self) -> frozenset[Capability]:
        known: set[Capability] = {"complete", "loglikelihood"}
        return frozenset(known | {"infill"} if self.vocabulary.has_control("fim_middle") else known)

    def complete(self, prompt: str, **options: Unpack[Options]) -> Completion:
        """The text that follows a prompt."""
        return self._one(Prompt(prompt, Settings(**options)))

    def infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Completion:
        """The text between a prefix and a suffix."""
        return self._one(Hole(prefix, suffix, Settings(**options), mode))

    def start(self, ask: Ask) -> Whole:
        """One ask; its text comes as one piece."""
        return Whole(self._one(ask))

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
        """Many, in the order asked; one that failed is its error."""
        source = iter(asks)
        while batch := list(islice(source, AT_ONCE)):
            yield from self._batch(batch)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood | GenerationError]:
        """For each (context, continuation), how likely the continuation is; a pair that failed is its error."""
        split = [self._prompts.scored(*pair) for pair in pairs]
        parameters = self._vllm.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=1, detokenize=False)
        outputs = self._llm.generate([{"prompt_token_ids": first + rest} for first, rest in split], parameters)
        found: list[Likelihood | GenerationError] = []
        for (first, rest), output in zip(split, outputs, strict=True):
            rows = output.prompt_logprobs[len(first) :]
            chances = tuple(float(row[token].logprob) for row, token in zip(rows, rest, strict=True))
            greedy = all(row[token].rank == 1 for row, token in zip(rows, rest, strict=True))
            found.append(Likelihood(chances, greedy))
        return found

    def _one(self, ask: Ask) -> Completion:
        [answer] = self._batch([ask])
        if isinstance(answer, GenerationError):
            raise answer
        return answer

    def _batch(self, asks: Sequence[Ask]) -> list[Completion | GenerationError]:
        answers: list[Completion | GenerationError | None] = []
        prompts: list[dict[str, Any]] = []
        parameters: list[Any] = []
        cuts: list[bool] = []
        understood = [self._prompts.understood(ask) for ask in asks]
        for ask in understood:
            try:
                made = self._prompts.ids(ask)
                parameters.append(self._parameters(ask.settings, ask.sample))
                prompts.append({"prompt_token_ids": made.ids})
                cuts.append(made.cut)
                answers.append(None)
            except GenerationError as error:
                answers.append(error)
        outputs = iter(zip(self._llm.generate(prompts, parameters) if prompts else (), cuts, strict=True))
        return [
            answer if answer is not None else self._completion(ask, *next(outputs))
            for ask, answer in zip(understood, answers, strict=True)
        ]

    def _parameters(self, settings: Settings, sample: int) -> Any:
        if settings.top_logprobs:
            raise GenerationError("the vllm generator gives no alternatives; set top_logprobs to 0")
        return self._vllm.SamplingParams(
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_k=settings.top_k or -1,
            top_p=settings.top_p,
            min_p=settings.min_p,
            repetition_penalty=settings.repetition_penalty,
            logit_bias=dict(settings.logit_bias) if settings.logit_bias else None,
            seed=(settings.seed + (sample << 32)) % 2**63,
            stop_token_ids=sorted(self._controls.ends | self._prompts.stop_ids(settings)),
            logprobs=0 if settings.logprobs else None,
            detokenize=False,
        )

    def _completion(self, ask: Ask, output: Any, cut: bool) -> Completion:
        said = output.outputs[0]
        ids = [int(token) for token in said.token_ids]
        stop_id = said.stop_reason if isinstance(said.stop_reason, int) else None
        if stop_id is not None and ids and ids[-1] == stop_id:
            ids.pop()
        text = TextStream(self.vocabulary, self._controls, ending(ask))
        pieces = [ask.settings.response_prefix]
        taken = 0
        while taken < len(ids) and text.ending.stopped_by is None:
            pieces.append(text.feed(ids[taken]))
            taken += 1
        pieces.append(text.ending.finish(broken_off=said.finish_reason == "length"))
        by = text.ending.stopped_by or (None if stop_id is None else self._controls.name(stop_id))
        logprobs = None
        if ask.settings.logprobs:
            logprobs = tuple(float(said.logprobs[place][ids[place]].logprob) for place in range(taken))
        return Completion(
            text="".join(pieces),
            tokens=tuple(ids[:taken]),
            finish_reason="length" if by is None else "stop",
            stopped_by=by,
            prompt_tokens=len(output.prompt_token_ids),
            prompt_cut=cut,
            logprobs=logprobs,
        )


def open_vllm(folder: str, **options: Any) -> VLLM:
    """A folder in the Hugging Face layout, by vLLM."""
    if not (Path(folder) / "tokenizer.json").is_file():
        raise TokenizerError(f"there is no tokenizer.json in {folder}; export a model with starloom first")
    return VLLM(Path(folder), **options)
