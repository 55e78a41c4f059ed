"""The first journey: real code in, a small model that completes and infills it out."""

from __future__ import annotations

from typing import Literal

from starloom import corpus, evals, report, tokens, train
from starloom.journey import Journey
from starloom.models import presets
from starloom.tokens.fim import FIM
from starloom.train.budget import Minutes, Steps

HELD_OUT = 0.05  # share of the hold-out groups; our choice


def quickstart(
    source: str = "python:stdlib",
    minutes: float = 3,
    steps: int | None = None,
    licenses: Literal["permissive", "permissive_or_none", "any"] = "permissive_or_none",
    languages: tuple[str, ...] = ("Python",),
    vocab_size: int = 8192,
    context: int = 512,
    seed: int = 0,
) -> Journey:
    """Train a small StarCoder on real code: curated, tokenized, trained with fill-in-the-middle, scored, reported.

    source: what to read: python:stdlib, python:site-packages, a folder, a git repository (PATH@REVISION), an archive
    minutes: how long to train; the rest takes about two minutes more on two cores
    steps: train this many steps instead of by the clock
    licenses: which files may enter, by the license of their repository
    languages: which languages may enter
    vocab_size: entries of the tokenizer, control tokens included
    context: tokens that the model sees at once
    seed: decides the split, the order, the cuts and the first weights

    Examples:
      starloom run quickstart
      starloom run quickstart --source . --minutes 10
      starloom run quickstart --set rules.long_lines.longest=500 --until mix
    """
    files = corpus.Read(source)
    language = corpus.Language(files)
    license_ = corpus.License(files)
    quality = corpus.Rules(files, language, license_, rules=corpus.quickstart_rules(languages, licenses))
    twins = corpus.ExactDedup(files)
    clean = corpus.Mix(
        files, (language, license_), (quality,), (twins,), layout="starcoder", heldout=HELD_OUT, seed=seed
    )
    vocab = tokens.TrainBPE(clean, vocab_size=vocab_size)
    packed = tokens.Pack(clean, vocab, context=context)
    base = train.Pretrain(
        packed,
        model=presets.QUICKSTART,
        fim=FIM(rate=0.5, spm=0.5),
        budget=Minutes(minutes) if steps is None else Steps(steps),
        seed=seed,
    )
    score = evals.HeldOut(base, packed, clean)
    samples = evals.Samples(base, clean)
    page = report.Report((files, language, license_, quality, twins, clean, vocab, packed, base, score, samples))
    return Journey(base, score, samples, page)
