"""The stage that asks a model: every answer with its seed, settings and prompt, in `completions.jsonl`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

from starloom.errors import ConfigError, GenerationError
from starloom.evals.harness import model
from starloom.evals.harness.asks import Sampling, Wording, asked, differences, digest_of_asks, form_of, words_of
from starloom.evals.harness.kept import Kept, Row
from starloom.evals.harness.named import task_named
from starloom.evals.tasks.task import Form, Task
from starloom.generate.generators.completions_file import digest
from starloom.generate.generators.endpoint import Endpoint
from starloom.generate.generators.http import RefusedError
from starloom.generate.protocol import Ask, Completion, Generator, Hole, samples_of
from starloom.problems import Problem
from starloom.report import plain
from starloom.stage import Stage, Work, external
from starloom.store import canonical_json

ROWS: Final = "completions.jsonl"
ASKED: Final = "asked.json"
SLOTS: Final = 32  # requests at once: a fifth less work than 8 for 3.6M parameters on a CPU
ANSWERS: Final = "answers"
ABOUT_THE_ASK: Final = (400, 413, 422)  # statuses that say something about one request, not about the server
ONE_AS_PUBLISHED: Final = Sampling()
PLAIN: Final = Wording()
GIVES_UP: Final = 64  # failures in a row after which a server is taken to be gone; our choice


@dataclass(frozen=True, slots=True)
class Sample(Stage):
    """The answers of a model to the problems of one task. `model` is a name as `starloom complete` takes it, or `base` a
    stage that made a model."""

    version: ClassVar[int] = 1

    task: str
    model: str = external("")
    base: Stage | None = None
    sampling: Sampling = ONE_AS_PUBLISHED
    wording: Wording = PLAIN
    limit: int | None = None  # the first so many problems
    dtype: str = "float32"
    data: str = external("")  # folder of data files that the package does not carry
    hub: str = external("")
    shown: str = field(default="", kw_only=True)  # what the model is called in rows

    def __post_init__(self) -> None:
        if bool(self.model) == (self.base is not None):
            raise ConfigError("a sample is of a model by its name, or of a stage that makes one")
        if self.sampling.samples < 0:
            raise ConfigError(f"samples is {self.sampling.samples}; it is a count, or 0 for as many as were published")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}; it must be at least 1")

    def external_digests(self) -> dict[str, str]:
        task, problems = self._chosen()
        return {
            "model": model.digest(self.model, self.hub or None) if self.model else "",
            "data": digest_of_asks(task, problems, form_of(task, self.wording, self.sampling, self._folder())),
            "hub": "",
        }

    def produce(self, work: Work) -> None:
        task, problems = self._chosen()
        form = form_of(task, self.wording, self.sampling, self._folder(work))
        count = self.sampling.count(task.published)
        asks = [
            (problem, ask)
            for problem in problems
            for ask in samples_of(asked(task, problem, form, self.sampling.seed), count)
        ]
        generator = self._opened(work)
        skipped = cannot(generator, [ask for _, ask in asks[:1]], self._called(work))
        rows = [] if skipped else self._answered(work, generator, task, form, asks)
        errors = Counter(row["error"] for row in rows if row["error"] is not None)
        with work.unit("completions") as unit:
            with unit.path(ROWS).open("w", encoding="ascii") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            unit.path(ASKED).write_bytes(canonical_json(self._told(work, task, count, len(problems), skipped)))
        work.count(answers=len(rows), failed=errors.total(), problems=len(problems))
        work.count(tokens=sum(row["tokens"] for row in rows))
        work.summary = f"{plain.several(len(rows), 'answer')} to {plain.several(len(problems), 'problem')}"
        if skipped:
            work.summary = f"skipped: {skipped}"
        elif errors:
            work.summary += f", {errors.total():,} failed ({errors.most_common(1)[0][0]})"

    def _chosen(self) -> tuple[Task, Sequence[Problem]]:
        task = task_named(self.task)
        return task, task.problems(self.data)[: self.limit]

    def _folder(self, work: Work | None = None) -> Path | None:
        """The model's folder; of a stage that is not built yet it is not known."""
        if self.model:
            return model.folder_of(self.model, self.hub or None)
        return work.input("base").directory if work is not None else None

    def _called(self, work: Work) -> str:
        return self.shown or (model.shown(self.model, self.hub or None) if self.model else work.input("base").name)

    def _opened(self, work: Work) -> Generator:
        name = self.model or str(work.input("base").directory)
        of = work.externals["model"] or work.input("base").fingerprint
        hub = self.hub or None
        if self.model and model.digest(name, hub) != of:
            raise GenerationError(f"{name} changed meanwhile; run again when nothing writes to it")
        runtime = work.runtime
        return model.opened(
            name, of, hub=hub, device=runtime.device, dtype=self.dtype, threads=runtime.threads, slots=SLOTS
        )

    def _answered(
        self, work: Work, generator: Generator, task: Task, form: Form, asks: Sequence[tuple[Problem, Ask]]
    ) -> list[Row]:
        """A row for each ask, in order; those of an earlier, killed build are not asked for again."""
        rounds = 1 if task.then is None else 2
        told = {"task": task.name, "model": self._called(work), "wording": asdict(self.wording)}
        with (
            work.runtime.progress.task(f"sample {task.name}", rounds * len(asks), "answers") as advance,
            Kept(work, ANSWERS) as kept,
        ):
            advance(len(kept))
            for number, row in answers(generator, dict(enumerate(asks)), kept):
                kept.add(number, {**told, **row}, keep=row["error"] is None)
                advance(1)
            if task.then is not None:
                firsts = [kept[number] for number in range(len(asks))]
                again = {
                    len(asks) + number: (problem, second(task, problem, form, ask, firsts[number]["text"]))
                    for number, (problem, ask) in enumerate(asks)
                    if firsts[number]["error"] is None
                }
                for number, row in answers(generator, again, kept):
                    kept.add(
                        number, {**told, **row, "first": firsts[number - len(asks)]["text"]}, keep=row["error"] is None
                    )
                    advance(1)
                return [kept.get(len(asks) + number, first) for number, first in enumerate(firsts)]
            return [kept[number] for number in range(len(asks))]

    def _told(self, work: Work, task: Task, count: int, problems: int, skipped: str | None) -> dict[str, Any]:
        """What `asked.json` says: how it was asked, and how that differs from what was published."""
        used = self.sampling.settings(task.published)
        return {
            "task": task.name,
            "about": task.about,
            "derived": task.derived,
            "model": {"name": self._called(work), "digest": work.externals["model"] or work.input("base").fingerprint},
            "wording": asdict(self.wording),
            "settings": {**used, "samples": count, "seed": self.sampling.seed, "dtype": self.dtype},
            "published": {
                "samples": task.published.n, "temperature": task.published.temperature, "top_p": task.published.top_p,
                "max_tokens": task.published.max_tokens, "source": task.published.source,
            },
            "differs": differences(task.published, used, count),
            "problems": problems,
            "limit": self.limit,
            "skipped": skipped,
        }  # fmt: skip


