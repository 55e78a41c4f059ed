"""Redaction: nothing that was found is left, the same value has the same replacement, every other byte leads back."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.pii_samples import samples
from corpus.planted import by_path, made, plant, plant_git, rows
from starloom.corpus import FindPII, Language, Mix, Read, find_pii
from starloom.corpus.layouts import LAYOUTS, Document, Layout
from starloom.corpus.pii import Entity
from starloom.corpus.pii_redaction import (
    EMAILS,
    IPV4,
    IPV6,
    KEYS,
    MARKS,
    Change,
    Redaction,
    changes,
    redacted,
    replacement,
    worth_redacting,
)
from starloom.corpus.rendered import Part, Rendered, replaced
from starloom.errors import ConfigError
from starloom.report.examples import example
from starloom.tokens import TrainBPE
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.pack import Pack
from starloom.tokens.special import family_named

STYLES = typing.get_args(Redaction)
ID = b"1" * 16
KEY = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0fL3hXk"
VALUES = {
    "EMAIL": "jo.miller@acme.dev",
    "IP_ADDRESS": "93.184.216.34",
    "KEY": KEY,
    "NAME": "Jo Miller",
    "PASSWORD": "hunter2!",
}


def spans_of(entities: list[Entity]) -> list[dict[str, Any]]:
    return [{"field": "text", "start": one.start, "end": one.end, "reason": one.kind} for one in entities]


def redacted_file(text: str, entities: list[Entity], layout: str, style: Redaction, seed: int = 0) -> Rendered:
    document = Document(ID, "pypi:a", b"a.py", text, None, "g")
    (row,) = LAYOUTS[layout]([document], 0.5, 0)
    return redacted(row.rendered, {ID: changes(spans_of(entities), {"text": text.encode()}, ID, style, seed)})


def leads_back(rendered: Rendered, original: bytes) -> None:
    """Every copied byte is the original's; all bytes of the original are either copied or in a replaced region."""
    text = rendered.text.encode()
    copied: set[int] = set()
    for at, octet in enumerate(text):
        for span in rendered.to_original(at, at + 1):
            if span.field == "text" and span.copied:
                assert original[span.start : span.end] == bytes([octet])
                copied.add(span.start)
    regions = {
        place
        for edit in rendered.edits
        if rendered.parts[edit.part].field == "text"
        for place in range(edit.source_start, edit.source_end)
    }
    assert copied | regions == set(range(len(original)))
    assert not copied & regions


PIECES = st.lists(
    st.text("aé漢 \n", max_size=6) | st.sampled_from(sorted(VALUES)).map(lambda kind: "\0" + kind), max_size=8
)


@settings(max_examples=150)
@given(PIECES, st.sampled_from(typing.get_args(Layout)), st.sampled_from(STYLES), st.booleans())
def test_redacted_text_leads_back_and_holds_no_value(
    pieces: list[str], layout: str, style: Redaction, as_text: bool
) -> None:
    text, entities = "", []
    for piece in pieces:
        value = VALUES[piece[1:]] if piece.startswith("\0") else piece
        if piece.startswith("\0"):
            start = len(text.encode())
            entities.append(Entity(start, start + len(value.encode()), piece[1:]))  # type: ignore[arg-type]
        text += value
    rendered = redacted_file(text, entities, layout, style)
    if as_text:
        rendered = rendered.with_marks(family_named("starcoder").marks_as_text())
    leads_back(rendered, text.encode())
    assert not any(value in rendered.text for value in VALUES.values())
    if as_text:
        assert not any(part.control in MARKS.values() for part in rendered.parts)


@st.composite
def converted(draw: st.DrawFn) -> tuple[str, Rendered]:
    """A text of distinct letters of which some ranges were replaced, as forms do, and parts of it were cut off."""
    size = draw(st.integers(1, 20))
    text = "".join(chr(0x61 + number) for number in range(size))
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=6)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    ranges = [(start, end, draw(st.sampled_from(["", "#", "##"]))) for start, end in pairs]
    put, edits = replaced(text, ranges, 0)
    return text, Rendered((Part(None, put, ID, "text"), Part("end_of_document", "")), edits)


