from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import says

from starloom.errors import BusyError, GenerationError, SourceError
from starloom.generate.generators.completions_file import CompletionsFile, digest, write
from starloom.generate.protocol import Ask, Completion, Generator, Hole, Prompt, Settings, samples_of

SUFFIX = "\n    return total\n"


class Writer:
    """Answers each ask with its number, or an error; counts what it was asked."""

    def __init__(self, failing: Iterable[int] = ()) -> None:
        self.asked: list[Ask] = []
        self.failing = set(failing)

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
        for ask in asks:
            self.asked.append(ask)
            number = len(self.asked)
            yield GenerationError("no") if number in self.failing else Completion(f"é{number}\n", (1,), "length", None)


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


asks = st.lists(
    st.builds(Prompt, st.text(max_size=4), id=st.none() | st.sampled_from(["p/1", "p/2"]), sample=st.integers(0, 2))
    | st.builds(Hole, st.text(max_size=3), st.text(max_size=3), sample=st.integers(0, 1)),
    max_size=6,
    unique_by=lambda ask: (ask.id or digest(ask), ask.sample),
)


@given(asks, st.integers(0, 6), st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_what_a_generator_answered_is_in_the_file_and_a_killed_run_goes_on(
    tmp_path_factory: pytest.TempPathFactory, asks: list[Ask], taken: int, torn: int
) -> None:
    path = tmp_path_factory.mktemp("file") / "completions.jsonl"
    first = write(Writer(), asks, path)  # type: ignore[arg-type]
    before = [answer for _, answer in zip(range(taken), first, strict=False)]
    first.close()  # type: ignore[attr-defined]
    if path.exists():
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - min(torn, len(data.splitlines()[-1]) if data else 0)])
    writer = Writer()
    answers = list(write(writer, asks, path))  # type: ignore[arg-type]
    assert len(answers) == len(asks)
    lost = 1 if torn > 1 and before else 0  # without its line break alone, a line is whole
    assert len(writer.asked) == len(asks) - (len(before) - lost)
    file = CompletionsFile(path)
    assert [one.text for one in file.run(asks) if isinstance(one, Completion)] == [
        one.text for one in answers if isinstance(one, Completion)
    ]
    assert list(write(Writer(), asks, path)) == list(file.run(asks))  # type: ignore[arg-type]


def test_what_is_asked_twice_is_asked_for_once_and_written_once(tmp_path: Path) -> None:
    path, writer = tmp_path / "c.jsonl", Writer()
    asked: list[Ask] = [Prompt("x"), Prompt("y"), Prompt("x", Settings(max_tokens=3))]
    first, _, third = write(writer, asked, path)  # type: ignore[arg-type]
    assert first is third
    assert len(writer.asked) == len(path.read_text().splitlines()) == 2


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    first = write(Writer(), [Prompt("x"), Prompt("y")], tmp_path / "c.jsonl")  # type: ignore[arg-type]
    next(first)
    with pytest.raises(BusyError, match=r"another process writes .*c\.jsonl"):
        next(write(Writer(), [Prompt("z")], tmp_path / "c.jsonl"))  # type: ignore[arg-type]


def test_an_error_is_given_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    asked = samples_of(Prompt("x", id="p"), 3)
    answers = list(write(Writer(failing=[2]), asked, path))  # type: ignore[arg-type]
    assert isinstance(answers[1], GenerationError)
    file = CompletionsFile(path)
    [first, second, third] = file.run(asked)
    assert isinstance(first, Completion) and isinstance(third, Completion)
    assert str(second) == f"{path} has no completion 1 of 'p'; it has 2 of it"


def test_problem_ids_and_digests_are_keys_and_texts_are_completions(tmp_path: Path) -> None:
    ask = Prompt("def f():")
    path = lines(
        tmp_path / "c.jsonl",
        {"id": "HumanEval/0", "completions": ["a\n", "b\nc"]},
        {"id": "HumanEval/0", "completions": ["d"]},
        {"prompt": digest(ask), "completions": [{"text": "e", "finish_reason": "length"}]},
    )
    file: Generator = CompletionsFile(path)
    assert file.capabilities == {"complete", "infill"}
    problem = Prompt("whatever", Settings(stop=("\n",)), id="HumanEval/0")
    assert [one.text for one in file.run(samples_of(problem, 3)) if isinstance(one, Completion)] == ["a", "b", "d"]
    assert file.complete("def f():", max_tokens=3).finish_reason == "length"
    assert list(file.start(ask)) == ["e"]
    with pytest.raises(
        GenerationError, match=r"no completion 0 of the prompt [0-9a-f]{32} \('def g\(\):'\); it was written"
    ):
        file.complete("def g():")
    with pytest.raises(GenerationError, match="holds completions, not likelihoods"):
        file.loglikelihood([("a", "b")])


def test_texts_of_others_end_before_stop_strings_and_copies_of_the_suffix(tmp_path: Path) -> None:
    hole = Hole("def f():\n", SUFFIX)
    path = lines(tmp_path / "c.jsonl", {"prompt": digest(hole), "completions": ["    total = 1" + SUFFIX]})
    completion = CompletionsFile(path).infill("def f():\n", SUFFIX)
    assert (completion.text, completion.stopped_by) == ("    total = 1", "suffix")


def test_what_a_session_wrote_reads_back_as_it_was(tmp_path: Path) -> None:
    for script in ("    total = 1" + SUFFIX, "    total = 1", "x" * 400):
        session, _ = says(script)
        asked: list[Ask] = [
            Hole("def f():\n", SUFFIX),
            Prompt("a", Settings(stop=("tal",))),
            Prompt("b", Settings(response_prefix=">> ")),
            Prompt("c", Settings(response_prefix="    to", stop=("tota",))),
        ]
        path = tmp_path / f"{len(script)}.jsonl"
        written = list(write(session, asked, path))
        for one, again in zip(written, CompletionsFile(path).run(asked), strict=True):
            assert isinstance(one, Completion) and isinstance(again, Completion)
            assert (again.text, again.finish_reason, again.stopped_by) == (one.text, one.finish_reason, one.stopped_by)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{nonsense", "line 2 is not JSON"),
        ("[]", "line 2 has no list 'completions'"),
        ('{"completions": ["x"]}', "line 2 has no list 'completions' beside an 'id' or 'prompt'"),
        ('{"id": "p", "completions": [3]}', "line 2 has a completion that is neither a text nor an object"),
        (
            '{"id": "p", "completions": [{"text": "x", "finish_reason": "tired"}]}',
            "finish_reason, stopped_by or sample",
        ),
        ('{"id": "p", "completions": [{"text": "x", "sample": -1}]}', "finish_reason, stopped_by or sample"),
        ('{"id": "a", "completions": [{"text": "x", "sample": 0}]}', "line 2 gives sample 0 of 'a' a second time"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_a_line_that_is_no_completion_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": "a", "completions": ["x"]}\n' + row + "\n")
    with pytest.raises(SourceError, match=message):
        CompletionsFile(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.jsonl cannot be read: No such file"):
        CompletionsFile(tmp_path / "absent.jsonl")
