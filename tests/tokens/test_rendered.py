"""From rendered bytes to original ones, against a map that follows every byte by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_mix import ByteOrigin, documents, origin_of_each_byte, source_id

from starloom.corpus.rendered import Edit, Part, Rendered, Span, replaced
from starloom.errors import DamagedError
from starloom.tokens.special import family_named

Fields = dict[tuple[bytes, str], bytes]
MARKS = family_named("starcoder").marks_as_text()


def merged(origins: list[ByteOrigin]) -> list[Span]:
    spans: list[Span] = []
    for origin in origins:
        if origin is None:
            continue
        source, field, start, end, copied = origin
        last = spans[-1] if spans else None
        if last and copied and last == Span(source, field, last.start, start, True):
            spans[-1] = Span(source, field, last.start, end, True)
        elif not (last and not copied and last == Span(source, field, start, end, False)):
            spans.append(Span(source, field, start, end, copied))
    return spans


@settings(max_examples=100)
@given(given_row=documents(), data=st.data(), as_text=st.booleans())
def test_every_stretch_leads_to_the_bytes_that_each_of_its_bytes_leads_to(
    given_row: tuple[Rendered, Fields], data: st.DataObject, as_text: bool
) -> None:
    row = given_row[0].with_marks(MARKS) if as_text else given_row[0]
    origins = origin_of_each_byte(row)
    assert len(origins) == len(row.text.encode()) == row.offsets[-1]
    start = data.draw(st.integers(0, len(origins)))
    end = data.draw(st.integers(start, len(origins)))
    assert merged(origins[start:end]) == joined(row.to_original(start, end))


def joined(spans: list[Span]) -> list[Span]:
    """Neighbors that a deletion of nothing or the bound of two parts separates, as the oracle sees them: one."""
    return merged(
        [
            (span.source, span.field, place, place + 1, True)
            if span.copied
            else (span.source, span.field, span.start, span.end, False)
            for span in spans
            for place in (range(span.start, span.end) if span.copied else (0,))
        ]
    )


@settings(max_examples=100)
@given(given_row=documents(), as_text=st.booleans())
def test_copied_bytes_are_the_originals(given_row: tuple[Rendered, Fields], as_text: bool) -> None:
    row, fields = given_row
    row = row.with_marks(MARKS) if as_text else row
    data = row.text.encode()
    for place in range(len(data)):
        for span in row.to_original(place, place + 1):
            if span.copied:
                assert fields[span.source, span.field][span.start : span.end] == data[place : place + 1]


@settings(max_examples=50)
@given(given_row=documents())
def test_runs_are_the_parts_joined_up_to_each_control(given_row: tuple[Rendered, Fields]) -> None:
    row = given_row[0]
    runs = list(row.runs())
    assert "".join(run.text for run in runs) == row.text
    assert [run.control for run in runs if run.control] == [part.control for part in row.parts if part.control]
    assert all(run.control for run in runs[1:])
    assert [number for run in runs for number in run.parts] == list(range(len(row.parts)))
    assert [run.start for run in runs] == [row.offsets[run.parts[0]] for run in runs]


def test_a_mark_as_text_stands_for_what_it_replaced() -> None:
    source = source_id(1)
    row = Rendered(
        (Part(None, "mail ", source, "text"), Part("redacted_email", " now", source, "text")), (Edit(1, 0, 0, 5, 12),)
    )
    text = row.with_marks(MARKS)
    assert (row.text, text.text) == ("mail  now", "mail <EMAIL> now")
    assert text.to_original(6, 8) == [Span(source, "text", 5, 12, False)]
    assert text.to_original(12, 16) == row.to_original(5, 9) == [Span(source, "text", 12, 16, True)]
    assert row.with_marks({}) is row


def test_a_deletion_leaves_the_bytes_around_it_apart() -> None:
    source = source_id(1)
    text, edits = replaced("keep secret keep", [(4, 11, "")], 0)
    row = Rendered((Part(None, text, source, "text"),), edits)
    assert row.text == "keep keep"
    assert row.to_original(2, 6) == [Span(source, "text", 2, 4, True), Span(source, "text", 11, 13, True)]


@pytest.mark.parametrize(
    "edits",
    [
        (Edit(1, 0, 0, 0, 0),),  # no such part
        (Edit(0, 2, 1, 2, 3),),  # ends before it starts
        (Edit(0, 0, 9, 0, 1),),  # past the text
        (Edit(0, 3, 4, 1, 2),),  # more text before it than the source has
        (Edit(0, 0, 2, 0, 2), Edit(0, 1, 3, 2, 4)),  # overlap
        (Edit(0, 0, 1, 0, 1), Edit(0, 2, 3, 9, 10)),  # what lies between is not copied one to one
    ],
)
def test_edits_that_do_not_fit_are_refused(edits: tuple[Edit, ...]) -> None:
    with pytest.raises(DamagedError, match="build its mix again"):
        Rendered((Part(None, "12345", source_id(1), "text"),), edits)


def test_text_without_a_source_has_no_edits_and_no_origin() -> None:
    with pytest.raises(DamagedError):
        Rendered((Part(None, "12345"),), (Edit(0, 0, 1, 0, 1),))
    assert Rendered((Part(None, "12345"),)).to_original(0, 5) == []
    with pytest.raises(ValueError, match="of a rendered text of 5"):
        Rendered((Part(None, "12345"),)).to_original(0, 6)
