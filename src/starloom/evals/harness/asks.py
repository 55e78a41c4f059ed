"""What a task asks of a model: every problem in one form, with settings that are the published ones unless others are given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from starloom.evals.tasks.task import Form, Published, Style, Task
from starloom.evals.tasks.templates import template_named
from starloom.generate.generators.completions_file import digest
from starloom.generate.protocol import DEFAULTS, Ask, Hole, Prompt, Settings
from starloom.problems import Problem
from starloom.records import uniform
from starloom.report import plain
from starloom.store import canonical_json

OWN: Final = "own"  # the template of a model's own folder
SEEDS: Final = 2**31  # a seed that every server takes


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. None, and 0 samples, is as published; the same seed gives the same answers."""

    samples: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int = 0

    def count(self, published: Published) -> int:
        return self.samples or published.n

    def settings(self, published: Published) -> dict[str, Any]:
        """The settings that are used, in the published ones' names."""
        own = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return {name: getattr(published, name) if value is None else value for name, value in own.items()}


@dataclass(frozen=True, slots=True)
class Wording:
    """In which form problems are asked, in words that a command line and a fingerprint can hold."""

    style: Style = "plain"
    strip: bool = True
    template: str = ""  # of the instruct form
    family: str = ""  # the tokenizer's, for the prompted form

    def form(self, settings: Settings, folder: Path | None = None) -> Form:
        """`folder` is the model's, whose own template may be named. Raises ConfigError for a template that does not exist, or
        that belongs to another form."""
        template = template_named(self.template, folder) if self.template else None
        return Form(self.style, self.strip, template=template, family=self.family or None, settings=settings)

    def as_answered(self) -> Form:
        """The form in which answers are read that were asked for before; a model's own template is not needed again."""
        wording = replace(self, template="plain") if self.template == OWN else self
        return wording.form(DEFAULTS)


def form_of(task: Task, wording: Wording, sampling: Sampling, folder: Path | None = None) -> Form:
    """The form in which answers are asked for."""
    return wording.form(Settings(**sampling.settings(task.published)), folder)


def asked(task: Task, problem: Problem, form: Form, seed: int) -> Ask:
    """The first sample's ask of a problem; a problem's seed is a function of the seed and its id."""
    own = int(uniform(seed, "draw", task.name, problem.id) * SEEDS)
    ask = task.ask(problem, replace(form, settings=replace(form.settings, seed=own)))
    return ask if ask.id is not None else replace(ask, id=problem.id)


def digest_of_asks(task: Task, problems: Sequence[Problem], form: Form) -> str:
    """What is asked, for a fingerprint: every prompt with where its answer ends, in order."""
    found = hashlib.sha256(f"{task.name} {task.judge} {task.metric}\0".encode())
    for problem in problems:
        ask = task.ask(problem, form)
        said = [problem.id, digest(ask), list(ask.settings.stop), list(ask.settings.stop_tokens)]
        found.update(canonical_json([*said, ask.settings.new_document, ask.settings.keep]))
    return found.hexdigest()


def words_of(ask: Ask) -> dict[str, Any]:
    """What was asked, for a row."""
    words: dict[str, Any] = (
        {"prompt": ask.text} if isinstance(ask, Prompt) else {"prefix": ask.prefix, "suffix": ask.suffix}
    )
    if isinstance(ask, Hole):
        words["mode"] = ask.mode
    if ask.settings.response_prefix:
        words["response_prefix"] = ask.settings.response_prefix
    return words


def differences(published: Published, used: Mapping[str, Any], count: int) -> list[str]:
    """How what is used differs from what was published, a sentence each."""
    said = [
        f"{name} {plain.count(used[name])} where {plain.count(getattr(published, name))} was published"
        for name in ("temperature", "top_p", "max_tokens")
        if used[name] != getattr(published, name)
    ]
    if count != published.n:
        said.append(f"{plain.several(count, 'sample')} of a problem where {published.n} were published")
    return said
