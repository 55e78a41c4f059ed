"""Variants of a model side by side: what they cost and say on the same held-out files, how sure that is, how fast they are."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from starloom.errors import ConfigError
from starloom.evals.compared_runs import ALL, Line, Run, common_files, common_lines, opened, scored_lines
from starloom.evals.figures import Sure
from starloom.evals.intervals import CONFIDENCE, RESAMPLES
from starloom.report import comparison, plain
from starloom.report.facts import json_lines
from starloom.stage import Stage, Work
from starloom.store import Built, canonical_json

SPEEDS = "speeds.json"


@dataclass(frozen=True, slots=True)
class Compare(Stage):
    """Models on the same held-out files: bits per byte and exact match with intervals, each beside a base, and speeds.

    `names` are one for each of `scores` (`HeldOut` stages) and of `infillings` (`Infilling` stages of the same models, or
    none); a name that comes several times is one variant trained with several seeds. The first name is the base.
    """

    version: ClassVar[int] = 2

    scores: tuple[Stage, ...]
    infillings: tuple[Stage, ...] = ()
    names: tuple[str, ...] = ()
    about: tuple[str, ...] = ()  # of each name, what sets it apart from the base; for the card
    base: str = ""  # the variant that the others are compared with; the first where empty
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    decoding: bool = True  # whether decoding is measured: some seconds for each architecture
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("scores", "infillings", "names", "about"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if not self.scores:
            raise ConfigError("compare.scores is empty; give it a HeldOut stage for each model")
        for field in ("names", "infillings", "about"):
            given = len(getattr(self, field))
            if given != len(self.scores) and (given or field == "names"):
                raise ConfigError(
                    f"compare.{field} has {given} entries for {len(self.scores)} scores; give one for each"
                )
        if self.base and self.base not in self.names:
            raise ConfigError(
                f"compare.base is '{self.base}', and the models are {', '.join(dict.fromkeys(self.names))}"
            )
        if not 0 < self.confidence < 1:
            raise ConfigError(f"compare.confidence is {self.confidence}; it lies between 0 and 1")
        if self.resamples < 1:
            raise ConfigError(f"compare.resamples is {self.resamples}; it must be at least 1")

    def produce(self, work: Work) -> None:
        runs = opened(self.names, work.many("scores"), work.many("infillings"))
        speeds = measured(work, runs) if self.decoding else {}
        table = self.compared(runs, speeds)
        with work.unit("comparison") as unit:
            unit.path(comparison.COMPARISON).write_bytes(canonical_json(table))
            unit.path(comparison.CARD).write_text(comparison.markdown(table), encoding="utf-8")
        work.count(variants=len(table["variants"]), models=len(runs), files=table["files"])
        first, *others = table["variants"]
        best = min(table["variants"], key=lambda one: one["bits_per_byte"][ALL]["value"])
        work.summary = (
            f"{plain.several(len(others) + 1, 'variant')}, {best['name']} best with "
            f"{best['bits_per_byte'][ALL]['value']:.3f} bits per byte"
        )
        if best is not first:
            work.summary += f" ({first['name']} {first['bits_per_byte'][ALL]['value']:.3f})"

    def compared(self, runs: Sequence[Run], speeds: Mapping[str, Any]) -> dict[str, Any]:
        """What `comparison.json` holds."""
        base = self.base or self.names[0]
        names = [base, *(name for name in dict.fromkeys(self.names) if name != base)]
        variants = {name: [run for run in runs if run.name == name] for name in names}
        files, languages = common_files(runs)
        lines = common_lines(runs)
        scored = scored_lines(runs, lines)
        sure = Sure(self.seed, self.resamples, self.confidence)
        about = dict(zip(self.names, self.about, strict=True)) if self.about else {}
        return {
            "base": base,
            "confidence": self.confidence,
            "resamples": self.resamples,
            "files": sum(map(len, files.values())) // 2,  # each counts for its language and for all
            "languages": languages,
            "lines": {mode: {name: len(found) for name, found in own.items()} for mode, own in lines.items()},
            "variants": [
                {
                    "name": name,
                    "about": about.get(name, ""),
                    **facts_of(own, speeds),
                    "bits_per_byte": {
                        language: sure.ratio([run.bits(ids) for run in own]) for language, ids in files.items()
                    },
                    "exact_match": {
                        mode: {
                            language: sure.rate([run.hits(mode, found) for run in own])
                            for language, found in by_language.items()
                        }
                        for mode, by_language in lines.items()
                        if all(run.answers(mode) for run in own)
                    },
                    "line_bits_per_byte": line_costs(sure, own, scored, lines),
                    "difference": None if name == base else self._differences(sure, own, variants[base], files, lines),
                }
                for name, own in variants.items()
            ],
            "notes": notes(runs, variants, files, self.confidence),
        }

    @staticmethod
    def _differences(
        sure: Sure, own: Sequence[Run], base: Sequence[Run], files: Mapping[str, Any], lines: Mapping[str, Any]
    ) -> dict[str, Any]:
        both = [*own, *base]
        return {
            "bits_per_byte": {
                language: sure.difference([run.bits(ids) for run in own], [run.bits(ids) for run in base])
                for language, ids in files.items()
            },
            "exact_match": {
                mode: {
                    language: sure.difference(
                        [run.hits(mode, found) for run in own], [run.hits(mode, found) for run in base]
                    )
                    for language, found in by_language.items()
                }
                for mode, by_language in lines.items()
                if all(run.answers(mode) for run in both)
            },
        }

    def closing(self, built: Built) -> str:
        return comparison.render(json.loads(built.read_bytes(comparison.COMPARISON)))


def line_costs(
    sure: Sure, runs: Sequence[Run], scored: Mapping[str, Sequence[Line]], modes: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Mode → language → bits per byte of the hidden lines; "gain" is what knowing what comes after adds to them (spares
    them, where it is negative), on the same lines."""
    asked = [mode for mode in modes if all(run.answers(mode) for run in runs)]
    costs = {mode: {name: [run.costs(mode, lines) for run in runs] for name, lines in scored.items()} for mode in asked}
    found = {mode: {name: sure.ratio(seeds) for name, seeds in own.items()} for mode, own in costs.items()}
    if len(asked) == 2:
        found["gain"] = {
            name: sure.difference(costs["infilling"][name], costs["left_to_right"][name]) for name in scored
        }
    return found


