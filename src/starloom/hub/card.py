"""The short card, README.md, that lies with each commit: what the model is, where it comes from, and what it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from starloom.hub.commit import Commit
from starloom.models.config import ModelConfig
from starloom.report import plain
from starloom.report.markdown import block, front_matter, inline, table


@dataclass(frozen=True, slots=True)
class Card:
    """What a run's directory does not say of itself."""

    recipe: str = ""  # such as `santacoder --scale mini`
    published: str = ""  # the system whose recipe it follows, such as `SantaCoder`
    about: str = ""  # what this revision is about, a sentence
    license: str = "other"  # of the weights, an identifier that hubs know
    data: str = ""  # where the card or report of its data lies
    data_licenses: tuple[str, ...] = ()  # of the files it was trained on, SPDX
    scores: tuple[tuple[str, str], ...] = ()  # (what was measured, figure), of the finished model


def card(about: Card, name: str, revision: str, config: ModelConfig, commit: Commit) -> bytes:
    """The text, a function of its arguments."""
    return ("\n".join(_lines(about, name, revision, config, commit)) + "\n").encode()


def _lines(about: Card, name: str, revision: str, config: ModelConfig, commit: Commit) -> Iterator[str]:
    yield from front_matter(
        {
            "license": about.license,
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "tags": ["code", "starloom", "mini"],
        }
    )
    yield f"\n# {inline(f'{name}, revision {revision}')}\n"
    system = f"the published recipe of {inline(about.published)}" if about.published else "a published recipe"
    yield (
        f"A mini model: trained with starloom after {system}, at a scale of its own. **These are not the published weights**, "
        "nor made from them. It continues code as it stands in files; it follows no instructions, and what it writes may be wrong, "
        "or a verbatim copy of what it was trained on."
    )
    if about.about:
        yield f"\n{inline(about.about)}"
    if not commit.final:
        yield "\nThis is a checkpoint on the way, not the finished model."
    yield from table(["what", "value"], list(_facts(about, config, commit)))
    yield (
        "The fingerprint covers the settings, the data and every step before. Where the store that trained it stands, "
        f"`starloom show {inline(commit.directory)}` says all of it, and `starloom follow` leads a token to its file."
    )
    yield "\n## Data\n"
    if about.data:
        yield f"Described in {inline(about.data)}."
    if about.data_licenses:
        yield (
            f"Licenses of the files: {', '.join(map(inline, about.data_licenses))}. Each file keeps its own, which may ask that "
            "its authors be named where the model repeats it."
        )
    if not (about.data or about.data_licenses):
        yield "What it was trained on is in the run's directory; its licenses were not stated when it was published."
    if about.scores and commit.final:
        yield "\n## Scores"
        yield from table(["what", "figure"], about.scores, right=(1,))
    yield "\n## Use"
    yield from block(
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{name}", revision="{revision}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{name}", revision="{revision}")',
        "python",
    )


def _facts(about: Card, config: ModelConfig, commit: Commit) -> Iterator[tuple[str, str]]:
    if about.recipe:
        yield "recipe", f"starloom run {about.recipe}"
    yield "parameters", plain.count(config.parameter_count())
    yield "context", plain.count(config.context)
    yield "vocabulary", plain.count(config.vocab_size)
    if commit.step is not None:
        yield "steps of training", plain.count(commit.step)
    yield "trained by", commit.made_by
    yield "fingerprint", commit.fingerprint
