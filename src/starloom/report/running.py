"""A training run in a terminal, also while it goes on: how far it is, how long it will take, where its curves go."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starloom.errors import DamagedError, StoreError
from starloom.report import plain
from starloom.report.charts import buckets
from starloom.report.show import table
from starloom.report.training import HELDOUT, Run, events, speeds
from starloom.store import read_sealed_json

LOG = "log.jsonl"
RESOLVED = "resolved.json"
SPARKS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # characters of a curve
RECENT = 50  # steps whose time says how long the rest will take: our choice
SILENT_S = 60.0  # without a row; then the page says for how long
TOLD = 3  # of the last events


def read_run(directory: Path) -> Run:
    """The run in a directory, finished or not. Raises StoreError where there is none, DamagedError for a damaged line.

    A last line that is being written is left out.
    """
    log = directory / LOG
    if not log.is_file():
        raise StoreError(f"{directory} holds no {LOG}: it is no training run, or one that has not made its first step")
    text = log.read_bytes()
    rows = []
    for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise DamagedError(
                f"{log}, line {number} is no JSON; the next `starloom run` goes on from a whole checkpoint"
            ) from None
    resolved = directory / RESOLVED
    return Run(directory.name, tuple(rows), read_sealed_json(resolved) if resolved.is_file() else {})


def seconds_left(run: Run) -> float | None:
    """What the rest takes at the speed of the last steps; None where that is not known."""
    steps, rows = run.resolved.get("steps"), run.rows[-RECENT - 1 :]
    if steps is None or len(rows) < 2:
        return None
    each: float = (rows[-1]["seconds"] - rows[0]["seconds"]) / (rows[-1]["step"] - rows[0]["step"])
    return max(0.0, each * (int(steps) - int(rows[-1]["step"])))


def as_json(run: Run) -> dict[str, Any]:
    """The same for programs."""
    return {
        "run": run.name,
        "step": run.last.get("step", 0),
        "steps": run.resolved.get("steps"),
        "seconds_left": seconds_left(run),
        "last": run.last,
        "events": [one.told for one in events(run)],
    }


def sparks(points: Sequence[tuple[float, float]]) -> str:
    """A curve in one line of blocks, from its lowest value to its highest."""
    means = [one.mean for one in buckets(points, WIDTH)]
    low, high = min(means), max(means)
    return "".join(SPARKS[round((value - low) / ((high - low) or 1) * (len(SPARKS) - 1))] for value in means)


def render_run(run: Run, written: float | None = None, now: float | None = None) -> str:
    """A run for a person; `written` is when its log last grew."""
    last, steps = run.last, run.resolved.get("steps")
    if not last:
        return f"{run.name}: no step yet"
    far = f"step {last['step']:,}"
    if steps is not None:
        far += f" of {steps:,} ({plain.share(last['step'], steps)})"
    lines = [f"{run.name}  {far}, {plain.amount(last['tokens'])} tokens in {plain.duration(last['seconds'])}"]
    left = seconds_left(run)
    if left:
        lines[0] += f"; about {plain.duration(left)} left"
    silent = (time.time() if now is None else now) - written if written is not None else 0.0
    if silent > SILENT_S and last["step"] != steps:
        lines.append(
            f"the last row was written {plain.duration(silent)} ago: it is no longer running, or at something long"
        )
    curves = [
        ("bits per byte", "bits_per_byte", "{:.3f}"),
        ("held out", HELDOUT, "{:.3f}"),
        *((f"  {name}", f"{HELDOUT}/{name}", "{:.3f}") for name in run.sets),
        ("gradient norm", "gradient_norm", "{:.3g}"),
        ("learning rate", "learning_rate", "{:.3g}"),
        ("tokens/s", "tokens_per_s", "{:,.0f}"),
    ]
    found = [(name, run.curve(key), form) for name, key, form in curves]
    rows = [(name, form.format(points[-1][1]), sparks(points)) for name, points, form in found if points]
    lines += ["", *table(rows, right=(1,), indent="  ")]
    lines += ["", *table([one for one in speeds(run) if one[0] != "speed"], indent="  ")]
    happened = [one.told for one in events(run)]
    if happened:
        lines += ["", *(f"  {told}" for told in happened[-TOLD:])]
        lines += [f"  {len(happened) - TOLD:,} more before"] * (len(happened) > TOLD)
    written_last = next((row for row in reversed(run.rows) if row.get("samples")), None)
    if written_last is not None:
        sample = written_last["samples"][0]
        lines += ["", f"  at step {written_last['step']:,} it wrote behind"]
        lines += [f"  │ {line}" for line in sample["prompt"].split("\n")[-3:]]
        lines += [f"  ▌ {line}" for line in sample["text"].strip("\n").split("\n")[:6]]
    return "\n".join(plain.visible(line).rstrip() for line in lines)
