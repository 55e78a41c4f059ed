"""The page of an evaluation: figures, and what did not pass, to be filtered; it loads nothing, and runs one script of ours.

What models wrote and programs printed is data to it: escaped in the page, put in as text by the script, held by a policy that
lets no other script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from starloom import __version__
from starloom.evals.harness.card import LIKELIHOODS
from starloom.evals.harness.tally import contained, notes, over, percent, span
from starloom.evals.verdict import STRENGTHS
from starloom.report import plain
from starloom.report.page import environment

PAGE: Final = "results.html"
LONGEST: Final = 20_000  # characters of one text on the page; our choice
MOST: Final = 2_000  # failures on the page: a browser filters them at once. Our choice
MOST_CHARACTERS: Final = 16_000_000  # of all of them together
SHOWN: Final = ("task", "id", "sample", "status", "strength", "language", "detail", "stderr", "program", "prompt")


class Failures:
    """Rows for the page, as many as it takes; all are counted."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.count = 0
        self._characters = 0

    def add(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """One answer that did not pass, with what was asked."""
        self.count += 1
        if len(self.rows) >= MOST or self._characters >= MOST_CHARACTERS:
            return
        prompt = answer.get("prompt")
        if prompt is None and "prefix" in answer:
            prompt = f"{answer['prefix']}⟨the gap⟩{answer['suffix']}"
        texts = {**row, "prompt": prompt or "", "program": row["program"] or answer.get("text", "")}
        fit = {name: bounded(texts[name]) if isinstance(texts[name], str) else texts[name] for name in SHOWN}
        self.rows.append(fit)
        self._characters += sum(len(value) for value in fit.values() if isinstance(value, str))


def bounded(text: str) -> str:
    """A text of a row in which nothing hides, not longer than the page takes."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} characters more"
    return plain.visible(cut)


def page(
    model: str, tasks: Sequence[Mapping[str, Any]], failures: Failures, leaderboard: Iterable[Mapping[str, Any]] = ()
) -> str:
    """The whole page."""
    from markupsafe import Markup

    here = Path(__file__).parent
    script = (here / "results.js").read_text(encoding="utf-8")
    answers = sum(task["answers"]["all"] for task in tasks)
    return environment(here).get_template("results.html").render(
        title=f"What {model} scores",
        subtitle=f"{plain.several(answers, 'answer')} to {plain.several(len(tasks), 'task')}",
        tasks=tasks,
        leaderboard=list(leaderboard),
        strengths=STRENGTHS,
        notes=notes,
        contained=contained(tasks),
        span=span,
        over=over,
        percent=percent,
        likelihoods=LIKELIHOODS,
        failures=failures.count,
        shown=len(failures.rows),
        rows=Markup(harmless_json(failures.rows)),
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        version=__version__,
    )  # fmt: skip


def harmless_json(value: object) -> str:
    """JSON that may stand in an HTML script element: no sign in it begins or ends markup."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
