"""Shingle sets and signatures of the documents of many shards, as raw little-endian arrays that are mapped, not loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from starloom.corpus.minhash import band_keys, signature
from starloom.corpus.prefix_hash import Int64s, UInt32s, UInt64s
from starloom.corpus.shingles import Unit, shingles_of

SKETCH = pa.schema(
    [("row", pa.int64()), ("size", pa.int64()), ("digest", pa.binary(16))]
)  # of documents that take part


def write_sketches(
    texts: Sequence[str | None], unit: Unit, permutations: int, bands: int, folder: Path, name: str
) -> dict[str, int]:
    """Sketch a shard's documents into NAME.parquet, .shingles, .signatures and .bands; how many there were and took part."""
    rows, sizes, digests, signatures = [], [], [], []
    with (folder / f"{name}.shingles").open("wb") as file:
        for row, shingles in enumerate(shingles_of(texts, unit)):
            if shingles is None:
                continue
            data = shingles.astype("<u8").tobytes()
            file.write(data)
            rows.append(row)
            sizes.append(len(shingles))
            digests.append(hashlib.blake2b(data, digest_size=16).digest())
            signatures.append(signature(shingles, permutations))
    stacked = np.array(signatures, "<u4").reshape(len(rows), permutations)
    (folder / f"{name}.signatures").write_bytes(stacked.tobytes())
    (folder / f"{name}.bands").write_bytes(band_keys(stacked, bands).astype("<u8").tobytes())
    table = pa.Table.from_pydict({"row": rows, "size": sizes, "digest": digests}, schema=SKETCH)
    # plain IPC: mapped with the rest, gone with the stage's other scratch files
    with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, SKETCH) as writer:
        writer.write_table(table)
    return {"rows": len(texts), "documents": len(rows), "unread": sum(text is None for text in texts)}


class Sketches:
    """The sketches of several shards, the documents that take part numbered 0, 1, … through all of them."""

    def __init__(self, folder: Path, names: Iterable[str], rows: Iterable[int], permutations: int, bands: int) -> None:
        self._bands = bands
        every_row, sizes, self.digests = [], [], list[bytes]()
        self._shingles, self._signatures, self._keys = list[Any](), list[Any](), list[Any]()
        firsts, base = [0], 0
        for name, total in zip(names, rows, strict=True):
            with pa.memory_map(str(folder / f"{name}.arrow")) as source:
                table = pa.ipc.open_file(source).read_all()
                every_row.append(table["row"].to_numpy() + base)
                sizes.append(table["size"].to_numpy().copy())
                self.digests += table["digest"].to_pylist()
            base += total
            count = len(sizes[-1])
            firsts.append(firsts[-1] + count)
            self._shingles.append(_mapped(folder / f"{name}.shingles", "<u8"))
            self._signatures.append(_mapped(folder / f"{name}.signatures", "<u4").reshape(count, permutations))
            self._keys.append(_mapped(folder / f"{name}.bands", "<u8").reshape(bands, count))
        self.rows: Int64s = np.concatenate([np.empty(0, np.int64), *every_row])  # in the whole corpus
        self.sizes: Int64s = np.concatenate([np.empty(0, np.int64), *sizes])
        self._firsts = np.array(firsts)
        self._starts = [np.concatenate([[0], np.cumsum(one)]) for one in sizes]

    def __len__(self) -> int:
        return len(self.sizes)

    def shingles(self, document: int) -> UInt64s:
        shard = int(np.searchsorted(self._firsts, document, side="right")) - 1
        starts, local = self._starts[shard], document - self._firsts[shard]
        return np.asarray(self._shingles[shard][starts[local] : starts[local + 1]])

    def signatures(self, documents: Int64s) -> UInt32s:
        """[documents, permutations]."""
        shards = np.searchsorted(self._firsts, documents, side="right") - 1
        found = np.empty((len(documents), self._signatures[0].shape[1]), np.uint32)
        for shard in np.unique(shards):
            mine = shards == shard
            found[mine] = self._signatures[shard][documents[mine] - self._firsts[shard]]
        return found

    def keys(self, documents: Int64s) -> Iterator[UInt64s]:
        """For each band its keys of these documents."""
        for band in range(self._bands):
            yield np.concatenate([one[band] for one in self._keys])[documents]


def _mapped(path: Path, dtype: str) -> np.ndarray[Any, Any]:
    if path.stat().st_size == 0:  # nothing to map
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")
