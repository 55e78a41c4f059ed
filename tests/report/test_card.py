"""The dataset card: figures of the manifests, read by the hub's own reader, and no name in it becomes markup."""

from __future__ import annotations

import json
from dataclasses import replace

import curated
import pytest
from huggingface_hub import DatasetCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from starloom import corpus
from starloom.report import plain
from starloom.report.card import dataset_card
from starloom.report.documents import Amount, Corpus, corpora
from starloom.report.facts import Steps
from starloom.report.meanings import MEANINGS, meanings
from starloom.store import Built

SECTIONS = [
    *(
        "Sources",
        "Languages",
        "Licenses",
        "What was dropped, and why",
        "Duplicates",
        "Personal data",
        "Decontamination",
    ),
    *("Opting out", "Held out", "Tokenizer", "Rebuilding it", "Limitations"),
]


def parsed(card: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(DatasetCard(card).text)


def tables(card: str) -> dict[str, list[list[str]]]:
    """Head of the first column → the rows of each table, as read."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    within = ""
    for one in parsed(card):
        if one.type == "table_open":
            rows = []
        elif one.type == "tr_open":
            rows.append([])
        elif one.type in ("th_open", "td_open"):
            within = one.type
        elif one.type == "inline" and within:
            rows[-1].append("".join(child.content for child in one.children or ()))
            within = ""
        elif one.type == "table_close":
            found[rows[0][0]] = rows[1:]
    return found


@pytest.fixture(scope="module")
def card(steps: dict[str, Built], curated_corpus: Corpus) -> str:
    return dataset_card(Steps(list(steps.values())), curated_corpus, "A corpus", "starloom run corpus --seed 3")


def test_the_hub_reads_its_header(card: str) -> None:
    data = DatasetCard(card).data
    assert data.pretty_name == "A corpus"
    assert data.license == "other"
    assert data.size_categories == ["n<1K"]
    assert "code" in data.tags


def test_every_section_is_there_in_order(card: str) -> None:
    headings = [one.content for one in parsed(card) if one.type == "inline" and one.level == 1 and one.map]
    assert [one for one in headings if one in SECTIONS] == SECTIONS


def test_figures_are_those_of_the_manifests(card: str, steps: dict[str, Built], curated_corpus: Corpus) -> None:
    read, counts = tables(card), steps["mix"].counts
    dropped = {row[0]: int(row[2].replace(",", "")) for row in read["reason"]}
    assert dropped == counts["dropped"]
    assert sum(int(row[1]) for row in read["split"]) == counts["rows_out"]
    assert {row[0]: int(row[1]) for row in read["kind"]} == steps["find_pii"].counts["found"]
    assert {row[0]: row[3] for row in read["step"]} == {
        name: one.fingerprint for name, one in steps.items()
    }  # the last table that begins so
    assert sum(int(row[4].replace(",", "")) for row in read["language"]) == curated_corpus.all.kept_tokens
    assert next(row[1] for row in read["texts"]) == plain.count(steps["census"].counts["tokens"])
    assert {row[0]: int(row[1]) for row in read["validation set"] if row[1] != "0"} == counts["validation"]


def test_benchmarks_are_named_with_the_problems_that_were_met(card: str) -> None:
    assert "Benchmarks: humaneval (digest " in card
    assert (
        "Left out, because they hold a problem or its solution: 1 of 34 files. Problems that were met: humaneval 1."
        in card
    )


def test_what_rebuilds_it_is_in_it(card: str, steps: dict[str, Built]) -> None:
    blocks = [one.content for one in parsed(card) if one.type == "fence"]
    assert blocks[0] == "starloom run corpus --seed 3\n"
    settings = {name: one.manifest["settings"] for name, one in steps.items() if one.manifest["settings"]}
    assert json.loads(blocks[1]) == settings
    assert steps["opt_out"].manifest["externals"]["requests"]["digest"] in card


def test_a_reason_means_what_its_rule_says(steps: dict[str, Built], curated_corpus: Corpus) -> None:
    said = meanings([*curated_corpus.dropped, "long_nothing", "benchmark_ngrams:HumanEval/0"], [steps["rules"]])
    for reason in curated_corpus.dropped:
        assert said[reason], reason
    assert said["few_alphanumeric"] == " ".join((corpus.rules.few_alphanumeric.__doc__ or "").split())
    assert said["long_nothing"] == ""
    assert said["benchmark_ngrams:HumanEval/0"] == MEANINGS["benchmark_ngrams"]


def test_what_steps_say_of_a_drop_has_a_meaning() -> None:
    from starloom.corpus.decide import DOWN_SAMPLED, NEAR_HELDOUT
    from starloom.corpus.forms import NO_FORM
    from starloom.corpus.opt_out import REASON
    from starloom.tokens.fertility import REASON as FEW

    stages = (corpus.ExactDedup, corpus.NearDedup, corpus.OneCommitPerFile)
    for reason in (DOWN_SAMPLED, NEAR_HELDOUT, NO_FORM, REASON, FEW, *(one.reason for one in stages)):
        assert MEANINGS[reason]


def test_a_corpus_without_the_optional_steps_says_so(steps: dict[str, Built]) -> None:
    without = [
        one
        for name, one in steps.items()
        if name not in ("census", "opt_out", "find_pii", "near_dedup", "decontaminate")
    ]
    (told,) = corpora(Steps(without))
    card = dataset_card(Steps(without), told, "A corpus")
    assert "No list of requests was given." in card
    assert "Nothing was searched for personal data" in card
    assert "No benchmark was searched for." in card
    assert "tokens" not in tables(card)["split"][0]


names = st.text(max_size=40) | st.sampled_from(
    [
        "a|b",
        "](http://evil.example)",
        "<script>alert(1)</script>",
        "\n---\n",
        "\n# x\n",
        "`",
        "../../x",
        "| --- |",
        "\\|",
    ]
)


@given(st.lists(names, min_size=3, max_size=3, unique=True), names)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_names_change_no_structure(
    steps: dict[str, Built], curated_corpus: Corpus, card: str, hostile: list[str], title: str
) -> None:
    amounts = {name: Amount(2, 20 - n, 1, 10 - n) for n, name in enumerate(hostile)}
    plainly = {f"name{n}": one for n, one in enumerate(amounts.values())}
    said = []
    for these, heading in ((amounts, title), (plainly, "A corpus")):
        every = {**curated_corpus.tables, "repository": these, "license": these}
        said.append(dataset_card(Steps(list(steps.values())), replace(curated_corpus, tables=every), heading))
    assert [one.type for one in parsed(said[0])] == [one.type for one in parsed(said[1])]
    assert [row[0] for row in tables(said[0])["repository"]] == [
        " ".join(plain.visible(name).split()) for name in hostile
    ]
    assert DatasetCard(said[0]).data.pretty_name == plain.visible(title)


def test_no_personal_data_is_on_the_card(card: str) -> None:
    assert curated.ADDRESS not in card
