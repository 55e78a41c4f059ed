"""The first journey: real code in, a small model that completes and infills it out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from starloom import evals, report, tokens, train
from starloom.corpus import quickstart_rules
from starloom.journey import Journey
from starloom.models import presets
from starloom.models.checkpoint import read_config
from starloom.recipes.corpus import curate
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
    opt_out: str | None = None,
    start: str = "",
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
    opt_out: a JSONL list of requests; what they name is left out
    start: a model's folder to go on from, with its tokenizer, shape and weights, as StarCoder went on from StarCoderBase
    seed: decides the split, the order, the cuts and the first weights

    Examples:
      starloom run quickstart
      starloom run quickstart --source . --minutes 10
      starloom run quickstart --source ~/src/mine --start starloom-store/models/quickstart --set pretrain.optimizer.lr=0.003
      starloom run quickstart --set rules.long_lines.longest=500 --until mix
    """
    found = curate(source, quickstart_rules(languages, licenses), opt_out, seed=seed)
    layout = tokens.Vocabulary.load(start).family if start else "starcoder"
    model = read_config(Path(start)) if start else presets.QUICKSTART
    clean = found.mix(layout=layout, heldout=HELD_OUT, seed=seed)
    vocab = tokens.TakenBPE(start) if start else tokens.TrainBPE(clean, vocab_size=vocab_size)
    packed = tokens.Pack(clean, vocab, context=min(context, model.context) if start else context)
    base = train.Pretrain(
        packed,
        model=model,
        start_folder=start,
        fim=FIM(rate=0.5, spm=0.5),
        budget=Minutes(minutes) if steps is None else Steps(steps),
        seed=seed,
    )
    score = evals.HeldOut(base, packed, clean)
    samples = evals.Samples(base, clean)
    page = report.Report((*found.steps(), clean, vocab, packed, base, score, samples))
    return Journey(base, score, samples, page)
