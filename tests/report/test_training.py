"""A training run on the page and in the terminal, finished or not: the log's figures, and nothing of a sample steers."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_page import Page

from starloom.errors import DamagedError, StoreError
from starloom.recipes.inspection import show
from starloom.report.charts import LEFT, RIGHT, Mark, Series, line_chart
from starloom.report.page import run_page
from starloom.report.running import SPARKS, WIDTH, as_json, read_run, render_run, seconds_left, sparks
from starloom.report.training import TABLE_ROWS, Run, events, samples, speeds, table
from starloom.store import sealed_json

HOSTILE = "</pre><script>alert(1)</script>\x1b[31m\u202e"
SAMPLE = {"source": "ab", "prompt": "def f():\n    x = 1", "truth": "\n    return x", "error": None}
RESOLVED = {"steps": 800, "peak": {"flops_per_s": 2e11, "how": "measured: 2048³ in fp32"}}


def log_rows(count: int = 400) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in range(1, count + 1):
        row = {
            "step": step,
            "tokens": 1024 * step,
            "loss": 9 * step**-0.2,
            "bits_per_byte": 4 * step**-0.2,
            "gradient_norm": 1.5,
            "learning_rate": 0.01,
            "skipped": (step >= 30) + (step >= 31) + (step >= 200),
            "tokens_per_s": 2048.0,
            "model_flops_per_s": 10**11,
            "mfu": 0.5,
            "loader_wait_s": 0.005,
            "seconds": step / 2,
        }
        if step in (30, 31):
            row |= {"loss": None, "bits_per_byte": None, "gradient_norm": None}
        if step == 151:
            row["went_back"] = {"from": 170, "to": 150, "loss": 12.3456, "rollbacks": 1}
        if step % 100 == 0:
            row["heldout_bits_per_byte"] = 4.1 * step**-0.2
            row["heldout_bits_per_byte/Python"] = 3.3 * step**-0.2
            row["heldout_bits_per_byte/<i>Go</i>"] = 5.2 * step**-0.2
            row["samples"] = [{**SAMPLE, "text": f"\n    y = {step}{HOSTILE}"}]
        found.append(row)
    return found


RUN = Run("pretrain-0123456789abcdef", tuple(log_rows()), RESOLVED)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A store with a run that goes on: its log, its last line half-written."""
    folder = tmp_path / RUN.name
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in RUN.rows)
    (folder / "log.jsonl").write_text(text + '{"step": 401, "tok')
    (folder / "resolved.json").write_bytes(sealed_json(RESOLVED))
    return folder


def test_steps_that_were_skipped_or_taken_back_are_told() -> None:
    assert [one.told for one in events(RUN)] == [
        "step 30 skipped: no finite gradient",
        "step 31 skipped: no finite gradient",
        "went back from step 170 to 150: the loss had risen to 12.346",
        f"step 200 skipped: loss {9 * 200**-0.2:.3f}",
    ]


def test_the_page_has_curves_table_and_samples_and_nothing_in_it_is_not_text() -> None:
    source = run_page(RUN)
    page = Page(source)
    assert not page.open
    assert not [tag for tag, _ in page.tags if tag in ("script", "i>Go")]
    assert "</pre><script>alert(1)</script>^[[31m⟨U+202E⟩" in page.text
    for told in (
        "step 31 skipped",
        "went back from step 170",
        "50.0 % of 200 GFLOP/s (measured: 2048³ in fp32)",
        "1.0 %",
    ):
        assert told in page.words
    assert "Python" in page.words and "<i>Go</i>" in page.words
    charts = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg" and "aria-label" in attributes]
    assert charts == [
        "bits per byte",
        "held-out bits per byte of each set",
        "loss, nats per token",
        "learning rate",
        "gradient norm",
        "tokens per second",
        "model FLOP/s, % of the peak",
    ]
    assert page.words.index("y = 100") < page.words.index("y = 400")


