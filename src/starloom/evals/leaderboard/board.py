"""The seven tasks of the Open LLM Leaderboard (its first version, 2023): shots, metric, and what lm-evaluation-harness calls
them. Prompts, targets, stops and metrics are the harness' own; here stands what the leaderboard fixes and where data lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starloom.errors import ConfigError, suggestion

NAME: Final = "leaderboard"  # all seven
HARNESS: Final = "0.4.13"  # the release that prompts and metrics were compared with
SHOTS_SEED: Final = 1234  # of the choice of shots: the harness' default (`fewshot_random_seed`)


@dataclass(frozen=True, slots=True)
class Asked:
    """One of the seven. `harness` is its name there; MMLU's is the beginning of 57 names."""

    name: str
    about: str
    harness: str
    shots: int
    metric: str
    filter: str = "none"  # which of the harness' readings of a text counts
    note: str = ""  # how it differs from what the leaderboard ran


# Tasks, shots and metrics: the leaderboard's own page ("About", version 1); the same for GPTeacher's row in its model card.
SEVEN: Final = (
    Asked("arc_challenge", "ARC challenge, grade-school science", "arc_challenge", 25, "acc_norm"),
    Asked("hellaswag", "HellaSwag, how a scene goes on", "hellaswag", 10, "acc_norm"),
    Asked("mmlu", "MMLU, 57 subjects, the plain mean of their accuracies", "mmlu_", 5, "acc"),
    Asked("truthfulqa", "TruthfulQA, MC2: the probability of true answers", "truthfulqa_mc2", 0, "acc"),
    Asked("winogrande", "Winogrande, whom a word stands for", "winogrande", 5, "acc"),
    Asked(
        "gsm8k", "GSM8K, grade-school arithmetic in words", "gsm8k", 5, "exact_match", "strict-match",
        note="an answer ends at 'Question:' as in the harness today; the leaderboard also ended it at every colon",
    ),
    Asked(
        "drop", "DROP, reading with arithmetic", "drop", 3, "f1",
        note="prompt and shots as the leaderboard ran them; the harness today shows field names in place of the shots' answers",
    ),
)  # fmt: skip
_BY_NAME: Final = {one.name: one for one in SEVEN}


def leaderboard_tasks() -> tuple[str, ...]:
    """The names of the seven, in the leaderboard's order."""
    return tuple(_BY_NAME)


def named(name: str) -> Asked:
    """One of the seven. Raises ConfigError for another name."""
    if name not in _BY_NAME:
        raise ConfigError(f"the leaderboard has no task '{name}'; {suggestion(name, [NAME, *_BY_NAME])}")
    return _BY_NAME[name]


def chosen(names: Iterable[str]) -> tuple[str, ...]:
    """Each task once, in the leaderboard's order; `leaderboard` is all seven."""
    wanted = {one for name in names for one in (_BY_NAME if name == NAME else (named(name).name,))}
    return tuple(name for name in _BY_NAME if name in wanted)
