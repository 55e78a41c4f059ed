"""The table of variants of a model, from `comparison.json`: for a terminal, as Markdown for a card, and for the page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from starloom.report import markdown as md
from starloom.report import plain
from starloom.report.charts import tick_texts, ticks
from starloom.report.show import table

COMPARISON = "comparison.json"
CARD = "comparison.md"
ALL = "all"
COLUMNS = 120
LANGUAGES = 6  # the largest, in the tables; the JSON has all
MODES = {"left_to_right": "left-to-right", "infilling": "infilling"}
Cells = list[str]
Figure = Mapping[str, Any]

# of the chart: rows and margins in units of the drawing
_ROW, _TOP, _BOTTOM, _NAMES, _WIDTH, _RIGHT = 26, 10, 34, 150, 720, 20


def interval(figure: Figure | None, decimals: int = 3, scale: float = 1, sign: str = "") -> str:
    """1.234 [1.201, 1.266]; a dash where there is no figure."""
    if figure is None:
        return "–"
    text = f"{scale * figure['value']:{sign}.{decimals}f}"
    if figure["low"] is None:
        return text
    return f"{text} [{scale * figure['low']:{sign}.{decimals}f}, {scale * figure['high']:{sign}.{decimals}f}]"


def is_marked(figure: Figure | None) -> bool:
    """Whether a difference's interval excludes 0."""
    return figure is not None and figure["low"] is not None and not figure["low"] <= 0 <= figure["high"]


def scores(found: Mapping[str, Any]) -> tuple[Cells, list[Cells]]:
    """Head and rows of the first table: a variant's bits per byte, the difference to the base, and exact match."""
    modes = [mode for mode in MODES if mode in found["lines"]]
    head = ["", "bits per byte", f"minus {found['base']}"] + [f"{MODES[mode]} %" for mode in modes]
    rows = []
    for one in found["variants"]:
        gap = one["difference"] and one["difference"]["bits_per_byte"][ALL]
        row = [one["name"], interval(one["bits_per_byte"][ALL]), interval(gap, sign="+") + "*" * is_marked(gap)]
        for mode in modes:
            rates = one["exact_match"].get(mode)
            far = ((one["difference"] or {}).get("exact_match") or {}).get(mode)
            row.append(interval(rates and rates[ALL], 1, 100) + "*" * is_marked(far and far[ALL]))
        rows.append(row)
    return head, rows


def by_language(found: Mapping[str, Any]) -> tuple[Cells, list[Cells]]:
    """Head and rows of the second table: each language's bits per byte, and its exact match in both modes."""
    modes = [mode for mode in MODES if mode in found["lines"]]
    shown = found["languages"][:LANGUAGES]
    asked = [name for name in shown if any(name in found["lines"][mode] for mode in modes)]
    head = ["", *shown, *(f"{name} %" for name in asked)]
    rows = []
    for one in found["variants"]:
        row = [one["name"], *(f"{one['bits_per_byte'][name]['value']:.3f}" for name in shown)]
        for name in asked:
            rates = [one["exact_match"].get(mode, {}).get(name) for mode in modes]
            row.append(" / ".join("–" if rate is None else f"{100 * rate['value']:.1f}" for rate in rates))
        rows.append(row)
    return head, rows


def line_bits(found: Mapping[str, Any]) -> tuple[Cells, list[Cells]]:
    """Head and rows of the third table: what the hidden lines cost from one side and from both, and what that spares."""
    head = ["", "left-to-right", "infilling", "infilling minus left-to-right"]
    rows = []
    for one in found["variants"]:
        own = {mode: by_language.get(ALL) for mode, by_language in one["line_bits_per_byte"].items()}
        gain = own.get("gain")
        marked = interval(gain, sign="+") + "*" * is_marked(gain)
        rows.append([one["name"], interval(own.get("left_to_right")), interval(own.get("infilling")), marked])
    return head, rows


def costs(found: Mapping[str, Any]) -> tuple[Cells, list[Cells]]:
    """Head and rows of the last table: sizes and speeds."""
    sizes = next((list(one["decoding"]) for one in found["variants"] if one["decoding"]), [])
    head = ["", "parameters", "attention", "seeds", "steps", "tokens", "training", "tokens/s"]
    head += [f"decoding × {size}" for size in sizes]
    rows = []
    for one in found["variants"]:
        run = one["training"]
        row = [one["name"], plain.amount(one["parameters"]), one["attention"], str(one["seeds"])]
        row += (
            ["–"] * 4
            if run is None
            else [
                plain.count(run["steps"]),
                plain.amount(run["tokens"]),
                plain.duration(run["seconds"]),
                plain.amount(round(run["tokens_per_s"])),
            ]
        )
        row += [plain.amount(round(one["decoding"][size])) if one["decoding"] else "–" for size in sizes]
        rows.append(row)
    return head, rows


