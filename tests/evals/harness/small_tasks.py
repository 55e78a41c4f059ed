"""Tasks of this suite: sums in words, judged by their text; a generator that answers without a model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from starloom.errors import GenerationError
from starloom.evals.bench import Bench
from starloom.evals.tasks.task import AS_GIVEN, Form, Published, Task
from starloom.evals.verdict import Verdict
from starloom.generate.protocol import Ask, Completion, Hole, Prompt
from starloom.problems import Problem

COUNT = 12


def problems_of(_: Sequence[Problem]) -> list[Problem]:
    return [Problem("sums", f"Sum/{n}", None, f"{n} + {n} = ", "", (str(2 * n),), continues=True) for n in range(COUNT)]


def ask(problem: Problem, form: Form) -> Ask:
    return Prompt(problem.prompt, form.settings)


def gap(problem: Problem, form: Form) -> Ask:
    return Hole(problem.prompt, ".", form.settings)


def again(problem: Problem, form: Form, answer: str) -> Ask:
    return Prompt(f"{problem.prompt}{answer}, sure? ", form.settings)


def solution(problem: Problem, text: str, form: Form = AS_GIVEN) -> str:
    return text.strip() if form.cut else text


def judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    for problem, text in pairs:
        right = text == problem.solutions[0]
        parts = {"base": right or text == "0", "plus": right}
        if text == "no toolchain":
            yield Verdict(False, "text", "toolchain_missing", "there is no abacus")
        elif right:
            yield Verdict(True, "text", "passed", parts=parts)
        else:
            yield Verdict(False, "text", "wrong_answer", f"{text!r:.40}", stderr="<b>no</b>", parts=parts)


def slow_judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    for verdict in judge(bench, pairs):
        time.sleep(wait_s())
        with Path(os.environ["ADDER_ASKED"] + ".judged").open("a") as file:
            file.write(f"{verdict.status}\n")
        yield verdict


def measure(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    for _, text in pairs:
        score = len(text) / 10
        yield Verdict(score >= 1, "text", "passed" if score >= 1 else "wrong_answer", score=score)


def name_interpreter(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    for _ in pairs:
        yield Verdict(True, "text", "passed", str(bench.python))


HERE = "evals.harness.small_tasks"
SUMS = Task(
    name=f"{HERE}:SUMS", about="sums", data=(), language=None, kind="complete",
    published=Published(20, 0.2, 16, source="this suite"), ask=ask, solution=solution, judge=f"{HERE}:judge",
    select=problems_of,
)  # fmt: skip
SLOW = replace(SUMS, name=f"{HERE}:SLOW", judge=f"{HERE}:slow_judge")
GAPS = replace(SUMS, name=f"{HERE}:GAPS", ask=gap, kind="infill")
TWICE = replace(SUMS, name=f"{HERE}:TWICE", then=again)
LENGTHS = replace(SUMS, name=f"{HERE}:LENGTHS", metric="bleu", judge=f"{HERE}:measure")

INTERPRETER = replace(SUMS, name=f"{HERE}:INTERPRETER", judge=f"{HERE}:name_interpreter")


@dataclass
class Adder:
    """Right about half of the time, by its seed; asks are written down, one a line."""

    asked: Path | None = None
    wait_s: float = 0.0
    fails_at: str = ""
    capabilities: frozenset[Any] = frozenset({"complete"})

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
        for one in asks:
            assert isinstance(one, Prompt)
            if self.asked is not None:
                with self.asked.open("a") as file:
                    file.write(f"{one.id} {one.sample}\n")
            time.sleep(self.wait_s)
            if self.fails_at and self.fails_at == one.id:
                yield GenerationError("the abacus is broken")
                continue
            drawn = blake2b(f"{one.settings.seed} {one.sample}".encode()).digest()[0]
            first = one.text.partition(" ")[0]
            right = str(2 * int(first))
            yield Completion(f"{right}\n" if drawn % 2 else "0\n", (1, 2), "stop", "\n")


def wait_s() -> float:
    """Between two answers or verdicts, so that there is time to be killed."""
    return float(os.environ.get("ADDER_WAIT", "0"))


def adder(**options: Any) -> Adder:
    return Adder()


def slow_adder(**options: Any) -> Adder:
    return Adder(asked=Path(os.environ["ADDER_ASKED"]), wait_s=wait_s())


def failing_adder(**options: Any) -> Adder:
    return Adder(fails_at="Sum/3")
