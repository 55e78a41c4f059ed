"""SantaCoder's eight variants from one recipe: each differs from `fim` in one setting, and all are measured alike.

What they share: the files that are read, the tokenizer, the held-out files, the steps, the seed. `final` is the named exception:
stronger near-deduplication and comments, twice the steps (the model card's table; arXiv 2301.03988).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from starloom import evals, report, tokens, train
from starloom.corpus import Mix, NearDedup, rule_set
from starloom.corpus.language_sets import SANTACODER as LANGUAGES
from starloom.errors import ConfigError
from starloom.journey import Journey, Revision
from starloom.models import presets
from starloom.models.config import GPTBigCodeConfig
from starloom.recipes.corpus import Curation, curate, spelled
from starloom.recipes.published import PUBLISHED
from starloom.stage import Stage
from starloom.tokens.fim import FIM
from starloom.train.budget import Steps
from starloom.train.keep import Keep
from starloom.train.schedule import Schedule
from starloom.train.settings import AdamW, Muon, Precision

SOURCES: Final = Path(__file__).with_name("santacoder.txt")
BASE, FINAL = "fim", "final"


@dataclass(frozen=True, slots=True)
class Variant:
    """What sets a variant apart; every default is the base's."""

    about: str
    multi_query: bool = True
    fim: bool = True
    rules: str = "santacoder"  # a set of `corpus.rule_set`
    fertility: bool = False
    stronger_dedup: bool = False  # 5-grams at 0.7, not verified, instead of single tokens at 0.85, verified
    times: int = 1  # the steps of the others

    @property
    def corpus(self) -> Variant:
        """What decides the training text: variants that share it share its tokens."""
        return replace(self, about="", multi_query=True, fim=True, times=1)