@settings(max_examples=300)
@given(converted(), st.data(), st.sampled_from([(None, "@@@"), ("redacted_key", ""), (None, "")]))
def test_redaction_of_converted_text_takes_every_byte_of_the_span(
    made_: tuple[str, Rendered], data: st.DataObject, put: tuple[str | None, str]
) -> None:
    text, row = made_
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    result = redacted(row, {ID: {"text": [Change(start, end, *put)]}})
    assert not set(result.text) & set(text[start:end])
    whole = set(row.text) - set("#")
    touched = {  # what an edit replaced goes with the part of it that is redacted
        text[place]
        for edit in row.edits
        if edit.source_start < end and start < edit.source_end
        for place in range(edit.source_start, edit.source_end)
    }
    assert set(result.text) - set("#@") == whole - set(text[start:end]) - touched
    for at in range(len(result.text.encode())):
        for span in result.to_original(at, at + 1):
            if span.copied:
                assert text[span.start : span.end] == result.text[at]


@given(st.sampled_from(["EMAIL", "KEY", "IP_ADDRESS"]), st.text(min_size=1), st.binary(min_size=1), st.integers(0, 99))
def test_a_replacement_is_a_function_of_seed_document_and_value(
    kind: str, value: str, document: bytes, seed: int
) -> None:
    one = replacement(kind, value, document, "examples", seed)
    assert one == replacement(kind, value, document, "examples", seed)
    known = {"EMAIL": EMAILS, "KEY": KEYS, "IP_ADDRESS": IPV6 if ":" in value else IPV4}[kind]
    assert one[0] is None
    assert one[1] in known


def test_all_ten_examples_are_used_and_differ_between_documents() -> None:
    chosen = [replacement("EMAIL", "a@b.de", b"%d" % n, "examples", 0)[1] for n in range(400)]
    assert set(chosen) == set(EMAILS)
    assert len(EMAILS) == len(KEYS) == 10


def test_published_rules_say_what_is_not_redacted() -> None:
    assert not worth_redacting("PASSWORD", "abc")
    assert not worth_redacting("NAME", "Jo")
    assert not worth_redacting("USERNAME", "jomiller")
    assert not worth_redacting("KEY", "aB3$xQ9z")
    assert not worth_redacting("KEY", "authentication_token_name")
    assert not worth_redacting("EMAIL", EMAILS[0])
    assert all(worth_redacting(kind, value) for kind, value in VALUES.items())


def test_a_value_has_one_replacement_in_all_its_places() -> None:
    text = f'A = "{VALUES["EMAIL"]}"\nB = "{VALUES["EMAIL"]}"\n'
    rendered = redacted_file(text, find_pii(text), "santacoder", "examples")
    (address,) = {line.split('"')[1] for line in rendered.text.splitlines()}
    assert address in EMAILS


def test_marks_are_controls_in_starcoder2_and_text_elsewhere() -> None:
    text = f"mail {VALUES['EMAIL']} now\n"
    rendered = redacted_file(text, find_pii(text), "starcoder2", "marks")
    assert ("redacted_email", " now\n") in [(part.control, part.text) for part in rendered.parts]
    assert rendered.with_marks(family_named("starcoder2").marks_as_text()) == rendered
    assert rendered.with_marks(family_named("starcoder").marks_as_text()).text.endswith("mail <EMAIL> now\n")


def test_files_without_personal_data_stay_the_same_rows(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"x = 1\n", "b.py": b"y = '1.2.3.4'\n"})
    files = Read(f"folder:{folder}")
    plain = rows(made(Mix(files), tmp_path / "store"))
    assert rows(made(Mix(files, redact=FindPII(files)), tmp_path / "store")) == plain


