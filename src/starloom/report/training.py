"""A training run on the page: curves, the same as a table, what was skipped or taken back, and samples as they got better."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from starloom.report import plain
from starloom.report.charts import Level, Mark, Series, line_chart

HELDOUT = "heldout_bits_per_byte"  # key of a row; with /NAME of a named validation set
SETS = 8  # validation sets that are drawn; the page has so many colors, the table has all
TABLE_ROWS = 24  # of the table beside the curves, evenly spaced, and those with a look at held-out text
EVENTS, MARKS = 12, 100  # told one by one, and marked in the curves
SKIPPED, WENT_BACK = "skipped step", "went back"
_EVENT_COLORS = {SKIPPED: "d0", WENT_BACK: "d3"}
_COLUMNS = {  # key of a row → (head, format)
    "step": ("step", plain.count),
    "tokens": ("tokens", plain.count),
    "seconds": ("seconds", "{:,.1f}".format),
    "loss": ("loss, nats a token", "{:.4f}".format),
    "bits_per_byte": ("bits per byte", "{:.4f}".format),
    HELDOUT: ("held out", "{:.4f}".format),
    "learning_rate": ("learning rate", "{:.3g}".format),
    "gradient_norm": ("gradient norm", "{:.4g}".format),
    "loss_scale": ("loss scale", plain.count),
    "tokens_per_s": ("tokens/s", "{:,.0f}".format),
    "model_flops_per_s": ("GFLOP/s", lambda value: f"{value / 1e9:,.1f}"),
    "mfu": ("% of the peak", lambda value: f"{100 * value:.1f}"),
    "loader_wait_s": ("wait for data, ms", lambda value: f"{1000 * value:.2f}"),
    "skipped": ("skipped so far", plain.count),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A training run: its log, line by line, and what was resolved before its first step."""

    name: str
    rows: tuple[Mapping[str, Any], ...]
    resolved: Mapping[str, Any]

    def curve(self, key: str, scale: float = 1) -> list[tuple[float, float]]:
        """(step, value) wherever the log has one."""
        return [(row["step"], scale * row[key]) for row in self.rows if row.get(key) is not None]

    @property
    def last(self) -> Mapping[str, Any]:
        return self.rows[-1] if self.rows else {}

    @property
    def sets(self) -> list[str]:
        """Named validation sets, in the order of the log."""
        found = dict.fromkeys(key for row in self.rows for key in row if key.startswith(f"{HELDOUT}/"))
        return [key.partition("/")[2] for key in found]


@dataclass(frozen=True, slots=True)
class Event:
    """A step whose update was not made, or before which the run went back."""

    step: int
    kind: str
    told: str


def events(run: Run) -> Iterator[Event]:
    """What happened to steps, in their order."""
    before = 0
    for row in run.rows:
        back = row.get("went_back")
        if back:
            loss = "its loss was not finite" if back["loss"] is None else f"the loss had risen to {back['loss']:.3f}"
            yield Event(row["step"], WENT_BACK, f"went back from step {back['from']:,} to {back['to']:,}: {loss}")
        elif row.get("skipped", 0) > before:
            why = "no finite gradient" if row.get("loss") is None else f"loss {row['loss']:.3f}"
            yield Event(row["step"], SKIPPED, f"step {row['step']:,} skipped: {why}")
        before = row.get("skipped", 0)


def speeds(run: Run) -> list[tuple[str, str]]:
    """How fast it was, in words."""
    rates = [row["tokens_per_s"] for row in run.rows if row.get("tokens_per_s")]
    if not rates:
        return []
    found = [("speed", f"{statistics.median(rates):,.0f} tokens a second (median)")]
    flops = [row["model_flops_per_s"] for row in run.rows if row.get("model_flops_per_s")]
    if flops:
        found.append(("computed", f"{plain.amount(statistics.median(flops))}FLOP/s of the model (median)"))
    used = [row["mfu"] for row in run.rows if row.get("mfu") is not None]
    peak = run.resolved.get("peak") or {}
    if used:
        of = f"{plain.amount(peak['flops_per_s'])}FLOP/s ({peak['how']})" if peak.get("flops_per_s") else "the peak"
        if max(used) > 1:
            of += ", which was busy when that was measured"
        found.append(("utilization", f"{100 * statistics.median(used):.1f} % of {of}"))
    elif peak:
        found.append(("utilization", f"unknown: {peak['how']}"))
    waits = sum(row.get("loader_wait_s", 0) for row in run.rows)
    if "loader_wait_s" in run.last and run.last.get("seconds"):
        found.append(("waiting for data", f"{plain.share(waits, run.last['seconds'])} of the time"))
    return found


