"""How many tokens every file has under a vocabulary, kept or dropped: what a rule costs, in tokens.

A table beside the files as an attribute is: same shards, same rows. Counted of the text as it was read, each text as one
string; `Pack` counts what training sees, with controls and after redaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from starloom.errors import TokenizerError
from starloom.records import ID_BYTES
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, write_table
from starloom.tokens.bpe import Vocabulary

CENSUS = pa.schema(
    [
        ("id", pa.binary(ID_BYTES)),
        ("tokens", pa.int64()),  # this and what follows is null where the file has no text
        ("characters", pa.int64()),
        ("bytes", pa.int64()),  # of the text; the file's own size is `Read`'s
    ]
)
_BATCH_BYTES = 4 << 20  # of text encoded at a time; our choice
_BATCH = 512  # texts encoded at a time; our choice


def counted(files: pa.Table, vocabulary: Vocabulary) -> pa.Table:
    """The rows of CENSUS for a shard with columns id and text."""
    text = files["text"]
    characters, sizes = (length(text).cast(pa.int64()) for length in (pc.utf8_length, pc.binary_length))
    tokens: list[int | None] = []
    for start, end in batches([size or 0 for size in sizes.to_pylist()]):
        texts = text.slice(start, end - start).to_pylist()
        counts = map(len, vocabulary.encode_batch([one for one in texts if one is not None]))
        tokens += [None if one is None else next(counts) for one in texts]
    columns = {"id": files["id"], "tokens": pa.array(tokens, pa.int64()), "characters": characters, "bytes": sizes}
    return pa.table(columns, schema=CENSUS)


def batches(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of rows, in order, of at most _BATCH rows and _BATCH_BYTES together, or of one larger row."""
    ends = [0]
    reached = [0, *accumulate(sizes)]
    for row in range(1, len(sizes)):
        if row - ends[-1] == _BATCH or reached[row + 1] - reached[ends[-1]] > _BATCH_BYTES:
            ends.append(row)
    yield from pairwise([*ends, len(sizes)] if sizes else [])


def _count_part(call: tuple[str, Built, Built], folder: Path) -> Facts:
    part, files, vocab = call
    try:
        table = counted(files.table(part, ["id", "text"]), Vocabulary.load(vocab))
    except TokenizerError as error:
        raise TokenizerError(f"{files.path(part)}: {error}") from None
    write_table(folder / part, table)
    totals = {name: pc.sum(table[name]).as_py() or 0 for name in ("tokens", "characters", "bytes")}
    return {"rows": len(table), "texts": len(table) - table["tokens"].null_count, **totals}


@dataclass(frozen=True, slots=True)
class Census(Stage):
    """Exact tokens, characters and bytes of every file's text under a vocabulary."""

    files: Stage
    vocab: Stage

    def produce(self, work: Work) -> None:
        files, vocab = work.input("files"), work.input("vocab")
        calls = {part.removesuffix(".parquet"): (part, files, vocab) for part in files.parts()}
        for _, facts in work.map(_count_part, calls):
            totals = {name: facts[name] for name in ("tokens", "characters", "bytes")}
            work.count(rows_in=facts["rows"], rows_out=facts["texts"], **totals)
        tokens, size = work.counts.get("tokens", 0), work.counts.get("bytes", 0)
        ratio = f", {size / tokens:.2f} bytes per token" if tokens else ""
        work.summary = f"{tokens:,} tokens in {work.counts.get('rows_out', 0):,} files{ratio}"