def answers(generator: Generator, asks: dict[int, tuple[Problem, Ask]], known: Kept) -> Iterator[tuple[int, Row]]:
    """The rows of those asks that have none yet, by number. Raises GenerationError when a server is taken to be gone."""
    missing = [number for number in asks if number not in known]
    in_a_row = 0
    for number, answer in zip(missing, generator.run(asks[one][1] for one in missing), strict=True):
        problem, ask = asks[number]
        yield number, row_of(problem, ask, answer)
        in_a_row = in_a_row + 1 if isinstance(answer, GenerationError) and is_gone(generator, answer) else 0
        if in_a_row >= GIVES_UP:
            raise GenerationError(
                f"{in_a_row} requests failed one after another, the last with: {answer}. What was answered is kept: run the "
                "same command again when the server is well"
            )


def is_gone(generator: Generator, error: GenerationError) -> bool:
    """Whether an error may speak of the server, and not of what was asked."""
    about_the_ask = isinstance(error, RefusedError) and error.status in ABOUT_THE_ASK
    return isinstance(generator, Endpoint) and not about_the_ask


def cannot(generator: Generator, asks: Sequence[Ask], name: str) -> str | None:
    """Why a generator cannot be asked at all; None where it can."""
    if any(isinstance(ask, Hole) for ask in asks) and "infill" not in generator.capabilities:
        return f"{name} cannot fill gaps"
    return None


def second(task: Task, problem: Problem, form: Form, first: Ask, answer: str) -> Ask:
    """The ask that is made of a first answer, with the first one's number and draw."""
    assert task.then is not None
    ask = task.then(problem, replace(form, settings=replace(form.settings, seed=first.settings.seed)), answer)
    return replace(ask, sample=first.sample, id=ask.id if ask.id is not None else f"{problem.id} second")


def row_of(problem: Problem, ask: Ask, answer: Completion | GenerationError) -> Row:
    """One line of `completions.jsonl`, but for the names of task and model."""
    settings = ask.settings
    made = None if isinstance(answer, GenerationError) else answer
    return {
        "id": problem.id,
        "sample": ask.sample,
        "language": problem.language,
        "seed": settings.seed,
        "settings": {
            "max_tokens": settings.max_tokens, "temperature": settings.temperature, "top_p": settings.top_p,
            "stop": list(settings.stop),
        },
        "digest": digest(ask),
        **words_of(ask),
        "text": made.text if made else "",
        "tokens": len(made.tokens) if made else 0,
        "finish_reason": made.finish_reason if made else None,
        "stopped_by": made.stopped_by if made else None,
        "prompt_cut": made.prompt_cut if made else False,
        "error": str(answer) if made is None else None,
    }  # fmt: skip