def samples(run: Run) -> list[dict[str, Any]]:
    """Each place that the model went on from, with what it wrote there at each look."""
    found: dict[str, dict[str, Any]] = {}
    for row in run.rows:
        for sample in row.get("samples", ()):
            one = {"prompt": sample["prompt"], "truth": sample["truth"], "written": []}
            place = found.setdefault(f"{sample['source']} {sample['prompt']}", one)
            place["written"].append({"step": row["step"], "text": sample["text"].strip("\n"), "error": sample["error"]})
    return list(found.values())


def table(run: Run) -> tuple[list[str], list[list[str]]]:
    """Head and rows of some steps: the first, the last, evenly spaced between, and every look at held-out text."""
    count = len(run.rows)
    chosen = {round(place * (count - 1) / (TABLE_ROWS - 1)) for place in range(TABLE_ROWS)} if count else set()
    chosen |= {place for place, row in enumerate(run.rows) if HELDOUT in row}
    kept = [run.rows[place] for place in sorted(chosen)]
    columns = {key: one for key, one in _COLUMNS.items() if any(row.get(key) is not None for row in kept)}
    columns |= {f"{HELDOUT}/{name}": (f"held out: {name}", "{:.4f}".format) for name in run.sets}
    rows = [["" if row.get(key) is None else form(row[key]) for key, (_, form) in columns.items()] for row in kept]
    return [str(head) for head, _ in columns.values()], rows


def charts(run: Run, rates: Mapping[str, float]) -> dict[str, Any]:
    """The curves as SVG: bits per byte with what compressors need for the same files, named sets, and the rest."""
    from markupsafe import Markup

    marks = [Mark(one.told, one.step, _EVENT_COLORS[one.kind]) for one in islice(events(run), MARKS)]
    levels = [
        Level(f"{name} -9, held-out files", rates[name], 2 + number)
        for number, name in enumerate(("gzip", "xz"))
        if rates.get(name) is not None
    ]
    held_out = run.curve(HELDOUT)
    if rates.get("model") is not None:
        held_out = [(step, value) for step, value in held_out if step != run.last["step"]]
        held_out.append((run.last["step"], rates["model"]))
    bits = [Series("training", run.curve("bits_per_byte"), 0), Series("held out", held_out, 1, dots=True)]
    sets = [
        Series(name, run.curve(f"{HELDOUT}/{name}"), number, dots=True) for number, name in enumerate(run.sets[:SETS])
    ]
    small = [
        ("loss, nats per token", run.curve("loss"), 0, False),
        ("learning rate", run.curve("learning_rate"), 2, True),
        ("gradient norm", run.curve("gradient_norm"), 3, True),
        ("tokens per second", run.curve("tokens_per_s"), 1, True),
        ("model FLOP/s, % of the peak", run.curve("mfu", 100), 4, True),
        ("loss scale", run.curve("loss_scale"), 5, True),
    ]

    def drawn(name: str, series: Sequence[Series], **looks: Any) -> Markup:
        return Markup(line_chart(name, series, x_name="step", marks=marks, **looks))

    return {
        "bits": drawn("bits per byte", bits, levels=levels, text="{:.3f}".format),
        "legend": [(one.name, f"c{one.color}") for one in bits if one.points]
        + [(f"{level.name}: {level.value:.3f}", f"dashes c{level.color}") for level in levels]
        + [(kind, f"mark {_EVENT_COLORS[kind]}") for kind in _EVENT_COLORS if _happened(run, kind)],
        "sets": drawn("held-out bits per byte of each set", sets, text="{:.3f}".format),
        "sets_legend": [(one.name, f"c{one.color}") for one in sets if one.points],
        "more_sets": len(run.sets[SETS:]),
        "charts": [
            (name, drawn(name, [Series(name, points, color)], width=420, height=220, from_zero=zero))
            for name, points, color, zero in small
            if points
        ],
    }


def _happened(run: Run, kind: str) -> bool:
    return any(one.kind == kind for one in events(run))


def run_facts(run: Run, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A training run with its charts, for the page's template."""
    rates: dict[str, float] = next((one["bits_per_byte"] for one in results.values() if one.get("bits_per_byte")), {})
    head, rows = table(run)
    told = [one.told for one in events(run)]
    return {
        "run": run,
        **charts(run, rates),
        "speeds": speeds(run),
        "events": told[:EVENTS],
        "more_events": len(told[EVENTS:]),
        "head": head,
        "rows": rows,
        "samples": samples(run),
    }
