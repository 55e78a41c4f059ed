"""The benchmarks: where their files come from, under which license, and how a row becomes a problem."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starloom.problems.problem import Problem, docstring_of

Row = Mapping[str, Any]
MakeProblem = Callable[[str, str | None, Row, int], Problem]  # benchmark, language, row, its number in the file


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A published benchmark as files of JSON rows."""

    files: tuple[tuple[str, str | None], ...]  # (path below the data folder, linguist's language of its problems)
    origin: str  # where the files come from, for a person who lacks them
    license: str
    problem: MakeProblem


def _text(row: Row, *names: str) -> str:
    """The first of these fields that is there and not null; KeyError names the first when none is declared."""
    for name in names:
        if row.get(name) is not None:
            return str(row[name])
    if not any(name in row for name in names):
        raise KeyError(names[0])
    return ""


def _some(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text.strip())


def _completion(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    """HumanEval's shape: a solution goes on where the prompt ends."""
    prompt = _text(row, "prompt")
    words = row.get("description") or row.get("text") or row.get("docstring") or docstring_of(prompt)
    return Problem(
        benchmark,
        _text(row, "task_id"),
        language,
        prompt,
        str(words),
        _some(_text(row, "canonical_solution")),
        continues=True,
        tests=_some(_text(row, "test", "assertion")),
        entry_point=row.get("entry_point") or _checked(_text(row, "test", "assertion")),
        row=row,
    )


def _checked(test: str) -> str | None:
    """The function that a Python test checks at its end, where a row does not name it (HumanEval-X)."""
    found = re.search(r"^check\((\w+)\)\s*\Z", test, re.MULTILINE)
    return found[1] if found else None


def _mbpp(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    text = _text(row, "text", "prompt")
    return Problem(
        benchmark,
        f"MBPP/{row['task_id']}",
        language,
        text,
        text,
        _some(_text(row, "code")),
        tests=tuple(row["test_list"]),
        row=row,
    )


def _mbpp_plus(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    prompt = _text(row, "prompt")
    solutions, tests = _some(_text(row, "canonical_solution")), _some(_text(row, "assertion"))
    words = docstring_of(prompt).partition("\nassert")[0]
    return Problem(
        benchmark, _text(row, "task_id"), language, prompt, words, solutions, False, tests, row.get("entry_point"), row
    )


def _ds1000(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    prompt = _text(row, "prompt")
    return Problem(
        benchmark,
        f"DS-1000/{row['metadata']['problem_id']}",
        language,
        prompt,
        prompt,
        _some(_text(row, "reference_code")),
        tests=_some(_text(row, "code_context")),
        row=row,
    )


def _gsm8k(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    question = _text(row, "question")
    return Problem(benchmark, f"GSM8K/{number}", language, question, question, _some(_text(row, "answer")), row=row)


def _apps(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    question = _text(row, "question")
    solutions = row.get("solutions") or []
    if isinstance(solutions, str):  # the hub's rows hold a list as JSON text
        solutions = json.loads(solutions)
    name = row.get("id", row.get("problem_id", number))
    return Problem(benchmark, f"APPS/{name}", language, question, question, _some(*solutions), row=row)


def _cruxeval(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    code, given, result = _text(row, "code"), _text(row, "input"), _text(row, "output")
    try:
        ast.literal_eval(result)
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"its output is no literal: {result[:100]}") from None
    test = f"assert f({given}) == {result}"
    return Problem(benchmark, f"CRUXEval/{_text(row, 'id')}", language, code, "", (code,), False, (test,), "f", row)


def _livecodebench(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    words, name = _text(row, "question_content"), _text(row, "question_id")
    for field in ("public_test_cases", "private_test_cases"):
        _text(row, field)
    return Problem(benchmark, f"LiveCodeBench/{name}", language, words, words, row=row)


def _multipl_e(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    prompt, tests = _text(row, "prompt"), _text(row, "tests")
    spoken = MULTIPL_E.get(_text(row, "language"), language)
    if not isinstance(row["stop_tokens"], list):
        raise TypeError("stop_tokens is no list")
    return Problem(benchmark, _text(row, "name"), spoken, prompt, "", (), True, _some(tests), None, row)


def _code_to_text(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    code, tokens = _text(row, "code", "original_string"), row["docstring_tokens"]
    name = row.get("url") or row.get("path") or number
    return Problem(
        benchmark, f"CodeToText/{name}", language, code, _text(row, "docstring"), _some(" ".join(tokens)), row=row
    )


def _quixbugs(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    name, words = _text(row, "name"), _text(row, "docstring")
    solutions, tests = _some(_text(row, "solution")), _some(_text(row, "tests"))
    prompt = _text(row, "buggy_program")
    return Problem(benchmark, f"QuixBugs/{name}", language, prompt, words, solutions, False, tests, name, row)


def _infilling(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    prompt, middle, suffix = _text(row, "prompt"), _text(row, "canonical_solution"), _text(row, "suffix")
    words, tests = docstring_of(prompt), _some(_text(row, "test"))
    solutions = (middle + suffix,)
    return Problem(
        benchmark, _text(row, "task_id"), language, prompt, words, solutions, True, tests, row.get("entry_point"), row
    )


def _line_infilling(benchmark: str, language: str | None, row: Row, number: int) -> Problem:
    prompt, middle, _ = _text(row, "prompt"), _text(row, "canonical_solution"), _text(row, "suffix")
    spoken = MULTIPL_E.get(_text(row, "language"), language)
    return Problem(benchmark, f"{_text(row, 'name')}/{number}", spoken, prompt, "", (middle,), row=row)


_MULTILINGUAL = {
    "HumanEval": "Python",
    "HumanEval_csharp_v1": "C#",
    "HumanEval_go_v1": "Go",
    "HumanEval_java_v1.1": "Java",
    "HumanEval_javascript_v1.1": "JavaScript",
    "HumanEval_kotlin_v1.1": "Kotlin",
    "HumanEval_perl_v1.1": "Perl",
    "HumanEval_php_v1.1": "PHP",
    "HumanEval_ruby_v1.1": "Ruby",
    "HumanEval_scala_v1.1": "Scala",
    "HumanEval_swift_v1.1": "Swift",
    "HumanEval_typescript_v1": "TypeScript",
}
_MBXP = {"mbcpp": "C++", "mbjp": "Java", "mbjsp": "JavaScript", "mbphp": "PHP", "mbrbp": "Ruby", "mbtsp": "TypeScript"}
# MultiPL-E's own names of languages
MULTIPL_E = {
    "clj": "Clojure", "cpp": "C++", "cs": "C#", "d": "D", "dart": "Dart", "elixir": "Elixir", "go": "Go", "go_test.go": "Go",
    "hs": "Haskell", "java": "Java", "jl": "Julia", "js": "JavaScript", "lua": "Lua", "ml": "OCaml", "php": "PHP", "pl": "Perl",
    "py": "Python", "r": "R", "rb": "Ruby", "rkt": "Racket", "rs": "Rust", "scala": "Scala", "sh": "Shell", "swift": "Swift",
    "ts": "TypeScript",
}  # fmt: skip
CODE_TO_TEXT = ("Go", "Java", "JavaScript", "PHP", "Python", "Ruby")  # CodeXGLUE's languages
_HUMANEVAL_X = {"cpp": "C++", "java": "Java", "js": "JavaScript", "python": "Python"}
_PACK = {**_HUMANEVAL_X, "go": "Go", "rust": "Rust"}


_INFILLING = "github.com/openai/human-eval-infilling, data"


def _python(path: str) -> tuple[tuple[str, str | None], ...]:
    return ((path, "Python"),)


BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "humaneval": Benchmark(
        _python("humaneval/HumanEval.jsonl.gz"),
        "github.com/openai/human-eval, data/HumanEval.jsonl.gz",
        "MIT",
        _completion,
    ),
    "humaneval-plus": Benchmark(
        _python("evalplus/HumanEvalPlus-v0.1.10.jsonl.gz"),
        "github.com/evalplus/humanevalplus_release, HumanEvalPlus.jsonl.gz",
        "Apache-2.0",
        _completion,
    ),
    "humaneval-plus-v0.1.9": Benchmark(
        _python("evalplus/HumanEvalPlus-v0.1.9.jsonl.gz"),
        "github.com/evalplus/humanevalplus_release at v0.1.9, HumanEvalPlus.jsonl.gz",
        "Apache-2.0",
        _completion,
    ),
    "mbpp": Benchmark(
        _python("mbpp/mbpp.jsonl"), "github.com/google-research/google-research, mbpp/mbpp.jsonl", "CC-BY-4.0", _mbpp
    ),
    "mbpp-sanitized": Benchmark(
        _python("mbpp/sanitized-mbpp.json"),
        "github.com/google-research/google-research, mbpp/sanitized-mbpp.json",
        "CC-BY-4.0",
        _mbpp,
    ),
    "mbpp-plus": Benchmark(
        _python("evalplus/MbppPlus-v0.2.0.jsonl.gz"),
        "github.com/evalplus/mbppplus_release, MbppPlus.jsonl.gz",
        "Apache-2.0",
        _mbpp_plus,
    ),
    "ds1000": Benchmark(
        _python("ds1000/ds1000.jsonl"), "github.com/xlang-ai/DS-1000, data/ds1000.jsonl.gz", "CC-BY-SA-4.0", _ds1000
    ),
    "gsm8k": Benchmark(
        (("gsm8k/test.jsonl", None),),
        "github.com/openai/grade-school-math, grade_school_math/data/test.jsonl",
        "MIT",
        _gsm8k,
    ),
    "apps": Benchmark(_python("apps/test.jsonl"), "huggingface.co/datasets/codeparrot/apps, test.jsonl", "MIT", _apps),
    "humaneval-x": Benchmark(
        tuple((f"humaneval-x/humaneval_{name}.jsonl.gz", language) for name, language in _HUMANEVAL_X.items()),
        "github.com/THUDM/CodeGeeX, codegeex/benchmark/humaneval-x",
        "Apache-2.0",
        _completion,
    ),
    "humanevalpack": Benchmark(
        tuple((f"humanevalpack/{name}.jsonl", language) for name, language in _PACK.items()),
        "github.com/bigcode-project/octopack, evaluation/create/humaneval-x/data",
        "MIT",
        _completion,
    ),
    "multilingual-humaneval": Benchmark(
        tuple((f"multilingual_humaneval/{name}.jsonl.gz", language) for name, language in _MULTILINGUAL.items()),
        "github.com/amazon-science/mxeval, data/multilingual_humaneval",
        "Apache-2.0",
        _completion,
    ),
    "mbxp": Benchmark(
        tuple((f"mbxp/{name}_release_v1.2.jsonl.gz", language) for name, language in _MBXP.items()),
        "github.com/amazon-science/mxeval, data/mbxp",
        "Apache-2.0",
        _completion,
    ),
    "humaneval-infilling": Benchmark(
        _python("humaneval-infilling/HumanEval-SingleLineInfilling.jsonl.gz"), _INFILLING, "MIT", _infilling
    ),
    "humaneval-infilling-multi-line": Benchmark(
        _python("humaneval-infilling/HumanEval-MultiLineInfilling.jsonl.gz"), _INFILLING, "MIT", _infilling
    ),
    "humaneval-infilling-random-span": Benchmark(
        _python("humaneval-infilling/HumanEval-RandomSpanInfilling.jsonl.gz"), _INFILLING, "MIT", _infilling
    ),
    "humaneval-infilling-random-span-light": Benchmark(
        _python("humaneval-infilling/HumanEval-RandomSpanInfillingLight.jsonl.gz"), _INFILLING, "MIT", _infilling
    ),
    "santacoder-fim": Benchmark(
        (("santacoder-fim/train.jsonl", None),),
        "huggingface.co/datasets/bigcode/santacoder-fim-task",
        "openrail",
        _line_infilling,
    ),
    "livecodebench": Benchmark(
        _python("livecodebench/test.jsonl"),
        "huggingface.co/datasets/livecodebench/code_generation_lite, test.jsonl",
        "cc, its card says no more",
        _livecodebench,
    ),
    "multipl-e": Benchmark(
        tuple(
            (f"multipl-e/humaneval-{name}.jsonl", language)
            for name, language in MULTIPL_E.items()
            if name != "go_test.go"
        ),
        "huggingface.co/datasets/nuprl/MultiPL-E, or prompts/*.json of github.com/nuprl/MultiPL-E",
        "MIT",
        _multipl_e,
    ),
    "code-to-text": Benchmark(
        tuple((f"code-to-text/{language.lower()}/test.jsonl", language) for language in CODE_TO_TEXT),
        "github.com/microsoft/CodeXGLUE, Code-Text/code-to-text, dataset.zip and preprocess.py",
        "C-UDA",
        _code_to_text,
    ),
    "cruxeval": Benchmark(
        _python("cruxeval/cruxeval.jsonl"),
        "github.com/facebookresearch/cruxeval, data/cruxeval.jsonl",
        "MIT",
        _cruxeval,
    ),
    "quixbugs": Benchmark(
        _python("quixbugs/quixbugs_python.jsonl"),
        "github.com/bigcode-project/octopack, evaluation/other/QuixBugs",
        "MIT",
        _quixbugs,
    ),
}
