"""From the bytes of a published file to documents in the schema that lm-evaluation-harness expects of each task."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]


def arc(data: bytes, name: str) -> list[Row]:
    """AI2's own file, or a mirror of it in the hub's schema."""
    found = []
    for row in _lines(data):
        if isinstance(row["question"], Mapping):
            choices = row["question"]["choices"]
            text, label = [one["text"] for one in choices], [one["label"] for one in choices]
            question = row["question"]["stem"]
        else:
            question, text, label = row["question"], row["choices"]["text"], row["choices"]["label"]
        label.index(row["answerKey"])
        choices = {"text": text, "label": label}
        found.append({"id": row["id"], "question": question, "choices": choices, "answerKey": row["answerKey"]})
    return found


def hellaswag(data: bytes, name: str) -> list[Row]:
    """The authors' file of a split with labels."""
    return [
        {
            "activity_label": row["activity_label"],
            "ctx_a": row["ctx_a"],
            "ctx_b": row["ctx_b"],
            "endings": _four(row["endings"]),
            "label": str(int(row["label"])),
        }
        for row in _lines(data)
    ]


def hellaswag_text(data: bytes, name: str) -> list[Row]:
    """Six lines a document: `activity: context`, the label, four endings; brackets were taken out.

    The harness capitalizes the words that come after the last sentence (`ctx_b`); here they are those after the last end
    of a sentence, if they begin in lower case.
    """
    lines = data.decode("utf-8").splitlines()
    if len(lines) % 6:
        raise ValueError(f"{len(lines)} lines; a document has six")
    found = []
    for first in range(0, len(lines), 6):
        activity, _, context = lines[first].partition(": ")
        last = re.search(r"(?:^|(?<=[.!?]) +)([a-z][^.!?]*)$", context)
        before, after = (context[: last.start()], last[1]) if last else (context, "")
        found.append({
            "activity_label": activity, "ctx_a": before, "ctx_b": after,
            "endings": _four(lines[first + 2 : first + 6]), "label": str(int(lines[first + 1])),
        })  # fmt: skip
    return found


def mmlu(data: bytes, name: str) -> list[Row]:
    """A subject's rows of question, four choices, answer (a letter as published, or its number), with a header or without."""
    found = []
    for number, row in enumerate(csv.reader(io.StringIO(data.decode("utf-8"), newline=""))):
        if number == 0 and row[0] == "question":
            continue
        question, *choices, answer = row
        place = "ABCD".index(answer) if answer in "ABCD" else int(answer)
        found.append({"question": question, "choices": _four(choices), "answer": place})
        if not 0 <= place < 4:
            raise ValueError(f"answer {answer!r} in row {number + 1}")
    return found


def truthfulqa(data: bytes, name: str) -> list[Row]:
    """One object a question, with `mc1_targets` and `mc2_targets`: answer → 1 if it is true."""
    return [
        {
            "question": row["question"],
            **{
                kind: {"choices": [*row[kind]], "labels": [*map(int, row[kind].values())]}
                for kind in ("mc1_targets", "mc2_targets")
            },
        }
        for row in json.loads(data)
    ]


def winogrande(data: bytes, name: str) -> list[Row]:
    found = [{name: row[name] for name in ("sentence", "option1", "option2", "answer")} for row in _lines(data)]
    for row in found:
        row["sentence"].index("_"), ("1", "2").index(row["answer"])
    return found


def gsm8k(data: bytes, name: str) -> list[Row]:
    return [{"question": row["question"], "answer": row["answer"]} for row in _lines(data)]


def drop(data: bytes, name: str) -> list[Row]:
    """AI2's file of passages: one document a question; answers in all the forms that one row of the hub's schema has."""
    found = []
    for passage in json.loads(data).values():
        for asked in passage["qa_pairs"]:
            others = [_drop_answer(one) for one in asked.get("validated_answers", ())]
            found.append({
                "query_id": asked["query_id"], "passage": passage["passage"], "question": asked["question"],
                "answer": _drop_answer(asked["answer"]),
                "validated_answers": {part: [one[part] for one in others] for part in ("number", "date", "spans")},
            })  # fmt: skip
    return found


def _drop_answer(answer: Mapping[str, Any]) -> Row:
    date = answer.get("date") or {}
    return {
        "number": str(answer.get("number", "")),
        "date": {part: str(date.get(part, "")) for part in ("day", "month", "year")},
        "spans": [*answer.get("spans", ())],
    }


def _lines(data: bytes) -> list[Row]:
    return [json.loads(line) for line in data.decode("utf-8-sig").split("\n") if line.strip()]


def _four(choices: list[str]) -> list[str]:
    if len(choices) != 4:
        raise ValueError(f"{len(choices)} choices; there are four")
    return [*choices]