def test_the_table_says_what_the_log_does_at_looks_and_between() -> None:
    head, rows = table(RUN)
    steps = [int(row[0]) for row in rows]
    assert steps == sorted(set(steps)) and {1, 100, 200, 300, 400} <= set(steps)
    assert TABLE_ROWS <= len(steps) <= TABLE_ROWS + 4
    for row in rows:
        told = dict(zip(head, row, strict=True))
        logged = RUN.rows[int(row[0]) - 1]
        assert told["tokens/s"] == "2,048" and told["% of the peak"] == "50.0" and told["wait for data, ms"] == "5.00"
        assert told["bits per byte"] == ("" if logged["loss"] is None else f"{logged['bits_per_byte']:.4f}")
        assert told["held out: Python"] == (f"{3.3 * logged['step'] ** -0.2:.4f}" if logged["step"] % 100 == 0 else "")


def test_a_mark_stands_where_its_step_is_and_is_told_under_the_pointer() -> None:
    svg = line_chart("x", [Series("x", [(0, 1), (50, 2), (100, 3)])], x_name="step", marks=[Mark("<fell>", 25, "d0")])
    tree = ET.fromstring(svg)
    (line,) = [one for one in tree.iter("line") if one.attrib.get("class", "").startswith("mark-at")]
    assert float(line.attrib["x1"]) == pytest.approx(LEFT + (720 - LEFT - RIGHT) / 4, abs=0.1)
    assert [one.text for one in tree.iter("title") if "<fell>" in (one.text or "")] == ["step 50\nx 2\n<fell>"]


def test_samples_of_one_place_lie_together_by_step() -> None:
    (place,) = samples(RUN)
    assert [one["step"] for one in place["written"]] == [100, 200, 300, 400]


def test_a_log_without_the_newer_figures_still_has_its_page() -> None:
    old = ("step", "tokens", "loss", "bits_per_byte", "learning_rate", "tokens_per_s", "seconds")
    run = Run("old", tuple({key: row[key] for key in old} for row in RUN.rows), {})
    assert not Page(run_page(run)).open
    assert speeds(run) == [("speed", "2,048 tokens a second (median)")]
    assert "step 400" in render_run(run)
    assert not Page(run_page(Run("empty", (), {}))).open


def test_an_unknown_peak_is_said_to_be_unknown() -> None:
    rows = tuple({**row, "mfu": None} for row in RUN.rows)
    peak = {"peak": {"flops_per_s": None, "how": "no published figure is known for NVIDIA A10G"}}
    assert ("utilization", "unknown: no published figure is known for NVIDIA A10G") in speeds(Run("x", rows, peak))


def test_a_run_that_goes_on_is_shown_up_to_its_last_whole_line(directory: Path) -> None:
    run = read_run(directory)
    assert len(run.rows) == 400
    assert seconds_left(run) == pytest.approx(200)
    shown = render_run(run)
    assert "step 400 of 800 (50.0 %), 410 k tokens in 3 min 20 s; about 3 min 20 s left" in shown
    assert "▌     y = 400</pre>" in shown
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "no longer running" not in shown
    assert "was written 10 min 00 s ago: it is no longer running" in render_run(run, written=1000.0, now=1600.0)


def test_a_damaged_line_is_no_step(directory: Path) -> None:
    lines = (directory / "log.jsonl").read_text().split("\n")
    (directory / "log.jsonl").write_text("\n".join([*lines[:4], lines[4][:9], *lines[5:]]))
    with pytest.raises(DamagedError, match="line 5 is no JSON"):
        read_run(directory)


def test_a_directory_without_a_log_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no training run"):
        read_run(tmp_path)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_a_curve_of_blocks_goes_from_its_lowest_to_its_highest(values: list[float]) -> None:
    line = sparks(list(enumerate(values)))
    assert len(line) == min(WIDTH, len(values))
    assert set(line) <= set(SPARKS)
    assert SPARKS[0] in line
    assert SPARKS[-1] in line or len(set(line)) == 1


def test_show_finds_the_run_in_a_store_by_its_steps_name(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(["pretrain", "--store", str(directory.parent)]) == 0
    assert "step 400 of 800" in capsys.readouterr().out
    assert show([str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(as_json(RUN)))
    page = directory.parent / "run.html"
    assert show([str(directory), "--page", str(page)]) == 0
    assert re.search("went back from step 170", page.read_text())
