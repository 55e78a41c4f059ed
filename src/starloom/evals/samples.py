"""Completions and infillings to read: what the model writes in held-out files, beside what they say."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from starloom.errors import ConfigError
from starloom.evals.held_out_files import HeldOutFile, held_out_files, in_order_of_chance
from starloom.evals.places import Function, Gap, first_lines, functions, gap, within_block
from starloom.records import uniform
from starloom.report import plain
from starloom.report.facts import json_lines
from starloom.stage import Stage, Work
from starloom.store import Built

if TYPE_CHECKING:
    from starloom.generate.protocol import Completion, Generator, Hole, Prompt

ROWS = "completions.jsonl"
BLOCK_END = "the end of the block"
LINES_END = "the end of the line"
FILES_LOOKED_AT = 400  # of the held-out files, by chance: enough to choose from, also where millions are held out
NOTHING = "Nothing was held out, or no held-out file has a function of a size to ask for: no samples."


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the model at one place, and what the file says there."""

    file: HeldOutFile
    function: Function
    gap: Gap | None  # None: the function's body is asked for

    @property
    def truth(self) -> str:
        return self.function.rest if self.gap is None else self.gap.middle


@dataclass(frozen=True, slots=True)
class Samples(Stage):
    """Bodies and gaps of functions in held-out files, chosen by chance and written by the model."""

    version: ClassVar[int] = 2

    base: Stage
    clean: Stage
    completions: int = 5
    infillings: int = 3
    max_tokens: int = 64
    temperature: float = 0.7  # small models repeat themselves at less; our choice
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("completions", 0), ("infillings", 0), ("max_tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"samples.{name} is {getattr(self, name)}; it must be at least {least}")

    def produce(self, work: Work) -> None:
        clean = work.input("clean")
        ordered = in_order_of_chance(clean, self.seed)[:FILES_LOOKED_AT]
        files = held_out_files(clean, [id_ for id_, _ in ordered])
        asked = chosen(files, self.completions, self.infillings, self.seed)
        rows = self._answers(work, asked) if asked else []
        with work.unit("samples") as unit:
            unit.path(ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        kinds = [row["kind"] for row in rows]
        work.count(completions=kinds.count("completion"), infillings=kinds.count("infilling"))
        work.summary = (
            f"{plain.several(kinds.count('completion'), 'completion')}, "
            f"{plain.several(kinds.count('infilling'), 'infilling')}"
        )

    def _answers(self, work: Work, asked: Sequence[Asked]) -> list[dict[str, Any]]:
        from starloom.generate.session import load

        generator: Generator = load(
            work.input("base").directory, device=work.runtime.device, threads=work.runtime.threads
        )
        if "infill" not in generator.capabilities:
            asked = [one for one in asked if one.gap is None]
        rows = []
        with work.runtime.progress.task("samples", len(asked), "samples") as advance:
            for one, answer in zip(asked, generator.run(map(self.ask, asked)), strict=True):
                rows.append(self.row(one, answer))
                advance(1)
        return rows

    def ask(self, one: Asked) -> Prompt | Hole:
        """What goes to the generator."""
        from starloom.generate.protocol import Hole, Prompt, Settings

        settings = Settings(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=int(uniform(self.seed, "draw", one.file.id, one.function.line) * 2**31),
            keep="end",
        )
        if one.gap is None:
            return Prompt(one.function.given, settings)
        return Hole(one.gap.prefix, one.gap.suffix, settings)

    def row(self, one: Asked, answer: Completion | Exception) -> dict[str, Any]:
        """One line of `completions.jsonl`."""
        settings = self.ask(one).settings
        row: dict[str, Any] = {
            "kind": "completion" if one.gap is None else "infilling",
            "id": one.file.id.hex(),
            "repository": one.file.repository,
            "path": one.file.path.decode("utf-8", "backslashreplace"),
            "language": one.file.language,
            "line": one.function.line + len(one.function.head) if one.gap is None else one.gap.line,
            "truth": one.truth,
            "settings": {
                name: getattr(settings, name) for name in ("max_tokens", "temperature", "top_p", "seed", "keep")
            },
        }
        if one.gap is None:
            row |= {"prompt": one.function.given}
        else:
            row |= {"prefix": one.gap.prefix, "suffix": one.gap.suffix}
        if isinstance(answer, Exception):
            return {**row, "error": str(answer), "text": "", "tokens": 0, "finish_reason": None, "stopped_by": None}
        asked_for = wanted(one, answer.text)
        cut = asked_for != answer.text
        return {
            **row,
            "error": None,
            "text": asked_for,
            "generated": answer.text,
            "tokens": len(answer.tokens),
            "finish_reason": answer.finish_reason,
            "stopped_by": (BLOCK_END if one.gap is None else LINES_END) if cut else answer.stopped_by,
        }

    def closing(self, built: Built) -> str:
        return render(built, color=sys.stdout.isatty())


def wanted(one: Asked, text: str) -> str:
    """What was asked for of what was written: the body of the function; as many lines as the gap has."""
    if one.gap is not None:
        return first_lines(text, one.gap.middle.count("\n"))
    block = within_block(text, one.function.indent)
    return block.rstrip() if block.strip() else text


def chosen(files: Sequence[HeldOutFile], completions: int, infillings: int, seed: int) -> list[Asked]:
    """Places by chance, of as many files as there are: functions with a description first where bodies are asked for."""
    found: list[Asked] = []
    for wanted, with_gap in ((completions, False), (infillings, True)):
        candidates = sorted(
            (one for file in files for one in _candidates(file, with_gap, seed)),
            key=lambda one: (not (with_gap or one.function.described), uniform(seed, *_name(one)), _name(one)),
        )
        used = {one.file.id for one in found}
        fresh = []
        for one in candidates:
            if one.file.id not in used:
                used.add(one.file.id)
                fresh.append(one)
        if len(fresh) < wanted:
            taken = {(one.file.id, one.function.line) for one in (*found, *fresh)}
            fresh += [one for one in candidates if (one.file.id, one.function.line) not in taken]
        found += fresh[:wanted]
    return found


def _candidates(file: HeldOutFile, with_gap: bool, seed: int) -> Iterator[Asked]:
    for function in functions(file.text):
        if not with_gap:
            yield Asked(file, function, None)
        elif (inside := gap(function, seed, file.id, function.line)) is not None:
            yield Asked(file, function, inside)


def _name(one: Asked) -> tuple[str, bytes, int]:
    return ("completion" if one.gap is None else "infilling", one.file.id, one.function.line)


def render(built: Built, color: bool = False) -> str:
    """The samples for a terminal. A bar at the left marks the lines that the model wrote, colors besides where wanted."""
    rows = json_lines(built, ROWS)
    if not rows:
        return NOTHING
    import io

    from rich.console import Console

    out = Console(file=io.StringIO(), force_terminal=color, highlight=False, width=200, soft_wrap=True)
    for row in rows:
        out.print()
        _print(out, row)
    return str(out.file.getvalue()).strip("\n")  # type: ignore[attr-defined]


def _print(out: Any, row: Mapping[str, Any]) -> None:
    from rich.text import Text

    name = plain.visible(f"{row['repository']}:{row['path']}")
    ended = plain.words(row["stopped_by"] or row["finish_reason"] or "an error")
    out.print(Text.assemble((row["kind"], "bold"), f"  {name}, line {row['line']}", (f"  ended by {ended}", "dim")))
    if row["error"]:
        out.print(Text(f"  {plain.visible(row['error'])}", "red"))
    given = row["prompt"] if row["kind"] == "completion" else row["prefix"]
    for line in _lines([(given, False), (row["text"], True), (row.get("suffix", ""), False)]):
        made = any(by_model for _, by_model in line)
        text = Text("  ▌ " if made else "  │ ", "bold green" if made else "dim")
        for piece, by_model in line:
            text.append(plain.visible(piece).replace("\t", "    "), "bold green" if by_model else "dim")
        out.print(text)


def _lines(pieces: Sequence[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """Texts, each by the model or not, as lines of such pieces."""
    line: list[tuple[str, bool]] = []
    for text, by_model in pieces:
        *whole, last = text.split("\n")
        for part in whole:
            yield [*line, (part, by_model)] if part or not line else line
            line = []
        if last:
            line.append((last, by_model))
    if line:
        yield line
