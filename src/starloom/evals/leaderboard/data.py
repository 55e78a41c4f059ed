"""The leaderboard's data, from local files: the publishers' own, or mirrors of them in the schema of the Hugging Face hub.

Each task names its files; of several alternatives the first that lies in the folder is read. What stands in for a file that
is not there is said in a note, which goes into the result.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starloom.errors import SourceError
from starloom.evals.leaderboard import rows

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """One file in alternative forms, each a path or a pattern below the data folder with who reads it."""

    split: str
    forms: tuple[tuple[str, Callable[[bytes, str], list[Row]]], ...]
    origin: str
    optional: bool = False

    def found(self, folder: Path) -> tuple[list[Path], Callable[[bytes, str], list[Row]], str] | None:
        """The files of the first form that is there, who reads them, and the form's name."""
        for pattern, read in self.forms:
            if paths := sorted(folder.glob(pattern)):
                return paths, read, pattern
        return None


@dataclass(frozen=True, slots=True)
class Splits:
    """The documents of a task by split, of which set they are (a subject of MMLU, else ""), and what is said about them."""

    sets: dict[str, dict[str, list[Row]]]
    notes: tuple[str, ...]

    def counts(self) -> list[int]:
        """How many documents each set has to be asked."""
        return [len(one["test"] if "test" in one else one["validation"]) for one in self.sets.values()]


_ARC: Final = "https://allenai.org/data/arc (ARC-V1-Feb2018)"
_HELLASWAG: Final = "https://github.com/rowanz/hellaswag (data/)"
_MMLU: Final = "https://github.com/hendrycks/test (data.tar)"
_WINOGRANDE: Final = "https://winogrande.allenai.org (winogrande_1.1.zip)"
_GSM8K: Final = "https://github.com/openai/grade-school-math (grade_school_math/data/)"
_DROP: Final = "https://allenai.org/data/drop (drop_dataset.zip)"
FILES: Final[dict[str, tuple[File, ...]]] = {
    "arc_challenge": (
        File("test", (("arc/ARC-Challenge-Test.jsonl", rows.arc), ("arc/arc_challenge_test_*.jsonl", rows.arc)), _ARC),
        File("train", (("arc/ARC-Challenge-Train.jsonl", rows.arc), ("arc/arc_challenge_train_*.jsonl", rows.arc)), _ARC),
    ),
    "hellaswag": (
        File(
            "validation",
            (
                ("hellaswag/hellaswag_val.jsonl", rows.hellaswag),
                ("hellaswag/hellaswag_val_full.txt*", rows.hellaswag_text),
            ),
            _HELLASWAG,
        ),
        File("train", (("hellaswag/hellaswag_train.jsonl", rows.hellaswag),), _HELLASWAG, optional=True),
    ),
    "mmlu": (
        File("test", (("mmlu/test/*_test.csv", rows.mmlu),), _MMLU),
        File("dev", (("mmlu/dev/*_dev.csv", rows.mmlu),), _MMLU),
    ),
    "truthfulqa": (
        File(
            "validation",
            (("truthfulqa/v0-mc_task.json", rows.truthfulqa), ("truthfulqa/mc_task.json", rows.truthfulqa)),
            "https://github.com/sylinrl/TruthfulQA (data/v0/mc_task.json)",
        ),
    ),
    "winogrande": (
        File("validation", (("winogrande/dev.jsonl", rows.winogrande),), _WINOGRANDE),
        File(
            "train",
            tuple((f"winogrande/train_{size}.jsonl", rows.winogrande) for size in ("xl", "l", "m", "s", "xs")),
            _WINOGRANDE,
        ),
    ),
    "gsm8k": (
        File("test", (("gsm8k/test.jsonl", rows.gsm8k),), _GSM8K),
        File("train", (("gsm8k/train.jsonl", rows.gsm8k),), _GSM8K),
    ),
    "drop": (
        File("validation", (("drop/drop_dataset_dev.json", rows.drop), ("drop/*-drop.json", rows.drop)), _DROP),
        File("train", (("drop/drop_dataset_train.json", rows.drop),), _DROP, optional=True),
    ),
}  # fmt: skip
# How many documents are published: fewer, or others, are said. From the data sets' papers and hub pages.
PUBLISHED: Final = {
    ("arc_challenge", "test"): 1172, ("arc_challenge", "train"): 1119,
    ("hellaswag", "validation"): 10042, ("hellaswag", "train"): 39905,
    ("mmlu", "test"): 14042, ("mmlu", "dev"): 285, ("truthfulqa", "validation"): 817,
    ("winogrande", "validation"): 1267, ("winogrande", "train"): 40398,
    ("gsm8k", "test"): 1319, ("gsm8k", "train"): 7473, ("drop", "validation"): 9536, ("drop", "train"): 77409,
}  # fmt: skip
SUBJECTS: Final = 57  # of MMLU