def tables(found: Mapping[str, Any]) -> Iterator[tuple[str, Cells, list[Cells]]]:
    """(what it tells, head, rows) of each table."""
    some = max((own[ALL] for own in found["lines"].values()), default=0)
    lines = f", {plain.several(some, 'line')} to guess" if some else ""
    yield (
        f"{plain.several(found['files'], 'held-out file')}{lines}, {100 * found['confidence']:.0f} % intervals",
        *scores(found),
    )
    if len(found["languages"]) > 1:
        more = len(found["languages"]) - LANGUAGES
        told = f"by language{f' (the {LANGUAGES} largest of {LANGUAGES + more})' if more > 0 else ''}: bits per byte"
        yield told + (", and exact match left-to-right / infilling" if found["lines"] else ""), *by_language(found)
    if any(one["line_bits_per_byte"].get(mode) for one in found["variants"] for mode in MODES):
        yield (
            "bits per byte of the hidden lines, after what stands before them and between both sides",
            *line_bits(found),
        )
    told = "sizes and speeds: tokens a second in training"
    measured = any(one["decoding"] for one in found["variants"])
    yield told + (", and decoding some sequences at once" if measured else ""), *costs(found)


def render(found: Mapping[str, Any]) -> str:
    """The tables for a terminal; eight variants and three languages stay within 120 columns."""
    lines: list[str] = []
    for title, head, rows in tables(found):
        left = (0, head.index("attention")) if "attention" in head else (0,)
        right = [
            place for place in range(len(head)) if place not in left and "[" not in "".join(row[place] for row in rows)
        ]
        lines += [*([""] if lines else []), title, *table([head, *rows], right=right, indent="  ")]
    for note in found["notes"]:
        lines += ["", *textwrap.wrap(note, COLUMNS)]
    return "\n".join(lines)


def markdown(found: Mapping[str, Any]) -> str:
    """The tables for a model card."""
    lines: list[str] = []
    for title, head, rows in tables(found):
        shown = [[cell.replace("[", "(").replace("]", ")") for cell in row] for row in rows]
        lines += [
            "",
            f"**{md.inline(title[:1].upper() + title[1:])}**",
            *md.table(head, shown, right=range(1, len(head))),
        ]
    about = [one for one in found["variants"] if one["about"]]
    if about:
        lines += ["", *(f"- `{one['name']}`: {md.inline(one['about'])}" for one in about)]
    lines += ["", *(f"- {md.inline(note)}" for note in found["notes"])]
    return "\n".join(lines).replace("\n\n\n", "\n\n").strip("\n") + "\n"


def difference_chart(found: Mapping[str, Any]) -> str:
    """An SVG: a dot and a bar for each variant, how many more bits a byte costs it than the base. Empty without others."""
    others = [(one["name"], one["difference"]["bits_per_byte"][ALL]) for one in found["variants"] if one["difference"]]
    if not others:
        return ""
    edges = [0.0, *(figure[key] for _, figure in others for key in ("value", "low", "high") if figure[key] is not None)]
    marks = ticks(min(edges), max(edges), 6)
    bottom = _TOP + _ROW * len(others)

    def at(value: float) -> str:
        return f"{_NAMES + (value - marks[0]) / (marks[-1] - marks[0]) * (_WIDTH - _NAMES - _RIGHT):.1f}"

    name = escape(plain.visible(f"bits per byte minus those of {found['base']}"))
    body = [
        f'<svg class="chart reaches" viewBox="0 0 {_WIDTH} {bottom + _BOTTOM}" role="img" aria-label="{name}"><g class="axes">'
    ]
    for mark, text in zip(marks, tick_texts(marks), strict=True):
        nil = ' class="nil"' if mark == 0 else ""
        body.append(f'<line{nil} x1="{at(mark)}" x2="{at(mark)}" y1="{_TOP}" y2="{bottom}"/>')
        body.append(f'<text x="{at(mark)}" y="{bottom + 18}" text-anchor="middle">{escape(text)}</text>')
    for place, (who, _) in enumerate(others):
        y = _TOP + _ROW * (place + 0.5) + 4
        body.append(f'<text x="{_NAMES - 14}" y="{y}" text-anchor="end">{escape(plain.visible(who))}</text>')
    body.append("</g>")
    for place, (who, figure) in enumerate(others):
        y = _TOP + _ROW * (place + 0.5)
        color = ("c1" if figure["value"] < 0 else "c3") if is_marked(figure) else "open"
        reach = (
            ""
            if figure["low"] is None
            else f'<line x1="{at(figure["low"])}" x2="{at(figure["high"])}" y1="{y}" y2="{y}"/>'
        )
        said = escape(plain.visible(f"{who}: {interval(figure, sign='+')}"))
        body.append(
            f'<g class="{color}"><title>{said}</title>{reach}<circle cx="{at(figure["value"])}" cy="{y}" r="4.5"/></g>'
        )
    return "".join([*body, "</svg>"])


def page_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a comparison."""
    from markupsafe import Markup

    return {
        "base": found["base"],
        "tables": list(tables(found)),
        "chart": Markup(difference_chart(found)),
        "about": [(one["name"], one["about"]) for one in found["variants"] if one["about"]],
        "notes": found["notes"],
    }
