"""The stage that takes answers from a file that another harness wrote: in our form, in the tasks' order, what is wrong named."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from starloom.errors import ConfigError, SourceError
from starloom.evals.harness.formats import LONGEST_TEXT, Answer, Bad, Trouble, read
from starloom.evals.harness.named import task_named
from starloom.evals.harness.sample import ASKED, ROWS
from starloom.problems import Problem
from starloom.report import plain
from starloom.stage import Stage, Work, external
from starloom.store import canonical_json, sha256_of

NAMED: Final = 20  # of each kind of trouble, the first so many are named; all are counted
Row = dict[str, Any]
Problems = Mapping[str, Sequence[Problem]]  # task → its problems


@dataclass(frozen=True, slots=True)
class Given(Stage):
    """Completions of a file or folder, for some tasks: `formats` says which kinds are read."""

    version: ClassVar[int] = 1

    tasks: tuple[str, ...]
    file: str = external("")
    data: str = external("")

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if not self.tasks:
            raise ConfigError("which tasks are these completions of? name them: --tasks humaneval+")

    def external_digests(self) -> dict[str, str]:
        found = hashlib.sha256()
        for problems in self._problems().values():
            for problem in problems:
                found.update(canonical_json([problem.id, problem.prompt]))
        return {"file": digest_of(Path(self.file)), "data": found.hexdigest()}

    def produce(self, work: Work) -> None:
        taken = take(Path(self.file), self._problems())
        if digest_of(Path(self.file)) != work.externals["file"]:
            raise SourceError(f"{self.file} changed while it was read; run again when nothing writes to it")
        with work.unit("completions") as unit:
            with unit.path(ROWS).open("w", encoding="ascii") as file:
                file.writelines(json.dumps(row) + "\n" for row in taken.rows)
            unit.path(ASKED).write_bytes(canonical_json(taken.told(Path(self.file).name)))
        work.count(answers=len(taken.rows), bad={name: len(found) for name, found in taken.bad.items()})
        said = ", ".join(f"{plain.words(name)} {len(found):,}" for name, found in taken.bad.items())
        work.summary = f"{plain.several(len(taken.rows), 'answer')}" + (f" ({said})" if said else "")

    def _problems(self) -> dict[str, Sequence[Problem]]:
        return {name: task_named(name).problems(self.data) for name in self.tasks}


@dataclass(slots=True)
class Taken:
    """What a file gave: rows as in `completions.jsonl`, and what was wrong, by kind."""

    problems: Problems
    rows: list[Row] = field(default_factory=list)
    bad: dict[str, list[Bad]] = field(default_factory=dict)

    def told(self, name: str) -> dict[str, Any]:
        """What `asked.json` says."""
        tasks = {}
        for task, problems in self.problems.items():
            counts = Counter(row["id"] for row in self.rows if row["task"] == task)
            texts = Counter((row["id"], row["text"]) for row in self.rows if row["task"] == task)
            missing = [problem.id for problem in problems if problem.id not in counts]
            tasks[task] = {
                "problems": len(problems),
                "missing": len(missing),
                "first_missing": missing[:NAMED],
                "samples": dict(sorted(Counter(map(str, counts.values())).items())),
                "identical": sum(number - 1 for number in texts.values()),
            }
        bad = {
            trouble: {"count": len(found), "first": [f"{one.where}: {one.why}" for one in found[:NAMED]]}
            for trouble, found in sorted(self.bad.items())
        }
        return {"file": name, "tasks": tasks, "bad": bad}


def take(path: Path, problems: Problems) -> Taken:
    """The answers of a file, each for every chosen task that knows its problem, in the order of the tasks and problems.

    Raises SourceError where nothing can be read, or where a file of one task is given for several.
    """
    taken = Taken(problems)
    known = {task: {problem.id: problem for problem in some} for task, some in problems.items()}
    spelled = {task: {_spelled(name): name for name in some} for task, some in known.items()}
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for one in read(path):
        if isinstance(one, Bad):
            taken.bad.setdefault(one.trouble, []).append(one)
            continue
        if isinstance(one.problem, int) and len(problems) > 1:
            raise SourceError(f"{path} is a list in the order of one task; name that task alone")
        places = []
        for task, some in problems.items():
            if one.task not in (None, task):
                continue
            if isinstance(one.problem, int):
                name = some[one.problem].id if one.problem < len(some) else None
            else:
                name = one.problem if one.problem in known[task] else spelled[task].get(one.problem)
            if name is not None:
                places.append((task, name))
        if not places:
            why = f"no problem {one.problem!r:.80} in {', '.join(problems)}"
            taken.bad.setdefault("unknown_problem", []).append(Bad(one.where, "unknown_problem", why))
        for task, name in places:
            _put(taken, found.setdefault((task, name), {}), one, task, known[task][name])
    for task, some in problems.items():
        for problem in some:
            taken.rows += [row for _, row in sorted(found.get((task, problem.id), {}).items())]
    if not taken.rows:
        first = next((f"{one.where}: {one.why}" for some in taken.bad.values() for one in some), "it is empty")
        raise SourceError(f"{path} holds no answer to {', '.join(problems)} ({first}); is it a file of completions?")
    return taken


def _put(taken: Taken, samples: dict[int, Row], one: Answer, task: str, problem: Problem) -> None:
    """Take one answer in, unless there is one of its number."""
    number = max(samples, default=-1) + 1 if one.sample is None else one.sample
    row: Row = {"task": task, "id": problem.id, "sample": number, "language": problem.language, "kind": one.kind}
    row |= one.fields
    row |= {
        "text": one.text,
        "wording": one.wording,
        "where": one.where,
        "error": one.error,
        "refused": refusal(one.text),
    }
    if row["refused"]:
        row["text"] = ""
        why = f"{problem.id}: {row['refused']}"
        kind: Trouble = "not_text" if row["refused"].startswith(HALF) else "too_long"
        taken.bad.setdefault(kind, []).append(Bad(one.where, kind, why))
    if number in samples:
        same = samples[number]["text"] == row["text"]
        why = (
            f"sample {number} of {problem.id} a second time, {'the same' if same else 'another text: the first counts'}"
        )
        taken.bad.setdefault("repeated", []).append(Bad(one.where, "repeated", why))
        return
    samples[number] = row


HALF = "half a surrogate pair"


def refusal(text: str) -> str | None:
    """Why a text is not given to a judge; None for one that is."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        return f"{HALF} at character {error.start}: no program can be written of it"
    return f"{size:,} bytes, longer than {LONGEST_TEXT:,}" if size > LONGEST_TEXT else None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder. Raises SourceError."""
    try:
        if not path.is_dir():
            return sha256_of(path)[1]
        found = hashlib.sha256()
        for one in sorted(path.rglob("*")):
            if one.is_file():
                name = one.relative_to(path).as_posix().encode("utf-8", "surrogateescape")
                found.update(name + b"\0" + sha256_of(one)[1].encode())
        return found.hexdigest()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None


def _spelled(name: str) -> str:
    """A problem's id as a folder's name."""
    return name.replace("/", "_")
