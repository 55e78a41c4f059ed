"""Ten thousand operations of an engine with everything on, held to what each request gives alone, recomputed without one."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy_backend import NumpyBackend
from test_engine import assert_idle, engine_of, recompute

from starloom.generate import sampling
from starloom.generate.protocol import Handle, Likelihood, Request
from starloom.generate.sampling import Sampling

VOCABULARY, CONTEXT, SLOTS = 11, 40, 4


class Player:
    """Plays random operations, and knows what each request must give, from its own ids and the masks of its rollbacks."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.backend = NumpyBackend(VOCABULARY, CONTEXT, seed)
        self.engine = engine_of(self.backend, slots=SLOTS, chunk=self.chance.choice([3, 8, 256]), kept_tokens=150)
        self.texts = [self.ids(self.chance.randint(4, 25)) for _ in range(6)]  # what prompts begin with
        self.live: list[Handle] = []
        self.masks: dict[Handle, dict[int, frozenset[int]]] = {}  # by place, what a rollback forbade there
        self.done: Counter[str] = Counter()

    def ids(self, count: int) -> tuple[int, ...]:
        return tuple(self.chance.randrange(VOCABULARY) for _ in range(count))

    def request(self) -> Request:
        chance = self.chance
        text = chance.choice(self.texts)
        prompt = text[: chance.randint(1, len(text))] + self.ids(chance.choice([0, 0, 1, 5]))
        return Request(
            prompt,
            chance.randint(1, 12),
            Sampling(
                temperature=chance.choice([0.0, 0.0, 0.8, 1.5]),
                top_k=chance.choice([0, 4]),
                top_p=chance.choice([1.0, 0.9]),
                min_p=chance.choice([0.0, 0.05]),
                repetition_penalty=chance.choice([1.0, 0.6, 1.2]),
                logit_bias=chance.choice([(), ((2, 1.0), (7, -3.0))]),
                seed=chance.randrange(3),
            ),
            stop=frozenset(self.ids(chance.choice([0, 0, 1]))),
            forbid=frozenset(self.ids(chance.choice([0, 0, 1]))),
            logprobs=chance.random() < 0.2,
            surroundings=chance.choice(self.texts) if chance.random() < 0.3 else (),
        )

    def play(self, operations: int) -> None:
        names = ["submit", "samples", "follow", "step", "cancel", "rollback", "mask", "score", "fail"]
        weights = [8, 3, 4, 70, 3, 8, 3, 1, 0.5]
        for _ in range(operations):
            name = self.chance.choices(names, weights)[0]
            getattr(self, name)()
            self.done[name] += 1
            self.check(everybody=False)
        while not all(handle.done for handle in self.live):
            self.engine.step()
        self.check(everybody=True)
        assert_idle(self.engine, self.backend)

    def submit(self, request: Request | None = None) -> None:
        self.live.append(self.engine.submit(request or self.request()))

    def samples(self) -> None:
        request = self.request()
        for sample in range(self.chance.randint(2, 4)):
            self.submit(replace(request, sampling=replace(request.sampling, sample=sample)))

    def follow(self) -> None:
        """Goes on from what another has so far, as the next turn of a conversation does."""
        if self.live and len(ids := self.chance.choice(self.live).ids) < CONTEXT - 5:
            self.submit(replace(self.request(), prompt=(*ids, *self.ids(self.chance.randint(0, 3)))))

    def step(self) -> None:
        self.engine.step()

    def cancel(self) -> None:
        if self.live:
            handle = self.live.pop(self.chance.randrange(len(self.live)))
            self.engine.cancel(handle)
            assert handle.done
            self.verify(handle)

    def rollback(self, forbid: frozenset[int] = frozenset()) -> None:
        candidates = [handle for handle in self.live if handle.finish_reason != "error"]
        if candidates:
            handle = self.chance.choice(candidates)
            length = self.chance.randint(len(handle.request.prompt), len(handle.ids))
            at_the_end = length == min(CONTEXT, len(handle.request.prompt) + handle.request.max_tokens)
            self.engine.rollback(handle, length, forbid)
            if not at_the_end:
                masks = self.masks.setdefault(handle, {})
                for place in [place for place in masks if place >= length]:
                    del masks[place]
                masks[length] = forbid

    def mask(self) -> None:
        self.rollback(frozenset(self.ids(2)))

    def score(self) -> None:
        context, after = self.chance.choice(self.texts), self.ids(self.chance.randint(1, 6))
        [likelihood] = self.engine.loglikelihood([(context, after)])
        assert isinstance(likelihood, Likelihood)
        rows = sampling.log_probabilities(self.backend.logits([*context, *after]))[len(context) - 1 : -1]
        assert likelihood.logprobs == pytest.approx([row[token] for row, token in zip(rows, after, strict=True)])

    def fail(self) -> None:
        """The backend fails once, having computed or not."""
        forward = self.backend.forward

        def failing(*arguments: object) -> None:
            self.backend.forward = forward  # type: ignore[method-assign]
            if self.chance.random() < 0.5:
                forward(*arguments)  # type: ignore[arg-type]
            raise RuntimeError("out of memory")

        self.backend.forward = failing  # type: ignore[method-assign,assignment]
        self.engine.step()
        self.backend.forward = forward  # type: ignore[method-assign]

    def check(self, everybody: bool) -> None:
        """What has ended is as it must be; some of it stays, to be rolled back."""
        assert len(self.engine._running) <= SLOTS
        assert sum(map(len, self.backend.held.values())) <= SLOTS * CONTEXT + 150
        for handle in [handle for handle in self.live if handle.done and (everybody or self.chance.random() < 0.3)]:
            self.live.remove(handle)
            self.verify(handle)

    def verify(self, handle: Handle) -> None:
        self.done[str(handle.finish_reason)] += 1
        self.done["guessed"] += handle.guessed
        self.done["guessed right"] += handle.guessed_right
        if handle.finish_reason == "error":  # it was alone in the step that failed
            assert "out of memory" in str(handle.error)
        expected = self.alone(handle)
        whole = handle.finish_reason not in ("cancelled", "error")
        assert handle.tokens == (expected if whole else expected[: len(handle.tokens)])
        if handle.request.logprobs:
            rows = sampling.log_probabilities(self.backend.logits(handle.ids))[len(handle.request.prompt) - 1 : -1]
            assert handle.logprobs == pytest.approx([row[t] for row, t in zip(rows, handle.tokens, strict=True)])

    def alone(self, handle: Handle) -> list[int]:
        """What the request gives without an engine, from masked place to masked place."""
        request, tokens = handle.request, list[int]()
        places = sorted((place, mask) for place, mask in self.masks.pop(handle, {}).items() if mask)
        for place, mask in places:
            before = recompute(self.backend, replace(request, max_tokens=place - len(request.prompt)))
            tokens += before
            assert len(tokens) == place - len(handle.request.prompt)
            ids = [*request.prompt, *before]
            forbidden = np.array(sorted(request.forbid | mask), dtype=np.intp)
            token = sampling.choose(self.backend.logits(ids)[-1], request.sampling, len(ids), forbidden, seen=ids)
            if token in request.stop or len(handle.tokens) <= len(tokens):
                return tokens
            tokens.append(token)
            left = request.max_tokens - (place - len(request.prompt)) - 1
            request = replace(request, prompt=(*ids, token), max_tokens=left)
            if left == 0 or len(request.prompt) == CONTEXT:
                return tokens
        return tokens + recompute(self.backend, request)


def play(seed: int, operations: int) -> Counter[str]:
    player = Player(seed)
    player.play(operations)
    player.done["shared"] = player.backend.shared
    return player.done


def test_a_thousand_operations_give_the_tokens_of_each_request_alone() -> None:
    total: Counter[str] = Counter()
    for seed in range(5):
        total += play(seed, 200)
    assert min(total["guessed right"], total["shared"]) > 20


@pytest.mark.slow
def test_ten_thousand_operations_give_the_tokens_of_each_request_alone() -> None:
    total: Counter[str] = Counter()
    for seed in range(100, 110):
        total += play(seed, 1000)
    assert total["step"] + total["submit"] > 6000
    assert min(total[name] for name in ("stop", "length", "cancelled", "mask", "follow", "samples")) > 100
    assert min(total["guessed right"], total["shared"]) > 200
