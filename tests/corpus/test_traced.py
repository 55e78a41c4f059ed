"""Text that knows where it was copied from, against an original in which every character is another one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from starloom.corpus.rendered import Rendered
from starloom.corpus.traced import Traced

ORIGINALS = st.integers(0, 40).map(
    lambda size: "".join(chr(0x61 + n) if n % 3 else chr(0x4E00 + n) for n in range(size))
)


@st.composite
def worked_on(draw: st.DrawFn) -> Traced:
    text = Traced.of(draw(ORIGINALS))
    for _ in range(draw(st.integers(0, 4))):
        places = sorted(draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
        if draw(st.booleans()):
            text = text.cut(places[0], places[-1])
        else:
            puts = draw(st.lists(st.sampled_from(["", "-", "é--"]), min_size=2, max_size=2))
            text = text.replaced([(places[0], places[1], puts[0]), (places[2], places[3], puts[1])])
    return text


@given(worked_on())
def test_every_copied_byte_leads_to_its_own_and_the_rest_nowhere_as_copied(text: Traced) -> None:
    part, edits = text.part(None, bytes(16), "f", 0)
    row = Rendered((part,), tuple(edits))
    original = text.original.encode()
    known = [piece.start is not None for piece in text.pieces for _ in piece.text.encode()]
    data = row.text.encode()
    assert len(known) == len(data)
    for place, copied in enumerate(known):
        spans = row.to_original(place, place + 1)
        if copied:
            assert [original[span.start : span.end] for span in spans] == [data[place : place + 1]]
            assert spans[0].copied
        else:
            assert not any(span.copied for span in spans)


@given(worked_on())
def test_what_was_cut_out_is_in_no_span(text: Traced) -> None:
    part, edits = text.part(None, bytes(16), "f", 0)
    row = Rendered((part,), tuple(edits))
    size = len(row.text.encode())
    copied = [n for span in row.to_original(0, size) if span.copied for n in range(span.start, span.end)]
    assert copied == sorted(set(copied))
    kept = "".join(piece.text for piece in text.pieces if piece.start is not None).encode()
    assert bytes(text.original.encode()[n] for n in copied) == kept
