"""The page: what models write and programs print is data on it, never markup, whatever they write."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.evals.harness.card import markdown, model_index
from starloom.evals.harness.page import LONGEST, MOST, Failures, harmless_json, page
from starloom.evals.harness.results import board_rows
from starloom.evals.harness.tally import tally
from starloom.evals.leaderboard.board import leaderboard_tasks, named
from starloom.evals.leaderboard.results import skipped, whole

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<!--<script>", "]]>", "{{ 7*7 }}", "\u202egnp.exe", "\x1b[2J", "javascript:alert(1)", "\ud800", "\x00", "&lt;b&gt;",
    "</textarea></style></title>", "| a | b |\n# title", "[x](javascript:alert(1))",
)  # fmt: skip
FACTS: dict[str, Any] = {
    "task": "sums", "about": HOSTILE[0], "derived": HOSTILE[0], "metric": "pass@k", "language": None, "benchmark": "sums",
    "problems": len(HOSTILE) + 1, "limits": {}, "exceptions": {},
    "asked": {"problems": len(HOSTILE) + 1, "differs": [HOSTILE[1]], "settings": {"temperature": 0.2, "samples": 1}},
}  # fmt: skip


def row(text: str, number: int) -> dict[str, Any]:
    return {
        "task": "sums", "id": f"{text[:60]}{number}", "sample": 0, "language": None, "passed": False, "strength": "weak",
        "status": "raised", "detail": text, "stderr": text, "score": None, "parts": {}, "program": text, "sandbox": None,
        "toolchain": text,
    }  # fmt: skip


ROWS = [row(text, number) for number, text in enumerate(HOSTILE)]
ROWS.append(row("no text at all: only this", 99) | {"id": "Sum/99", "status": "timed_out", "strength": "strong"})


def written(rows: list[dict[str, Any]] = ROWS, model: str = HOSTILE[0]) -> str:
    failures = Failures()
    for one in rows:
        failures.add(one, {"prompt": one["detail"], "text": ""})
    return page(model, [tally(rows, FACTS)], failures)


class Elements(html.parser.HTMLParser):
    """What a browser would make of a page: elements, and what the scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self._in_script = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def test_hostile_texts_add_no_element_and_no_script() -> None:
    tame = [one | dict.fromkeys(("detail", "stderr", "program", "toolchain"), "tame") for one in ROWS]
    calm, wild = Elements(written(tame, "model")), Elements(written())
    assert [tag for tag, _ in wild.found] == [tag for tag, _ in calm.found]
    assert len(wild.scripts) == 2
    assert not any(name.startswith("on") for _, attributes in wild.found for name in attributes)


