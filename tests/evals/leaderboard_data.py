"""The leaderboard's files in small: every one of the seven in its publisher's form, with documents of ours."""

from __future__ import annotations

import bz2
import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = [
    "stone",
    "river",
    "copper",
    "lantern",
    "orchard",
    "winter",
    "signal",
    "basket",
    "harbor",
    "meadow",
    "thunder",
    "pencil",
]


def word(number: int) -> str:
    return WORDS[number % len(WORDS)]


def lines(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def arc(count: int, first: int = 0) -> bytes:
    def row(n: int) -> dict[str, Any]:
        choices = {"text": [f"the {word(n + k * 5)} of a {word(n + k)}" for k in range(4)], "label": list("ABCD")}
        return {
            "id": f"q{n}",
            "question": f"Which {word(n)} holds {n} drops?",
            "choices": choices,
            "answerKey": "ABCD"[n % 4],
        }

    return lines(map(row, range(first, first + count)))


def hellaswag(count: int) -> bytes:
    text = []
    for n in range(count):
        text += [f"Making a {word(n)}: A man shows a {word(n + 1)}. the {word(n + 2)}", str(n % 4)]
        text += [f"turns {n + k} times toward the {word(n + k)}." for k in range(4)]
    return bz2.compress("\n".join(text).encode() + b"\n")


def mmlu(count: int, subject: str) -> bytes:
    written = io.StringIO()
    out = csv.writer(written)
    out.writerow(["question", "choice0", "choice1", "choice2", "choice3", "answer"])
    for n in range(count):
        out.writerow([f"In {subject}, what, if {n}, is a {word(n)}?", *(word(n + k) for k in range(4)), n % 4])
    return written.getvalue().encode()


def truthfulqa(count: int) -> bytes:
    answers = [{f"It is a {word(n + k)}, {n} by {k}.": int(k < 1 + n % 2) for k in range(3 + n)} for n in range(count)]
    return json.dumps(
        [{"question": f"What is a {word(n)}?", "mc1_targets": one, "mc2_targets": one} for n, one in enumerate(answers)]
    ).encode()


def winogrande(count: int, first: int = 0) -> bytes:
    return lines(
        {
            "qID": str(n), "sentence": f"The {word(n)} did not fit the {word(n + 1)} as the _ was {n} feet wide.",
            "option1": word(n), "option2": word(n + 1), "answer": str(1 + n % 2),
        }
        for n in range(first, first + count)
    )  # fmt: skip


def gsm8k(count: int, first: int = 0) -> bytes:
    return lines(
        {"question": f"Ada has {n} {word(n)}s and buys {n}. How many?", "answer": f"{n} + {n} = {2 * n}.\n#### {2 * n}"}
        for n in range(first, first + count)
    )


def drop(count: int) -> bytes:
    def question(n: int) -> dict[str, Any]:
        date = {"day": "", "month": "May", "year": "1611"} if n % 3 == 2 else {}
        answer = {
            "number": str(n) if n % 3 == 0 else "",
            "date": date,
            "spans": [word(n), word(n + 1)] if n % 3 == 1 else [],
        }
        return {"query_id": f"d{n}", "question": f"How many {word(n)}s?", "answer": answer}

    return json.dumps(
        {"p": {"passage": f"In May 1611 the {word(3)} fell.", "qa_pairs": list(map(question, range(count)))}}
    ).encode()


def written(folder: Path) -> Path:
    """A data folder with all seven."""
    files = {
        "arc/arc_challenge_test_4.jsonl": arc(4), "arc/arc_challenge_train_26.jsonl": arc(26, 40),
        "hellaswag/hellaswag_val_full.txt.bz2": hellaswag(12), "truthfulqa/v0-mc_task.json": truthfulqa(4),
        "winogrande/dev.jsonl": winogrande(4), "winogrande/train_s.jsonl": winogrande(6, 20),
        "gsm8k/test.jsonl": gsm8k(4), "gsm8k/train.jsonl": gsm8k(6, 30), "drop/allennlp-fixture-drop.json": drop(5),
        "mmlu/test/anatomy_test.csv": mmlu(1, "anatomy"), "mmlu/dev/anatomy_dev.csv": mmlu(5, "anatomy"),
        "mmlu/test/virology_test.csv": mmlu(3, "virology"), "mmlu/dev/virology_dev.csv": mmlu(5, "virology"),
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
