"""The benchmarks' own tests in each language: references pass or are named with the reason, wrong programs do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from starloom.errors import SandboxError
from starloom.evals.bench import Bench
from starloom.evals.judges.exceptions import by_chance, exceptions_of, swept
from starloom.evals.judges.harness import judge
from starloom.problems import load
from starloom.sandbox import languages

EXCERPTS = str(Path(__file__).parents[2] / "data" / "multilingual")
REFERENCES = {
    "humaneval-x": ("JavaScript", "Python", "C++", "Java"),
    "humanevalpack": ("JavaScript", "Python", "C++", "Go", "Java", "Rust"),
    "mbxp": ("JavaScript", "PHP", "Ruby", "TypeScript", "C++", "Java"),
    "multilingual-humaneval": ("Python",),
}
ALL = [(benchmark, language) for benchmark, names in REFERENCES.items() for language in names]
# Their compilers, or the libraries that are built once for their tests, take seconds.
LONG = {
    ("mbxp", "C++"),
    ("mbxp", "Java"),
    ("humanevalpack", "Go"),
    ("humanevalpack", "Rust"),
    ("humanevalpack", "Java"),
}
# MXEval has references in Python alone; a function that raises shows that prompt and tests compile and run together.
STUBS = {
    "C#": ' throw new Exception("stub");\n        }\n',
    "Go": 'panic("stub")\n}\n',
    "Java": 'throw new RuntimeException("stub");\n    }\n}\n',
    "JavaScript": 'throw new Error("stub")\n}\n',
    "Kotlin": 'throw Exception("stub")\n}\n',
    "Perl": 'die "stub";\n}\n',
    "PHP": 'throw new Exception("stub");\n}\n',
    "Ruby": 'raise "stub"\nend\n',
    "Scala": 'throw new Exception("stub")\n}\n',
    "TypeScript": 'throw new Error("stub")\n}\n',
}


def bench_of(data: str) -> Iterator[Bench]:
    with Bench(workers=2, data=data) as made:
        try:
            assert made.sandbox
        except SandboxError as error:
            pytest.skip(str(error))
        yield made


@pytest.fixture(scope="module")
def small() -> Iterator[Bench]:
    yield from bench_of(EXCERPTS)


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest) -> Iterator[Bench]:
    folder = str(request.config.getoption("--data"))
    if not folder:
        pytest.skip("needs benchmarks that the package does not carry: pytest --data FOLDER")
    yield from bench_of(folder)


def needs(language: str) -> None:
    if languages.toolchain(language) is None:
        pytest.skip(languages.missing(language))


def pairs(slow: set[tuple[str, str]]) -> list[object]:
    return [pytest.param(*pair, marks=pytest.mark.slow if pair in slow else (), id=":".join(pair)) for pair in ALL]


@pytest.mark.parametrize(("benchmark", "language"), pairs(LONG))
def test_a_published_reference_passes_its_tests(small: Bench, benchmark: str, language: str) -> None:
    needs(language)
    found = swept(small, load(benchmark, EXCERPTS, language)[:1])
    assert found
    for problem, verdict in found:
        if "Cannot find module 'lodash'" in verdict.stderr:
            pytest.skip("the tests need lodash: apt-get install node-lodash")
        assert verdict.passed, (problem.id, verdict.status, verdict.detail, verdict.stderr)


@pytest.mark.parametrize(
    "language",
    [
        pytest.param(n, marks=pytest.mark.slow if ("humanevalpack", n) in LONG else ())
        for n in REFERENCES["humanevalpack"]
    ],
)
def test_a_published_wrong_solution_fails(small: Bench, language: str) -> None:
    needs(language)
    for problem, verdict in swept(small, load("humanevalpack", EXCERPTS, language)[:1], "buggy_solution"):
        assert verdict.status in ("wrong_answer", "raised", "crashed"), (problem.id, verdict)


@pytest.mark.parametrize(
    "language", [pytest.param(n, marks=() if n in ("PHP", "Ruby") else pytest.mark.slow) for n in STUBS]
)
def test_mxevals_prompt_and_tests_compile_and_run_together(small: Bench, language: str) -> None:
    needs(language)
    stub_raises(small, language, 1)


@pytest.mark.slow
@pytest.mark.parametrize("language", STUBS)
def test_every_prompt_and_test_of_mxeval_compiles_and_runs(whole: Bench, language: str) -> None:
    needs(language)
    stub_raises(whole, language, None)


def stub_raises(bench: Bench, language: str, most: int | None) -> None:
    problems = load("multilingual-humaneval", bench.data, language)[:most]
    known = exceptions_of("multilingual-humaneval", language)
    verdicts = judge(bench, [(problem, problem.prompt + STUBS[language]) for problem in problems])
    others = {p.id: (v.status, v.detail) for p, v in zip(problems, verdicts, strict=True) if "stub" not in v.stderr}
    assert set(others) == {problem.id for problem in problems} & set(known), others


@pytest.mark.slow
@pytest.mark.parametrize(("benchmark", "language"), pairs(set()))
def test_every_reference_passes_or_is_a_named_exception(whole: Bench, benchmark: str, language: str) -> None:
    needs(language)
    found = swept(whole, load(benchmark, whole.data, language))
    failing = {p.id: (v.status, v.detail) for p, v in found if not v.passed}
    named = exceptions_of(benchmark, language)
    chance = {id for id, why in named.items() if by_chance(why)}
    unnamed = {id: why for id, why in failing.items() if id not in named}
    assert not unnamed
    assert not set(named) - chance - set(failing), "these pass: take them out of exceptions.json"


@pytest.mark.slow
@pytest.mark.parametrize("language", REFERENCES["humanevalpack"])
def test_no_wrong_solution_of_humanevalpack_passes(whole: Bench, language: str) -> None:
    needs(language)
    found = swept(whole, load("humanevalpack", whole.data, language), "buggy_solution")
    named = exceptions_of("humanevalpack:buggy", language)
    assert {p.id: v.status for p, v in found if v.passed and p.id not in named} == {}
    assert all(verdict.judged for _, verdict in found)
