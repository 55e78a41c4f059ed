"""Generated commits, issues, notebooks and pull requests, as rows of `Read` are made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from starloom.corpus.fields import Field, joined
from starloom.corpus.forms import rows_of
from starloom.corpus.issues import Event, issue_fields
from starloom.corpus.layouts import Document, Row
from starloom.corpus.notebooks import notebook_fields
from starloom.corpus.pull_request_fields import ChangedFile, pull_request_fields
from starloom.corpus.pull_request_fields import Event as RequestEvent

TEXT = st.lists(
    st.sampled_from(
        ["def f(x):\n", "    return x\n", "\n", "größe", "日本", "🚀", "# note\n", "<b>x</b>", "> cited\n", "@ann ", "ann",
         "Signed-off-by: A <a@b>\n", "_" * 22, "%matplotlib inline\n", "!ls\n", "<!-- x -->", "<fim_prefix>", "\r\n", " "]
    ) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    max_size=6,
).map("".join)  # fmt: skip
LONG = st.builds(lambda text, times: (text + "\n") * times, TEXT, st.sampled_from([1, 1, 2, 25]))
AUTHORS = st.sampled_from(["ann", "Bob", "ci-bot", ""])


@st.composite
def notebooks(draw: st.DrawFn) -> tuple[Field, ...]:
    cells: list[dict[str, Any]] = []
    for kind in draw(st.lists(st.sampled_from(["markdown", "code", "code", "raw"]), min_size=1, max_size=5)):
        cell: dict[str, Any] = {"cell_type": kind, "source": draw(LONG)}
        if kind == "code" and draw(st.booleans()):
            cell["outputs"] = [{"output_type": "stream", "text": draw(st.lists(LONG, max_size=2))}]
        cells.append(cell)
    cells.append({"cell_type": "code", "source": "x"})
    fields, _ = notebook_fields(json.dumps({"cells": cells, "metadata": {"language_info": {"name": "python"}}}))
    assert fields is not None
    return fields


def commits() -> st.SearchStrategy[tuple[Field, ...]]:
    return st.builds(
        lambda before, message, after: (Field("before", before), Field("message", message), Field("after", after)),
        LONG, TEXT, LONG,
    )  # fmt: skip


def issues() -> st.SearchStrategy[tuple[Field, ...]]:
    events = st.builds(
        Event,
        st.sampled_from(["opened", "created", "closed"]),
        AUTHORS,
        LONG,
        title=st.none() | st.just("A title of ann"),
    )
    return st.lists(events, min_size=1, max_size=4).map(issue_fields)


@st.composite
def pull_requests(draw: st.DrawFn) -> tuple[Field, ...]:
    said = st.fixed_dictionaries(
        {"text": LONG},
        optional={"title": TEXT, "status": st.sampled_from(["opened", "closed"]), "head": st.sampled_from(["1", "2"]),
                  "merged": st.just("True"), "id": st.just("77"), "state": st.just("approved"), "hunk": TEXT,
                  "path": st.just("a.py"), "line": st.just("3"), "to_review": st.just("9"), "to_comment": st.just("8")},
    )  # fmt: skip
    kinds = draw(st.lists(st.sampled_from(["pull_request", "review", "review_comment", "comment"]), max_size=4))
    events = [RequestEvent(n, kind, draw(AUTHORS), draw(said)) for n, kind in enumerate(["pull_request", *kinds])]
    files = [
        ChangedFile(
            n,
            draw(st.sampled_from(["1", "2"])),
            draw(st.sampled_from(["a.py", "b.json"])),
            "Python",
            draw(LONG),
            draw(LONG),
        )
        for n in range(draw(st.integers(0, 3)))
    ]
    return pull_request_fields(events, files)


STRATEGIES = {"notebook": notebooks(), "commit": commits(), "issue": issues(), "pull_request": pull_requests()}
LAYOUT_OF = {"notebook": "starcoder", "commit": "starcoder", "issue": "starcoder", "pull_request": "starcoder2"}


def laid(
    kind: str, fields: tuple[Field, ...], seed: int = 0, number: int = 1, layout: str | None = None
) -> Iterator[Row]:
    """The training rows of one document."""
    text, _ = joined(fields)
    one = Document(b"%016d" % number, "github.com/o/n", b"a.py", text, None, "g", kind, fields)
    return rows_of(layout or LAYOUT_OF[kind], [one], 1.0, seed)


def controls(row: Row) -> list[tuple[str | None, str]]:
    """(control, the text up to the next one)."""
    return [(run.control, run.text) for run in row.rendered.runs()]
