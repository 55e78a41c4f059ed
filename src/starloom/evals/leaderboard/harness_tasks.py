"""The tasks as lm-evaluation-harness defines them, on documents that we read: no download, no cache, nothing left behind.

The harness is imported by the first call and by nothing else of starloom. What it and its libraries change in a process when
they are imported or used (environment variables, log levels, progress bars) is put back.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from starloom.errors import MissingExtraError, SourceError
from starloom.evals.leaderboard.board import SHOTS_SEED, Asked
from starloom.evals.leaderboard.data import Splits

EXTRA: Final = "leaderboard"
# Read by libraries while they are imported: they then ask no server, whoever calls them.
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
_FOLDERS: Final = ("arc", "hellaswag", "mmlu/default", "truthfulqa", "winogrande", "gsm8k", "drop")
_DROP: Final = {  # as the leaderboard ran it (the harness at b281b09): today's templates join the names of fields
    "doc_to_text": "Passage: {{passage}}\nQuestion: {{question}}\nAnswer:",
    "doc_to_target": "{{ answers[0]|join(', ') }}",
    "target_delimiter": " ",
}


def harness_module(name: str = "lm_eval") -> Any:
    """A module that needs the harness. Raises MissingExtraError where that is not installed."""
    try:
        with _offline():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lm_eval":
            raise
        raise MissingExtraError("lm_eval", EXTRA) from None


@contextmanager
def _offline() -> Iterator[None]:
    """Libraries are told to ask no server. Afterwards the environment and the random numbers of the process are what they
    were, whatever was put into the one and drawn from the other."""
    before, state = dict(os.environ), random.getstate()
    os.environ.update(_OFFLINE)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
        random.setstate(state)


def harness_version() -> str:
    """The installed release, without loading it. Raises MissingExtraError where there is none."""
    try:
        return importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError("lm_eval", EXTRA) from None


@contextmanager
def tamed() -> Iterator[None]:
    """Meanwhile the harness says nothing, shows no bars of its own, and compiles each template once.

    It compiles a template each time that it fills one in, 79 times for a document of ARC: a fifth of the time then.
    """
    datasets, environment = harness_module("datasets"), harness_module("lm_eval.utils").env
    log, shown = logging.getLogger("lm_eval"), not datasets.are_progress_bars_disabled()
    level = log.level
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    environment.from_string = functools.cache(environment.from_string)
    try:
        with _offline():
            yield
    finally:
        del environment.from_string  # the class' own is there again
        log.setLevel(level)
        if shown:
            datasets.enable_progress_bars()


def harness_tasks(asked: Asked, splits: Splits, shots: int | None = None) -> dict[str, Any]:
    """The harness' task objects of one of the seven, by subject ("" where there are none)."""
    package = Path(harness_module().__file__).parent / "tasks"
    manager = harness_module("lm_eval.tasks").TaskManager(
        include_defaults=False, include_path=[package / folder for folder in _FOLDERS]
    )
    found = {}
    with tamed():
        for subject, documents in splits.sets.items():
            name = asked.harness + subject
            if name not in manager.all_subtasks:
                raise SourceError(f"lm-evaluation-harness has no task {name}: is {subject} one of MMLU's subjects?")
            setting = {"task": name, **_settings(asked, documents)}
            task = manager.load({"group": EXTRA, "task": [setting]})["tasks"][name]
            if asked.shots:
                task.set_config(key="num_fewshot", value=asked.shots if shots is None else shots)
            task.set_fewshot_seed(seed=SHOTS_SEED)
            found[subject] = task
    return found


def _settings(asked: Asked, documents: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What is ours in a task's configuration: where its documents come from."""
    datasets = harness_module("datasets")
    splits = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in documents.items()})
    settings: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": None,
        "custom_dataset": lambda **_: splits,
        "validation_split": "validation" if "validation" in documents else None,
        "training_split": "train" if "train" in documents else None,
    }
    return settings | (_DROP if asked.name == "drop" else {})
