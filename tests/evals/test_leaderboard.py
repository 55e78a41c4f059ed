"""The leaderboard's data and figures: what needs no harness."""

from __future__ import annotations

import bz2
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import leaderboard_data as small
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import ConfigError, GenerationError, MissingExtraError, SourceError
from starloom.evals.leaderboard import Leaderboard, harness_tasks, leaderboard_tasks, rows, stage
from starloom.evals.leaderboard.asking import Document, batches
from starloom.evals.leaderboard.board import SEVEN, chosen, named
from starloom.evals.leaderboard.data import digest_of, read
from starloom.evals.leaderboard.results import render, result_of, skipped, whole


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small.written(tmp_path_factory.mktemp("data")))


def row(value: float, subject: str | None = None, error: str | None = None) -> dict[str, Any]:
    return {"subject": subject, "metrics": {} if error else {"acc": value, "acc_norm": value}, "error": error}


def test_the_group_is_all_seven_in_the_leaderboards_order() -> None:
    assert chosen(["drop", "leaderboard"]) == leaderboard_tasks() == tuple(one.name for one in SEVEN)
    assert chosen(["drop", "arc_challenge", "drop"]) == ("arc_challenge", "drop")
    assert [one.shots for one in SEVEN] == [25, 10, 5, 0, 5, 5, 3]


def test_an_unknown_task_is_named_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="'helaswag'; did you mean 'hellaswag'"):
        Leaderboard(tasks=("helaswag",), model="m")


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"limit": 0}, "limit is 0"), ({"shots": -1}, "shots is -1"), ({"model": ""}, "by its name"), ({"tasks": ()}, "no task")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Leaderboard(**{"model": "m", **settings})


