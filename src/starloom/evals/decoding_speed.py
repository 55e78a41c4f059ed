"""How fast models write: greedy tokens a second, alone and several at once, measured in turns in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from starloom.generate.engine import Engine
from starloom.generate.protocol import Backend, Request

BATCHES = (1, 8)  # sequences at once; our choice: a person who waits, and a small server
TOKENS = 48  # timed of each sequence
ROUNDS = 3  # of every model, in turns: what else the machine does falls on all of them


def decoding_speeds(
    folders: Sequence[Path], *, device: str = "cpu", threads: int = 1, batches: Sequence[int] = BATCHES,
    tokens: int = TOKENS, rounds: int = ROUNDS,
) -> list[dict[int, float]]:  # fmt: skip
    """Of each model folder, sequences at once → tokens a second of all of them together, the median of some rounds."""
    from starloom.generate.backends.torch import open_backend

    backends = [open_backend(folder, device=device, threads=threads) for folder in folders]
    times: list[dict[int, list[float]]] = [{size: [] for size in batches} for _ in backends]
    for number in range(rounds + 1):
        for place, backend in enumerate(backends):
            for size in batches:
                rate = tokens_per_s(backend, size, tokens)
                if number:  # the first round warms up
                    times[place][size].append(rate)
    return [{size: statistics.median(found) for size, found in one.items()} for one in times]


def tokens_per_s(backend: Backend, size: int, tokens: int) -> float:
    """Tokens a second of `size` sequences behind prompts of half a context, which are computed before the clock starts.

    Greedy, without speculation, stop ids and shared beginnings: a step is one forward of one id each.
    """
    length = max(1, min(backend.context // 2, backend.context - tokens - 2))
    tokens = min(tokens, backend.context - length - 2)
    engine = Engine(backend, slots=size, chunk=length * size, kept_tokens=0)
    prompts = [
        tuple((7919 * place + 104729 * row) % backend.vocabulary_size for place in range(1, length + 1))
        for row in range(1, size + 1)
    ]
    handles = [engine.submit(Request(prompt, max_tokens=tokens + 1)) for prompt in prompts]
    while engine.busy and not all(handle.tokens for handle in handles):
        engine.step()
    before = sum(len(handle.tokens) for handle in handles)
    began = time.perf_counter()
    while engine.busy:
        engine.step()
    seconds = time.perf_counter() - began
    for handle in handles:
        if handle.error is not None:
            raise handle.error
    return (sum(len(handle.tokens) for handle in handles) - before) / seconds
