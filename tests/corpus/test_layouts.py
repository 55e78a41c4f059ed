"""Layouts: the parts of a row, by abstract control names, and every byte's way back to its file."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.corpus.layouts import CONTEXT_BYTES, LAYOUTS, METADATA, Document, Layout, Row, stars_bucket
from starloom.corpus.rendered import Part

DOCUMENTS = st.builds(
    Document,
    id=st.binary(min_size=16, max_size=16),
    repository=st.sampled_from(["github.com/Owner/name", "pypi:thing", "python:stdlib"]),
    path=st.binary(min_size=1, max_size=30),
    text=st.text(max_size=60),
    stars=st.none() | st.integers(0, 5000),
    group=st.sampled_from(["a", "b"]),
)


def field(document: Document, name: str) -> bytes:
    return {"text": document.text.encode(), "repository": document.repository.encode(), "path": document.path}[name]


@pytest.mark.parametrize("layout", get_args(Layout))
@given(documents=st.lists(DOCUMENTS, max_size=6, unique_by=lambda one: one.id), metadata=st.sampled_from([0, 0.5, 1]))
def test_every_rendered_byte_leads_back_to_its_field(layout: str, documents: list[Document], metadata: float) -> None:
    known = {one.id: one for one in documents}
    laid = list(LAYOUTS[layout](documents, metadata, 7))
    assert [one for row in laid for one in row.documents] == documents
    for row in laid:
        rendered = row.rendered.text.encode()
        at = 0
        for part in row.rendered.parts:
            size = len(part.text.encode())
            spans = row.rendered.to_original(at, at + size)
            if part.source is None:
                assert spans == []
            else:
                copied = b"".join(
                    field(known[span.source], span.field)[span.start : span.end] for span in spans if span.copied
                )
                kept = rendered[at : at + size].replace("\ufffd".encode(), b"")
                assert copied.replace("\ufffd".encode(), b"") == kept
            at += size


@given(DOCUMENTS, st.integers(0, 2**31))
def test_a_whole_text_is_one_untouched_part_in_every_layout(document: Document, seed: int) -> None:
    for layout, build in LAYOUTS.items():
        (row,) = build([document], METADATA[layout], seed)
        texts = [part for part in row.rendered.parts if part.field == "text"]
        assert [part.text for part in texts] == [document.text]
        assert texts[0].source == document.id
        assert row.rendered.parts[-1] == Part("end_of_document", "")


def test_santacoder_has_the_text_and_its_end() -> None:
    one = Document(b"1" * 16, "pypi:a", b"a.py", "x", 5, "g")
    (row,) = LAYOUTS["santacoder"]([one], 0.0, 0)
    assert row.rendered.parts == (Part(None, "x", one.id, "text"), Part("end_of_document", ""))


def controls(row: Row) -> list[tuple[str | None, str]]:
    return [(part.control, part.text) for part in row.rendered.parts]


def test_starcoder_names_repository_path_and_stars_in_this_order() -> None:
    one = Document(b"1" * 16, "github.com/owner/name", b"pkg/a.py", "x", 5, "g")
    (row,) = LAYOUTS["starcoder"]([one], 1.0, 0)
    assert controls(row) == [
        ("repository", "owner/name"), ("file_name", "pkg/a.py"), ("stars", "1-10"), (None, "\n"), (None, "x"),
        ("end_of_document", ""),
    ]  # fmt: skip
    (bare,) = LAYOUTS["starcoder"]([one], 0.0, 0)
    assert controls(bare) == [(None, "x"), ("end_of_document", "")]


def test_unknown_stars_are_left_out_rather_than_called_none() -> None:
    one = Document(b"1" * 16, "pypi:a", b"a.py", "x", None, "g")
    (row,) = LAYOUTS["starcoder"]([one], 1.0, 0)
    assert [control for control, _ in controls(row)] == ["repository", "file_name", None, None, "end_of_document"]


def test_controls_of_starcoder_come_independently_with_their_chance() -> None:
    documents = [Document(b"%016d" % n, "pypi:a", b"a.py", "x", 5, "g") for n in range(4000)]
    seen = Counter(
        tuple(sorted({"repository", "file_name", "stars"} & {part.control for part in row.rendered.parts}))
        for row in LAYOUTS["starcoder"](documents, 0.2, 3)
    )
    for name in ("repository", "file_name", "stars"):
        assert abs(sum(n for names, n in seen.items() if name in names) / 4000 - 0.2) < 0.03
    assert abs(seen["file_name", "repository", "stars"] / 4000 - 0.008) < 0.006
    assert abs(seen[()] / 4000 - 0.512) < 0.04


def test_chance_depends_on_seed_and_file_alone() -> None:
    documents = [Document(b"%016d" % n, "pypi:a", b"a.py", "x", 5, "g") for n in range(50)]
    alone = [controls(row) for one in documents for row in LAYOUTS["starcoder"]([one], 0.5, 3)]
    assert [controls(row) for row in LAYOUTS["starcoder"](documents, 0.5, 3)] == alone
    assert [controls(row) for row in LAYOUTS["starcoder"](documents, 0.5, 4)] != alone


def test_starcoder2_lays_a_repository_out_file_by_file() -> None:
    a, b = (
        Document(name * 16, "github.com/o/n", b"%s.py" % name, "text" + name.decode(), None, "g")
        for name in (b"a", b"b")
    )
    (row,) = LAYOUTS["starcoder2"]([a, b], 1.0, 0)
    assert controls(row) == [
        ("repository", "o/n"), ("file_separator", "a.py"), (None, "\n"), (None, "texta"),
        ("file_separator", "b.py"), (None, "\n"), (None, "textb"), ("end_of_document", ""),
    ]  # fmt: skip
    (bare,) = LAYOUTS["starcoder2"]([a, b], 0.0, 0)
    assert controls(bare) == [("file_separator", "texta"), ("file_separator", "textb"), ("end_of_document", "")]


def test_a_row_of_starcoder2_mixes_neither_repositories_nor_groups_and_stays_bounded() -> None:
    def one(number: int, repository: str, group: str, size: int = 3) -> Document:
        return Document(b"%016d" % number, repository, b"a.py", "x" * size, None, group)

    documents = [
        one(1, "r", "g"),
        one(2, "r", "h"),
        one(3, "q", "h"),
        one(4, "q", "h", CONTEXT_BYTES),
        one(5, "q", "h"),
    ]
    rows = list(LAYOUTS["starcoder2"](documents, 0.5, 0))
    assert [[document.id for document in row.documents] for row in rows] == [[one.id] for one in documents]


@pytest.mark.parametrize(
    ("stars", "bucket"),
    [(0, "0"), (1, "1-10"), (10, "1-10"), (11, "10-100"), (100, "10-100"), (1000, "100-1000"), (1001, "1000+")],
)
def test_stars_fall_into_the_published_buckets(stars: int, bucket: str) -> None:
    assert stars_bucket(stars) == bucket
