"""A tokenizer that is there already, as a step: what goes on from a model must be packed with the model's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from starloom.stage import Stage, Work, external
from starloom.tokens.bpe import Vocabulary


@dataclass(frozen=True, slots=True)
class TakenBPE(Stage):
    """The tokenizer of a model's folder, or a tokenizer.json, as it is."""

    folder: str = external()

    def external_digests(self) -> dict[str, str]:
        return {"folder": hashlib.sha256(self._vocabulary().files()["tokenizer.json"]).hexdigest()}

    def produce(self, work: Work) -> None:
        vocabulary = self._vocabulary()
        with work.unit("tokenizer") as unit:
            for name, data in vocabulary.files().items():
                unit.path(name).write_bytes(data)
        work.count(tokens=vocabulary.size)
        work.summary = f"{vocabulary.size:,} tokens, {vocabulary.family}, taken from {self.folder}"

    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.folder)
