"""The stage that judges answers: `results.jsonl`, a row for each, with the verdict and how strong it is."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from starloom.errors import ConfigError
from starloom.evals.bench import Bench, Tier
from starloom.evals.harness.asks import Wording
from starloom.evals.harness.given import refusal
from starloom.evals.harness.kept import Kept, Row
from starloom.evals.harness.named import task_named
from starloom.evals.harness.sample import ASKED
from starloom.evals.harness.sample import ROWS as COMPLETIONS
from starloom.evals.tasks.task import AS_GIVEN, Task
from starloom.evals.verdict import Verdict
from starloom.problems import Problem
from starloom.registry import resolve
from starloom.report import plain
from starloom.stage import Stage, Work, external
from starloom.store import Built, canonical_json

ROWS: Final = "results.jsonl"
TIMES: Final = "times.jsonl"  # apart: no two runs take the same time
FACTS: Final = "scored.json"
VERDICTS: Final = "verdicts"
NOT_ANSWERED: Final = "not_answered"  # a status of rows alone: the request failed, there is nothing to judge
_LIBRARIES: Final = "import sys, importlib.metadata as m; print(sys.version, sorted(str(d.metadata['Name']) + ' ' + d.version for d in m.distributions()))"
UNJUDGED: Final = frozenset({NOT_ANSWERED, "toolchain_missing", "harness_error"})
Judge = Callable[[Bench, Sequence[tuple[Problem, str]]], Iterator[Verdict]]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a run may take, where it differs from the task's own; None is the task's."""

    wall_s: float | None = None
    cpu_s: float | None = None
    memory_bytes: int | None = None
    output_bytes: int | None = None

    def changed(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("wall_s", "cpu_s", "memory_bytes", "output_bytes")}
        for name, value in own.items():
            if value is not None and value <= 0:
                raise ConfigError(f"the limit {name} is {value}; it must be above 0")
        return {name: value for name, value in own.items() if value is not None}


OWN_LIMITS: Final = Limit()


@dataclass(frozen=True, slots=True)
class Score(Stage):
    """The verdicts on the answers to one task. How many workers judge changes none of them."""

    version: ClassVar[int] = 2  # judges that refuse more: CRUXEval inputs, epilogues of Python and shells

    samples: Stage
    task: str
    limit: Limit = OWN_LIMITS
    tier: Tier = "auto"  # the containment that is required; with "auto", the best that this machine has
    data: str = external("")
    python: str = external("")  # the interpreter of an environment whose libraries programs use; "" is our own

    def __post_init__(self) -> None:
        self.limit.changed()

    def external_digests(self) -> dict[str, str]:
        task, found = task_named(self.task), hashlib.sha256()
        for problem in task.problems(self.data):
            asked = [problem.id, problem.prompt, problem.tests, problem.entry_point, problem.row]
            found.update(json.dumps(asked, sort_keys=True).encode())  # inputs of MBPP+ hold infinities
        found.update(task.judge.encode())
        return {"data": found.hexdigest(), "python": environment_of(self.python)}

    def produce(self, work: Work) -> None:
        task = task_named(self.task)
        problems = {problem.id: problem for problem in task.problems(self.data)}
        answers = [row for row in answer_rows(work.input("samples")) if row["task"] == task.name]
        bench = Bench(
            workers=work.runtime.workers, tier=self.tier, data=self.data, limits=self.limit.changed(),
            python=Path(self.python) if self.python else None,
        )  # fmt: skip
        with bench:
            judged = self._judged(work, bench, task, problems, answers)
        rows = [{**about(row), **judged[number]["found"]} for number, row in enumerate(answers)]
        statuses = Counter(row["status"] for row in rows)
        with work.unit("results") as unit:
            with unit.path(ROWS).open("w", encoding="ascii") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            unit.path(FACTS).write_bytes(canonical_json(self._told(work, task, problems)))
        with work.unit("times") as unit, unit.path(TIMES).open("w", encoding="ascii") as file:
            for number, row in enumerate(rows):
                said = {"id": row["id"], "sample": row["sample"], "seconds": round(judged[number]["seconds"], 6)}
                file.write(json.dumps(said) + "\n")
        work.count(answers=len(rows), passed=statuses["passed"], status=dict(sorted(statuses.items())))
        work.summary = f"{statuses['passed']:,} of {plain.several(len(rows), 'answer')} passed"
        rest = ", ".join(f"{plain.words(name)} {count:,}" for name, count in statuses.most_common() if name != "passed")
        work.summary += f" ({rest})" if rest else ""

    def _judged(
        self, work: Work, bench: Bench, task: Task, problems: Mapping[str, Problem], answers: Sequence[Row]
    ) -> Mapping[int, Row]:
        """Number of an answer → what was judged, its verdict, seconds and where it ran; those of an earlier, killed build are kept."""
        judge = cast(Judge, resolve(task.judge, "judge"))
        with (
            work.runtime.progress.task(f"score {task.name}", len(answers), "answers") as advance,
            Kept(work, VERDICTS) as kept,
        ):
            advance(len(kept))
            numbers, pairs = [], []
            for number, row in enumerate(answers):
                if number in kept:
                    continue
                problem = problems[row["id"]]
                unfit = unfit_row(row)
                if unfit is not None:
                    kept.add(number, {"found": {"program": "", **unfit}, "seconds": 0.0})
                    advance(1)
                else:
                    numbers.append(number)
                    pairs.append((problem, candidate(task, problem, row)))
            verdicts = judge(bench, pairs) if pairs else ()
            for number, (_, program), verdict in zip(numbers, pairs, verdicts, strict=True):
                ran = {"sandbox": bench.layers(), "toolchain": self._toolchain(bench, task.language)}
                found = {"program": program, **verdict.as_row(), **ran}
                kept.add(number, {"found": found, "seconds": verdict.seconds})
                advance(1)
        return kept

    def _toolchain(self, bench: Bench, language: str | None) -> str | None:
        """With which version a program ran; judges write down all but Python's."""
        found = bench.toolchains.get(language or "")
        ours = language == "Python" and bench.layers() is not None
        return f"Python {version_of(self.python)}" if found is None and ours else found

    def _told(self, work: Work, task: Task, problems: Mapping[str, Problem]) -> dict[str, Any]:
        """What `scored.json` says, for `Results`: the task, and how its answers came about."""
        asked = json.loads(work.input("samples").read_bytes(ASKED))
        return {
            "task": task.name,
            "about": task.about,
            "derived": task.derived,
            "metric": task.metric,
            "language": task.language,
            "benchmark": task.data[0].partition("=")[0] if task.data else task.name,
            "problems": len(problems),
            "limits": self.limit.changed(),
            "tier": self.tier,
            "exceptions": dict(task.exceptions),
            "asked": asked,
        }