def test_only_our_script_may_run_and_nothing_is_loaded() -> None:
    found = Elements(written())
    policy = next(attributes["content"] for _, attributes in found.found if attributes.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy
    ours = base64.b64encode(hashlib.sha256(found.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{ours}'" in policy
    assert not any("src" in attributes or tag == "link" for tag, attributes in found.found)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch\(", found.scripts[1])


def test_the_rows_of_the_page_are_the_failures_made_visible() -> None:
    rows = json.loads(Elements(written()).scripts[0])
    assert [one["status"] for one in rows] == ["raised"] * len(HOSTILE) + ["timed_out"]
    assert rows[5]["program"] == "⟨U+202E⟩gnp.exe" and rows[6]["stderr"] == "^[[2J" and rows[8]["detail"] == "⟨U+D800⟩"
    written().encode("utf-8")


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_json_in_a_script_reads_back_and_holds_no_markup(value: object) -> None:
    text = harmless_json(value)
    assert json.loads(text) == value
    assert text.isascii() and not set(text) & set("<>&")


def test_long_texts_and_many_failures_are_bounded_and_counted() -> None:
    failures = Failures()
    for number in range(MOST + 50):
        failures.add(row("x", number), {"prompt": "p"})
    assert (len(failures.rows), failures.count) == (MOST, MOST + 50)
    failures = Failures()
    failures.add(row("y" * 10_000_000, 0), {"prefix": "before", "suffix": "after"})
    only = failures.rows[0]
    assert len(only["program"]) < LONGEST + 60 and "characters more" in only["program"]
    assert only["prompt"] == "before⟨the gap⟩after"
    failures = Failures()
    for number in range(1000):
        failures.add(row("z" * LONGEST, number), {"prompt": "p" * LONGEST})
    assert sum(len(text) for one in failures.rows for text in one.values() if isinstance(text, str)) < 17_000_000
    assert failures.count == 1000


def test_markdown_keeps_its_structure_whatever_names_say() -> None:
    for text in HOSTILE:
        facts = FACTS | {"task": text, "derived": text}
        lines = markdown(text, [tally(ROWS, facts)]).split("\n")
        assert sum(line.startswith("| ") for line in lines) == 2
        assert [line[:2] for line in lines if line.startswith("#")] == ["# ", "##"]
        assert not re.search(r"(?<!\\)[<`]", "\n".join(lines))


def test_a_card_has_the_shape_of_published_ones() -> None:
    facts = FACTS | {
        "task": "humaneval",
        "benchmark": "humaneval",
        "asked": {"problems": 2, "settings": {"samples": 1}},
    }
    rows = [
        row("a", 0) | {"strength": "strong"},
        row("b", 1) | {"strength": "strong", "status": "passed", "passed": True},
    ]
    assert model_index("mine", [tally(rows, facts | {"problems": 2})]) == [
        {
            "name": "mine",
            "results": [
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"type": "openai_humaneval", "name": "HumanEval"},
                    "metrics": [
                        {
                            "name": "pass@1", "type": "pass@1", "value": 0.5, "verified": False,
                            "args": {"verdicts": "strong", "problems": 2, "samples": 1},
                        }
                    ],
                }
            ],
        }
    ]  # fmt: skip


def test_the_mean_of_the_seven_stands_beside_them_and_in_no_card() -> None:
    one = {"metric": "acc", "value": 0.5, "low": 0.4, "high": 0.6, "documents": 9, "failed": 0, "shots": 5, "notes": []}
    said = whole(
        {name: {**one, "standard_error": 0.07, "as_published": False} for name in leaderboard_tasks()}, "0", {}
    )
    rows = board_rows(SimpleNamespace(read_bytes=lambda name: json.dumps(said).encode()))  # type: ignore[arg-type]
    assert [row["task"] for row in rows] == [*leaderboard_tasks(), "leaderboard"]
    mean = rows[-1]
    assert (mean["value"], mean["problems"]) == (0.5, 63)
    assert math.isclose(mean["high"] - mean["low"], 2 * 1.96 * 0.07 / 7**0.5, rel_tol=1e-4)
    assert len(model_index("mine", [], rows)[0]["results"]) == 7
    assert "| leaderboard | average | 50.0 | 44.8 – 55.2 | 63 |" in markdown("mine", [], rows)
    assert "<td>average</td>" in page("mine", [], Failures(), rows)
    missing = whole({"drop": skipped(named("drop"), "it cannot")}, "0", {})
    assert len(board_rows(SimpleNamespace(read_bytes=lambda name: json.dumps(missing).encode()))) == 1  # type: ignore[arg-type]


PROBE = """
const after = (name, value, event) => { const one = document.getElementById(name); one.value = value; one.dispatchEvent(new Event(event)); };
const seen = () => [document.getElementById("found").textContent, document.querySelectorAll("details").length];
const told = { title: document.title, all: seen() };
after("by-status", "timed_out", "change"); told.status = seen(); after("by-status", "", "change");
after("by-strength", "weak", "change"); told.strength = seen(); after("by-strength", "", "change");
after("by-text", "ONLY THIS", "input"); told.text = seen();
const details = document.querySelector("details"); details.open = true; details.dispatchEvent(new Event("toggle"));
told.program = details.querySelectorAll("pre")[1].textContent;
after("by-text", "", "input");
for (const one of document.querySelectorAll("details")) { one.open = true; one.dispatchEvent(new Event("toggle")); }
told.images = document.images.length; told.scripts = document.scripts.length;
const out = document.createElement("pre"); out.id = "told"; out.textContent = JSON.stringify(told); document.body.append(out);
"""


@pytest.mark.slow
def test_a_browser_filters_the_failures_and_runs_nothing_of_theirs(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    text = written()
    allowed = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    probed = text.replace("script-src ", f"script-src 'sha256-{allowed}' ").replace(
        "</main>", f"<script>{PROBE}</script></main>"
    )
    (tmp_path / "page.html").write_text(probed, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    made = subprocess.run(
        [chromium, *flags, f"file://{tmp_path}/page.html"], capture_output=True, text=True, timeout=120
    )
    told = json.loads(html.unescape(made.stdout.partition('<pre id="told">')[2].partition("</pre>")[0]))
    count = len(ROWS)
    assert "owned" not in told["title"].replace(HOSTILE[0], "")
    assert told["all"] == [f"{count} of {count}", count]
    assert told["status"] == [f"1 of {count}", 1]
    assert told["strength"] == [f"{count - 1} of {count}", count - 1]
    assert told["text"] == [f"1 of {count}", 1]
    assert told["program"] == "no text at all: only this"
    assert (told["images"], told["scripts"]) == (0, 3)
