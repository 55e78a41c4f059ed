"""A corpus at the level of The Stack: any sources in, training text, tokens and a report of every drop out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from starloom import report, tokens
from starloom.corpus import (
    Decontaminate,
    ExactDedup,
    FindPII,
    KindRules,
    Language,
    License,
    Mix,
    NearDedup,
    OneCommitPerFile,
    OptOut,
    Origin,
    Read,
    Rule,
    Rules,
    rule_set,
)
from starloom.corpus.language_sets import SANTACODER, STARCODER2_SMALL
from starloom.corpus.near_dedup import Preset
from starloom.corpus.pii import KINDS, Tagger
from starloom.corpus.sources.archive import suffix_of
from starloom.journey import Journey
from starloom.stage import Stage

Like = Literal["santacoder", "starcoder", "starcoder2"]
PROBLEMS = ("humaneval", "mbpp", "gsm8k")  # those that the package carries
TABLES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")  # a file with such a name is data, not a list


@dataclass(frozen=True, slots=True)
class Published:
    """What differs between the published corpora, beside their rules and their layout."""

    near_dedup: Preset
    context: int
    caps: tuple[str, ...]
    measured: tuple[str, ...]  # languages with a validation set of their own; our choice
    apart: tuple[Preset, ...] = ()  # what is too like a held-out file to be trained on, where the preset is weaker


LIKE: dict[Like, Published] = {
    "santacoder": Published("santacoder", 2048, (), SANTACODER, ("starcoder",)),
    # JSON and YAML 1 GB, CSS 3 GB, all else as it is (arXiv 2305.06161, weighting of data sources)
    "starcoder": Published(
        "starcoder", 8192, ("language:JSON=1e9", "language:YAML=1e9", "language:CSS=3e9"), STARCODER2_SMALL
    ),
    "starcoder2": Published("the-stack-v2", 16384, (), STARCODER2_SMALL),
}


def corpus(
    sources: str = "python:site-packages",
    like: Like = "starcoder",
    rules: str | None = None,
    opt_out: str | None = None,
    tagger: str | None = None,
    problems: tuple[str, ...] = PROBLEMS,
    problems_folder: str = "",
    vocab_size: int = 49152,
    context: int | None = None,
    heldout: float = 0.05,
    seed: int = 0,
) -> Journey:
    """Curate a corpus as a published model's was: every file kept or dropped for a reason, tokenized, with a report.

    sources: a file that lists sources, one a line, or one source (examples/packages.txt has both explained)
    like: whose layout, rules, near-duplicates, amounts and tokenizer: santacoder, starcoder, starcoder2
    rules: a named set of rules instead: stack, santacoder-stars, santacoder-comments, santacoder-fertility, everything, …
    opt_out: a JSONL list of requests; what they name is left out
    tagger: folder of a model with StarPII's labels, which finds names, usernames and passwords too
    problems: benchmarks whose problems and solutions are left out (NAME, or NAME=FILE)
    problems_folder: where benchmarks lie that the package does not carry
    vocab_size: entries of the tokenizer
    context: tokens of a sample (default: as published)
    heldout: share of the hold-out groups that is kept for measuring
    seed: decides the split, samples and replacements

    Examples:
      starloom run corpus --sources my-repositories.txt --opt-out requests.jsonl
      starloom run corpus --sources repositories:~/src --like starcoder2 --until mix
      starloom run corpus --set near_dedup.threshold=0.8 --set mix.weights=language:Go=2
    """
    published = LIKE[like]
    name = rules or like
    found = curate(
        spelled(sources), rule_set(name), opt_out, tagger, problems, problems_folder, published.near_dedup, seed
    )
    settings: dict[str, Any] = {
        "layout": like,
        "heldout": heldout,
        "seed": seed,
        "caps": published.caps,
        "validation": tuple(f"language:{one}" for one in published.measured),
        "apart": tuple(NearDedup(found.files, preset, label="apart") for preset in published.apart),
    }
    low: tuple[Stage, ...] = ()
    if name == "santacoder-fertility":  # all of SantaCoder's ablations share the tokenizer of the corpus without them
        vocab = tokens.TrainBPE(found.mix(**settings, label="base"), vocab_size=vocab_size, family=like)
        low = (tokens.Fertility(found.files, found.language, vocab),)
        clean = found.mix(*low, **settings)
    else:
        clean = found.mix(**settings)
        vocab = tokens.TrainBPE(clean, vocab_size=vocab_size, family=like)
    census = tokens.Census(found.files, vocab)
    packed = tokens.Pack(clean, vocab, context=context or published.context)
    steps = (*found.steps(), *low, clean, vocab, census, packed)
    command = f"starloom run corpus --sources {shlex.quote(sources)} --like {like} --rules {name} --seed {seed}"
    return Journey(packed, report.Report(steps, title="A corpus of code, and why it is what it is", recipe=command))


@dataclass(frozen=True, slots=True)
class Curation:
    """What is found out and said about the files of a source before a `Mix` decides."""

    files: Read
    attributes: tuple[Stage, ...]
    verdicts: tuple[Stage, ...]
    groups: tuple[Stage, ...]
    secrets: FindPII

    @property
    def language(self) -> Stage:
        return self.attributes[0]

    def mix(self, *more: Stage, **settings: Any) -> Mix:
        """The decision, with more verdicts behind these."""
        verdicts = (*self.verdicts, *more)
        return Mix(self.files, self.attributes, verdicts, self.groups, redact=self.secrets, **settings)

    def with_rules(self, rules: tuple[Rule, ...], label: str) -> Curation:
        """The same with other rules."""
        language, license_, *_ = self.attributes
        judged = Rules(self.files, language, license_, rules=rules, label=label)
        return replace(self, verdicts=tuple(judged if isinstance(one, Rules) else one for one in self.verdicts))

    def with_near_dedup(self, groups: NearDedup) -> Curation:
        """The same with another way of telling near-duplicates."""
        return replace(self, groups=tuple(groups if isinstance(one, NearDedup) else one for one in self.groups))

    def steps(self) -> tuple[Stage, ...]:
        """Everything, in recipe order."""
        return (self.files, *self.attributes, *self.verdicts, self.secrets, *self.groups)


def curate(
    source: str,
    rules: tuple[Rule, ...],
    opt_out: str | None = None,
    tagger: str | None = None,
    problems: tuple[str, ...] = PROBLEMS,
    problems_folder: str = "",
    near_dedup: Preset = "starcoder",
    seed: int = 0,
) -> Curation:
    """The steps that every recipe takes to documents."""
    files = Read(source)
    language, license_ = Language(files), License(files)
    wishes = (OptOut(files, opt_out),) if opt_out is not None else ()
    return Curation(
        files,
        (language, license_, Origin(files, language)),
        (
            *wishes,
            Rules(files, language, license_, rules=rules),
            KindRules(files, seed=seed),
            Decontaminate(files, problems, problems_folder),
        ),
        (ExactDedup(files), NearDedup(files, near_dedup), OneCommitPerFile(files)),
        FindPII(files) if tagger is None else FindPII(files, KINDS, load_tagger, tagger),
    )


def load_tagger(folder: str) -> Tagger:
    """A model for names, usernames and passwords; torch is loaded where it is asked for."""
    from starloom.models.tagger import load

    return load(folder)


def spelled(sources: str) -> str:
    """A file that is no archive and no table is a list."""
    path = Path(sources).expanduser()
    if path.is_file() and suffix_of(path) is None and not path.name.endswith(TABLES):
        return f"list:{sources}"
    return sources
