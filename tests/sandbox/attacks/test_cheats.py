"""No cheat is a strong pass: the judge is outside, and sees plain values that it compares itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import starloom
from sandbox.attacks.cheats import CHEATS, Cheat
from starloom.evals.bench import Bench
from starloom.evals.judges import evalplus
from starloom.problems import load
from starloom.sandbox import Python, Sandbox

# Calls are cut short so that a call that never ends is a matter of a second here.
QUICK = {"cpu_s": 2.0, "wall_s": 6.0}


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, object]]:
    problems = {problem.id: problem for problem in load("humaneval-plus")}
    with Bench(workers=4, limits=QUICK) as bench:
        pairs = [(problems[one.task], one.program) for one in CHEATS]
        found = evalplus.judge(bench, pairs)
        yield {one.name: verdict for one, verdict in zip(CHEATS, found, strict=True)}


@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for one in CHEATS])
def test_cheat_is_no_strong_pass(verdicts: dict[str, object], one: Cheat) -> None:
    verdict = verdicts[one.name]
    assert (verdict.passed, verdict.strength) == (False, "strong"), verdict
    assert not any(verdict.parts.values())
    assert verdict.status != "harness_error", verdict.detail


def test_right_solutions_of_the_cheated_problems_pass() -> None:
    problems = {problem.id: problem for problem in load("humaneval-plus")}
    tasks = sorted({one.task for one in CHEATS})
    with Bench(workers=2) as bench:
        pairs = [(problems[task], problems[task].programs()[0]) for task in tasks]
        assert [verdict.passed for verdict in evalplus.judge(bench, pairs)] == [True] * len(tasks)


@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_carried_solutions_are_not_in_view(tier: str) -> None:
    """In an installed wheel the package lies among the interpreter's libraries, which programs read."""
    package = Path(starloom.__file__).parent
    look = f"""
import os, glob
found = [p for p in glob.glob({str(package)!r} + "/problems/**/*.gz", recursive=True) if os.path.isfile(p)]
for path in found:
    try:
        open(path, "rb").read(1)
        print("ESCAPED", path)
    except OSError:
        pass
print("looked")
"""
    with Sandbox(tier=tier, read=(package.parent,)) as sandbox:
        outcome = sandbox.run(Python(look))
    assert b"looked" in outcome.stdout
    assert b"ESCAPED" not in outcome.stdout
