"""Commits, issues, notebooks and pull requests: from original characters to tokens, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.kinds import LAYOUT_OF, STRATEGIES, controls, laid
from corpus.planted import made, plant, plant_git, rows
from starloom import tokens
from starloom.corpus import KindRules, Mix, OneCommitPerFile, Read
from starloom.corpus.fields import Field, fields_of, in_fields, joined, value_of
from starloom.corpus.forms import IN_LAYOUT
from starloom.corpus.rendered import Rendered
from starloom.lineage.journal import Journal
from starloom.lineage.way import ways_of
from starloom.store import Store
from starloom.tokens.bpe import train
from starloom.tokens.dataset import Dataset
from starloom.tokens.fim import FIM
from starloom.tokens.pack import tokenize
from starloom.tokens.special import FAMILIES, family_named

WORDS = {
    family: train(["def f(x):\n    return größe 日本 # note\n"] * 20, vocab_size=420, family=family)
    for family in FAMILIES
}


@pytest.mark.parametrize("kind", STRATEGIES)
@settings(max_examples=40)
@given(data=st.data())
def test_every_token_leads_back_to_the_characters_of_a_named_field(kind: str, data: st.DataObject) -> None:
    fields = data.draw(STRATEGIES[kind])
    values = {field.name: field.text.encode() for field in fields} | {"repository": b"github.com/o/n"}
    family = LAYOUT_OF[kind]
    for row in laid(kind, fields, seed=data.draw(st.integers(0, 5))):
        ((ids, _),) = tokenize([row.rendered], WORDS[family])
        at = 0
        for token in ids.tolist():
            own = WORDS[family].bytes_of([token])
            spans = row.rendered.to_original(at, at + len(own))
            if spans and all(span.copied for span in spans):
                led = b"".join(values[span.field][span.start : span.end] for span in spans)
                assert led == own or len(led) < len(own)  # shorter where inserted text is in the same token
            at += len(own)
        assert at == len(row.rendered.text.encode())


@pytest.mark.parametrize("kind", STRATEGIES)
@settings(max_examples=40)
@given(data=st.data())
def test_every_copied_byte_is_the_original_and_every_other_one_was_put_there(kind: str, data: st.DataObject) -> None:
    fields = data.draw(STRATEGIES[kind])
    values = {field.name: field.text.encode() for field in fields} | {"repository": b"github.com/o/n"}
    for row in laid(kind, fields):
        text = row.rendered.text.encode()
        for place in range(len(text)):
            for span in row.rendered.to_original(place, place + 1):
                assert span.end <= len(values[span.field])
                if span.copied:
                    assert values[span.field][span.start : span.end] == text[place : place + 1]


@given(
    st.dictionaries(st.text(max_size=5), st.text(st.characters(codec="utf-8"), max_size=9), min_size=1, max_size=5),
    st.data(),
)
def test_fields_are_what_was_joined_and_a_span_of_the_text_is_one_of_theirs(
    texts: dict[str, str], data: st.DataObject
) -> None:
    fields = [Field(f"f:{name}", text) for name, text in texts.items()]
    text, ranges = joined(fields)
    row = {"text": text, "fields": [one._asdict() for one in ranges]}
    assert fields_of(text, row["fields"]) == fields  # type: ignore[arg-type]
    assert all(value_of(row, field.name) == field.text.encode() for field in fields)
    start = data.draw(st.integers(0, len(text.encode())))
    end = data.draw(st.integers(start, len(text.encode())))
    led = b"".join(value_of(row, name)[a:b] for name, a, b in in_fields(row["fields"], [(start, end)]))  # type: ignore[arg-type]
    inside = [any(one.start <= place < one.end for one in ranges) for place in range(start, end)]
    assert led == bytes(text.encode()[place] for place, kept in zip(range(start, end), inside, strict=True) if kept)


def test_every_kind_that_a_layout_takes_has_its_controls_in_the_family() -> None:
    for layout, kinds in IN_LAYOUT.items():
        known = {name for name, _ in family_named(layout).controls} | {None}
        for kind in kinds - {"file"}:
            for seed in range(3):
                for row in laid(kind, _one(kind), seed=seed, layout=layout):
                    assert {control for control, _ in controls(row)} <= known


def _one(kind: str) -> tuple[Field, ...]:
    if kind == "commit":
        return Field("before", "a\n"), Field("message", "say b"), Field("after", "b\n")
    if kind == "issue":
        return Field("opened:0", "text " * 50, "ann"), Field("closed:1", "", "bob")
    if kind == "notebook":
        return Field("language", "python"), Field("markdown:0", "words"), Field("code:1", "x"), Field("output:1:0", "1")
    return (
        Field("pull_request:0", "a description of it", "ann"), Field("title:0", "a title of it", "ann"),
        Field("head:0", "1"), Field("review:1", "fine", "bob"), Field("state:1", "approved"), Field("id:1", "7"),
        *(Field(f"{name}:0", text) for name, text in
          (("file_head", "1"), ("file_path", "a.py"), ("file_language", "Python"), ("before", "a\nb"), ("after", "a\nc"))),
    )  # fmt: skip


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# Reading\n", "a file of numbers"]},
        {"cell_type": "code", "source": "numbers = list(map(int, open('n')))\nprint(numbers)", "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["[1, 2, 3]\n"]}]},
    ],
    "metadata": {"language_info": {"name": "python"}},
}  # fmt: skip


def test_a_notebook_and_a_commit_are_followed_to_their_tokens_and_back(tmp_path: Path) -> None:
    old = "".join(f"value_{n} = {n}\n" for n in range(40))
    new = old.replace("value_20 = 20", "value_20 = compute(20)").replace(
        "value_30 = 30\n", "value_30 = 31\nvalue_x = 7\n"
    )
    plant_git(tmp_path / "repo", {b"a.py": old.encode()}, {b"a.py": new.encode()})
    plant(tmp_path / "books", {"read.ipynb": json.dumps(NOTEBOOK).encode(), "b.py": b"x = 1\n" * 20})
    (tmp_path / "sources.txt").write_text("commits:repo\nfolder:books  # with a notebook\n")
    files = Read(f"list:{tmp_path / 'sources.txt'}")
    clean = Mix(files, (), (), (OneCommitPerFile(files),), heldout=0.0)
    vocab = tokens.TrainBPE(clean, vocab_size=400)
    store = tmp_path / "store"
    packed = made(tokens.Pack(clean, vocab, context=16), store)
    journal = Journal.open(Store(store))
    read = {row["id"]: row for row in rows(made(files, store))}
    [(book, commit)] = [(ways_of(journal, "folder:books:read.ipynb"), ways_of(journal, "folder:repo:a.py"))]
    assert sum(stop.text.startswith("tokens") for way in book for stop in way.stops) == 2  # structured, and as a script
    assert sum(stop.text.startswith("tokens") for way in commit for stop in way.stops) == 1  # one commit of the file
    dataset = Dataset(packed)
    mix = made(clean, store)
    rendered = [[Rendered.of_row(row) for row in mix.table(name).to_pylist()] for name in mix.parts()]
    seen: set[tuple[bytes, str]] = set()
    for step in range(dataset.samples):
        replay = dataset.replay(seed=3, step=step, size=1, fim=FIM(0.5, 0.5))
        for token, one in enumerate(replay.ids[0].tolist()):
            origin = replay.origin(0, token)
            own = dataset.vocabulary.bytes_of([one])
            if origin is None or not own:
                continue
            start, end = origin[1], origin[2]
            spans = rendered[origin[3]][origin[4]].to_original(start, end)
            if all(span.copied for span in spans) and sum(span.end - span.start for span in spans) == len(own):
                assert b"".join(value_of(read[s.source], s.field)[s.start : s.end] for s in spans) == own
                seen |= {(read[span.source]["kind"], span.field) for span in spans}
    wanted = {("commit", name) for name in ("before", "message", "after")}
    assert seen >= wanted | {("notebook", name) for name in ("markdown:0", "code:1", "output:1:0")} | {("file", "text")}


def test_kinds_that_a_layout_has_no_controls_for_are_dropped_for_that_reason(tmp_path: Path) -> None:
    plant_git(tmp_path / "repo", {b"a.py": b"x = 1\n"}, {b"a.py": b"x = 2\n"})
    (tmp_path / "sources.txt").write_text("commits:repo\ngit:repo\n")
    files = Read(f"list:{tmp_path / 'sources.txt'}")
    built = made(Mix(files, layout="starcoder2", heldout=0.0), tmp_path / "store")
    assert built.counts["dropped"] == {"kind_not_in_layout": 2}
    assert built.counts["rows_out"] == 1


def test_one_commit_of_a_file_stays_one_that_the_verdicts_keep(tmp_path: Path) -> None:
    plant_git(tmp_path / "repo", *({b"a.py": b"x = %d\n" % n * 5, b"b.py": b"1\n"} for n in range(12)))
    files = Read(f"commits:{tmp_path / 'repo'}")
    alone = made(Mix(files, groups=(OneCommitPerFile(files),), heldout=0.0), tmp_path / "store")
    assert alone.counts["dropped"] == {"another_commit_of_the_file": 10}
    rules = KindRules(files)
    kept = {row["id"] for row in rows(made(rules, tmp_path / "store")) if row["keep"]}
    assert 1 < len(kept) < 11  # by the chance of short subjects
    judged = made(Mix(files, verdicts=(rules,), groups=(OneCommitPerFile(files),), heldout=0.0), tmp_path / "store")
    assert judged.counts["dropped"] == {
        "commit_subject_short": 11 - len(kept),
        "another_commit_of_the_file": len(kept) - 1,
    }
    assert {row["id"] for row in rows(judged)} <= kept