VARIANTS: Final = {
    "mha": Variant("a key and value head for each query head", multi_query=False),
    "no-fim": Variant("no fill-in-the-middle", fim=False),
    "fim": Variant("multi-query attention, fill-in-the-middle, base filters"),
    "stars": Variant("only repositories with more than five stars", rules="santacoder-stars"),
    "fertility": Variant("only files with enough characters a token", fertility=True),
    "comments": Variant("only files with some comments, and not comments only", rules="santacoder-comments"),
    "dedup-alt": Variant("stronger near-deduplication", stronger_dedup=True),
    "final": Variant(
        "stronger near-deduplication and comments, twice the steps",
        rules="santacoder-comments", stronger_dedup=True, times=2,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """What all variants share, at one scale."""

    model: GPTBigCodeConfig
    vocab_size: int
    context: int
    batch: int
    accumulate: int
    steps: int
    optimizer: AdamW | Muon
    schedule: Schedule
    precision: Precision
    heldout: float  # share of the hold-out groups: a repository is one, so few repositories need a larger share
    checkpoints: int  # that a revision holds before its last


_PAPER = PUBLISHED["santacoder-fim"].run
_MICRO_BATCH = 2  # sequences at once, as published (facts of the launch script)
SCALES: Final = {
    "paper": Scale(
        model=presets.SANTACODER, vocab_size=49152, context=_PAPER.context, batch=_MICRO_BATCH,
        accumulate=_PAPER.batch // _MICRO_BATCH, steps=_PAPER.steps, optimizer=AdamW(2e-4),
        schedule=replace(_PAPER.schedule, length=_PAPER.decay_steps or 0), precision="fp16", heldout=0.01, checkpoints=5,
    ),
    # Our choice, as docs/log.md found it for two cores: the quickstart's shape and optimizer, the published recipe around it.
    "mini": Scale(
        model=presets.QUICKSTART, vocab_size=8192, context=512, batch=4, accumulate=1, steps=600, optimizer=Muon(),
        schedule=Schedule("trapezoid"), precision="auto", heldout=0.05, checkpoints=2,
    ),
}  # fmt: skip


def santacoder(
    sources: str = "",
    scale: Literal["mini", "paper"] = "mini",
    variants: tuple[str, ...] = tuple(VARIANTS),
    steps: int | None = None,
    seeds: int = 1,
    name: str = "me/santacoder",
    opt_out: str | None = None,
    seed: int = 0,
) -> Journey:
    """Train SantaCoder's eight variants, publish each as a revision of one model, and compare them.

    sources: a file that lists sources, one a line, or one source (default: a list of Python, JavaScript and Java packages)
    scale: mini: minutes for each variant on two cores; paper: the published values
    variants: which to train, fim among them for the comparison
    steps: of each variant but final, which takes twice as many
    seeds: train each variant so many times, for intervals over seeds
    name: of the model in the hub folder of the store, whose revisions are the variants
    opt_out: a JSONL list of requests; what they name is left out
    seed: decides the split, the order, the cuts and the first weights

    Examples:
      starloom run santacoder --scale mini
      starloom run santacoder --variants fim,no-fim --steps 300 --seeds 3
      starloom run santacoder --scale paper --sources stack:/data/the-stack --set pretrain:fim.batch=8
    """
    variants = tuple(name for some in variants for name in some.split(","))
    unknown = sorted(set(variants) - set(VARIANTS))
    if unknown or BASE not in variants:
        raise ConfigError(
            f"--variants {','.join(variants)}: choose of {', '.join(VARIANTS)}, {BASE} among them, which the others are compared with"
        )
    if seeds < 1 or (steps is not None and steps < 1):
        raise ConfigError(f"--seeds {seeds} and --steps {steps} train nothing; use 1 or more")
    size = SCALES[scale]
    size = replace(size, steps=steps or size.steps)
    found = curate(
        spelled(sources or str(SOURCES)), rule_set("santacoder"), opt_out, near_dedup="santacoder", seed=seed
    )
    data = Corpora(found, size, seed)
    chosen = {one: VARIANTS[one] for one in VARIANTS if one in variants}
    runs: list[tuple[str, train.Pretrain]] = []
    for which, variant in chosen.items():
        for number in range(seeds):
            label = which if number == 0 else f"{which}-seed{number}"
            runs.append((which, trained(variant, data.packed(variant), size, seed + number, label)))
    scores = [evals.HeldOut(run, data.base_pack, data.base, label=run.label) for _, run in runs]
    infillings = [evals.Infilling(run, data.base, label=run.label) for _, run in runs]
    table = evals.Compare(
        tuple(scores), tuple(infillings), tuple(which for which, _ in runs), base=BASE,
        about=tuple(VARIANTS[which].about for which, _ in runs),
    )  # fmt: skip
    steps_told = (*data.steps(), *(run for _, run in runs), *scores, *infillings, table)
    command = (
        f"starloom run santacoder --scale {scale} --variants {','.join(chosen)} --steps {size.steps} --seed {seed}"
    )
    page = report.Report(steps_told, title="SantaCoder's variants, trained and compared", recipe=command)
    last = FINAL if FINAL in chosen else BASE
    published = (
        Revision(
            name, which, VARIANTS[which].about, f"pretrain:{which}", "SantaCoder", ("main",) if which == last else ()
        )
        for which in chosen
    )
    return Journey(table, page, revisions=tuple(published))


def trained(variant: Variant, packed: Stage, size: Scale, seed: int, label: str) -> train.Pretrain:
    """The run of a variant."""
    steps = size.steps * variant.times
    return train.Pretrain(
        packed,
        model=replace(size.model, multi_query=variant.multi_query),
        fim=FIM(0.5, 0.5) if variant.fim else FIM(0.0, 0.5),
        budget=Steps(steps),
        batch=size.batch,
        accumulate=size.accumulate,
        optimizer=size.optimizer,
        schedule=size.schedule,
        precision=size.precision,
        seed=seed,
        keep=Keep(every=-(-steps // (size.checkpoints + 1))),
        label=label,
    )


class Corpora:
    """The corpora of the variants: one reading and one set of facts, one decision and one tokenization of each."""

    def __init__(self, found: Curation, size: Scale, seed: int) -> None:
        self._found, self._size, self._seed = found, size, seed
        self._alternative = NearDedup(found.files, "starcoder", label="alt")  # dedup-alt is what StarCoder took over
        self.base = self._mix(found, "base", None)
        self.vocab = tokens.TrainBPE(self.base, vocab_size=size.vocab_size, family="santacoder")
        self.base_pack = tokens.Pack(self.base, self.vocab, context=size.context, label="base")
        self._packs = {VARIANTS[BASE].corpus: self.base_pack}
        self._made: list[Stage] = [self._alternative, self.base, self.vocab, self.base_pack]

    def packed(self, variant: Variant) -> tokens.Pack:
        """The tokens of a variant."""
        if variant.corpus not in self._packs:
            label = next(name for name, one in VARIANTS.items() if one.corpus == variant.corpus)
            found = self._found
            more: tuple[Stage, ...] = ()
            if variant.rules != VARIANTS[BASE].rules:
                found = found.with_rules(rule_set(variant.rules), label=variant.rules.removeprefix("santacoder-"))
            if variant.fertility:
                more = (tokens.Fertility(found.files, found.language, self.vocab),)
            if variant.stronger_dedup:
                found = found.with_near_dedup(self._alternative)
            mix = self._mix(found, label, self.base, *more)
            pack = tokens.Pack(mix, self.vocab, context=self._size.context, label=label)
            self._packs[variant.corpus] = pack
            self._made += [*(one for one in (*found.verdicts, *more) if one not in self.steps()), mix, pack]
        return self._packs[variant.corpus]

    def _mix(self, found: Curation, label: str, measured_as: Mix | None, *more: Stage) -> Mix:
        return found.mix(
            *more, layout="santacoder", heldout=self._size.heldout, seed=self._seed, apart=(self._alternative,),
            validation=tuple(f"language:{one}" for one in LANGUAGES), measured_as=measured_as, label=label,
        )  # fmt: skip

    def steps(self) -> tuple[Stage, ...]:
        """Everything, upstream first."""
        return (*self._found.steps(), *self._made)