def read(task: str, folder: str) -> Splits:
    """The documents of a task. Raises SourceError for a file that is missing or not as published."""
    sets: dict[str, dict[str, list[Row]]] = {}
    notes: list[str] = []
    for file, paths, reader, form in _found(task, folder):
        for path in paths:
            of = path.name.rpartition("_")[0] if task == "mmlu" else ""
            sets.setdefault(of, {})[file.split] = _documents(path, file, reader)
        count = sum(len(one.get(file.split, ())) for one in sets.values())
        if count != (whole := PUBLISHED[task, file.split]):
            notes.append(f"{file.split}: {count:,} documents ({form}); {whole:,} are published")
        if reader is rows.hellaswag_text:
            notes.append(
                "validation: rebuilt from a text extract; where a scene's last words began is read off their case"
            )
    if task == "mmlu":
        for subject, splits in sets.items():
            if missing := {"test", "dev"} - splits.keys():
                raise SourceError(
                    f"{Path(folder) / 'mmlu' / missing.pop()} has no file of {subject}; it comes from {_MMLU}"
                )
        if len(sets) != SUBJECTS:
            notes.append(f"{len(sets)} of {SUBJECTS} subjects")
    elif any(file.split == "train" for file in FILES[task]) and "train" not in sets[""]:
        notes.append(f"shots: other {FILES[task][0].split} documents stand in for the training set, which is not there")
    return Splits(dict(sorted(sets.items())), tuple(notes))


def digest_of(tasks: Sequence[str], folder: str) -> str:
    """SHA-256 over the names and contents of the files that tasks read; where the folder lies is no part of it."""
    digest = hashlib.sha256()
    for task in tasks:
        for file, paths, _, _ in _found(task, folder):
            for path in paths:
                name = f"{task} {file.split} {path.relative_to(folder).as_posix()} "
                digest.update(name.encode() + hashlib.sha256(_bytes(path, file)).digest())
    return digest.hexdigest()


def _found(task: str, folder: str) -> Iterator[tuple[File, list[Path], Callable[[bytes, str], list[Row]], str]]:
    if not folder:
        raise SourceError(f"{task} is read from files that the package does not carry: name their folder (--data)")
    if not Path(folder).is_dir():
        raise SourceError(f"there is no data folder at {folder}; {task} reads {FILES[task][0].forms[0][0]} below it")
    for file in FILES[task]:
        found = file.found(Path(folder))
        if found is not None:
            yield file, *found
        elif not file.optional:
            names = " or ".join(form for form, _ in file.forms)
            raise SourceError(f"{folder} has no {names}, which {task} needs; it comes from {file.origin}")


def _bytes(path: Path, file: File) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}); it comes from {file.origin}") from None


def _documents(path: Path, file: File, reader: Callable[[bytes, str], list[Row]]) -> list[Row]:
    data = _bytes(path, file)
    try:
        data = (
            bz2.decompress(data) if data[:3] == b"BZh" else gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        )
        found = reader(data, path.name)
    except (EOFError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:  # JSON's and UTF-8's too
        raise SourceError(
            f"{path} is not as published ({type(error).__name__}: {error}); get it again from {file.origin}"
        ) from None
    if not found:
        raise SourceError(f"{path} holds no document; get it again from {file.origin}")
    return found