def facts_of(runs: Sequence[Run], speeds: Mapping[str, Any]) -> dict[str, Any]:
    """What a variant is, how it was trained, and how fast it writes; means over its seeds."""
    from starloom.models.checkpoint import read_config
    from starloom.models.gpt_bigcode_config import GPTBigCodeConfig

    config = read_config(runs[0].model.directory)
    heads = config.n_head if isinstance(config, GPTBigCodeConfig) else config.num_attention_heads
    logs = [json_lines(run.model, "log.jsonl") if "log.jsonl" in run.model.manifest["files"] else () for run in runs]
    ends = [rows[-1] for rows in logs if rows]
    return {
        "seeds": len(runs),
        "parameters": config.parameter_count(),
        "attention": attention(heads, config.kv_heads),
        "training": None
        if not ends
        else {
            "steps": ends[0]["step"],
            "tokens": ends[0]["tokens"],
            "seconds": statistics.fmean(row["seconds"] for row in ends),
            "tokens_per_s": statistics.median(row["tokens_per_s"] for rows in logs for row in rows),
        },
        "decoding": speeds.get(runs[0].model.fingerprint),
    }


def attention(heads: int, kv_heads: int) -> str:
    """How queries share keys and values."""
    return "multi-head" if kv_heads == heads else "multi-query" if kv_heads == 1 else f"{heads} heads, {kv_heads} keys"


def measured(work: Work, runs: Sequence[Run]) -> dict[str, Any]:
    """Model → sequences at once → tokens a second; models of one architecture share a measurement."""
    from starloom.evals.decoding_speed import decoding_speeds
    from starloom.models.checkpoint import read_config

    if work.finished("speeds") is None:
        with work.unit("speeds") as unit:
            configs = {run.model.fingerprint: read_config(run.model.directory) for run in runs}
            kinds = list(dict.fromkeys(configs.values()))
            first = [next(run.model for run in runs if configs[run.model.fingerprint] == kind) for kind in kinds]
            folders = [built.directory for built in first]
            rates = decoding_speeds(folders, device=work.runtime.device, threads=work.runtime.threads)
            by_kind = {
                kind: {str(size): round(rate, 1) for size, rate in one.items()}
                for kind, one in zip(kinds, rates, strict=True)
            }
            found = {print_: by_kind[config] for print_, config in configs.items()}
            unit.path(SPEEDS).write_bytes(canonical_json({"device": work.runtime.device, "tokens_per_s": found}))
    return dict(json.loads((work.directory / SPEEDS).read_bytes())["tokens_per_s"])


def notes(
    runs: Sequence[Run],
    variants: Mapping[str, Sequence[Run]],
    files: Mapping[str, Sequence[bytes]],
    confidence: float,
) -> list[str]:
    """What a reader of the table has to know."""
    found = []
    counts = sorted({len(own) for own in variants.values()})
    if counts == [1]:
        found.append(
            f"One seed each: the {100 * confidence:.0f} % intervals are over held-out files (bootstrap), and say nothing of what "
            "another seed would have given."
        )
    else:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        found.append(
            f"{seeds} seeds each: means over seeds, with Student's {100 * confidence:.0f} % intervals of them; where a variant has "
            "one seed only, bootstrap intervals over held-out files."
        )
    scored = {len(run.files) for run in runs}
    if scored != {len(files[ALL])}:
        found.append(f"Of up to {max(scored):,} files that a model scored, the {len(files[ALL]):,} that all did count.")
    settings = next((row["settings"] for run in runs for own in run.lines.values() for row in own.values()), None)
    if settings:
        found.append(
            "Exact match: single lines of held-out functions, by the recipe of SantaCoder's infilling task "
            f"({settings['max_tokens']} tokens, temperature {settings['temperature']:g}, top-p {settings['top_p']:g}, one "
            "sample); derived from other code, so not comparable with published figures. From left to right the first line of "
            "the answer counts, a middle as a whole."
        )
    never = [name for name, own in variants.items() if any(run.lines and not run.answers("infilling") for run in own)]
    if never:
        found.append(f"Trained without fill-in-the-middle, so not asked to infill: {', '.join(never)}.")
    tests = len(variants) - 1
    if tests > 1:
        found.append(
            f"A difference is marked with * where its interval excludes 0. Were there no differences at all, chance would mark "
            f"one or more of {tests} in {100 - 100 * confidence**tests:.0f} % of such tables."
        )
    found.append("Speeds are of this machine; decoding is greedy and measured once for each architecture, in turns.")
    return found
