"""Single lines, filled in between what stands before and after them, and from what stands before alone: exact match, and
what the true line costs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from starloom.errors import ConfigError
from starloom.evals.held_out_files import held_out_files, in_order_of_chance
from starloom.evals.line_gaps import LANGUAGES, Problem, check_languages, chosen_problems, is_exact, is_first_line
from starloom.records import uniform
from starloom.report import plain
from starloom.report.show import table
from starloom.stage import Stage, Work
from starloom.store import Built, canonical_json

if TYPE_CHECKING:
    from starloom.generate.protocol import Ask, Completion, Generator

Mode = Literal["infilling", "left_to_right"]
ROWS = "infilling.jsonl"  # one line for each problem and mode
RESULTS = "exact_match.json"
LN2 = math.log(2)
FILES_LOOKED_AT = 4000  # of the held-out files, by chance: enough to choose from, also where millions are held out
SLOTS = 32  # requests at once: a fifth less work than 8 for 3.6M parameters on a CPU
KEEP_EVERY_S = 1.0  # seconds of answers that a killed build loses at most
ANSWERS = "answers"
COSTS = "line-costs"
NOTHING = "Nothing was held out, or no held-out function is of a size to ask for: no infilling problems."
TASK = (
    "derived: single lines of held-out functions, chosen by chance and hidden by the recipe of bigcode/santacoder-fim-task, "
    "whose own problems (lines of HumanEval solutions that a model wrote) are not public here; figures are comparable "
    "between models on the same files only"
)
# SantaCoder on its own task, from its model card; not comparable, beside ours for orientation only.
PUBLISHED = {"Java": 0.62, "JavaScript": 0.60, "Python": 0.44}


@dataclass(frozen=True, slots=True)
class Infilling(Stage):
    """Infilling and left-to-right exact match on lines of held-out functions, with the published settings; and the bits
    per byte of these lines in both modes."""

    version: ClassVar[int] = 2

    base: Stage
    clean: Stage
    languages: tuple[str, ...] = LANGUAGES
    problems: int = 200  # of each language: 1,200 answers, half a minute of one core for 3.6M parameters
    # 25 tokens, temperature 0.2, top_p 0.95, one sample: the published setting (MultiPL-E, `inference.py`)
    max_tokens: int = 25
    temperature: float = 0.2
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "languages", tuple(self.languages))
        check_languages(self.languages)
        for name in ("problems", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"infilling.{name} is {getattr(self, name)}; it must be at least 1")

    def produce(self, work: Work) -> None:
        clean = work.input("clean")
        ordered = in_order_of_chance(clean, self.seed)[:FILES_LOOKED_AT]
        files = held_out_files(clean, [id_ for id_, _ in ordered])
        problems = chosen_problems(files, self.languages, self.problems, self.seed)
        rows = self._answers(work, problems) if problems else []
        results = exact_match(rows)
        why = None if not problems or "infilling" in results else no_infilling(work.input("base"))
        whole = {
            "note": None if problems else NOTHING,
            "task": TASK,
            "published": {"model": "SantaCoder", "task": "bigcode/santacoder-fim-task", "exact_match": PUBLISHED},
            "settings": {name: getattr(self, name) for name in ("max_tokens", "temperature", "top_p", "seed")},
            "no_infilling": why,
            "exact_match": results,
        }
        with work.unit("results") as unit:
            unit.path(ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            unit.path(RESULTS).write_bytes(canonical_json(whole))
        work.count(problems={name: sum(one.file.language == name for one in problems) for name in self.languages})
        work.count(answers=len(rows), failed=sum(row["error"] is not None for row in rows))
        work.summary = summary(whole)

    def _answers(self, work: Work, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        from starloom.evals.line_costs import hidden, line_costs
        from starloom.generate.session import load

        runtime = work.runtime
        session = load(work.input("base").directory, device=runtime.device, threads=runtime.threads, slots=SLOTS)
        modes = [mode for mode in get_args(Mode) if mode == "left_to_right" or infills(work.input("base"), session)]
        asked = [(mode, one) for mode in modes for one in problems]
        rows = kept_answers(work)
        missing = [number for number in range(len(asked)) if number not in rows]
        with runtime.progress.task("infilling", len(asked), "answers") as advance:
            advance(len(rows))
            asks = (self.ask(*asked[number]) for number in missing)
            fresh: dict[int, dict[str, Any]] = {}
            since = time.monotonic()
            try:
                for number, answer in zip(missing, session.run(asks), strict=True):
                    fresh[number] = self.row(*asked[number], answer)
                    advance(1)
                    if time.monotonic() - since >= min(KEEP_EVERY_S, runtime.save_every_s):
                        keep_answers(work, fresh)
                        rows |= fresh
                        fresh, since = {}, time.monotonic()
            finally:
                if fresh:
                    keep_answers(work, fresh)
        rows |= fresh
        facts = work.finished(COSTS)
        if facts is None:
            with (
                runtime.progress.task("line costs", len(asked), "lines") as advance,
                work.unit(COSTS, scratch=True) as unit,
            ):
                nats = line_costs(session, [(self.ask(mode, one), one.truth) for mode, one in asked], advance)
                facts = unit.facts
                facts["nats"] = nats
        return [
            {**rows[number], "nats": facts["nats"][number], "line_bytes": len(hidden(one.truth).encode())}
            for number, (_, one) in enumerate(asked)
        ]

    def ask(self, mode: Mode, one: Problem) -> Ask:
        """What goes to the generator: PSM for a gap, as published."""
        from starloom.generate.protocol import Hole, Prompt, Settings

        settings = Settings(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=int(uniform(self.seed, "draw", one.file.id, one.line) * 2**31),
            keep="end",
        )
        if mode == "left_to_right":
            return Prompt(one.prefix, settings)
        return Hole(one.prefix, one.suffix, settings, as_written=True)

    def row(self, mode: Mode, one: Problem, answer: Completion | Exception) -> dict[str, Any]:
        """One line of `infilling.jsonl`."""
        settings = self.ask(mode, one).settings
        failed = isinstance(answer, Exception)
        text = "" if isinstance(answer, Exception) else answer.text
        return {
            "mode": mode,
            "language": one.file.language,
            "id": one.file.id.hex(),
            "repository": one.file.repository,
            "path": one.file.path.decode("utf-8", "backslashreplace"),
            "line": one.line,
            "prefix": one.prefix,
            "suffix": one.suffix,
            "truth": one.truth,
            "completion": text,
            "exact": not failed and is_exact(one.truth, text),
            "first_line": not failed and is_first_line(one.truth, text),
            "tokens": 0 if isinstance(answer, Exception) else len(answer.tokens),
            "finish_reason": None if isinstance(answer, Exception) else answer.finish_reason,
            "stopped_by": None if isinstance(answer, Exception) else answer.stopped_by,
            "error": str(answer) if failed else None,
            "settings": {name: getattr(settings, name) for name in ("max_tokens", "temperature", "top_p", "seed")},
        }

    def closing(self, built: Built) -> str:
        return render(built)


def infills(base: Built, generator: Generator) -> bool:
    """Whether a model can be asked for a middle: its vocabulary has the controls, and its training used them."""
    return "infill" in generator.capabilities and no_infilling(base) is None


def no_infilling(base: Built) -> str | None:
    """Why a model is not asked for a middle, by the settings that it was trained with; None where they do not speak
    against it."""
    fim = base.manifest["settings"].get("fim")
    if isinstance(fim, Mapping) and fim.get("rate") == 0:
        return "trained without fill-in-the-middle (its rate is 0): left-to-right only"
    return None


def kept_answers(work: Work) -> dict[int, dict[str, Any]]:
    """The answers that an earlier, killed build kept, by their number."""
    rows: dict[int, dict[str, Any]] = {}
    for name in work.units():
        if name.startswith(f"{ANSWERS}-") and work.finished(name) is not None:
            lines = (work.directory / ANSWERS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
            rows |= dict(map(json.loads, lines))
    return rows


def keep_answers(work: Work, rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Keep answers until the stage is complete, so that none is asked for twice."""
    name = f"{ANSWERS}-{min(rows):07d}"
    with work.unit(name, scratch=True) as unit:
        lines = (json.dumps([number, row]) + "\n" for number, row in rows.items())
        unit.path(f"{ANSWERS}/{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def exact_match(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mode → language → how many problems of how many files there are, and the share that was answered exactly.

    `exact_match` is by the rule of the mode, see `counts`; "all" is over all problems; `bits_per_byte` is what the true
    lines cost, null where none fits the context.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for mode in get_args(Mode):
        own = [row for row in rows if row["mode"] == mode]
        languages = list(dict.fromkeys(row["language"] for row in own))
        for name in ["all", *languages] if own else []:
            some = [row for row in own if name in ("all", row["language"])]
            scored = [row for row in some if row["nats"] is not None]
            found.setdefault(mode, {})[name] = {
                "problems": len(some),
                "files": len({row["id"] for row in some}),
                "exact_match": sum(map(counts, some)) / len(some),
                "first_line": sum(row["first_line"] for row in some) / len(some),
                "bits_per_byte": sum(row["nats"] for row in scored) / LN2 / sum(row["line_bytes"] for row in scored)
                if scored
                else None,
            }
    return found


def counts(row: Mapping[str, Any]) -> bool:
    """Whether an answer counts: a middle as a whole, what goes on from the prefix alone by its first line."""
    return bool(row["exact"] if row["mode"] == "infilling" else row["first_line"])


def summary(results: Mapping[str, Any]) -> str:
    """One line about `exact_match.json`."""
    if results["note"]:
        return "nothing to infill"
    said = [f"{name.replace('_', '-')} {one['all']['exact_match']:.1%}" for name, one in results["exact_match"].items()]
    first = next(iter(results["exact_match"].values()))["all"]
    return f"exact match: {', '.join(said)} of {plain.several(first['problems'], 'line')}"


def render(built: Built) -> str:
    """The rates for a terminal."""
    results = json.loads(built.read_bytes(RESULTS))
    if results["note"]:
        return str(results["note"])
    modes = results["exact_match"]
    rows: list[tuple[str, ...]] = [("", *(name.replace("_", "-") for name in modes), "problems", "files")]
    for name, first in next(iter(modes.values())).items():
        rates = (f"{modes[mode][name]['exact_match']:.1%}" for mode in modes)
        rows.append((name, *rates, plain.count(first["problems"]), plain.count(first["files"])))
    lines = ["exact match of single lines of held-out functions", *table(rows, right=(1, 2, 3, 4), indent="  ")]
    costs = ", ".join(
        f"{mode.replace('_', '-')} {one['all']['bits_per_byte']:.3f}"
        for mode, one in modes.items()
        if one["all"]["bits_per_byte"] is not None
    )
    lines += [f"bits per byte of these lines: {costs}"] if costs else []
    return "\n".join([*lines, *([results["no_infilling"]] if results["no_infilling"] else [])])