def test_without_the_harness_the_error_says_what_installs_it(monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    def missing(name: str) -> str:
        raise harness_tasks.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(harness_tasks.importlib.metadata, "version", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'starloom\[leaderboard\]'"):
        Leaderboard(model="m", data=data).external_digests()


@pytest.mark.parametrize("task", leaderboard_tasks())
def test_a_missing_file_is_named_with_where_it_comes_from(task: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"has no {task[:3]}.*, which {task} needs; it comes from https://"):
        read(task, str(tmp_path))


@pytest.mark.parametrize("task", leaderboard_tasks())
def test_a_damaged_file_is_named(task: str, tmp_path: Path) -> None:
    for path in small.written(tmp_path).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SourceError, match="get it again"):
        read(task, str(tmp_path))


def test_substitutes_and_missing_documents_are_said(data: str) -> None:
    said = {task: " ".join(read(task, data).notes) for task in leaderboard_tasks()}
    assert "26 documents" in said["arc_challenge"] and "1,119 are published" in said["arc_challenge"]
    assert "text extract" in said["hellaswag"] and "stand in for the training set" in said["hellaswag"]
    assert "2 of 57 subjects" in said["mmlu"]
    assert "train_s.jsonl" in said["winogrande"] and "stand in for the training set" in said["drop"]


def test_a_publishers_file_goes_before_its_substitute(tmp_path: Path) -> None:
    folder = small.written(tmp_path)
    rows = [
        {"activity_label": "Knitting", "ctx_a": "A.", "ctx_b": "she", "endings": list("abcd"), "label": n % 4}
        for n in range(3)
    ]
    for name in ("hellaswag_val.jsonl", "hellaswag_train.jsonl"):
        (folder / "hellaswag" / name).write_bytes(small.lines(rows))
    splits = read("hellaswag", str(folder))
    assert {row["activity_label"] for split in splits.sets[""].values() for row in split} == {"Knitting"}
    assert not any("stand in" in note for note in splits.notes)


def test_a_text_extract_gives_the_words_that_the_harness_capitalizes() -> None:
    contexts = {
        "A man sits. he": ("A man sits.", "he"), "A man sits. He stands.": ("A man sits. He stands.", ""),
        "the dog": ("", "the dog"), "Two women wait, one sings! then the man, in a hat,": ("Two women wait, one sings!", "then the man, in a hat,"),
    }  # fmt: skip
    text = "".join(f"Thing: {context}\n0\na\nb\nc\nd\n" for context in contexts)
    found = rows.hellaswag_text(bz2.decompress(bz2.compress(text.encode())), "")
    assert [(row["ctx_a"], row["ctx_b"]) for row in found] == list(contexts.values())


def test_both_forms_of_arc_are_the_same_documents() -> None:
    ours = rows.arc(small.arc(3), "")
    stem = [
        {
            "id": row["id"], "answerKey": row["answerKey"],
            "question": {
                "stem": row["question"],
                "choices": [{"text": text, "label": label} for text, label in zip(*row["choices"].values(), strict=True)],
            },
        }
        for row in ours
    ]  # fmt: skip
    assert rows.arc(small.lines(stem), "") == ours


def test_mmlu_is_read_with_letters_or_numbers_with_a_header_or_without() -> None:
    numbers = small.mmlu(4, "anatomy")
    letters = numbers.partition(b"\r\n")[2]
    for number, letter in enumerate("ABCD"):
        letters = letters.replace(f",{number}\r\n".encode(), f",{letter}\r\n".encode())
    assert rows.mmlu(letters, "") == rows.mmlu(numbers, "")
    with pytest.raises(ValueError, match="answer '7'"):
        rows.mmlu(b"q,a,b,c,d,7\n", "")


def test_what_data_are_depends_on_their_contents_and_not_on_where_they_lie(tmp_path: Path, data: str) -> None:
    other = small.written(tmp_path / "elsewhere")
    assert digest_of(leaderboard_tasks(), str(other)) == digest_of(leaderboard_tasks(), data)
    (other / "gsm8k/train.jsonl").write_bytes(small.gsm8k(7))
    assert digest_of(("drop",), str(other)) == digest_of(("drop",), data)
    assert digest_of(("gsm8k",), str(other)) != digest_of(("gsm8k",), data)


def test_mmlu_is_the_plain_mean_of_its_subjects_even_of_one_document() -> None:
    found = result_of(named("mmlu"), [row(1, "a"), row(0, "b"), row(0, "b"), row(1, "b")], (), 5, None)
    assert found["value"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["subjects"] == {
        "a": {"value": 1, "documents": 1},
        "b": {"value": pytest.approx(1 / 3), "documents": 3},
    }
    assert found["standard_error"] is None  # a subject of one document has none
    assert found["low"] < found["value"] < found["high"]


def test_a_figure_has_the_harness_standard_error_and_an_interval() -> None:
    found = result_of(named("winogrande"), [row(value) for value in (1, 0, 0, 1, 1, 1, 0, 1)], (), 5, None)
    assert found["value"] == 5 / 8
    assert found["standard_error"] == pytest.approx((5 / 8 * 3 / 8 / 7) ** 0.5)  # of a share, with n − 1
    assert found["low"] < 5 / 8 < found["high"]


def test_failed_documents_are_counted_apart() -> None:
    found = result_of(named("winogrande"), [row(1), row(0), row(0, error="too long")], (), 5, None)
    assert (found["value"], found["documents"], found["failed"]) == (0.5, 3, 1)
    assert found["failures"] == ["too long"] and not found["as_published"]
    assert result_of(named("winogrande"), [row(0, error="x")], (), 5, None)["value"] is None


def test_the_average_is_there_only_when_all_seven_are() -> None:
    one = {"value": 0.5, "standard_error": 0.07, "as_published": True, "documents": 9, "failed": 0, "notes": []}
    results = {task: dict(one) for task in leaderboard_tasks()}
    said = whole(results, "0.4.13", {})
    assert said["average"] == 0.5 and said["as_published"]
    assert said["average_standard_error"] == pytest.approx(0.07 / 7**0.5)
    results["drop"] = skipped(named("drop"), "it cannot")
    assert whole(results, "0.4.13", {})["average"] is None
    del results["drop"]
    assert whole(results, "0.4.13", {})["average"] is None


def test_the_table_says_what_was_skipped_and_what_stands_in() -> None:
    results = {
        "winogrande": result_of(named("winogrande"), [row(1), row(0)], ("train: fewer",), 5, None),
        "drop": skipped(named("drop"), "m cannot write texts"),
    }
    text = render(whole(results, "0.4.13", {}))
    assert "50.00" in text and "m cannot write texts" in text and "winogrande: train: fewer" in text


@dataclass(frozen=True)
class Sized:
    number: int
    tokens: int


@given(st.lists(st.integers(1, 50)), st.integers(1, 60))
def test_batches_are_whole_documents_in_order_and_no_larger_than_said(sizes: list[int], tokens: int) -> None:
    asked: list[Any] = [Sized(number, size) for number, size in enumerate(sizes)]
    found: Sequence[Sequence[Document]] = list(batches(iter(asked), tokens))
    assert [document for batch in found for document in batch] == asked
    assert all(len(batch) == 1 or sum(document.tokens for document in batch) <= tokens for batch in found)


@pytest.mark.parametrize(("able", "left"), [({"complete"}, 2), ({"loglikelihood"}, 5), (set(), 0)])
def test_a_generator_is_asked_only_what_it_can(able: set[str], left: int) -> None:
    generator: Any = SimpleNamespace(capabilities=able)
    reasons = [stage.cannot(generator, task, "model") for task in leaderboard_tasks()]
    assert reasons.count(None) == left
    assert all(reason is None or reason.startswith("model cannot") for reason in reasons)


def test_a_server_without_log_probabilities_is_told_apart_from_one_that_is_gone() -> None:
    from starloom.generate.generators.http import RefusedError

    assert stage.about_the_ask(RefusedError(400, "too long"))
    assert not stage.about_the_ask(RefusedError(503, "gone")) and not stage.about_the_ask(GenerationError("no route"))


def test_the_settings_are_part_of_what_a_result_is() -> None:
    base = Leaderboard(model="m")
    assert base.settings() != replace(base, limit=3).settings() != replace(base, shots=1).settings()
    assert json.loads(json.dumps(base.settings()))["tasks"] == list(leaderboard_tasks())
