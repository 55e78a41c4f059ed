"""DS-1000's own tests, weak: they compare with isclose and plots and images, so they share the program's process.

*What is covered.* The end of the tests is told by a token that is fresh for each run (`sandbox.epilogue`): leaving early and
printing what a test would print do not pass. *What is not covered.* The answer runs between the tests' lines, as published,
and may patch what they compare with.

Libraries that are missing from the interpreter are named, and their problems counted apart. The published versions are
Python 3.10 with numpy 1.26.4, pandas 1.5.3, scipy 1.12.0, scikit-learn 1.4.0, matplotlib 3.8.4, torch 2.2.0 and
tensorflow 2.16.1; with others some references fail (docs/decisions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from starloom.evals.bench import Bench
from starloom.evals.judges.outcomes import failed
from starloom.evals.verdict import Verdict
from starloom.problems import Problem
from starloom.sandbox import Limits, Python
from starloom.sandbox.epilogue import fresh, resource
from starloom.sandbox.in_order import in_order

# The authors' runner gives 120 s; TensorFlow takes eight to import on a busy core. Memory is our choice.
LIMITS: Final = Limits(
    wall_s=120,
    cpu_s=120,
    memory_bytes=4 << 30,
    address_space=False,
    processes=64,
    scratch_bytes=256 << 20,
    open_files=1024,
)
WARM: Final = ("numpy", "pandas")  # what nearly every problem imports
_IMPORTED: Final = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)
_FETCHING: Final = re.compile(r"\b(?:sns|seaborn)\.load_dataset\(|\bfetch_(?:california_housing|openml)\(")
_SETTINGS: Final = (
    "import os, warnings\nwarnings.simplefilter('ignore')\n"
    "os.environ.update(MPLBACKEND='Agg', TF_CPP_MIN_LOG_LEVEL='3', CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1',"
    " OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')\n"
)


def judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Each answer goes where its problem's context has `[insert]`, and the problem's tests run."""
    wanted = {name for problem, _ in pairs for name in modules_of(problem)}
    missing = missing_modules(bench, wanted)
    sandbox = bench.opened(warm=tuple(name for name in WARM if name in wanted - missing))
    limits = bench.limited(LIMITS)

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        problem, answer = pair
        if _FETCHING.search(problem.tests[0]):
            return Verdict(
                False, "weak", "toolchain_missing", "its tests fetch data from the network, and there is none"
            )
        lacking = sorted(modules_of(problem) & missing)
        if lacking:
            return Verdict(False, "weak", "toolchain_missing", f"the interpreter has no {', '.join(lacking)}")
        token = fresh()
        files = {"program.py": b"", "tests.py": tests(problem, answer).encode("utf-8", "surrogatepass")}
        outcome = sandbox.run(Python(resource("epilogue.python").decode(), files, token.given, limits=limits))
        if outcome.ok and token.said(outcome) is not None:
            return Verdict(True, "weak", "passed", seconds=outcome.wall_s)
        if outcome.ok:
            return Verdict(False, "weak", "end_not_reached", "left before the tests were done", seconds=outcome.wall_s)
        found = failed(outcome, "weak")
        if found.status == "raised" and found.detail.startswith("AssertionError"):
            return Verdict(False, "weak", "wrong_answer", found.detail, found.stderr, seconds=found.seconds)
        return found

    yield from in_order(bench.workers, verdict, pairs)


def tests(problem: Problem, answer: str) -> str:
    """The published context, and its tests called with the answer as they call it."""
    context = problem.tests[0]
    lines = [_SETTINGS + context, f"_answer = {answer!r}", "test_execution(_answer)"]
    if "def test_string(" in context:
        lines.append("test_string(_answer)")
    return "\n".join(lines) + "\n"


def modules_of(problem: Problem) -> set[str]:
    """What a problem's context imports."""
    return set(_IMPORTED.findall(problem.tests[0]))


def missing_modules(bench: Bench, names: set[str]) -> set[str]:
    """Those that the interpreter does not find, by asking it once."""
    program = (
        f"import importlib.util\nprint(*[name for name in {sorted(names)!r} if importlib.util.find_spec(name) is None])"
    )
    outcome = bench.sandbox.run(Python(program))
    return set(outcome.stdout.decode("ascii", "replace").split()) & names
