"""The stage: the leaderboard's figures of a model, in `leaderboard.json`, and each document's row beside them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from starloom.errors import ConfigError, GenerationError
from starloom.evals.harness import model as models
from starloom.evals.harness.kept import Kept
from starloom.evals.leaderboard.asking import Row, answered, documents
from starloom.evals.leaderboard.board import Asked, chosen, leaderboard_tasks, named
from starloom.evals.leaderboard.data import Splits, digest_of, read
from starloom.evals.leaderboard.harness_tasks import harness_module, harness_tasks, harness_version
from starloom.evals.leaderboard.results import Result, render, result_of, skipped, whole
from starloom.generate.generators.endpoint import Endpoint
from starloom.generate.generators.http import RefusedError
from starloom.generate.protocol import Generator
from starloom.generate.session import Session
from starloom.report import plain
from starloom.stage import Stage, Work, external
from starloom.store import Built, canonical_json

RESULTS: Final = "leaderboard.json"
GENERATED: Final = ("gsm8k", "drop")  # the others compare likelihoods
SLOTS: Final = 32  # requests at once, as for samples: the opened model is shared with them
ABOUT_THE_ASK: Final = (400, 413, 422)  # statuses of a server that say something about one request
# What is computed between two moments in which answers are kept: a second or two of a CPU core, of a GPU (our choice)
FLOPS: Final = {"cpu": 5e10, "cuda": 5e13}
LEAST_TOKENS, MOST_TOKENS = 2048, 1 << 16  # of a batch: small ones are slow, large ones keep nothing for long
SERVER_TOKENS: Final = 1 << 14  # of a batch that a server answers


@dataclass(frozen=True, slots=True)
class Leaderboard(Stage):
    """A model on the tasks of the Open LLM Leaderboard, by lm-evaluation-harness. `model` is a name as `starloom complete`
    takes it, or `base` a stage that made a model; `limit` is of each task, and of each of MMLU's subjects."""

    version: ClassVar[int] = 1

    tasks: tuple[str, ...] = leaderboard_tasks()
    model: str = external("")
    base: Stage | None = None
    limit: int | None = None
    shots: int | None = None  # instead of the published number, of the tasks that have any
    dtype: str = "float32"
    data: str = external("")  # folder of data files
    hub: str = external("")
    shown: str = field(default="", kw_only=True)  # what the model is called in the results

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", chosen(self.tasks))
        if bool(self.model) == (self.base is not None):
            raise ConfigError("the leaderboard is of a model by its name, or of a stage that makes one")
        if not self.tasks:
            raise ConfigError(f"no task was named; there are leaderboard (all), {', '.join(leaderboard_tasks())}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}; it must be at least 1, or left out for all documents")
        if self.shots is not None and self.shots < 0:
            raise ConfigError(f"shots is {self.shots}; it is a count, or left out for the published number")

    def external_digests(self) -> dict[str, str]:
        said = f"lm_eval {harness_version()} {digest_of(self.tasks, self.data)}"
        return {
            "model": models.digest(self.model, self.hub or None) if self.model else "",
            "data": hashlib.sha256(said.encode()).hexdigest(),
            "hub": "",
        }

    def produce(self, work: Work) -> None:
        if self.external_digests()["data"] != work.externals["data"]:
            raise ConfigError(f"{self.data} changed meanwhile; run again when nothing writes to it")
        generator = self._opened(work)
        reasons = {name: reason for name in self.tasks if (reason := cannot(generator, name, self._called(work)))}
        if len(reasons) == len(self.tasks):
            raise GenerationError(next(iter(reasons.values())))
        results: dict[str, Result] = {}
        for name in self.tasks:
            if name in reasons:
                results[name] = skipped(named(name), reasons[name])
            else:
                results[name] = self._result(work, generator, named(name))
        told = {"name": self._called(work), "digest": work.externals["model"] or work.input("base").fingerprint}
        said = whole(results, harness_version(), {**told, "dtype": self.dtype})
        with work.unit("leaderboard") as unit:
            unit.path(RESULTS).write_bytes(canonical_json(said))
        work.count(documents={name: one["documents"] for name, one in results.items()})
        work.count(failed={name: one["failed"] for name, one in results.items() if one["failed"]})
        work.summary = summary(said)

    def closing(self, built: Built) -> str:
        return render(json.loads(built.read_bytes(RESULTS)))

    def _result(self, work: Work, generator: Generator, one: Asked) -> Result:
        unit = f"documents-{one.name}"
        done = work.finished(unit)
        if done is None:
            splits = read(one.name, self.data)
            rows = self._rows(work, generator, one, splits)
            shots = one.shots if self.shots is None or not one.shots else self.shots
            done = result_of(one, rows, splits.notes, shots, self.limit)
            with work.unit(unit) as writing:
                lines = (json.dumps(row) + "\n" for row in rows)
                writing.path(f"documents/{one.name}.jsonl").write_text("".join(lines), encoding="ascii")
                writing.facts = done
        return done

    def _rows(self, work: Work, generator: Generator, one: Asked, splits: Splits) -> list[Row]:
        """A row for each document, in order; what an earlier, killed build kept is not asked for again."""
        tasks = harness_tasks(one, splits, self.shots)
        lm = harness_module("starloom.evals.leaderboard.harness_model").GeneratorLM(generator, keep_errors=True)

        def answer(requests: list[Any]) -> list[Any]:
            if isinstance(generator, Session):
                generator.engine.forget()  # an answer depends on its own batch alone
            found: list[Any] = getattr(lm, requests[0].request_type)(requests)
            for error in found:
                if isinstance(generator, Endpoint) and isinstance(error, GenerationError) and not about_the_ask(error):
                    raise GenerationError(f"{error}; what was answered is kept: run again when the server is well")
            return found

        total = sum(min(count, self.limit or count) for count in splits.counts())
        tokens = tokens_of_a_batch(generator)
        with (
            work.runtime.progress.task(one.name, total, "documents") as advance,
            Kept(work, f"answers-{one.name}") as kept,
        ):
            advance(len(kept))
            for rows in answered(one, documents(tasks, self.limit), answer, tokens, kept):
                for row in rows:
                    fresh = row["document"] not in kept
                    kept.add(row["document"], row)
                    advance(int(fresh))
            return [kept[number] for number in range(len(kept))]

    def _called(self, work: Work) -> str:
        return self.shown or (models.shown(self.model, self.hub or None) if self.model else work.input("base").name)

    def _opened(self, work: Work) -> Generator:
        name = self.model or str(work.input("base").directory)
        of = work.externals["model"] or work.input("base").fingerprint
        hub = self.hub or None
        if self.model and models.digest(name, hub) != of:
            raise GenerationError(f"{name} changed meanwhile; run again when nothing writes to it")
        folder = models.folder_of(name, hub)
        return models.opened(
            name if folder is None else str(Path(name)), of, hub=hub, device=work.runtime.device, dtype=self.dtype,
            threads=work.runtime.threads, slots=SLOTS,
        )  # fmt: skip


