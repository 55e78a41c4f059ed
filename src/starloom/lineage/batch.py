"""A training step's batch led back to files and byte ranges, and a range of tokens led on to the steps that saw it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from starloom.corpus.fields import value_of
from starloom.corpus.rendered import Rendered, Span
from starloom.errors import ConfigError, DamagedError, StoreError
from starloom.lineage.journal import Journal, store_of
from starloom.store import MANIFEST, Built, read_sealed_json
from starloom.tokens.blend import Blend, open_packs
from starloom.tokens.dataset import Dataset, Replay
from starloom.tokens.fim import FIM
from starloom.train.log import LOG, gone_past

RESOLVED = "resolved.json"
COLUMNS = ("text", "repository", "path", "stars", "fields")  # of a `Read` row: a span lies in one, or in a named field


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes of a file that a batch was trained on, in the order of the batch; `copied` is false where an edit, such as
    a redaction, stands for the whole range."""

    source: str
    repository: str
    path: str
    field: str
    start: int
    end: int
    copied: bool
    text: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One line of a batch."""

    epoch: int
    sample: int
    tokens: int
    controls: int
    text: str
    spans: list[Found]


def sequences_of(journal: Journal, model: Built, step: int) -> list[Sequence]:
    """The batch of one step of a training run, counted from 1 as in `log.jsonl`.

    Every range is read again from the stored file and compared with the bytes of the tokens: DamagedError if they
    differ. Raises ConfigError for a step that the run does not have.
    """
    steps = int(model.manifest["resolved"]["steps"])
    past = [gone for first, gone in _gone_past(model) if first <= step]
    if not 1 <= step <= steps:
        raise ConfigError(f"{model.directory} was trained for {steps:,} steps, counted from 1; there is no step {step}")
    packs, dataset = _batches(model)
    replay = dataset.replay(step=step - 1 + (past[-1] if past else 0), **_order(model.manifest["settings"]))
    marks = dataset.vocabulary.marks_as_text()
    texts = {pack: _Texts(journal, packs[pack], replay, marks) for pack in {place.pack for place in replay.places}}
    return [_sequence(dataset, replay, line, texts[place.pack]) for line, place in enumerate(replay.places)]


def run_at(directory: Path) -> Built:
    """A training run, also one that is not finished: then with what it was asked for, and its log so far."""
    if (directory / MANIFEST).is_file() or not (directory / RESOLVED).is_file():
        return Built.open(directory)
    resolved = read_sealed_json(directory / RESOLVED)
    if "batches" not in resolved:
        return Built.open(directory)  # another step's, or an older one's: it says that it was never finished
    said = resolved["batches"]
    manifest = {"settings": said["settings"], "inputs": {"packed": said["packed"]}, "resolved": resolved}
    return Built(directory, manifest)


def _gone_past(model: Built) -> list[tuple[int, int]]:
    """(first step, batches gone past) of the stretches of a run that went back."""
    finished = LOG in model.manifest.get("files", {})
    path = model.directory / LOG
    if not finished and not path.is_file():
        return []
    return gone_past(model.read_bytes(LOG) if finished else path.read_bytes())


def _batches(model: Built) -> tuple[list[Built], Dataset | Blend]:
    """The packs that a run was trained on, and its batches."""
    store, packed = store_of(model.directory), model.manifest["inputs"]["packed"]
    packs = [Built.open(store.directory("", one)) for one in (packed if isinstance(packed, list) else [packed])]
    return packs, open_packs(packs, model.manifest["settings"].get("mixture", ()))


def _order(settings: dict[str, Any]) -> dict[str, Any]:
    """What decides the batches of a run, from its manifest."""
    fim = {name: value for name, value in settings["fim"].items() if name != "type"}
    return {"seed": settings["seed"], "size": settings["batch"] * settings["accumulate"], "fim": FIM(**fim)}


class _Texts:
    """The rows of the mix and of `Read` that a batch needs."""

    def __init__(self, journal: Journal, packed: Built, replay: Replay, marks: Mapping[str, str]) -> None:
        self._mix = journal.before(packed, "clean")
        self._read = journal.before(self._mix, "files")
        self._replay = replay
        self._marks = marks  # that the tokenizer's family has no token for: they were packed as text
        self._rendered: dict[tuple[int, int], Rendered] = {}

    def rendered(self, shard: int, row: int) -> Rendered:
        if (shard, row) not in self._rendered:
            table = self._mix.table(self._mix.parts()[shard], ["parts", "edits"])
            self._rendered[shard, row] = Rendered.of_row(table.slice(row, 1).to_pylist()[0]).with_marks(self._marks)
        return self._rendered[shard, row]

    @cached_property
    def files(self) -> dict[bytes, dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(self._replay.sources(), pa.binary(16))
        rows: dict[bytes, dict[str, Any]] = {}
        for table in self._read.tables(["id", *COLUMNS]):
            chosen = table.filter(pc.is_in(table["id"], wanted))
            rows.update((row["id"], row) for row in chosen.to_pylist())
        return rows

    def found(self, span: Span) -> Found:
        """A span with its file's name and the text that stands there now."""
        row = self.files.get(span.source)
        if row is None:
            raise StoreError(f"{self._read.directory} holds no file {span.source.hex()}; run the recipe again")
        path = row["path"].decode("utf-8", "surrogateescape")
        text = value_of(row, span.field)[span.start : span.end].decode(errors="replace")
        return Found(span.source.hex(), row["repository"], path, span.field, span.start, span.end, span.copied, text)

    def original(self, span: Span) -> bytes:
        """The bytes of a span in its file."""
        return value_of(self.files[span.source], span.field)[span.start : span.end]


