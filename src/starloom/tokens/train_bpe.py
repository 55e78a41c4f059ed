"""The stage that trains a vocabulary, and the sample of a large corpus that it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from starloom.corpus.rendered import Rendered
from starloom.errors import ConfigError
from starloom.records import uniform
from starloom.stage import Stage, Work
from starloom.store import Built
from starloom.tokens.bpe import RARELY, check_size, train
from starloom.tokens.special import Family, family_named

SAMPLE_BYTES = 500_000_000  # our choice, for the time and memory that it takes; SantaCoder learned from 600,000 rows
ROWS_AT_ONCE = 256


def chance_within(chances: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], limit: int) -> float:
    """The chance up to which rows belong to a sample of at most `limit` bytes, in order of their chances; the row of
    the least chance always belongs. 1 where all do."""
    order = np.argsort(chances, kind="stable")
    fitting = int(np.searchsorted(np.cumsum(sizes[order]), limit, side="right"))
    return 1.0 if fitting == len(order) else float(chances[order[max(fitting, 1) - 1]])


@dataclass(frozen=True, slots=True)
class TrainBPE(Stage):
    """A vocabulary trained on the training split of a mix; held-out text has no part in it.

    Of a large corpus it learns from a sample of rows: which belong to it is a function of the seed and the rows' ids.
    """

    version: ClassVar[int] = 2

    clean: Stage
    vocab_size: int = 49152  # the published size of all three families
    family: str = "starcoder"
    sample_bytes: int | None = SAMPLE_BYTES  # of text; None: all of it
    seed: int = 0

    def __post_init__(self) -> None:
        check_size(self.vocab_size, self.family)
        if self.sample_bytes is not None and self.sample_bytes < 1:
            raise ConfigError(f"train_bpe.sample_bytes is {self.sample_bytes}; use 1 or more, or none for all")

    def produce(self, work: Work) -> None:
        mix = work.input("clean")
        dialect = family_named(self.family)
        highest = self._highest_chance(mix)
        with work.runtime.progress.task(self.step, len(mix.parts()), "shards") as advance:
            vocabulary = train(
                self._texts(mix, dialect, highest, work, advance), vocab_size=self.vocab_size, family=self.family
            )
        with work.unit("tokenizer") as unit:
            for name, data in vocabulary.files().items():
                unit.path(name).write_bytes(data)
        work.count(tokens=vocabulary.size)
        work.summary = f"{vocabulary.size:,} tokens, {self.family}"
        if vocabulary.size < self.vocab_size:
            work.summary += f" (not {self.vocab_size:,}: no more pairs occur {RARELY} times in this text)"
        if highest < 1:
            work.summary += f", learned from {work.counts['bytes']:,} of the bytes"

    def _chance(self, row: bytes) -> float:
        return uniform(self.seed, "train_bpe", row)

    def _highest_chance(self, mix: Built) -> float:
        """Which training rows are learned from: those with a chance up to this."""
        if self.sample_bytes is None:
            return 1.0
        sizes = [np.zeros(0, np.int64)]
        chances: list[float] = []
        for table in mix.tables(["id", "parts", "split"]):
            mine = pc.equal(table["split"], "train")
            sizes.append(_text_bytes(table["parts"])[mine.to_numpy()])
            chances += map(self._chance, table["id"].filter(mine).to_pylist())
        return chance_within(np.array(chances), np.concatenate(sizes), self.sample_bytes)

    def _texts(self, mix: Built, family: Family, highest: float, work: Work, advance: Any) -> Iterator[str]:
        for table in mix.tables(["id", "parts", "edits", "split"]):
            for begin in range(0, table.num_rows, ROWS_AT_ONCE):
                for row in table.slice(begin, ROWS_AT_ONCE).to_pylist():
                    work.count(rows_in=1)
                    if row["split"] != "train" or (highest < 1 and self._chance(row["id"]) > highest):
                        continue
                    rendered = Rendered.of_row(row).with_marks(family.marks_as_text())
                    work.count(rows_out=1, bytes=len(rendered.text.encode()))
                    yield from (run.text for run in rendered.runs() if run.text)
            advance(1)


def _text_bytes(parts: Any) -> npt.NDArray[np.int64]:
    """Bytes of text in each row of a mix's column of parts."""
    whole = parts.combine_chunks()
    texts = pc.struct_field(pc.list_flatten(whole), "text")
    ends = np.concatenate([[0], np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False), dtype=np.int64)])
    counts = pc.list_value_length(whole).to_numpy(zero_copy_only=False)
    bounds = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    found: npt.NDArray[np.int64] = ends[bounds[1:]] - ends[bounds[:-1]]
    return found
