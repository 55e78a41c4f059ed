"""A redacted file, a notebook, a commit and a file inside a repository's context: to their tokens, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from corpus.planted import plant, plant_git
from journey import small
from starloom import tokens, train
from starloom.corpus import quickstart_rules
from starloom.corpus.fields import value_of
from starloom.corpus.layouts import Layout
from starloom.journey import Journey
from starloom.lineage.batch import sequences_of
from starloom.lineage.journal import Journal
from starloom.lineage.way import Way, ways_of
from starloom.recipes.corpus import curate
from starloom.store import Built, Store
from starloom.tokens.fim import FIM
from starloom.train.budget import Steps
from starloom.train.settings import Heldout

STEPS = 30
MAIL = "rosalind.quux@mail.quuxworks.io"
FILES = {
    "tree/mail/send.py": f'''"""Wer schreibt: <{MAIL}> – täglich."""\n\n\ndef send(report, 到="{MAIL}"):\n    return 到\n''',
    "tree/mail/other.py": "from send import send\n\n\ndef twice(report):\n    return [send(report), send(report)]\n",
    "tree/notes.ipynb": json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"language_info": {"name": "python"}},
            "cells": [
                {"cell_type": "markdown", "metadata": {}, "source": ["# Regale zählen\n", f"Fragen an {MAIL}"]},
                {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": "print(sum(range(7)))",
                 "outputs": [{"output_type": "stream", "name": "stdout", "text": "21\n"}]},
                {"cell_type": "markdown", "metadata": {}, "source": "Danach weiter mit den **Büchern**."},
                {"cell_type": "code", "metadata": {}, "execution_count": 2, "source": "books = 3\nbooks + 1",
                 "outputs": [{"output_type": "execute_result", "execution_count": 2, "metadata": {},
                              "data": {"text/plain": "4"}}]},
            ],
        }
    ),
}  # fmt: skip
SHELF = "class Shelf:\n    def __init__(self):\n        self.books = []\n\n    def count(self):\n        return {}\n"


def journey(folder: Path, layout: Layout) -> Journey:
    found = curate(f"list:{folder / 'sources.txt'}", quickstart_rules(("Python",), "any"))
    clean = found.mix(layout=layout, metadata=None if layout == "santacoder" else 1.0, heldout=0.0)
    vocab = tokens.TrainBPE(clean, vocab_size=420, family=layout)
    packed = tokens.Pack(clean, vocab, context=48)
    base = train.Pretrain(
        packed, model=small.TINY, fim=FIM(0.7, 0.5, 0.5 if layout == "starcoder2" else None), budget=Steps(STEPS), batch=2, precision="fp32",
        heldout=Heldout(times=0),
    )  # fmt: skip
    return Journey(base)


@pytest.fixture(scope="module", params=["starcoder", "starcoder2", "santacoder"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    folder = tmp_path_factory.mktemp("kinds")
    plant(folder, {name: text.encode() for name, text in FILES.items()})
    plant_git(
        folder / "shelves",
        *({b"shelf.py": SHELF.format(value).encode()} for value in ("0", "len(self.books)", "len(self.books) or 0")),
    )
    (folder / "sources.txt").write_text("folder:tree\ncommits:shelves\n")
    return small.built(journey(folder, request.param), folder / "store")


def ways(built: Mapping[str, Built], name: str) -> list[Way]:
    return ways_of(Journal.open(Store(built["read"].directory.parent)), name)


def originals(built: Mapping[str, Built]) -> dict[str, dict[str, object]]:
    return {row["id"].hex(): row for table in built["read"].tables() for row in table.to_pylist()}


def test_a_document_leads_to_the_steps_that_saw_it_and_their_batches_lead_back(built: Mapping[str, Built]) -> None:
    layout = built["mix"].manifest["settings"]["layout"]
    names = ["folder:tree:mail/send.py", "folder:tree:mail/other.py", "folder:tree:notes.ipynb"]
    names += ["folder:shelves:shelf.py"] if layout == "starcoder" else []
    journal = Journal.open(Store(built["read"].directory.parent))
    stored = originals(built)
    for name in names:
        kept = [way for way in ways(built, name) if not way.stops[-1].text.startswith("out:")]
        assert len(kept) == 1, [stop.text for way in ways(built, name) for stop in way.stops]
        for way in kept:
            seen = [stop.data["steps"] for stop in way.stops if "steps" in stop.data]
            assert seen and any(seen), f"{name}: {[stop.text for stop in way.stops]}"
            found = [
                span
                for steps in seen
                for step in steps[:3]
                for one in sequences_of(journal, built["pretrain"], step)
                for span in one.spans
                if span.source == way.id.hex()
            ]
            assert found
            for span in found:
                original = value_of(stored[span.source], span.field)[span.start : span.end]
                assert span.text == original.decode(errors="replace")


def test_what_was_redacted_is_in_no_batch_and_its_place_is_known(built: Mapping[str, Built]) -> None:
    journal = Journal.open(Store(built["read"].directory.parent))
    [way] = ways(built, "folder:tree:mail/send.py")
    said = next(stop for stop in way.stops if "edits" in stop.data)
    stored = originals(built)[way.id.hex()]
    places = [(one["start"], one["end"]) for one in said.data["edits"] if one["field"] == "text"]
    assert [value_of(stored, "text")[start:end].decode() for start, end in places] == [MAIL, MAIL]
    assert f"text {places[0][0]:,} to {places[0][1]:,} → " in said.text
    inside = 0
    for step in range(1, STEPS + 1):
        for one in sequences_of(journal, built["pretrain"], step):
            assert MAIL not in one.text and "quuxworks" not in one.text
            inside += sum(span.text == MAIL and not span.copied for span in one.spans)
    assert inside, "the batch leads back to the very characters that were replaced"


def test_a_document_that_the_layout_has_no_form_for_says_so(built: Mapping[str, Built]) -> None:
    if built["mix"].manifest["settings"]["layout"] != "starcoder":
        assert "out: kind_not_in_layout" in {way.stops[-1].text for way in ways(built, "folder:shelves:shelf.py")}
