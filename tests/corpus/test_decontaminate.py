"""Files that hold a benchmark's problem are found, however they spell it, and named; others are left alone."""

from __future__ import annotations

import functools
import re
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.disguised import DISGUISES, commented, planted_in, renamed, without_comments
from corpus.planted import by_path, made, plant, rows
from starloom.corpus import Decontaminate, Read
from starloom.corpus.code_grams import code_grams
from starloom.corpus.code_tokens import tokens_of
from starloom.corpus.leak_references import GENERIC, published_strings
from starloom.corpus.leaks import Leaks
from starloom.corpus.substrings import Substrings
from starloom.errors import ConfigError, SourceError
from starloom.problems import Problem, load
from starloom.problems.problem import signature_of
from starloom.store import Built

STDLIB = Path(sysconfig.get_path("stdlib"))


@functools.cache
def leaks() -> Leaks:
    return Leaks([*load("humaneval"), *load("mbpp"), *load("gsm8k")], share=0.6, jaccard=0.58)


def holders(texts: list[str], problems: list[Problem]) -> int:
    """How many of the texts are told to hold the problem at their place."""
    found = leaks().find(texts)
    names = [{leaks().problems[leak.problem].id for leak in mine} for mine in found]
    return sum(problem.id in mine for problem, mine in zip(problems, names, strict=True))


def test_every_problem_of_humaneval_is_found_as_it_is_and_with_renamed_variables() -> None:
    problems = list(load("humaneval"))
    programs = [problem.programs()[0] for problem in problems]
    around = (STDLIB / "textwrap.py").read_text()[:6000]
    assert holders(programs, problems) == 164
    assert holders([renamed(program) for program in programs], problems) == 164
    assert holders([f"{around}\n{program}\n{around}" for program in programs], problems) == 164


@functools.cache
def hosts() -> list[str]:
    names = ("textwrap", "shelve", "queue", "bisect", "heapq", "sched", "csv", "fnmatch")
    return [(STDLIB / f"{name}.py").read_text() for name in names]


def bare(problem: Problem) -> str:
    """A solution without the docstring, with the lines ended as people do."""
    header = signature_of(problem.prompt) if problem.continues else ""
    return header + problem.solutions[0].replace("\r\n", "\n")


def found_in_files(problems: list[Problem], disguise: str) -> int:
    texts = [planted_in(hosts()[n % 8], DISGUISES[disguise](bare(one)), n) for n, one in enumerate(problems)]
    return holders(texts, problems)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_solutions_without_their_docstrings_are_found_in_any_disguise(disguise: str) -> None:
    assert found_in_files(list(load("humaneval")[::2]), disguise) >= 78  # of 82; the rest have fewer than 13 tokens
    sample = [problem for problem in load("mbpp") if 11 <= problem.row["task_id"] <= 510][::10]
    assert found_in_files(sample, disguise) >= 46  # of 50


def test_variables_with_names_of_the_language_are_found_under_other_names() -> None:
    program = (
        "def total(list):\n    sum = 0\n    for string in list:\n        sum += len(string) * 3\n    return sum - 1\n"
    )
    problem = Problem("mbpp-plus", "Mbpp/2", "Python", "Find it.", "Find it.", (program,), row={"task_id": "Mbpp/2"})
    other = program
    for name in ("total", "list", "sum", "string"):
        other = re.sub(rf"\b{name}\b", f"any_{name}", other)
    finder = Leaks([problem], share=0.6, jaccard=0.58)
    assert [leak.how for leak in finder.find([other])[0]] == ["ngrams"]
    assert finder.find([other.replace("len(", "abs(")]) == [[]]


def test_short_solutions_are_found_in_their_own_names_only() -> None:
    problem = next(problem for problem in load("mbpp") if problem.row["task_id"] == 17)
    program = bare(problem)
    assert len(tokens_of([program]).hashes) < 13
    assert holders([commented(without_comments(program)).replace("    ", "\t")], [problem]) == 1
    assert holders([renamed(program)], [problem]) == 0


def test_one_odd_quote_does_not_hide_the_code_that_follows() -> None:
    problem = load("humaneval")[0]
    program = commented(renamed(bare(problem)))
    for odd in ('# """ is a quote\n', "x = 1  # don't '''\n", 'An odd end\n"""\n'):
        assert holders([f"{odd}\n{program}"], [problem]) == 1
        assert holders([f'"""Doc."""\n{odd}\n\ndef f():\n    """Doc."""\n\n\n{program}'], [problem]) == 1


