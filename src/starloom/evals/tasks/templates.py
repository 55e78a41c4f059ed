"""How instruction-tuned models are addressed: published templates by name, and a model's own.

Text stays text: what a template spells is encoded as text, but for the end of a document before everything, which the
published templates begin with and which goes in as the control that it is. A template with other control tokens of its own
belongs behind an endpoint, which renders it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starloom.errors import ConfigError, SourceError, suggestion
from starloom.tokens.special import END_OF_DOCUMENT, FAMILIES

if TYPE_CHECKING:
    from jinja2 import Template as JinjaTemplate

_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)


@dataclass(frozen=True, slots=True)
class PublishedTemplate:
    """One instruction in published words."""

    name: str
    words: str  # with {instruction}
    source: str
    new_document: bool = False
    stop: tuple[str, ...] = ()

    def render(self, instruction: str) -> str:
        before, _, after = self.words.partition("{instruction}")
        return before + instruction + after


PUBLISHED: Final[Mapping[str, PublishedTemplate]] = {
    template.name: template
    for template in (
        PublishedTemplate(
            "starcoder2-instruct",
            "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses to "
            "user instructions.\n\n### Instruction\n{instruction}\n\n### Response\n",
            "bigcode-project/starcoder2-self-align, star_align/prompt_template.py; the card stops at ###",
            new_document=True,
            stop=("###",),
        ),
        PublishedTemplate(
            "alpaca",
            _ALPACA,
            "tatsu-lab/stanford_alpaca, train.py, without an input; nothing after 'Response:'",
            stop=("\n### Instruction:",),  # our choice: the next turn
        ),
        PublishedTemplate(
            "wizardcoder",
            _ALPACA + "\n",
            "nlpxucan/WizardLM, WizardCoder/src/humaneval_gen.py",
            stop=("\n### Instruction:",),
        ),
        PublishedTemplate(
            "octocoder",
            "Question: {instruction}\n\nAnswer:\n",
            "bigcode-evaluation-harness, tasks/humanevalpack.py",
            stop=("\nQuestion:",),  # our choice: the next turn
        ),
        PublishedTemplate(
            "plain", "{instruction}\n\n", "bigcode-evaluation-harness, tasks/humanevalpack.py: 'instruct'"
        ),
    )
}


@dataclass(frozen=True, slots=True)
class OwnTemplate:
    """The chat template of a model's own tokenizer, rendered without any access to Python."""

    name: str
    template: JinjaTemplate
    spellings: Mapping[str, str]  # bos_token, eos_token …
    new_document: bool
    stop: tuple[str, ...] = ()

    def render(self, instruction: str) -> str:
        """Raises ConfigError where the template refuses."""
        from jinja2 import TemplateError

        messages = [{"role": "user", "content": instruction}]
        try:
            text = self.template.render(messages=messages, add_generation_prompt=True, **self.spellings)
        except TemplateError as error:
            raise ConfigError(f"the chat template of {self.name} refuses an instruction: {error}") from None
        return text.removeprefix(_bos(self.spellings)) if self.new_document else text


def own_template(folder: Path) -> OwnTemplate:
    """What a model's folder says in chat_template.jinja or tokenizer_config.json. Raises SourceError without one."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    config_file, template_file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    try:
        config = json.loads(config_file.read_text("utf-8")) if config_file.exists() else {}
        source = template_file.read_text("utf-8") if template_file.exists() else config.get("chat_template")
    except (OSError, ValueError) as error:
        raise SourceError(f"{config_file} cannot be read ({error})") from None
    if not isinstance(source, str):
        raise SourceError(f"{folder} has no chat template; name one of {', '.join(PUBLISHED)} (--template)")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    try:
        template = environment.from_string(source)
    except TemplateError as error:
        raise SourceError(f"the chat template of {folder} is malformed: {error}") from None
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    spellings = {name: _spelling(config.get(name)) for name in names if config.get(name)}
    own = OwnTemplate(str(folder), template, spellings, new_document=False)
    ends = {family.spelling(END_OF_DOCUMENT) for family in FAMILIES.values()}
    bos = _bos(spellings)
    return OwnTemplate(own.name, template, spellings, new_document=bos in ends and own.render("").startswith(bos))


def template_named(name: str, folder: Path | None = None) -> PublishedTemplate | OwnTemplate:
    """A published template by name, or `own`: the one of a model's folder. Raises ConfigError for an unknown name."""
    if name == "own":
        if folder is None:
            raise ConfigError(f"only a model in a folder has a template of its own; name one of {', '.join(PUBLISHED)}")
        return own_template(folder)
    if name not in PUBLISHED:
        raise ConfigError(f"no template is called '{name}'; {suggestion(name, [*PUBLISHED, 'own'])}")
    return PUBLISHED[name]


def _spelling(token: object) -> str:
    return str(token["content"] if isinstance(token, Mapping) else token)


def _bos(spellings: Mapping[str, str]) -> str:
    return spellings.get("bos_token", "")


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)