@pytest.mark.parametrize("layout", typing.get_args(Layout))
def test_no_found_value_reaches_the_mix_the_tokens_or_the_report(tmp_path: Path, layout: Layout) -> None:
    """All labelled samples as files: what was found occurs in no rendered row, and in no decoded token file."""
    files_of = {f"p{n}/s{n}.txt": one.text.encode() for n, one in enumerate(samples("tuning"))}
    folder = plant(tmp_path / "code", files_of)
    files = Read(f"folder:{folder}")
    secrets = FindPII(files)
    mix = Mix(files, redact=secrets, layout=layout)
    built, read, found = (made(one, tmp_path / "store") for one in (mix, files, secrets))
    documents = {row["id"]: row for row in rows(read)}
    hidden: dict[bytes, list[str]] = {}
    for row in rows(found):
        data = documents[row["id"]]["text"].encode()
        for span in row["spans"]:
            value = data[span["start"] : span["end"]].decode()
            if worth_redacting(span["reason"], value):
                hidden.setdefault(row["id"], []).append(value)
        page = example(documents[row["id"]], "x", [{"reasons": [], "spans": row["spans"]}])
        assert not any(value in page.before + page.marked + page.after for value in hidden.get(row["id"], []))
    assert sum(map(len, hidden.values())) > 400
    for row in rows(built):
        text = "".join(part["text"] for part in row["parts"])
        sources = {part["source"] for part in row["parts"]} - {None}
        for source in sources:
            assert not [value for value in hidden.get(source, []) if value in text and value not in KEYS]
    vocabulary = TrainBPE(mix, vocab_size=500, family=layout)
    packed = made(Pack(mix, vocabulary, context=64), tmp_path / "store")
    words = Vocabulary.load(made(vocabulary, tmp_path / "store").directory)
    tokens = np.fromfile(packed.directory / "tokens-train.bin", "<u2", offset=64)
    said = words.bytes_of(tokens.tolist()).decode(errors="replace")
    assert not [value for values in hidden.values() for value in values if value in said]


def test_authors_in_the_text_of_a_commit_are_redacted_field_by_field(tmp_path: Path) -> None:
    ids = plant_git(
        tmp_path / "code", {b"a.py": b"# by jo@acme.dev\n"}, {b"a.py": b"# by jo@acme.dev and bo@acme.dev\nx = 1\n"}
    )
    files = Read(f"git:{tmp_path / 'code'}")
    assert ids
    (row,) = rows(made(Mix(files, redact=FindPII(files)), tmp_path / "store"))
    text = "".join(part["text"] for part in row["parts"])
    assert "acme" not in text
    assert [part["control"] for part in row["parts"]].count("redacted_email") == 2


def test_redaction_is_the_same_for_one_worker_and_two(tmp_path: Path) -> None:
    files_of = {f"p{n}/s{n}.txt": one.text.encode() for n, one in enumerate(samples("tuning")[:60])}
    folder = plant(tmp_path / "code", files_of)
    files = Read(f"folder:{folder}", shard_bytes=4_000)
    mix = Mix(files, redact=FindPII(files))
    one, two = (made(mix, tmp_path / str(workers), workers) for workers in (1, 2))
    assert len(one.parts()) > 3
    assert one.manifest["files"] == two.manifest["files"]


def test_mix_refuses_what_cannot_redact() -> None:
    files = Read("x")
    with pytest.raises(ConfigError, match="redact of mix is language; it takes a FindPII"):
        Mix(files, redact=Language(files))
    with pytest.raises(ConfigError, match="no way 'mark' of redaction in mix; did you mean 'marks'"):
        Mix(files, redaction="mark")  # type: ignore[arg-type]


def test_personal_data_is_found_by_path(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"# jo@acme.dev\n", "b.py": b"\xff", "c.py": b"x"})
    files = Read(f"folder:{folder}")
    found = made(FindPII(files), tmp_path / "store")
    by_id = {row["id"]: row for row in rows(found)}
    paths = {path: by_id[row["id"]] for path, row in by_path(made(files, tmp_path / "store")).items()}
    assert [row["keep"] for row in paths.values()] == [True] * 3
    assert [(span["start"], span["end"], span["reason"]) for span in paths[b"a.py"]["spans"]] == [(2, 13, "EMAIL")]
    assert found.manifest["summary"] == "1 of 3 files (EMAIL 1)"


def test_an_address_in_a_path_is_redacted_in_the_control_that_names_the_file(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"users/jane.doe0@bigcorp.io/v1.2.3.4/a.py": b"x = 1\n"})
    files = Read(f"folder:{folder}")
    for layout in ("starcoder", "starcoder2"):
        [row] = rows(made(Mix(files, layout=layout, metadata=1.0, redact=FindPII(files)), tmp_path / "store"))
        assert "bigcorp" not in str(row["parts"])
        assert [part["text"] for part in row["parts"] if part["field"] == "path"] == ["users/", "/v1.2.3.4/a.py"]
