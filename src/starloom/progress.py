"""Progress of long work: a bar with a rate and the time left where a person looks on, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Advance = Callable[..., None]  # advance(amount, note="")


class Progress:
    """Says nothing; the base that tests and libraries use."""

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """A running piece of work of `total` units (None: unknown); yields `advance(amount, note="")`."""
        yield lambda amount, note="": None

    def line(self, text: str) -> None:
        """One finished fact, such as a stage's summary."""


class Lines(Progress):
    """One line per finished stage, no bars: logs, pipes, CI."""

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bars(Progress):
    """Bars on a terminal, with a rate and an estimate of the time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns: list[Any] = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        ]
        with Bar(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(name, total=total, rate="", note="")

            def advance(amount: float, note: str = "") -> None:
                speed = bar.tasks[0].speed
                bar.update(task, advance=amount, note=note, rate=f"{speed:,.0f} {unit}/s" if speed else "")

            yield advance

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def for_terminal() -> Progress:
    """Bars where standard error is a terminal, lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()
