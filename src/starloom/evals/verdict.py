"""What a judge says of one answer, and how much it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Strength = Literal["strong", "weak", "text"]
Status = Literal[
    "passed",
    "wrong_answer",
    "raised",
    "timed_out",
    "out_of_memory",
    "too_much_output",
    "crashed",
    "does_not_compile",
    "end_not_reached",
    "refused",
    "toolchain_missing",
    "harness_error",
]
STATUSES: Final[tuple[str, ...]] = get_args(Status)
# Nothing was learned about the answer: counted apart, never as failed.
NOT_JUDGED: Final = frozenset({"toolchain_missing", "harness_error"})

STRENGTHS: Final[Mapping[str, str]] = {
    "strong": "the judge is outside, the program answers over a pipe: nothing that it does can become a pass",
    "weak": "the tests ran in the program's own process; an unforgeable epilogue shows that their end was reached",
    "text": "no program was run: texts were compared",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer's verdict. `status` is "passed" exactly where `passed` is true.

    `detail` is one line: what failed. `stderr` is the tail of what the program wrote there. `score` is for tasks that
    measure instead of passing or failing (BLEU), between 0 and 1. `parts` are the verdicts of parts, such as
    {"base": True, "plus": False}; `seconds` is how long judging took, and is kept apart from the verdict on disk.
    """

    passed: bool
    strength: Strength
    status: Status
    detail: str = ""
    stderr: str = ""
    score: float | None = None
    seconds: float = 0.0
    parts: Mapping[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.status in STATUSES, f"status {self.status!r}"
        assert self.strength in STRENGTHS, f"strength {self.strength!r}"
        assert self.passed == (self.status == "passed"), f"passed is {self.passed} and the status {self.status!r}"

    @property
    def judged(self) -> bool:
        """Whether something was learned about the answer."""
        return self.status not in NOT_JUDGED

    def as_row(self) -> dict[str, Any]:
        """For `results.jsonl`: all but the time, which is no part of what was found."""
        return {
            "passed": self.passed,
            "strength": self.strength,
            "status": self.status,
            "detail": self.detail,
            "stderr": self.stderr,
            "score": self.score,
            "parts": dict(self.parts),
        }
