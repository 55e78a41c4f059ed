"""Functions in many languages: HumanEval-X, MXEval's HumanEval, MBXP, and MultiPL-E's files by path."""

from __future__ import annotations

from typing import Final

from starloom.evals.judges.exceptions import exceptions_of
from starloom.evals.tasks import stops
from starloom.evals.tasks.continuation import DIALECTS, Continuation
from starloom.evals.tasks.python_tasks import FUNCTIONS
from starloom.evals.tasks.task import Published, Task
from starloom.problems import BENCHMARKS, Problem

HARNESSES: Final = "starloom.evals.judges.harness:judge"
# Where counting braces cuts a reference short: braces in a character, helpers behind the function (checked by a test).
CUT_SHORT: Final = {
    "humaneval-x": ("CPP/94",),
    "humanevalpack": ("CPP/94", "Go/72", "Go/90", "Go/158", "Rust/137", "Rust/145"),
}
_X: Final = Published(200, 0.8, 1024, 0.95, "CodeGeeX, arXiv 2303.17568", "CodeGeeX, codegeex/benchmark/utils.py")
_MXEVAL: Final = Published(
    100,
    0.2,
    512,
    0.95,
    "Athiwaratkun et al. 2022, arXiv 2210.14868; tokens are our choice",
    "our choice: to the function's end",
)
_MULTIPL_E: Final = Published(200, 0.8, 650, 0.95, "bigcode-evaluation-harness, docs: MultiPL-E")


def slug(language: str) -> str:
    """A language as it is written in a task's name: cpp, csharp, javascript."""
    return DIALECTS[language].fence if language in DIALECTS else language.lower()


def judge_of(language: str) -> str:
    """Python's tests run beside the program; those of other languages in its own process."""
    return FUNCTIONS if language == "Python" else HARNESSES


def listed_stops(problem: Problem) -> tuple[str, ...]:
    """MultiPL-E's rows name their own."""
    return tuple(str(stop) for stop in problem.row["stop_tokens"])


def _task(family: str, benchmark: str, language: str, about: str, published: Published, way: Continuation) -> Task:
    name = f"{family}:{slug(language)}"
    excepted = exceptions_of(benchmark, language)
    judge = judge_of(language) if benchmark != "multipl-e" else HARNESSES
    return Task(
        name, about, (benchmark,), language, "complete", published, way.ask, way.solution, judge, exceptions=excepted
    )


def _ways(language: str) -> Continuation:
    return Continuation(language, stop=stops.PACK.get(language, ()), end=stops.ENDS[language])


def languages_of(benchmark: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(language for _, language in BENCHMARKS[benchmark].files if language))


TASKS: Final = (
    *(
        _task(
            "humaneval-x",
            "humaneval-x",
            language,
            f"HumanEval in {language}, by hand (Zheng et al. 2023)",
            _X,
            _ways(language),
        )
        for language in languages_of("humaneval-x")
    ),
    *(
        _task(
            "mxeval",
            "multilingual-humaneval",
            language,
            f"HumanEval in {language}, translated by program (Athiwaratkun et al. 2022)",
            _MXEVAL,
            Continuation(language, end=stops.ENDS[language]),
        )
        for language in languages_of("multilingual-humaneval")
    ),
    *(
        _task(
            "mbxp",
            "mbxp",
            language,
            f"MBPP in {language}, translated by program (Athiwaratkun et al. 2022)",
            _MXEVAL,
            Continuation(language, end=stops.ENDS[language]),
        )
        for language in languages_of("mbxp")
    ),
    *(
        _task(
            "multipl-e",
            "multipl-e",
            language,
            f"HumanEval or MBPP in {language} in MultiPL-E's files (Cassano et al. 2022), by path",
            _MULTIPL_E,
            Continuation(language, stops_of=listed_stops),
        )
        for language in languages_of("multipl-e")
    ),
)
