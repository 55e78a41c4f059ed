"""Fertility as a verdict: files whose text takes many tokens for its length, such as data, hashes and other tongues.

SantaCoder's ablation (arXiv 2301.03988). A verdict stage like any rule set, here because it needs a vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from starloom.corpus.language import check_languages
from starloom.corpus.schemas import VERDICT, table_of
from starloom.errors import ConfigError
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, aligned_part, write_table
from starloom.tokens.bpe import Vocabulary

# least characters for a token, with a vocabulary of 49,152 entries (bigcode-dataset `preprocessing/filtering.py`,
# arguments of the fertility filter; chosen there after near-duplicates, basic filters and PII were gone)
THRESHOLDS = (("Java", 2.9), ("JavaScript", 2.6), ("Python", 2.5))
_BATCH = 256  # texts encoded at a time
REASON = "few_characters_per_token"


def characters_per_token(texts: list[str], vocabulary: Vocabulary) -> list[float]:
    """Characters for each token of each text; infinite for an empty one."""
    found = []
    for begin in range(0, len(texts), _BATCH):
        batch = texts[begin : begin + _BATCH]
        counts = map(len, vocabulary.encode_batch(batch))
        found += [len(text) / count if count else math.inf for text, count in zip(batch, counts, strict=True)]
    return found


def fertility_verdicts(
    files: pa.Table, languages: pa.Table, vocabulary: Vocabulary, thresholds: Mapping[str, float]
) -> pa.Table:
    """The verdict rows of a shard: a file of a language without a threshold stays, one without text has its reason."""
    columns = [files[name].to_pylist() for name in ("id", "text", "unread")]
    known = languages["value"].to_pylist()
    asked = [row for row, text in enumerate(columns[1]) if text is not None and known[row] in thresholds]
    ratios = dict(zip(asked, characters_per_token([columns[1][row] for row in asked], vocabulary), strict=True))
    rows = []
    for row, (document, _, unread) in enumerate(zip(*columns, strict=True)):
        low = row in ratios and ratios[row] < thresholds[known[row]]
        reasons = [unread] if unread is not None else [REASON] if low else []
        rows.append({"id": document, "keep": not reasons, "reasons": reasons, "spans": []})
    return table_of(rows, VERDICT)


def _judge_part(call: tuple[str, Built, Built, Built, tuple[tuple[str, float], ...]], folder: Path) -> Facts:
    part, files, language, vocab, thresholds = call
    tables = aligned_part(part, [files, language], [["text", "unread"], ["value"]])
    table = fertility_verdicts(tables[0], tables[1], Vocabulary.load(vocab), dict(thresholds))
    write_table(folder / part, table)
    dropped: dict[str, int] = {}
    for reasons in table["reasons"].to_pylist():
        if reasons:
            dropped[reasons[0]] = dropped.get(reasons[0], 0) + 1
    return {"rows": len(table), "dropped": dict(sorted(dropped.items()))}


@dataclass(frozen=True, slots=True)
class Fertility(Stage):
    """A verdict on each file: at least so many characters for a token, in the languages that have a threshold."""

    files: Stage
    language: Stage
    vocab: Stage
    thresholds: tuple[tuple[str, float], ...] = THRESHOLDS

    def __post_init__(self) -> None:
        check_languages(tuple(name for name, _ in self.thresholds))
        for name, least in self.thresholds:
            if not least > 0:
                raise ConfigError(f"thresholds of fertility has {least} for {name}; it is characters for a token")

    def produce(self, work: Work) -> None:
        files, language, vocab = work.input("files"), work.input("language"), work.input("vocab")
        calls = {
            part.removesuffix(".parquet"): (part, files, language, vocab, self.thresholds) for part in files.parts()
        }
        for _, facts in work.map(_judge_part, calls):
            kept = facts["rows"] - sum(facts["dropped"].values())
            work.count(rows_in=facts["rows"], rows_out=kept, dropped=facts["dropped"])
        low = work.counts.get("dropped", {}).get(REASON, 0)
        work.summary = f"{low:,} of {work.counts.get('rows_in', 0):,} files have few characters per token"