def cannot(generator: Generator, task: str, name: str) -> str | None:
    """Why a task cannot be asked of a generator; None where it can."""
    needed = "complete" if task in GENERATED else "loglikelihood"
    if needed in generator.capabilities:
        return None
    if needed == "complete":
        return f"{name} cannot write texts, which {task} asks for"
    why = (
        "the server does not echo the log-probabilities of a prompt"
        if isinstance(generator, Endpoint)
        else "it only has texts"
    )
    return f"{name} cannot say how likely a text is ({why}), and {task} compares such figures; {' and '.join(GENERATED)} go without"


def about_the_ask(error: GenerationError) -> bool:
    """Whether a server's error speaks of what was asked, and not of the server."""
    return isinstance(error, RefusedError) and error.status in ABOUT_THE_ASK


def tokens_of_a_batch(generator: Generator) -> int:
    """How many tokens are computed together: by the size of the model and the kind of device alone."""
    if not isinstance(generator, Session):
        return SERVER_TOKENS
    from starloom.generate.backends.torch import TorchBackend

    backend = generator.engine.backend
    if not isinstance(backend, TorchBackend):
        return LEAST_TOKENS
    parameters = list(backend.model.parameters())
    count = sum(one.numel() for one in parameters)
    flops = FLOPS.get(parameters[0].device.type, FLOPS["cpu"])
    return min(max(int(flops / (2 * count)), LEAST_TOKENS), MOST_TOKENS)


def summary(said: dict[str, Any]) -> str:
    """One line about `leaderboard.json`."""
    shares = [f"{name} {one['value']:.1%}" for name, one in said["tasks"].items() if one["value"] is not None]
    average = "" if said["average"] is None else f"average {said['average']:.1%}: "
    failed = sum(one["failed"] for one in said["tasks"].values())
    left = sum("skipped" in one for one in said["tasks"].values())
    more = [f"{plain.several(failed, 'document')} failed"] if failed else []
    more += [f"{plain.several(left, 'task')} skipped"] if left else []
    return average + ", ".join([*shares, *more])
