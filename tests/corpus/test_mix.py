"""The mix: conservation, survivors by rank, hold-out by group, and nothing that a sentinel in a file could do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpus.planted import by_path, made, plant, plant_git, rows
from starloom.corpus import STACK_RULES, ExactDedup, Language, License, Mix, Read, Rules, quickstart_rules
from starloom.corpus.decide import first_reason, rank
from starloom.corpus.split import groups_of, held_out
from starloom.errors import ConfigError
from starloom.records import uniform
from starloom.stage import Stage
from starloom.store import Built

FILES = {
    "LICENSE": b"Licensed under the Apache License, Version 2.0",
    "json/__init__.py": b"import a\n",
    "json/copy.py": b"import abc\n",
    "abc.py": b"import abc\n",
    "email/x.py": b"import email\n",
    "email/y.py": b"import nothing\n",
    "long.py": b"x" * 2000,
    "bad.py": b"\xff",
    "empty.py": b"",
}


def journey(source: str, **settings: Any) -> Mix:
    files = Read(source, shard_bytes=settings.pop("shard_bytes", 16 << 20))
    language, license_ = Language(files), License(files)
    quality = Rules(files, language, license_, rules=quickstart_rules(("Python",), "permissive"))
    return Mix(files, (language, license_), (quality,), (ExactDedup(files),), **settings)


def text_of(row: dict[str, Any]) -> str:
    return "".join(part["text"] for part in row["parts"])


def test_every_file_is_kept_or_dropped_for_one_first_reason(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", FILES)
    built = made(journey(f"folder:{folder}"), tmp_path / "store")
    counts = built.counts
    assert counts["dropped"] == {
        "language_not_selected": 1,
        "line_too_long": 1,
        "not_utf8": 1,
        "empty": 1,
        "exact_duplicate": 1,
    }
    assert counts["rows_in"] == len(FILES) == counts["rows_out"] + sum(counts["dropped"].values())
    assert counts["bytes_in"] == sum(map(len, FILES.values()))
    assert counts["bytes_in"] == counts["bytes_out"] + sum(counts["dropped_bytes"].values())
    assert len(rows(built)) == counts["rows_out"] == counts["documents"] == 4


def test_unread_files_never_reach_the_mix_even_without_verdicts(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"1\n", "b.py": b"\xff"})
    built = made(Mix(Read(f"folder:{folder}")), tmp_path / "store")
    assert built.counts["dropped"] == {"not_utf8": 1}
    assert len(rows(built)) == 1


def test_a_shard_of_which_nothing_stays_is_an_empty_shard(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.py": b"\xff" * 1000, "b.py": b"x = 1\n" * 200})
    built = made(Mix(Read(f"folder:{folder}", shard_bytes=1000)), tmp_path / "store")
    assert [len(table) for table in built.tables()] == [0, 1]


def test_sentinels_typed_in_a_file_are_ordinary_text_of_one_part(tmp_path: Path) -> None:
    typed = "<fim_prefix><|endoftext|><fim-suffix><repo_name><reponame>x = 1\n"
    folder = plant(tmp_path / "code", {"a.py": typed.encode()})
    for layout in ("santacoder", "starcoder", "starcoder2"):
        (row,) = rows(made(Mix(Read(f"folder:{folder}"), layout=layout), tmp_path / "store"))  # type: ignore[arg-type]
        (part,) = [part for part in row["parts"] if part["field"] == "text"]
        assert part["text"] == typed
        names = {part["control"] for part in row["parts"]} - {None}
        assert names <= {"repository", "file_name", "file_separator", "end_of_document"}


def test_layouts_and_shares_that_cannot_be_are_refused() -> None:
    files = Read("x")
    with pytest.raises(ConfigError, match="no layout 'starcodr' of mix; did you mean 'starcoder'"):
        Mix(files, layout="starcodr")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="heldout of mix is 1"):
        Mix(files, heldout=1)
    with pytest.raises(ConfigError, match="metadata of mix is -1"):
        Mix(files, metadata=-1)
    with pytest.raises(ConfigError, match="'santacoder' has no controls"):
        Mix(files, layout="santacoder", metadata=0.2)
    with pytest.raises(ConfigError, match="which finds no duplicates"):
        Mix(files, groups=(Language(files),))


def test_a_mix_that_keeps_nothing_says_why(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"a.c": b"int x;\n", "b.py": b""})
    with pytest.raises(ConfigError, match=r"mix keeps none of 2 files \(language_not_selected 1, empty 1\)"):
        made(journey(f"folder:{folder}").__class__(*_upstream(f"folder:{folder}")), tmp_path / "store")


def _upstream(source: str) -> tuple[Stage, tuple[Stage, ...], tuple[Stage, ...]]:
    files = Read(source)
    language = Language(files)
    return files, (language,), (Rules(files, language, rules=quickstart_rules(("Python",), "any")),)


@given(st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("abc"), min_size=1, max_size=2)), max_size=4))
def test_the_first_verdict_against_a_file_gives_the_reason(verdicts: list[tuple[bool, list[str]]]) -> None:
    against = [reasons[0] for keep, reasons in verdicts if not keep]
    assert first_reason(None, verdicts) == (against[0] if against else None)
    assert first_reason("binary", verdicts) == (against[0] if against else "binary")


def test_rank_prefers_permissive_then_stars_then_forks_then_dates_then_id() -> None:
    early, late = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
    order = [
        rank("MIT", 5, None, [], b"9"),
        rank("MIT", 1, 9, [], b"9"),
        rank("MIT", 1, 2, [early, late], b"9"),
        rank("MIT", 1, 2, [early], b"1"),
        rank("MIT", 1, 2, [early], b"2"),
        rank("MIT", None, 99, [late], b"0"),
        rank(None, 1000, 1000, [late], b"0"),
        rank("GPL-3.0-only", 10_000, 1000, [late], b"0"),
    ]
    assert sorted(order) == order


def test_the_survivor_of_twins_does_not_depend_on_the_order_of_reading(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {f"{name}.py": b"same = 1\n" for name in "abcdef"} | {"other.py": b"1\n"})
    files = Read(f"folder:{folder}")
    built = made(Mix(files, groups=(ExactDedup(files),)), tmp_path / "store")
    ids = {row["id"] for path, row in by_path(made(files, tmp_path / "store")).items() if path != b"other.py"}
    kept = {row["id"] for row in rows(built)} & ids
    assert kept == {min(ids)}
    assert built.counts["dropped"] == {"exact_duplicate": 5}


GROUPS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.integers(0, 1000), min_size=1, max_size=30)


@example({"a": 0, "b": 0}, 0.99, 0)
@given(GROUPS, st.floats(0, 0.99), st.integers(0, 1000))
def test_something_is_held_out_but_never_more_than_half(sizes: dict[str, int], share: float, seed: int) -> None:
    chosen = held_out(sizes, share, seed)
    assert chosen <= set(sizes)
    assert chosen != set(sizes)
    assert sum(sizes[group] for group in chosen) * 2 <= sum(sizes.values())
    assert bool(chosen) == (share > 0 and len(sizes) > 1)


@given(GROUPS, st.integers(0, 1000))
def test_a_group_is_held_out_by_its_own_number(sizes: dict[str, int], seed: int) -> None:
    chosen = held_out(sizes, 0.2, seed)
    below = {group for group in sizes if uniform(seed, group) < 0.2}
    if below and below != set(sizes) and sum(sizes[group] for group in below) * 2 <= sum(sizes.values()):
        assert chosen == below


def test_several_repositories_are_their_own_groups() -> None:
    assert groups_of([("r", b"a/b.py"), ("q", b"a/c.py")]) == ["r", "q"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([b"json/a.py", b"json/b/c.py", b"abc.py"], ["json", "json", "abc"]),
        ([b"src/pkg/a.py", b"src/pkg/sub/b.py"], ["a", "sub"]),
        ([b"src/a/x.py", b"src/b/x.py"], ["a", "b"]),
        ([b"only.py"], ["only"]),
        ([b".hidden", b"a.tar.gz"], [".hidden", "a.tar"]),
        ([b"\xff/x.py", b"y.py"], ["\\udcff", "y"]),
    ],
)
def test_one_repository_is_grouped_by_its_top_packages_and_modules(paths: list[bytes], expected: list[str]) -> None:
    assert groups_of([("r", path) for path in paths]) == [f"r/{name}" for name in expected]


def test_a_group_is_on_one_side_of_the_split(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {f"p{n}/m{k}.py": b"x = %d%d\n" % (n, k) for n in range(30) for k in range(3)})
    built = made(Mix(Read(f"folder:{folder}"), heldout=0.3), tmp_path / "store")
    sides: dict[str, set[str]] = {}
    for row in rows(built):
        sides.setdefault(row["group"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert Counter(side.copy().pop() for side in sides.values())["heldout"] == built.counts["heldout_groups"] > 0


def test_one_group_alone_is_not_held_out_and_the_summary_says_so(tmp_path: Path) -> None:
    folder = plant(tmp_path / "code", {"pkg/a.py": b"1\n"})
    built = made(Mix(Read(f"folder:{folder}"), heldout=0.5), tmp_path / "store")
    assert {row["split"] for row in rows(built)} == {"train"}
    assert "nothing is held out" in built.manifest["summary"]


@pytest.mark.parametrize("layout", ["starcoder", pytest.param("starcoder2", marks=pytest.mark.slow)])
def test_the_whole_way_is_the_same_for_one_worker_and_two(tmp_path: Path, layout: str) -> None:
    files = {f"p{n % 9}/m{n}.py": b"value = %d\n" % (n // 2) * (n % 7 + 1) for n in range(150)}
    plant_git(
        tmp_path / "code", {os.fsencode(path): data for path, data in files.items()} | {b"LICENSE": FILES["LICENSE"]}
    )
    one, two = (
        made(journey(f"git:{tmp_path / 'code'}", layout=layout, shard_bytes=20_000), tmp_path / str(workers), workers)
        for workers in (1, 2)
    )
    assert len(one.parts()) > 3
    assert (one.fingerprint, one.manifest["files"]) == (two.fingerprint, two.manifest["files"])
    texts = {text_of(row) for row in rows(one)}
    assert len(texts) == len(rows(one))


def digests(store: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(store.glob("*-*")):
        if path.is_dir():
            built = Built.open(path)
            found[path.name] = {name: entry["sha256"] for name, entry in built.manifest["files"].items()}
    return found


def test_a_build_that_was_killed_at_any_shard_ends_at_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL when the n-th unit of the whole way has been recorded, then once more to the end."""
    folder = plant(tmp_path / "code", {f"p{n % 9}/m{n}.py": b"value = %d\n" % n * 30 for n in range(60)})
    plant(folder, {"LICENSE": FILES["LICENSE"]})
    made(journey(f"folder:{folder}", shard_bytes=9_000), tmp_path / "whole")
    program = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from corpus.planted import made
        from corpus.test_mix import journey
        from starloom import work
        left = [int(sys.argv[3])]
        commit = work.Work._commit
        def counted(self, *arguments):
            commit(self, *arguments)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        work.Work._commit = counted
        made(journey("folder:" + sys.argv[1], shard_bytes=9_000), Path(sys.argv[2]))
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": "7"}
    for kills in (4, 17):
        store = tmp_path / str(kills)
        killed = subprocess.run([sys.executable, "-c", program, str(folder), str(store), str(kills)], env=environment)
        assert killed.returncode == -signal.SIGKILL
        made(journey(f"folder:{folder}", shard_bytes=9_000), store)
        assert digests(store) == digests(tmp_path / "whole")


def test_stack_rules_are_the_published_basic_ones() -> None:
    assert [one.name for one in STACK_RULES] == ["empty", "long_lines", "few_alphanumeric"]
    assert dict(STACK_RULES[1].settings) == {"longest": 1000, "mean": 100}
    assert dict(STACK_RULES[2].settings) == {"least": 0.25}
