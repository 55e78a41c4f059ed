"""The stage that tells a journey on one HTML page: it needs no network and no script, and nothing in it is not escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from starloom import __version__
from starloom.report import comparison, facts, plain
from starloom.report.card import dataset_card
from starloom.report.charts import Piece, stacked_bar
from starloom.report.documents import Amount, Corpus, corpora
from starloom.report.facts import Steps, Tokens
from starloom.report.languages import step_tables, token_lengths
from starloom.report.meanings import meanings
from starloom.report.training import Run, run_facts
from starloom.stage import Stage, Work
from starloom.store import Built, canonical_json

if TYPE_CHECKING:
    import jinja2

PAGE = "report.html"
LANGUAGES = "languages.json"  # of each corpus, every language after every step
CARD = "dataset_card.md"
TITLE = "A code model, and where it comes from"
LARGEST = 12  # lines of a table of languages, licenses, repositories or groups
DROP_COLORS = 6  # the page's colors for reasons; later reasons share the last


@dataclass(frozen=True, slots=True)
class Report(Stage):
    """One page about the steps of a journey, of whatever kinds they are."""

    version: ClassVar[int] = 3

    steps: tuple[Stage, ...]
    title: str = TITLE
    recipe: str = ""  # the command that builds the journey, for the card

    def produce(self, work: Work) -> None:
        steps = Steps(work.many("steps"))
        described = corpora(steps)
        with work.unit("page") as unit:
            unit.path(PAGE).write_text(page(steps, described, self.title), encoding="utf-8")
            by_name = {one.name: one.languages.as_json() for one in described if one.languages.ends}
            if by_name:
                unit.path(LANGUAGES).write_bytes(canonical_json(by_name))
            mixed = [one for one in described if one.basis.mix is not None]
            for one in mixed:
                name = CARD if len(mixed) == 1 else f"{one.name.replace(':', '.')}.{CARD}"
                unit.path(name).write_text(dataset_card(steps, one, self.title, self.recipe), encoding="utf-8")
        work.count(steps=len(steps.all))
        work.summary = f"{PAGE}, {len(steps.all)} steps"

    def closing(self, built: Built) -> str:
        return f"report: {built.path(PAGE)}"


def render(builts: Sequence[Built], title: str = TITLE) -> str:
    """The page about some directories, in the order of the journey."""
    steps = Steps(builts)
    return page(steps, corpora(steps), title)


def run_page(run: Run) -> str:
    """The page about a training run alone, finished or not."""
    return page(Steps([]), [], f"Training: {run.name}", (run,))


def page(steps: Steps, described: Sequence[Corpus], title: str, alone: Sequence[Run] = ()) -> str:
    """The page about the directories of a journey, about the documents of its corpora, and about runs that lie in none."""
    template = environment().get_template("page.html")
    return template.render(title=title, version=__version__, **page_facts(steps, described, alone))


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of some folders and of this one: everything is escaped, nothing hides, figures are written in one way."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_plainly,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        count=plain.count,
        size=plain.size,
        duration=plain.duration,
        words=plain.words,
        path=plain.path_text,
        short=plain.shortened,
        several=plain.several,
        amount=plain.amount,
    )
    made.globals.update(share=plain.share)
    return made


def _plainly(value: object) -> object:
    """What every expression of the template passes through: no text can hide a sign; our own markup stays."""
    return plain.visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def page_facts(steps: Steps, described: Sequence[Corpus], alone: Sequence[Run] = ()) -> dict[str, Any]:
    """Everything that the template shows."""
    packs = [facts.packed_tokens(steps, pack) for pack in steps.of("pack")]
    runs = [(facts.training_run(built), scores_of(steps, built)) for built in steps.of("model")]
    runs = [one for one in (*runs, *((run, {}) for run in alone)) if one[0].rows]
    compared = {one.fingerprint for built in steps.of("comparison") for one in steps.inputs(built, "scores")}
    results = {built.name: facts.scores(built) for built in steps.of("scores")}
    completions = [row for built in steps.of("completions") for row in facts.json_lines(built, "completions.jsonl")]
    lines = [facts.step_line(built) for built in steps.all]
    return {
        "tiles": tiles(described, packs, [run for run, _ in runs], results, sum(line.seconds for line in lines)),
        "scores": {
            built.name: results[built.name]
            for built in steps.of("scores")
            if "bits_per_byte" in results[built.name] and built.fingerprint not in compared
        },
        "steps": lines,
        "slowest": max((line.seconds for line in lines), default=0.0),
        "corpora": [corpus_facts(corpus) for corpus in described],
        "packs": packs,
        "runs": [run_facts(run, own) for run, own in runs],
        "comparisons": [
            comparison.page_facts(json.loads(built.read_bytes(comparison.COMPARISON)))
            for built in steps.of("comparison")
        ],
        "completions": [row for row in completions if row["kind"] == "completion"],
        "infillings": [row for row in completions if row["kind"] == "infilling"],
        "machines": facts.machines(steps),
    }


def tiles(
    described: Sequence[Corpus],
    packs: Sequence[Tokens],
    runs: Sequence[Run],
    results: Mapping[str, Mapping[str, Any]],
    seconds: float,
) -> list[tuple[str, str, str]]:
    """The headline: (what, figure, what it is out of)."""
    found = []
    for corpus in described[:1]:
        kept, read = corpus.all.kept_files, corpus.all.files
        if corpus.splits:
            found.append(("files kept", plain.count(kept), f"{plain.share(kept, read)} of {plain.count(read)}"))
            found.append(
                ("bytes kept", plain.size(corpus.all.kept_bytes), f"of {plain.size(corpus.all.size_bytes)} read")
            )
        else:
            found.append(("files read", plain.count(read), plain.size(corpus.all.size_bytes)))
    for pack in packs[:1]:
        each = f"{pack.size_bytes / pack.tokens:.2f} bytes each" if pack.tokens else ""
        found.append(("tokens", plain.count(pack.tokens), each))
    for run in runs[:1]:
        steps = f"in {plain.count(run.last['step'])} steps"
        found.append(("tokens trained on", plain.count(run.last["tokens"]), steps))
    for one in list(results.values())[:1]:
        rates = one.get("bits_per_byte") or {}
        if rates.get("model") is not None:
            others = ", ".join(f"{name} {rates[name]:.3f}" for name in ("gzip", "xz") if rates.get(name) is not None)
            found.append(("held-out bits/byte", f"{rates['model']:.3f}", others))
    minutes = (seconds or sum(run.last["seconds"] for run in runs)) / 60
    found.append(("minutes", f"{minutes:.1f}" if minutes >= 0.1 else f"{minutes:.2f}", "all steps together"))
    return found


def corpus_facts(corpus: Corpus) -> dict[str, Any]:
    """A corpus with its bar: what went into training, what was held out, what was dropped for which reason."""
    from markupsafe import Markup

    colors = {reason: f"d{min(number, DROP_COLORS - 1)}" for number, reason in enumerate(corpus.dropped)}
    pieces = [Piece(plain.words(split), amount.files, f"s-{split}") for split, amount in _splits(corpus)]
    pieces += [Piece(plain.words(name), one.files, colors[name]) for name, one in corpus.dropped.items()]
    tables = dict(corpus.tables)
    if corpus.trained and not corpus.trained.keys() <= corpus.tables["repository"].keys():  # groups inside a repository
        tables["groups trained on"] = corpus.trained
    if corpus.held_out:
        tables["groups held out"] = corpus.held_out
    if corpus.validation:
        tables["validation sets"] = corpus.validation
    return {
        "corpus": corpus,
        "splits": _splits(corpus),
        "colors": colors,
        "bar": Markup(stacked_bar("what became of the files", pieces)),
        "meanings": meanings(list(corpus.dropped), corpus.basis.verdicts),
        "step_tables": step_tables(corpus.languages),
        "token_lengths": token_lengths(corpus.languages),
        "tables": {name: largest(counted) for name, counted in tables.items()},
    }


def _splits(corpus: Corpus) -> list[tuple[str, Amount]]:
    return sorted(corpus.splits.items(), key=lambda item: item[0] != "train")


def largest(counted: Mapping[str, Amount], most: int = LARGEST) -> dict[str, Any]:
    """The lines of a table with the most bytes, and how many there are in all."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1].kept_bytes, -item[1].size_bytes, item[0]))
    peak = max((amount.size_bytes for amount in counted.values()), default=0)
    return {"lines": ordered[:most], "of": len(ordered), "peak": peak}


def scores_of(steps: Steps, model: Built) -> dict[str, Any]:
    """What evaluations say of a model: of those that were built from it, or of all where none was."""
    every = steps.of("scores")
    own = [built for built in every if model in steps.inputs(built, "model")]
    return {built.name: facts.scores(built) for built in own or every}
