"""Every language after every step: the sums of the rows, and never more than before."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from shutil import copytree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import AlignmentError
from starloom.report.documents import Corpus, corpora
from starloom.report.facts import Steps
from starloom.report.languages import SPLITS, Languages, Tally, after, kept, merged, step_tables, token_lengths, total
from starloom.store import Built, sha256_of, write_table

STATIONS = ("rules", "dedup", "sampling")
tallies = st.builds(Tally, *[st.integers(0, 10**9)] * 5)
counted = st.dictionaries(st.sampled_from((*STATIONS, *SPLITS)), tallies)
tables = st.dictionaries(st.text(max_size=5), counted, max_size=12).map(lambda ends: Languages(STATIONS, True, ends))


@given(counted)
def test_a_step_only_takes_away_and_the_last_leaves_what_is_kept(ends: dict[str, Tally]) -> None:
    steps = [total(ends.values()), *(left for _, left in after(ends, STATIONS))]
    for before, left in pairwise(steps):
        assert all(one >= other for one, other in zip(before, left, strict=True))
    assert steps[-1] == kept(ends)


@given(tables, st.integers(2, 9))
def test_folding_loses_nothing(languages: Languages, most: int) -> None:
    lines = languages.folded(most)
    assert len(lines) == min(most, len(languages.ends))
    assert merged(ends for _, ends in lines) == merged(languages.ends.values())
    sizes = [kept(ends).size_bytes for _, ends in lines[: most - 1]]
    assert sizes == sorted(sizes, reverse=True)


@given(tables)
def test_the_file_beside_the_page_has_every_language_and_step(languages: Languages) -> None:
    said = json.loads(json.dumps(languages.as_json()))
    assert said["languages"].keys() == languages.ends.keys()
    for language, ends in languages.ends.items():
        row = said["languages"][language]
        assert list(row["after"]) == list(STATIONS)
        assert row["read"]["tokens"] == total(ends.values()).tokens
        assert row["after"]["sampling"]["bytes"] == row["train"]["bytes"] + row["heldout"]["bytes"]


@given(tables)
def test_a_cell_is_pale_where_its_step_took_nothing(languages: Languages) -> None:
    for table in step_tables(languages):
        for _, cells in table["lines"]:
            assert len(cells) == len(table["columns"])
            for (before, _), (text, same) in pairwise(cells[: len(languages.used()) + 1]):
                assert not same or text == before


def rows(steps: dict[str, Built]) -> list[dict[str, object]]:
    """Each document with its language, tokens and outcome, by plain reading of the tables."""
    mixed = {}
    for table in steps["mix"].tables():
        for row in table.to_pylist():
            mixed |= {part["source"]: row["split"] for part in row["parts"] if part["source"]}
    found = []
    for part in steps["read"].parts():
        tables = [steps["read"].table(part), steps["language"].table(part), steps["census"].table(part)]
        outcomes = steps["mix"].table(f"outcome-{part}").to_pylist()
        for read, language, census, outcome in zip(*(one.to_pylist() for one in tables), outcomes, strict=True):
            facts = {"language": language["value"] or "none found", "size": read["size"], "tokens": census["tokens"]}
            found.append({**facts, "reason": outcome["reason"], "split": mixed.get(read["id"])})
    return found


STATION_OF = {
    "binary": "rules",
    "language_not_selected": "rules",
    "few_alphanumeric": "rules",
    "benchmark_substring": "decontaminate",
    "exact_duplicate": "exact_dedup",
    "near_duplicate": "near_dedup",
    "down_sampled": "down_sampled",
}


def test_each_document_ends_at_the_step_that_dropped_it_or_in_its_split(
    steps: dict[str, Built], curated_corpus: Corpus
) -> None:
    files: dict[str, Counter[str]] = {}
    tokens: dict[str, Counter[str]] = {}
    for row in rows(steps):
        end = STATION_OF[row["reason"]] if row["reason"] else row["split"]
        files.setdefault(row["language"], Counter())[end] += 1
        tokens.setdefault(row["language"], Counter())[end] += row["tokens"] or 0
    said = curated_corpus.languages.ends
    assert {name: {end: one.files for end, one in ends.items()} for name, ends in said.items()} == files
    assert {name: {end: one.tokens for end, one in ends.items()} for name, ends in said.items()} == tokens
    assert {end for ends in files.values() for end in ends} == {*STATION_OF.values(), *SPLITS}


def test_reasons_are_those_of_the_mix_and_their_steps_are_named(
    steps: dict[str, Built], curated_corpus: Corpus
) -> None:
    assert {reason: one.files for reason, one in curated_corpus.dropped.items()} == steps["mix"].counts["dropped"]
    assert curated_corpus.steps_of("near_duplicate") == ["near_dedup"]
    assert curated_corpus.steps_of("exact_duplicate") == ["exact_dedup"]
    assert curated_corpus.steps_of("down_sampled") == ["mix"]
    assert curated_corpus.languages.used() == ["rules", "decontaminate", "exact_dedup", "near_dedup", "down_sampled"]


def test_tokens_are_those_of_the_census(steps: dict[str, Built], curated_corpus: Corpus) -> None:
    assert curated_corpus.all.tokens == steps["census"].counts["tokens"]
    name, read, stays = token_lengths(curated_corpus.languages)[0]
    assert name == "all"
    assert read.tokens == steps["census"].counts["tokens"]
    assert read.bytes_per_token == steps["census"].counts["bytes"] / read.tokens
    assert stays.tokens == sum(one.tokens for one in curated_corpus.splits.values()) == curated_corpus.all.kept_tokens


def test_without_a_census_nothing_is_said_of_tokens(steps: dict[str, Built]) -> None:
    (found,) = corpora(Steps([one for name, one in steps.items() if name != "census"]))
    assert not token_lengths(found.languages)
    assert [table["measure"] for table in step_tables(found.languages)] == ["bytes", "files"]


def test_validation_sets_are_counted_and_an_empty_one_is_named(steps: dict[str, Built], curated_corpus: Corpus) -> None:
    assert {name: one.files for name, one in curated_corpus.validation.items() if one.files} == steps["mix"].counts[
        "validation"
    ]
    assert set(curated_corpus.validation) == {"language:Python", "language:JSON"}


def test_outcomes_of_other_rows_are_refused(steps: dict[str, Built], tmp_path: Path) -> None:
    mix = steps["mix"]
    copytree(mix.directory, tmp_path / "mix")
    name = max((f"outcome-{part}" for part in steps["read"].parts()), key=lambda one: mix.table(one).num_rows)
    path = tmp_path / "mix" / name
    write_table(path, mix.table(name).take(list(range(mix.table(name).num_rows))[::-1]))
    size, digest = sha256_of(path)
    files = {**mix.manifest["files"], name: {"bytes": size, "sha256": digest}}
    other = Built(tmp_path / "mix", {**mix.manifest, "files": files})
    with pytest.raises(AlignmentError, match="build mix again"):
        corpora(Steps([one for name, one in steps.items() if name != "mix"] + [other]))
