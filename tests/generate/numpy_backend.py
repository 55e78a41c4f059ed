"""The slow, obvious backend: one random attention layer in NumPy that keeps ids alone and recomputes everything."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from starloom.generate.sampling import Logits


class NumpyBackend:
    """Slots are lists of ids. `poison`, an id, makes every logit that follows it NaN."""

    def __init__(self, vocabulary_size: int = 17, context: int = 48, seed: int = 0, poison: int | None = None) -> None:
        self.vocabulary_size = vocabulary_size
        self.context = context
        self.poison = poison
        self.held: dict[int, list[int]] = {}
        self.batches: list[list[tuple[int, int]]] = []  # (slot, how many ids) of each call
        self.row_cost = 0.1
        self.shared = 0  # ids that slots took from others
        chance = np.random.default_rng(seed)
        width = 12
        self.embed = chance.normal(size=(vocabulary_size, width))
        self.place = chance.normal(size=(context, width))
        self.query, self.key, self.value = chance.normal(size=(3, width, width)) / np.sqrt(width)
        self.head = chance.normal(size=(width, vocabulary_size)) / 2

    def logits(self, ids: Sequence[int]) -> Logits:
        """Of what follows each of the ids, from nothing but the ids: [ids, vocabulary]."""
        x = self.embed[list(ids)] + self.place[: len(ids)]
        scores = (x @ self.query) @ (x @ self.key).T
        scores[np.triu_indices(len(ids), k=1)] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        y = x + (weights / weights.sum(axis=1, keepdims=True)) @ (x @ self.value)
        result = (np.tanh(y) @ self.head).astype(np.float32)
        if self.poison is not None and self.poison in ids:
            result[list(ids).index(self.poison) :] = np.nan
        return np.asarray(result)

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], every: Collection[int] = ()) -> list[Logits]:
        self.batches.append([(slot, len(ids)) for slot, ids in batch])
        assert len({slot for slot, _ in batch}) == len(batch)
        results = []
        for slot, ids in batch:
            assert len(ids) > 0
            held = self.held.setdefault(slot, [])
            held.extend(ids)
            assert len(held) <= self.context
            logits = self.logits(held)[-len(ids) :]
            results.append(logits if slot in every else logits[-1])
        return results

    def truncate(self, slot: int, length: int) -> None:
        assert length <= len(self.held.get(slot, []))
        del self.held[slot][length:]

    def share(self, source: int, slot: int, length: int) -> None:
        assert not self.held.get(slot)
        self.held[slot] = self.held[source][:length]
        self.shared += length

    def free(self, slot: int) -> None:
        self.held.pop(slot, None)