def test_remarks_are_comments_and_docstrings_and_nothing_else() -> None:
    def code(text: str) -> str:
        tokens = tokens_of([text]).without_remarks()
        return " ".join(text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True))

    assert code("a = 1  # b\nc = d // 2\n") == "a = 1 c = d / / 2"
    assert code("x[#] = '#'") == "x [ # ] = ' # '"
    assert code("int a; // b\n  // c\nd /* e\nf */ g http://h") == "int a d g http : / / h"
    assert code("a*/ b /* c") == "a * / b / * c"
    assert code("def f():\n    '''one\n    two'''\n    x = '''three'''\n") == "def f : x = ' ' ' three ' ' '"
    assert code("'''one'''\nx") == "x"


@settings(max_examples=200)
@given(st.lists(st.text("ab#/*'\"\\;:() \n", max_size=24), min_size=1, max_size=4))
def test_remarks_of_a_document_do_not_depend_on_the_documents_around(texts: list[str]) -> None:
    tokens = tokens_of(texts)
    for place, text in enumerate(texts):
        here = slice(tokens.bounds[place], tokens.bounds[place + 1])
        alone = tokens_of([text])
        assert tokens.hashes[here].tolist() == alone.hashes.tolist()
        assert tokens.remark[here].tolist() == alone.remark.tolist()
        assert tokens.free[here].tolist() == alone.free.tolist()


def test_a_task_in_other_line_breaks_and_punctuation_is_found() -> None:
    problems = list(load("gsm8k")[:200])
    texts = ["# " + "\n# ".join(problem.prompt.replace(".", " ;").split()) for problem in problems]
    assert holders(texts, problems) == 200


def test_files_of_the_standard_library_are_left_alone() -> None:
    paths = sorted(path for path in STDLIB.glob("*.py"))[:160]
    texts = [path.read_text("utf-8") for path in paths]
    assert [path.name for path, mine in zip(paths, leaks().find(texts), strict=True) if mine] == []


def test_a_problem_of_the_training_split_of_mbpp_is_none() -> None:
    problem = next(problem for problem in load("mbpp") if problem.row["task_id"] == 700)
    assert list(published_strings(problem)) == []
    (mine,) = leaks().find([problem.solutions[0]])
    assert all(leak.how == "near_duplicate" for leak in mine)  # the published MinHash takes every split


def test_problems_of_other_collections_of_mbpp_are_searched_for_whole() -> None:
    row = {"task_id": "Mbpp/2", "prompt": "", "canonical_solution": "", "assertion": ""}
    program = "\ndef similar(one, two):\n    return tuple(sorted(set(one) & set(two)) + [len(one), 3])\n"
    plus = Problem("mbpp-plus", "Mbpp/2", "Python", "Find them.", "Find them.", (program,), row=row)
    ((leak,),) = Leaks([plus], share=0.6, jaccard=0.58).find([renamed(program)])
    assert leak.how == "ngrams"


def test_generic_solutions_are_no_evidence() -> None:
    solutions = {string for problem in load("humaneval") for string in published_strings(problem)}
    assert not solutions & GENERIC
    assert leaks().find([f"def f(x, y, n, string, strings):\n    {solution}\n" for solution in GENERIC]) == [[]] * 4


def naive(strings: list[str], text: str) -> set[str]:
    """The published search: each string, in the lowered text. The oracle."""
    return {string for string in strings if string.lower() in text.lower()}


STRINGS = st.lists(st.text("abAB İß\nk", min_size=1, max_size=24), min_size=1, max_size=6, unique=True)


@settings(max_examples=200)
@given(STRINGS, st.lists(st.text("abAB İß\nk", max_size=40), max_size=3), st.data())
def test_substrings_are_found_as_by_plain_search(strings: list[str], texts: list[str], data: st.DataObject) -> None:
    texts = [text + data.draw(st.sampled_from(["", *strings])) + text for text in texts]
    finder = Substrings({string: [place] for place, string in enumerate(strings)})
    found = list(finder.find(texts))
    for document, text in enumerate(texts):
        assert {strings[problem].lower() for place, problem, _, _ in found if place == document} == {
            string.lower() for string in naive(strings, text)
        } or len({string.lower() for string in strings}) < len(strings)
    for document, problem, start, end in found:
        assert strings[problem].lower() in texts[document][start:end].lower()
        assert end - start <= len(strings[problem].lower())


def test_n_grams_see_how_names_recur_and_not_which_they_are() -> None:
    def grams(text: str) -> list[int]:
        return list(code_grams(tokens_of([text]), 6).tolist())

    assert grams("for a in b: c = a + b") == grams("for x in y: z = x + y") == grams("for  x in y :\n\tz=x+y")
    assert grams("for a in b: c = a + b") != grams("for a in b: c = b + a")
    assert grams("for a in b: c = a + b") != grams("for a in b: c = a - b")
    assert grams("return len(abc) + 12 * 3") != grams("return max(abc) + 12 * 3")
    assert grams("return len(abc) + 12 * 3") != grams("return len(abc) + 13 * 3")
    assert grams("values.append(v); w = 1") != grams("values.extend(v); w = 1")


