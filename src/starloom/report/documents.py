"""What became of the documents of a corpus: kept or dropped and why, by language, license and origin.

Shard by shard: of the documents only ids are held at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starloom.report.examples import EXAMPLES, Example, Place, examples, rendered
from starloom.report.facts import Steps
from starloom.report.languages import UNKNOWN, Languages
from starloom.report.outcomes import Basis, joined, judged
from starloom.report.twins import Duplicates, duplicates, repeated

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Amount:
    """Documents, their bytes and tokens (0 without a census), as read and as kept."""

    files: int = 0
    size_bytes: int = 0
    kept_files: int = 0
    kept_bytes: int = 0
    tokens: int = 0
    kept_tokens: int = 0

    def add(self, files: int, size_bytes: int, kept: bool, tokens: int = 0) -> None:
        self.files += files
        self.size_bytes += size_bytes
        self.tokens += tokens
        self.kept_files += files * kept
        self.kept_bytes += size_bytes * kept
        self.kept_tokens += tokens * kept


@dataclass(slots=True)
class Corpus:
    """All that a page says about the documents of one `Mix`, or of a `Read` that nothing was mixed from."""

    name: str
    source: str
    basis: Basis
    languages: Languages
    all: Amount = field(default_factory=Amount)
    dropped: dict[str, Amount] = field(default_factory=dict)  # reason → what it cost, most files first
    stations: dict[str, list[str]] = field(default_factory=dict)  # reason → where documents were dropped for it
    splits: dict[str, Amount] = field(default_factory=dict)
    validation: dict[str, Amount] = field(default_factory=dict)  # named set of the held-out documents → amount
    tables: dict[str, dict[str, Amount]] = field(default_factory=dict)  # what is counted → value → amount
    trained: dict[str, Amount] = field(default_factory=dict)  # hold-out group → amount, of those trained on
    held_out: dict[str, Amount] = field(default_factory=dict)  # and of those held out
    examples: dict[str, list[Example]] = field(default_factory=dict)  # reason → documents
    duplicates: list[Duplicates] = field(default_factory=list)
    rendered: list[list[tuple[str | None, str]]] = field(default_factory=list)  # (control, text) parts of rows

    def steps_of(self, reason: str) -> list[str]:
        """The steps that dropped documents for a reason."""
        return list(dict.fromkeys(map(self.basis.step_of, self.stations[reason])))


def corpora(steps: Steps) -> list[Corpus]:
    """One for each `Mix`, and one for each `Read` that no `Mix` of the journey took."""
    found, taken = [], set()
    for mix in steps.of("mix"):
        read = next(iter(steps.upstream(mix, "read")), None)
        if read is not None:
            taken.add(read.fingerprint)
            found.append(_corpus(Basis.of(steps, read, mix)))
    found += [_corpus(Basis.of(steps, read, None)) for read in steps.of("read") if read.fingerprint not in taken]
    return found


def _corpus(basis: Basis) -> Corpus:
    import pyarrow as pa

    read, mix = basis.read, basis.mix
    source = ", ".join(one["value"] for one in read.manifest["externals"].values())
    languages = Languages(basis.stations(), basis.census is not None)
    corpus = Corpus((mix or read).name, source, basis, languages)
    column = next(
        (f"attribute:{one.name}" for one in basis.attributes if one.name.partition(":")[0] == "language"), None
    )
    kept = basis.kept_as()
    several = [repeated(read, one) for one in basis.groups]
    numbers = [joined(one["group"]) for one in several]
    smallest: dict[str, list[Place]] = defaultdict(list)
    fates = []  # of the documents that may stand beside a duplicate of theirs
    for part in read.parts():
        table = judged(basis, part, kept, numbers)
        _add(corpus, table, [one.name for one in basis.attributes])
        if column is not None:
            languages.add(table, column)
        for reason in corpus.dropped:
            smallest[reason] = sorted([*smallest[reason], *_smallest(table, part, reason)])[:EXAMPLES]
        fates.append(table.select(["id", "size", "step"]))
    corpus.dropped = dict(sorted(corpus.dropped.items(), key=lambda item: (-item[1].files, item[0])))
    corpus.examples = examples(read, basis.attributes, basis.spoken, smallest)
    fate = pa.concat_tables(fates).combine_chunks() if fates else None
    corpus.duplicates = [
        duplicates(basis, one, found, fate)
        for one, found in zip(basis.groups, several, strict=True)
        if fate is not None
    ]
    if mix is not None:
        for name in mix.manifest["settings"].get("validation", ()):
            corpus.validation.setdefault(name, Amount())
        corpus.rendered = rendered(mix)
    return corpus


def _add(corpus: Corpus, table: pa.Table, attributes: Sequence[str]) -> None:
    def sums(*columns: str) -> Iterator[tuple[Any, ...]]:
        """(value of each column, files, bytes, tokens), nulls of the sums as 0."""
        grouped = table.group_by(list(columns)).aggregate([([], "count_all"), ("size", "sum"), ("tokens", "sum")])
        found = (grouped[name].to_pylist() for name in (*columns, "count_all", "size_sum", "tokens_sum"))
        for *values, files, size, tokens in zip(*found, strict=True):
            yield (*values, files, size or 0, tokens or 0)

    for reason, step, files, size, tokens in sums("reason", "step"):
        corpus.all.add(files, size, reason is None, tokens)
        if reason is not None:
            corpus.dropped.setdefault(reason, Amount()).add(files, size, False, tokens)
            stations = {*corpus.stations.get(reason, ()), step}
            corpus.stations[reason] = sorted(stations, key=corpus.languages.place)
    for split, group, validation, files, size, tokens in sums("split", "group", "validation"):
        if split is not None:
            corpus.splits.setdefault(split, Amount()).add(files, size, True, tokens)
            side = corpus.held_out if split == "heldout" else corpus.trained
            side.setdefault(group or "", Amount()).add(files, size, True, tokens)
        if validation is not None:
            corpus.validation.setdefault(validation, Amount()).add(files, size, True, tokens)
    for title, column in [*((name, f"attribute:{name}") for name in attributes), ("repository", "repository")]:
        counted = corpus.tables.setdefault(title, {})
        for value, reason, files, size, tokens in sums(column, "reason"):
            counted.setdefault(value or UNKNOWN, Amount()).add(files, size, reason is None, tokens)


def _smallest(table: pa.Table, part: str, reason: str) -> list[Place]:
    """The documents of a shard that were dropped for a reason, those with the smallest ids."""
    import pyarrow.compute as pc

    chosen = table.filter(pc.equal(table["reason"], reason))
    chosen = chosen.take(pc.sort_indices(chosen["id"].cast("binary"))[:EXAMPLES])
    return [(id_, part, row) for id_, row in zip(chosen["id"].to_pylist(), chosen["row"].to_pylist(), strict=True)]
