"""Duplicates are groups; who stays is decided late, over the rows that everything else keeps."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from corpus.planted import made, plant, rows
from starloom.corpus import ExactDedup, Read
from starloom.corpus.components import Duplicates, Edge, reasons_to_drop
from starloom.corpus.exact_dedup import ContentGroups, exact_duplicates


@given(st.lists(st.sampled_from(["aa", "bb", "cc", None])))
def test_files_are_in_one_group_exactly_when_their_blobs_are_equal(blobs: list[str | None]) -> None:
    ids = [b"%04d" % number for number in range(len(blobs))]
    groups, edges = ContentGroups().add(ids, blobs)
    for one in range(len(blobs)):
        for other in range(len(blobs)):
            same = one == other or (blobs[one] is not None and blobs[one] == blobs[other])
            assert (groups[one] == groups[other]) == same
    assert len(edges) == len(blobs) - len(set(groups))
    if blobs:
        assert list(exact_duplicates(zip(ids, blobs, strict=True))) == edges


def test_groups_run_on_across_shards(tmp_path: Path) -> None:
    files = {f"f{n:02}.py": b"# %d\n" % (n % 3) * 50 for n in range(12)}
    read = Read(f"folder:{plant(tmp_path / 'code', files)}", shard_bytes=1500)
    built = made(ExactDedup(read), tmp_path / "store")
    assert len(built.parts()) > 3
    assert [row["group"] for row in rows(built)] == [n % 3 for n in range(12)]
    edges = built.table("edges.parquet").to_pylist()
    ids = [row["id"] for row in rows(built)]
    assert {(row["a"], row["b"]) for row in edges} == {(ids[n], ids[n + 3]) for n in range(9)}
    assert {row["jaccard"] for row in edges} == {1.0}


def connected(kept: list[bool], edges: list[Edge]) -> dict[int, set[int]]:
    """Components over kept rows by plain search; equality reaches through dropped rows. The oracle."""
    equal: dict[int, set[int]] = {row: {row} for row in range(len(kept))}
    changed = True
    while changed:
        changed = False
        for one, other, similarity in edges:
            if similarity == 1.0 and equal[one] is not equal[other]:
                union = equal[one] | equal[other]
                for row in union:
                    equal[row] = union
                changed = True
    near: dict[int, set[int]] = defaultdict(set)
    for one, other, _ in edges:
        for a in equal[one]:
            for b in equal[other]:
                if kept[a] and kept[b]:
                    near[a].add(b)
                    near[b].add(a)
    for members in equal.values():
        alive = {row for row in members if kept[row]}
        for row in alive:
            near[row] |= alive
    found: dict[int, set[int]] = {}
    for row in range(len(kept)):
        if kept[row]:
            seen, waiting = {row}, [row]
            while waiting:
                for other in near[waiting.pop()] - seen:
                    seen.add(other)
                    waiting.append(other)
            found[row] = seen
    return found


ROWS = st.integers(1, 9).flatmap(
    lambda size: st.tuples(
        st.lists(st.booleans(), min_size=size, max_size=size),
        st.permutations(range(size)),
        st.lists(
            st.tuples(st.integers(0, size - 1), st.integers(0, size - 1), st.sampled_from([1.0, 0.8])), max_size=12
        ),
        st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1), st.just(1.0)), max_size=5),
    )
)


@given(ROWS)
def test_the_best_of_each_component_of_kept_rows_stays_and_nobody_else(
    drawn: tuple[list[bool], list[int], list[Edge], list[Edge]],
) -> None:
    kept, ranks, near, exact = drawn
    reasons = reasons_to_drop(kept, ranks, [Duplicates("exact", exact), Duplicates("near", near)])
    only_exact = connected(kept, exact)
    everything = connected(kept, [*exact, *near])
    for row, keep in enumerate(kept):
        if not keep or min(everything[row], key=lambda one: ranks[one]) == row:
            assert reasons[row] is None
        elif min(only_exact[row], key=lambda one: ranks[one]) != row:
            assert reasons[row] == "exact"
        else:
            assert reasons[row] == "near"


def test_a_bridge_that_is_gone_joins_nobody() -> None:
    chain = [Duplicates("near", [(0, 1, 0.8), (1, 2, 0.8)])]
    assert reasons_to_drop([True, True, True], [0, 1, 2], chain) == [None, "near", "near"]
    assert reasons_to_drop([True, False, True], [0, 1, 2], chain) == [None, None, None]


def test_copies_of_a_dropped_file_are_still_copies_of_one_another() -> None:
    chain = [Duplicates("exact", [(0, 1, 1.0), (1, 2, 1.0)])]
    assert reasons_to_drop([True, False, True], [0, 1, 2], chain) == [None, None, "exact"]


def test_a_dropped_favorite_takes_nobody_with_it() -> None:
    pair = [Duplicates("exact", [(0, 1, 1.0)])]
    assert reasons_to_drop([False, True], [0, 1], pair) == [None, None]


def test_many_copies_cost_little() -> None:
    chain = [(n, n + 1, 1.0) for n in range(50_000)]
    reasons = reasons_to_drop([True] * 50_001, range(50_001), [Duplicates("exact", chain)])
    assert reasons[0] is None and set(reasons[1:]) == {"exact"}


def test_rows_of_which_one_is_wanted_say_nothing_about_what_else_is_like_them() -> None:
    """Rows 0 and 1 are commits of one file, 0 opted out; 2 is like 0 alone: it is no commit of that file."""
    kept = [False, True, True]
    near = Duplicates("near", [(0, 2, 0.8)])
    commits = Duplicates("commit", [(0, 1, 1.0)], same_content=False)
    for every in ([near, commits], [commits, near]):
        assert reasons_to_drop(kept, [0, 1, 2], every) == [None, None, None]


def test_of_the_commits_of_a_file_one_stays_also_when_one_between_them_is_gone() -> None:
    commits = Duplicates("commit", [(0, 1, 1.0), (1, 2, 1.0)], same_content=False)
    assert reasons_to_drop([True, False, True], [0, 1, 2], [commits]) == [None, None, "commit"]