def _sequence(dataset: Dataset | Blend, replay: Replay, line: int, texts: _Texts) -> Sequence:
    vocabulary = dataset.vocabulary
    ids = replay.ids[line].tolist()
    spans: list[Found] = []
    for segment, tokens, start, end in _runs(replay, line):
        rendered = texts.rendered(int(replay.table.shard[segment]), int(replay.table.row[segment]))
        here = rendered.to_original(start, end)
        if here and all(span.copied for span in here):
            stored = b"".join(texts.original(span) for span in here)
            mine = vocabulary.bytes_of(ids[token] for token in tokens)
            if len(stored) == len(mine) and stored != mine:  # shorter where inserted text lies between
                raise DamagedError(
                    f"the tokens of {texts.found(here[0]).path} differ from the stored file; "
                    "`starloom verify` finds what is damaged"
                )
        spans += map(texts.found, (*rendered.marked(start, end), *here))
    controls = sum(vocabulary.is_control(one) for one in ids)
    place = replay.places[line]
    return Sequence(
        place.epoch, place.sample, len(ids), controls, vocabulary.decode(ids, spell_controls=True), _merged(spans)
    )


def _runs(replay: Replay, line: int) -> Iterable[tuple[int, range, int, int]]:
    """(segment, tokens, first byte, last byte) of stretches whose bytes follow one another in the rendered row."""
    segments, starts, ends = (column[line].tolist() for column in (replay.segments, replay.starts, replay.ends))
    begin = 0
    for token in range(1, len(segments) + 1):
        goes_on = token < len(segments) and segments[token] == segments[begin] and starts[token] == ends[token - 1]
        if not goes_on:
            if segments[begin] >= 0 and ends[token - 1] > starts[begin]:
                yield segments[begin], range(begin, token), starts[begin], ends[token - 1]
            begin = token


def _merged(spans: list[Found]) -> list[Found]:
    """Neighbours that go on where the one before ended, as one."""
    merged: list[Found] = []
    for span in spans:
        last = merged[-1] if merged else None
        if last is not None and (last.source, last.field, last.copied, last.end) == (
            span.source,
            span.field,
            span.copied,
            span.start,
        ):
            merged[-1] = Found(
                last.source,
                last.repository,
                last.path,
                last.field,
                last.start,
                span.end,
                last.copied,
                last.text + span.text,
            )
        else:
            merged.append(span)
    return merged


def steps_that_saw(packed: Built, model: Built, start: int, end: int) -> list[int]:
    """Steps of a run, counted from 1, whose batch held any of the training tokens [start, end) of one of its packs."""
    packs, dataset = _batches(model)
    order = _order(model.manifest["settings"])
    steps = int(model.manifest["resolved"]["steps"])
    stretches = [(1, 0), *_gone_past(model)]
    ends = [*(start for start, _ in stretches[1:]), steps + 1]
    seen = (steps + stretches[-1][1]) * order["size"]
    first = max(0, (start - 1) // dataset.context)  # a sample holds one token more than its context
    last = (end - 1) // dataset.context
    found: set[int] = set()
    for number in (number for number, pack in enumerate(packs) if pack.fingerprint == packed.fingerprint):
        positions = dataset.positions(first, last, seed=order["seed"], before=seen, pack=number)
        batches = (positions // order["size"]).tolist()
        for (begin, past), behind in zip(stretches, ends, strict=True):
            found.update(step for batch in batches if begin <= (step := batch - past + 1) < behind)
    return sorted(found)
