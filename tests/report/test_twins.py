"""Duplicates side by side: who stays, who goes for it, how alike they are, and nothing personal."""

from __future__ import annotations

from dataclasses import replace
from html import unescape

import curated
import pytest

from starloom.report.documents import Corpus
from starloom.report.page import render
from starloom.report.twins import Member, chosen_pair, reason_to_stay
from starloom.store import Built


def member(name: str, step: str | None = None, **facts: object) -> Member:
    base = Member(
        name.encode() * 16, "part-00000.parquet", 0, "r", name.encode(), 9, name, "MIT", 5, 1, "2024-01-01", step
    )
    return replace(base, **facts)  # type: ignore[arg-type]


def edge(a: Member, b: Member, similarity: float) -> tuple[bytes, bytes, float]:
    return a.id, b.id, similarity


A, B, C = member("a"), member("b", "near"), member("c", "near")


def test_the_least_alike_of_those_that_are_joined_are_shown() -> None:
    assert chosen_pair([A, B, C], [edge(A, B, 0.9), edge(C, A, 0.75), edge(B, C, 0.7)], "near") == (A, C, 0.75)


def test_what_equals_another_is_as_alike_as_it() -> None:
    twin = member("t")
    assert chosen_pair([replace(A, step="rules"), twin, B], [edge(A, twin, 1.0), edge(B, A, 0.8)], "near") == (
        twin,
        B,
        0.8,
    )


def test_through_others_only_one_that_stays_alone_stands_for_all() -> None:
    bridge = member("x", "near")
    chain = [edge(A, bridge, 0.8), edge(bridge, B, 0.8)]
    assert chosen_pair([A, B, bridge], chain, "near") == (A, bridge, 0.8)
    gone = replace(bridge, step="exact")
    assert chosen_pair([A, B, gone], chain, "near") == (A, B, None)
    assert chosen_pair([A, B, gone, member("y")], chain, "near") is None


def test_what_another_step_dropped_is_no_pair() -> None:
    assert chosen_pair([A, replace(B, step="rules")], [edge(A, B, 0.9)], "near") is None


def test_a_file_that_sampling_dropped_later_still_stood_for_others() -> None:
    sampled = replace(A, step="down_sampled")
    assert chosen_pair([sampled, B], [edge(A, B, 0.9)], "near") == (sampled, B, 0.9)
    assert not sampled.kept


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"stars": 4}, "stars (5, 4)"),
        ({"stars": None}, "stars (5, none known)"),
        ({"forks": 0, "latest": None}, "forks (1, 0)"),
        ({"latest": None}, "latest change (2024-01-01, none known)"),
        ({}, "its id, all else being equal"),
        ({"license": "GPL-3.0-only"}, "license type (MIT, GPL-3.0-only)"),
    ],
)
def test_why_one_stays_is_the_first_that_tells_them_apart(facts: dict[str, object], word: str) -> None:
    assert reason_to_stay(A, replace(B, **facts)).startswith(word)  # type: ignore[arg-type]


def test_a_pair_is_of_its_group_with_the_similarity_that_was_verified(
    steps: dict[str, Built], curated_corpus: Corpus
) -> None:
    near = curated_corpus.duplicates[1]
    assert (near.step, near.dropped) == ("near_dedup", steps["mix"].counts["dropped"]["near_duplicate"])
    pair = next(cluster.pair for cluster in near.clusters if cluster.pair)
    edges = steps["near_dedup"].table("edges.parquet").to_pylist()
    known = {frozenset((one["a"], one["b"])): one["jaccard"] for one in edges}
    assert pair.similarity == known[frozenset((pair.stays.id, pair.goes.id))] < 1
    assert (pair.stays.step, pair.goes.step) == (None, "near_dedup")
    assert {pair.stays.path[:4], pair.goes.path[:4]} == {b"near"}
    assert pair.excerpt is not None
    assert any("marker_" in text for left, right in pair.excerpt.rows for text, _ in (*(left or ()), *(right or ())))


def test_copies_have_nothing_to_compare(curated_corpus: Corpus) -> None:
    exact = curated_corpus.duplicates[0]
    pair = next(cluster.pair for cluster in exact.clusters if cluster.pair)
    assert pair.stays.blob == pair.goes.blob
    assert pair.excerpt is None
    assert pair.similarity == 1.0


def test_no_personal_data_is_on_the_page(steps: dict[str, Built], curated_corpus: Corpus) -> None:
    assert any(
        curated.ADDRESS in (text or "")
        for table in steps["read"].tables(["text"])
        for text in table["text"].to_pylist()
    )
    page = unescape(render(list(steps.values())))
    assert curated.ADDRESS not in page
    assert "AUTHOR = " in page  # the place itself is shown
    assert "*" * len(curated.ADDRESS) in page