@given(st.lists(st.text("ab.(1 \n'", max_size=30), min_size=1, max_size=4))
def test_n_grams_of_a_document_do_not_depend_on_the_documents_around(texts: list[str]) -> None:
    tokens = tokens_of(texts)
    together = code_grams(tokens, 4)
    for place, text in enumerate(texts):
        begin, end = tokens.bounds[place], tokens.bounds[place + 1]
        assert together[begin : max(end - 3, begin)].tolist() == code_grams(tokens_of([text]), 4).tolist()


@pytest.fixture
def planted(tmp_path: Path) -> Read:
    problem = load("humaneval")[0]
    files = {
        "renamed.py": ("é = 1\n" + renamed(signature_of(problem.prompt) + problem.solutions[0])).encode(),
        "copied.py": ("# é\n" + problem.programs()[0].upper()).encode(),
        "alone.py": "\n".join([*problem.programs(), *problem.tests]).encode(),
        "clean.py": (STDLIB / "textwrap.py").read_bytes(),
        "empty.py": b"",
        "binary.py": b"\0\1",
    }
    return Read(f"folder:{plant(tmp_path / 'code', files)}", shard_bytes=9000)


def tables(built: Built) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in built.directory.glob("*.parquet")}


def test_a_verdict_names_the_problem_and_the_bytes(planted: Read, tmp_path: Path) -> None:
    built = made(Decontaminate(planted, ("humaneval", "mbpp")), tmp_path / "store")
    files = by_path(made(planted, tmp_path / "store"))
    verdicts = dict(zip(files, rows(built), strict=True))
    assert {path: row["reasons"] for path, row in verdicts.items()} == {
        b"renamed.py": ["benchmark_ngrams"],
        b"copied.py": ["benchmark_substring", "benchmark_ngrams"],
        b"alone.py": ["benchmark_substring", "benchmark_ngrams", "benchmark_near_duplicate"],
        b"clean.py": [],
        b"empty.py": [],
        b"binary.py": [],
    }
    assert all(row["keep"] == (not row["reasons"]) for row in verdicts.values())
    (span,) = verdicts[b"renamed.py"]["spans"]
    assert span["reason"] == "benchmark_ngrams:HumanEval/0" and span["field"] == "text"
    text = files[b"renamed.py"]["text"].encode()[span["start"] : span["end"]].decode()
    assert text.startswith("def other") and text.rstrip().endswith("False")
    first = verdicts[b"copied.py"]["spans"][0]
    held = files[b"copied.py"]["text"].encode()[first["start"] : first["end"]].decode()
    assert held.lower() in {string.lower() for string in published_strings(load("humaneval")[0])}
    matches = [row for part in built.parts() for row in built.table(f"matches-{part}").to_pylist()]
    assert {(row["path"], row["benchmark"], row["problem"]) for row in matches} == {
        (path, "humaneval", "HumanEval/0") for path in (b"renamed.py", b"copied.py", b"alone.py")
    }
    assert built.counts["problems"] == {"humaneval:HumanEval/0": 3}
    assert built.counts["dropped"] == {"benchmark_ngrams": 1, "benchmark_substring": 2}


def test_verdicts_are_the_same_bytes_for_any_number_of_workers(planted: Read, tmp_path: Path) -> None:
    stage = Decontaminate(planted, ("humaneval",))
    one, two = (made(stage, tmp_path / str(workers), workers) for workers in (1, 2))
    assert len(one.parts()) > 1 and tables(one) == tables(two)


def test_a_fingerprint_follows_the_problems_and_not_their_place(planted: Read, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text('{"question": "q", "answer": "a"}')
    one, other = (Decontaminate(planted, (f"gsm8k={tmp_path / name}",)).external_digests() for name in "ab")
    assert one == other != Decontaminate(planted, ("gsm8k",)).external_digests()


def test_problems_that_cannot_be_are_named(planted: Read) -> None:
    with pytest.raises(ConfigError, match="names no benchmark"):
        Decontaminate(planted, ())
    with pytest.raises(ConfigError, match="share"):
        Decontaminate(planted, share=0.0)
    with pytest.raises(ConfigError, match="did you mean"):
        Decontaminate(planted, ("humanevl",)).external_digests()
    with pytest.raises(SourceError, match="DS-1000"):
        Decontaminate(planted, ("ds1000",)).external_digests()