@functools.cache
def version_of(python: str) -> str:
    """The version of an interpreter, or of our own for ""."""
    if not python:
        return platform.python_version()
    said = subprocess.run(
        [python, "-I", "-c", "import platform; print(platform.python_version())"], capture_output=True
    )
    return said.stdout.decode("ascii", "replace").strip()


def environment_of(python: str) -> str:
    """Digest of an interpreter's version and the libraries that it finds. Raises ConfigError for what is no interpreter."""
    if not python:
        return ""
    try:
        said = subprocess.run([python, "-I", "-c", _LIBRARIES], capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"--python {python} is no Python of 3.10 or newer that runs here ({error})") from None
    return hashlib.sha256(said).hexdigest()


def answer_rows(samples: Built) -> Iterator[Row]:
    """The rows of `completions.jsonl`."""
    for line in samples.read_bytes(COMPLETIONS).splitlines():
        yield json.loads(line)


def candidate(task: Task, problem: Problem, row: Mapping[str, Any]) -> str:
    """What the judge gets of an answer: a program as it is, a completion behind its prompt, what a model wrote as the task
    reads it."""
    kind = row.get("kind", "raw")
    if kind == "program":
        return str(row["text"])
    if kind == "completion":
        return task.solution(problem, row["text"], AS_GIVEN)
    said = row.get("wording")
    wording = Wording(**said) if said else Wording()
    return task.solution(problem, row["text"], wording.as_answered())


def unfit_row(row: Mapping[str, Any]) -> Row | None:
    """The verdict of an answer that no judge sees: a failed request, or a text that no program can be."""
    if row.get("error") is not None:
        return verdict_row(NOT_ANSWERED, row["error"])
    why = row.get("refused") or refusal(row["text"])
    return verdict_row("refused", why) if why else None


def verdict_row(status: str, detail: str) -> Row:
    return {
        "passed": False, "strength": None, "status": status, "detail": detail, "stderr": "", "score": None, "parts": {},
        "sandbox": None, "toolchain": None,
    }  # fmt: skip


def about(row: Mapping[str, Any]) -> Row:
    """What a row of results keeps of its answer, so that it can be found again."""
    return {"task": row["task"], "id": row["id"], "sample": row["sample"], "language": row["language"]}
