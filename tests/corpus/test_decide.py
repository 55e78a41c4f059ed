"""Amounts, named sets and what lies apart: each document is decided upon by itself, whoever else is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.planted import made, plant, rows, whole
from starloom.corpus import ExactDedup, Language, Mix, NearDedup, Read
from starloom.corpus.decide import DOWN_SAMPLED, ELSEWHERE, NEAR_HELDOUT, Amounts, Candidate, Fixed, decide, near_any
from starloom.corpus.selectors import Selector, with_numbers
from starloom.errors import ConfigError
from starloom.records import document_id

LANGUAGES = ("Python", "JSON", "Go")


def candidate(number: int, *, size: int = 100, groups: int = 40) -> Candidate:
    repository, path = f"git:r{number % groups}", b"%d" % number
    identity = document_id("file", repository, path, str(number))
    language = LANGUAGES[number % 3]
    return Candidate("part-0", number, identity, repository, path, size, "file", language, (number,), None)


def amounts(weights: tuple[str, ...] = (), caps: tuple[str, ...] = (), validation: tuple[str, ...] = ()) -> Amounts:
    sets = tuple(Selector.parse(one, "v") for one in validation)
    return Amounts(with_numbers(weights, "w"), with_numbers(caps, "c"), sets)


def test_a_weight_below_one_samples_and_one_above_repeats() -> None:
    many = [candidate(number) for number in range(6000)]
    reasons, kept = decide(many, (), 0.0, 0, amounts=amounts(("language:JSON=0.25", "language:Go=2.5")))
    left = {one.row: one.weight for one in kept["part-0"]}
    of = {name: [left.get(number) for number in range(6000) if LANGUAGES[number % 3] == name] for name in LANGUAGES}
    assert set(of["Python"]) == {1.0} and set(of["Go"]) == {2.5}
    assert abs(sum(one is not None for one in of["JSON"]) - 500) < 80  # 4 standard deviations
    assert {reason for reason in reasons if reason} == {DOWN_SAMPLED}


def test_weights_of_language_and_source_multiply() -> None:
    reasons, kept = decide(
        [candidate(number) for number in range(9)], (), 0.0, 0, amounts=amounts(("language:Go=2", "source:git:r*=1.5"))
    )
    assert [one.weight for one in kept["part-0"]] == [1.5, 1.5, 3.0] * 3
    assert reasons == [None] * 9


@given(st.integers(1, 400_000))
def test_a_cap_is_a_number_of_bytes_of_the_training_split(most: int) -> None:
    many = [candidate(number, size=1000) for number in range(1200)]
    _, kept = decide(many, (), 0.0, 0, amounts=amounts(caps=(f"language:JSON={most}",)))
    size = sum(1000 for one in kept["part-0"] if LANGUAGES[one.row % 3] == "JSON")
    expected = min(400_000, most)
    assert abs(size - expected) <= 4 * (1000 * expected) ** 0.5 + 1000
    assert len(kept["part-0"]) >= 800  # of other languages, all


@given(st.sets(st.integers(0, 299), min_size=100), st.floats(0.1, 0.9))
def test_what_is_sampled_does_not_depend_on_what_else_is_there(chosen: set[int], weight: float) -> None:
    every, some = (range(300), sorted(chosen))
    asked = amounts((f"language:Python={weight:.3f}",))
    whole_, _ = decide([candidate(number) for number in every], (), 0.0, 7, amounts=asked)
    part, _ = decide([candidate(number) for number in some], (), 0.0, 7, amounts=asked)
    assert part == [whole_[number] for number in some]


def test_held_out_documents_are_neither_sampled_nor_repeated_and_have_their_set() -> None:
    many = [candidate(number) for number in range(3000)]
    asked = amounts(("language:JSON=0", "language:Go=3"), (), ("language:Python", "language:JSON"))
    _, kept = decide(many, (), 0.2, 0, amounts=asked)
    out = [one for one in kept["part-0"] if one.split == "heldout"]
    assert {one.weight for one in out} == {1.0}
    named = {"Python": "language:Python", "JSON": "language:JSON", "Go": None}
    assert all(one.validation == named[LANGUAGES[one.row % 3]] for one in out)
    assert {one.validation for one in kept["part-0"] if one.split == "train"} == {None}
    assert all(LANGUAGES[one.row % 3] != "JSON" for one in kept["part-0"] if one.split == "train")


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19), st.sampled_from([0.8, 1.0])), max_size=30))
def test_what_lies_near_something_held_out_is_never_trained_on(edges: list[tuple[int, int, float]]) -> None:
    edges = [one for one in edges if one[0] != one[1]]
    many = [candidate(number, groups=5) for number in range(20)]
    reasons, kept = decide(many, (), 0.4, 1, [edges])
    out = {one.row for one in kept["part-0"] if one.split == "heldout"}
    trained = {one.row for one in kept["part-0"] if one.split == "train"}
    assert out and not trained & near_any(out, 20, [edges])
    for a, b, _ in edges:
        assert not ({a, b} & out and {a, b} & trained)
    assert {number for number, reason in enumerate(reasons) if reason == NEAR_HELDOUT} == set(range(20)) - out - trained


def test_every_copy_of_something_held_out_goes_also_along_a_chain() -> None:
    assert near_any({0}, 5, [[(0, 1, 1.0), (1, 2, 1.0), (2, 3, 0.9)]]) == {0, 1, 2, 3}


TEXT = "".join(f"def function_{number}(value):\n    return value * {number} + offset\n\n" for number in range(60))


def test_a_weaker_dedup_still_keeps_near_duplicates_on_one_side(tmp_path: Path) -> None:
    files = {f"{name}/copy.py": (TEXT + f"# {name}\n" * 9).encode() for name in "abcdefgh"}
    files |= {f"{name}/own.py": f"{name} = 1\n".encode() for name in "abcdefgh"}
    read = Read(f"folder:{plant(tmp_path / 'code', files)}")
    near = NearDedup(read, preset="dedup-alt")
    built = made(Mix(read, groups=(ExactDedup(read),), apart=(near,), heldout=0.3), tmp_path / "store")
    copies = [row for row in rows(built) if "def function_0" in row["parts"][-2]["text"]]
    assert {row["split"] for row in copies} == {"heldout"}
    assert built.counts["dropped"] == {NEAR_HELDOUT: 8 - len(copies)}


def test_the_outcome_of_every_document_lies_beside_the_mix(tmp_path: Path) -> None:
    files = {f"{name}/{number}.py": f"{name} = {number}\n".encode() for name in "abcd" for number in range(20)}
    files["a/twin.py"] = files["b/1.py"]
    read = Read(f"folder:{plant(tmp_path / 'code', files)}", shard_bytes=400)
    language = Language(read)
    mix = Mix(read, (language,), (), (ExactDedup(read),), weights=("language:Python=0.5",), label="x")
    built = made(mix, tmp_path / "store")
    said = []
    for part, ids in zip(built.parts(), made(read, tmp_path / "store").tables(["id"]), strict=True):
        table = built.table(f"outcome-{part}")
        assert table["id"].to_pylist() == ids["id"].to_pylist()
        said += table["reason"].to_pylist()
    assert {reason: said.count(reason) for reason in set(said) - {None}} == built.counts["dropped"]
    assert said.count(None) == built.counts["rows_out"] == len(whole(built))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("weights", "Python=2", "write language:NAME"),
        ("weights", "language:Pyton=2", "Python"),
        ("weights", "language:Python", "SELECTOR=NUMBER"),
        ("weights", "language:Python=-1", "SELECTOR=NUMBER"),
        ("weights", "language:Python=nan", "SELECTOR=NUMBER"),
        ("caps", "kind:isue=3", "issue"),
        ("validation", "language:", "selects nothing"),
    ],
)
def test_a_selector_that_means_nothing_is_refused(setting: str, value: str, said: str) -> None:
    read = Read("python:stdlib")
    with pytest.raises(ConfigError, match=said):
        Mix(read, (Language(read),), **cast(Any, {setting: (value,)}))


def test_selecting_by_language_needs_languages() -> None:
    with pytest.raises(ConfigError, match="give it a Language"):
        Mix(Read("python:stdlib"), weights=("language:Python=2",))


@given(st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)))
def test_what_another_mix_holds_out_is_held_out_whatever_is_said_and_its_groups_are_not_trained_on(
    before: set[int], here: set[int]
) -> None:
    def judged(dropped: set[int]) -> list[Candidate]:
        return [
            candidate(number, groups=6)._replace(reason="few_stars" if number in dropped else None)
            for number in range(60)
        ]

    _, base = decide(judged(before), (), 0.4, 3)
    measured = {one.row: one.group for one in base["part-0"] if one.split == "heldout"}
    fixed = Fixed(frozenset(judged(set())[row].id for row in measured), frozenset(measured.values()))
    reasons, kept = decide(judged(here), (), 0.4, 4, fixed=fixed)
    assert {one.row: one.group for one in kept["part-0"] if one.split == "heldout"} == measured
    trained = {one.row for one in kept["part-0"] if one.split == "train"}
    assert trained == {n for n in range(60) if n not in here and f"git:r{n % 6}" not in measured.values()}
    assert {reason for number, reason in enumerate(reasons) if number not in here} <= {None, ELSEWHERE}


def test_mixes_of_different_filters_are_measured_on_the_files_of_one(tmp_path: Path) -> None:
    files = {f"{name}/{number}.py": f"{name} = {number}\n".encode() for name in "abcdef" for number in range(9)}
    files |= {f"{name}/{number}.json": b"{}" * (number + 9) for name in "abcdef" for number in range(9)}
    read = Read(f"folder:{plant(tmp_path / 'code', files)}")
    language = Language(read)
    base = Mix(read, (language,), heldout=0.4, validation=("language:Python",), label="base")
    other = Mix(read, (language,), groups=(NearDedup(read, preset="dedup-alt"),), measured_as=base, label="other")
    out = [
        {row["id"] for row in rows(made(mix, tmp_path / "store")) if row["split"] == "heldout"} for mix in (base, other)
    ]
    assert out[0] == out[1] and out[0]
