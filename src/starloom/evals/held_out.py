"""Held-out bits per byte of a model, and of gzip and xz on the same files."""

from __future__ import annotations

import gzip
import json
import lzma
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from starloom.errors import ConfigError
from starloom.evals.held_out_files import HeldOutFile, held_out_files, in_order_of_chance
from starloom.records import ID_BYTES
from starloom.report import plain
from starloom.report.show import BAR, table
from starloom.stage import Stage, Work
from starloom.store import Built, canonical_json, write_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

RESULTS = "results.json"
FILES = "files.parquet"  # of every scored file its id, its language and the sums of its `Tally`
LABELS = {"model": "this model", "gzip": "gzip -9, per file", "xz": "xz -9, per file"}
NOTHING = (
    "Nothing was held out: the source has too few files or groups of files. "
    "Read more, or raise mix.heldout, to measure on text that was not trained on."
)
# Some 280,000 tokens of code; the quickstart's model scores 12,000 and more a second on two cores.
LIMIT_BYTES = 1_000_000


def gzip_bytes(data: bytes) -> int:
    """What `gzip -9` makes of it, without a name and a time."""
    return len(gzip.compress(data, 9, mtime=0))


def xz_bytes(data: bytes) -> int:
    """What `xz -9` makes of it. A window no longer than the data gives the same size, and spares 670 MB of tables."""
    window = min(1 << 26, max(1 << 12, 1 << (len(data) - 1).bit_length() if data else 0))
    return len(lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": window}]))


def within(ordered: Sequence[tuple[bytes, int]], limit_bytes: int) -> list[bytes]:
    """Ids from the front until the next file would exceed the limit; the first file always counts."""
    chosen: list[bytes] = []
    total = 0
    for id_, size in ordered:
        if chosen and total + size > limit_bytes:
            break
        chosen.append(id_)
        total += size
    return chosen


@dataclass(frozen=True, slots=True)
class HeldOut(Stage):
    """Bits per byte of held-out files: by the model, and by gzip -9 and xz -9 for each file alone.

    Files are taken in an order of chance up to `limit_bytes`, whole ones; `files.parquet` has what each of them costs.
    """

    version: ClassVar[int] = 3

    base: Stage
    packed: Stage
    clean: Stage
    limit_bytes: int = LIMIT_BYTES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit_bytes < 1:
            raise ConfigError(f"held_out.limit_bytes is {self.limit_bytes}; it must be at least 1")

    def produce(self, work: Work) -> None:
        clean = work.input("clean")
        ordered = in_order_of_chance(clean, self.seed)
        files = held_out_files(clean, within(ordered, self.limit_bytes))
        held_out = {"files": len(ordered), "bytes": sum(size for _, size in ordered)}
        results: dict[str, Any] = {"note": None, "held_out": held_out, "limit_bytes": self.limit_bytes}
        tallies = tallied(work, files) if files else []
        if files:
            results |= totals(files, tallies)
        else:
            results |= {"note": NOTHING, "bits_per_byte": {}, "languages": {}, "scored": {"files": 0, "bytes": 0}}
        with work.unit("results") as unit:
            unit.path(RESULTS).write_bytes(canonical_json(results))
            write_table(unit.path(FILES), file_table(files, tallies))
        work.count(files=len(files), bytes=results["scored"]["bytes"])
        work.summary = summary(results)

    def closing(self, built: Built) -> str:
        return render(built)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over some files: what they hold, what the model pays for them, what the compressors make of each."""

    files: int = 0
    size_bytes: int = 0
    tokens: int = 0
    nats: float = 0.0
    model_bytes: int = 0  # bytes of the predicted tokens: the texts, and the names that a layout puts before them
    gzip: int = 0
    xz: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def as_json(self) -> dict[str, Any]:
        return {
            "bits_per_byte": {
                "model": self.nats / math.log(2) / max(self.model_bytes, 1),
                "gzip": 8 * self.gzip / max(self.size_bytes, 1),
                "xz": 8 * self.xz / max(self.size_bytes, 1),
            },
            "scored": {"files": self.files, "bytes": self.size_bytes, "tokens": self.tokens},
            "model": {"nats": self.nats, "bytes": self.model_bytes},
            "compressed_bytes": {"gzip": self.gzip, "xz": self.xz},
        }


def totals(files: Sequence[HeldOutFile], tallies: Sequence[Tally]) -> dict[str, Any]:
    """The sums over all files, and over those of each language."""
    languages = {name: Tally() for name in sorted({file.language for file in files})}
    for file, one in zip(files, tallies, strict=True):
        languages[file.language] += one
    return {
        **sum(languages.values(), Tally()).as_json(),
        "how": "the model sees windows of its context side by side, nothing from outside a window, and pays for the "
        "tokens that end a file or name it.",
        "languages": {name: one.as_json() for name, one in languages.items()},
    }


def tallied(work: Work, files: Sequence[HeldOutFile]) -> list[Tally]:
    """What each file holds and costs: the packed tokens of a language's files are scored one file after the other."""
    import numpy as np

    from starloom.models.causal_lm import load_model
    from starloom.tokens.bpe import Vocabulary
    from starloom.tokens.dataset import Dataset
    from starloom.train import hardware
    from starloom.train.heldout import nats_of_each

    packed = work.input("packed")
    dataset = Dataset(packed, "heldout")
    byte_lengths = Vocabulary.load(packed).byte_lengths
    pieces: dict[bytes, list[npt.NDArray[np.generic]]] = {file.id: [] for file in files}
    for segment in packed.table("segments-heldout.parquet", ["source", "start", "end"]).to_pylist():
        if segment["source"] in pieces:
            pieces[segment["source"]].append(dataset.tokens[segment["start"] : segment["end"]])
    size = sum(len(piece) for own in pieces.values() for piece in own)
    masked = work.input("base").manifest["settings"].get("document_mask")  # as it was trained: files are strangers
    end_of_document = dataset.vocabulary.end_of_document if masked else None
    found = {}
    with (
        hardware.repeatable(work.runtime.threads, work.runtime.device),
        work.runtime.progress.task("held out", size, "tokens") as advance,
    ):
        model = load_model(work.input("base").directory, device=work.runtime.device)
        for language in sorted({file.language for file in files}):
            own = [file for file in files if file.language == language]
            ends = np.cumsum([sum(map(len, pieces[file.id])) for file in own])
            tokens = np.concatenate([np.zeros(0, np.int64), *(piece for file in own for piece in pieces[file.id])])
            nats = nats_of_each(model, tokens, byte_lengths, dataset.context, advance, end_of_document)
            start = 0
            for file, end in zip(own, ends.tolist(), strict=True):
                first = max(start, 1)  # nothing predicts the first token of all
                text = file.text.encode()
                found[file.id] = Tally(
                    1,
                    len(text),
                    max(end - first, 0),
                    math.fsum(nats[first:end]),
                    int(byte_lengths[tokens[first:end]].sum(dtype=np.int64)),
                    gzip_bytes(text),
                    xz_bytes(text),
                )
                start = end
    return [found[file.id] for file in files]


def file_table(files: Sequence[HeldOutFile], tallies: Sequence[Tally]) -> pa.Table:
    """A row for each file, in the order of their ids: what intervals and comparisons are made of."""
    import pyarrow as pa

    names = [item.name for item in fields(Tally) if item.name != "files"]
    rows = [
        {"id": file.id, "language": file.language, **{name: getattr(one, name) for name in names}}
        for file, one in sorted(zip(files, tallies, strict=True), key=lambda pair: pair[0].id)
    ]
    types = [(name, pa.float64() if name == "nats" else pa.int64()) for name in names]
    return pa.Table.from_pylist(rows, pa.schema([("id", pa.binary(ID_BYTES)), ("language", pa.string()), *types]))


def summary(results: Mapping[str, Any]) -> str:
    """One line about `results.json`."""
    if results["note"]:
        return "nothing was held out"
    rates = results["bits_per_byte"]
    return (
        f"{rates['model']:.3f} bits per byte (gzip -9 {rates['gzip']:.3f}, xz -9 {rates['xz']:.3f}) on "
        f"{amount_text(results)}"
    )


def amount_text(results: Mapping[str, Any]) -> str:
    """How much of the held-out files was scored."""
    scored, held_out = results["scored"], results["held_out"]
    if scored["files"] == held_out["files"]:
        return f"all {plain.several(scored['files'], 'held-out file')}, {plain.size(scored['bytes'])}"
    return (
        f"{plain.count(scored['files'])} of {plain.several(held_out['files'], 'held-out file')}, "
        f"{plain.size(scored['bytes'])} of {plain.size(held_out['bytes'])}"
    )


def render(built: Built) -> str:
    """The figures for a terminal, by language where there are several."""
    results = json.loads(built.read_bytes(RESULTS))
    if results["note"]:
        return str(results["note"])
    lines = [f"held-out bits per byte, {amount_text(results)}"]
    rates = results["bits_per_byte"]
    most = max(rates.values())
    rows = [(label, f"{rates[key]:.3f}", "█" * round(BAR * rates[key] / most)) for key, label in LABELS.items()]
    lines += table(rows, right=(1,), indent="  ")
    languages = results["languages"]
    if len(languages) > 1:
        rows = [
            (name, *(f"{one['bits_per_byte'][key]:.3f}" for key in LABELS), plain.size(one["scored"]["bytes"]))
            for name, one in sorted(languages.items(), key=lambda item: -item[1]["scored"]["bytes"])
        ]
        lines += ["", *table([("", *LABELS, "bytes"), *rows], right=(1, 2, 3, 4), indent="  ")]
    return "\n".join(lines)
