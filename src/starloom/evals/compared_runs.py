"""What models scored on the files and lines that all of them were asked about, ready to be set side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starloom.errors import ConfigError
from starloom.evals import held_out, infilling
from starloom.report.facts import json_lines
from starloom.store import Built, Store

ALL = "all"
Line = tuple[str, int]  # id of a file, number of a line
Sums = dict[Any, tuple[float, float]]  # of each file: what is counted, and what it is divided by


@dataclass(frozen=True, slots=True)
class Run:
    """One trained model and what it scored."""

    name: str
    model: Built
    files: Mapping[bytes, Mapping[str, Any]]  # id → row of `files.parquet`
    lines: Mapping[str, Mapping[Line, Mapping[str, Any]]]  # mode → (id, line) → row of `infilling.jsonl`

    def bits(self, ids: Sequence[bytes]) -> Sums:
        """What each file costs in bits, and the bytes that it has for the model."""
        return {id_: (self.files[id_]["nats"] / math.log(2), self.files[id_]["model_bytes"]) for id_ in ids}

    def answers(self, mode: str) -> bool:
        return bool(self.lines.get(mode))

    def hits(self, mode: str, lines: Sequence[Line]) -> Sums:
        """Of each file, how many of its lines were answered exactly, and how many were asked for."""
        hits: Counter[str] = Counter()
        for line in lines:
            hits[line[0]] += infilling.counts(self.lines[mode][line])
        asked = Counter(id_ for id_, _ in lines)
        return {id_: (hits[id_], asked[id_]) for id_ in sorted(asked)}

    def costs(self, mode: str, lines: Sequence[Line]) -> Sums:
        """Of each file, what its lines cost in bits, and their bytes."""
        found: dict[str, tuple[float, float]] = {}
        for line in lines:
            row = self.lines[mode][line]
            bits, size = found.get(line[0], (0.0, 0.0))
            found[line[0]] = (bits + row["nats"] / math.log(2), size + row["line_bytes"])
        return dict(sorted(found.items()))


def opened(names: Sequence[str], scores: Sequence[Built], infillings: Sequence[Built]) -> list[Run]:
    """The runs. Raises ConfigError where an infilling is of another model than the score beside it."""
    runs = []
    for place, (name, score) in enumerate(zip(names, scores, strict=True)):
        model = model_of(score)
        lines: dict[str, dict[Line, Mapping[str, Any]]] = {}
        if infillings:
            if model_of(infillings[place]).fingerprint != model.fingerprint:
                raise ConfigError(
                    f"compare.infillings[{place}] is of another model than compare.scores[{place}], '{name}'"
                )
            for row in json_lines(infillings[place], infilling.ROWS):
                lines.setdefault(row["mode"], {})[row["id"], row["line"]] = row
        files = {row["id"]: row for row in score.table(held_out.FILES).to_pylist()}
        runs.append(Run(name, model, files, lines))
    return runs


def model_of(score: Built) -> Built:
    """The model that an evaluation is of; both lie in one store."""
    return Built.open(Store(score.directory.parent).directory("", score.manifest["inputs"]["base"]))


def common_files(runs: Sequence[Run]) -> tuple[dict[str, list[bytes]], list[str]]:
    """The files that every model scored, of all languages and of each, and the languages, the largest first.

    Raises ConfigError where there is none.
    """
    shared = sorted(set.intersection(*(set(run.files) for run in runs)))
    shared = [id_ for id_ in shared if all(run.files[id_]["model_bytes"] > 0 for run in runs)]
    if not any(run.files for run in runs):
        raise ConfigError(
            "nothing was held out, so there is nothing to compare models on; raise mix.heldout, or read more"
        )
    if not shared:
        raise ConfigError("no held-out file was scored by every model; compare models with the same held-out set")
    sizes: Counter[str] = Counter()
    for id_ in shared:
        sizes[runs[0].files[id_]["language"]] += runs[0].files[id_]["size_bytes"]
    languages = [name for name, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))]
    by_language = {name: [id_ for id_ in shared if runs[0].files[id_]["language"] == name] for name in languages}
    return {ALL: shared, **by_language}, languages


def common_lines(runs: Sequence[Run]) -> dict[str, dict[str, list[Line]]]:
    """Mode → language (or all) → the hidden lines that every model with this mode was asked for."""
    found: dict[str, dict[str, list[Line]]] = {}
    for mode in ("left_to_right", "infilling"):
        asked = [run.lines[mode] for run in runs if run.answers(mode)]
        if not asked:
            continue
        shared = sorted(set.intersection(*(set(lines) for lines in asked)))
        own: dict[str, list[Line]] = {ALL: shared} if shared else {}
        for line in shared:
            own.setdefault(asked[0][line]["language"], []).append(line)
        found[mode] = own
    return {mode: own for mode, own in found.items() if own}


def scored_lines(runs: Sequence[Run], lines: Mapping[str, Mapping[str, Sequence[Line]]]) -> dict[str, list[Line]]:
    """Language (or all) → of the lines of both modes, those that fitted every model's context in every mode it was asked in."""
    both = [found for found in lines.values() if ALL in found]
    shared = set.intersection(*(set(found[ALL]) for found in both)) if both else set()
    shared = {
        line
        for line in shared
        if all(run.lines[mode][line]["nats"] is not None for run in runs for mode in lines if run.answers(mode))
    }
    names = list(dict.fromkeys(name for found in both for name in found))
    kept = {name: [line for line in both[0].get(name, ()) if line in shared] for name in names}
    return {name: found for name, found in kept.items() if found}
