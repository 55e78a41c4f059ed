"""Commits: windows around a change, the published filters, and a history read without running git."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo
from hypothesis import given
from hypothesis import strategies as st

from corpus.kinds import controls, laid
from corpus.planted import FILE, LINK, made, plant_git, rows
from starloom.corpus import KindRules, License, Read
from starloom.corpus.commits import Commit as Change
from starloom.corpus.commits import reasons_against_commit, rendered_commit, windows
from starloom.corpus.fields import Field
from starloom.corpus.hunks import changed_lines, lines_between
from starloom.errors import SourceError

LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=8).map("\n".join)


@given(LINES, LINES)
def test_changed_lines_are_all_that_differs_and_begin_and_end_with_a_difference(before: str, after: str) -> None:
    start, old_end, new_end = changed_lines(before, after)
    old, new = before.split("\n"), after.split("\n")
    assert old[:start] == new[:start]
    assert old[old_end:] == new[new_end:]
    if before == after:
        assert start == old_end == new_end == len(old)
    elif start < min(old_end, new_end):
        assert old[start] != new[start]
        assert old[old_end - 1] != new[new_end - 1]


@given(LINES, st.integers(-3, 12), st.integers(-3, 12))
def test_lines_between_are_those_of_a_list(text: str, start: int, end: int) -> None:
    a, b = lines_between(text, start, end)
    assert text[a:b] == "\n".join(text.split("\n")[max(start, 0) : max(end, 0)]) or max(start, 0) >= max(end, 0)
    if max(start, 0) >= max(end, 0):
        assert a == b


def commit(
    before: str = "a\n" * 9, after: str = "b\n" * 9, message: str = "say why this is done", path: bytes = b"a.py"
) -> Change:
    return Change(path, before, message, after)


def reasons(one: Change) -> set[str]:
    """Every reason that some chance gives."""
    return {reason for n in range(60) for reason in reasons_against_commit(one, b"%d" % n)}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (commit(), set()),
        (commit(before="x" * 99_999), {"commit_change_short"}),
        (commit(before="x" * 100_000), {"commit_change_short", "commit_of_long_file"}),
        (commit(after=""), {"commit_empties_file"}),
        (commit("a\n" * 9, "a\n" * 7 + "b\n" * 2), {"commit_change_short"}),
        (commit("a\n" * 9, "a\n" * 6 + "b\n" * 3), set()),
        (commit("a\n" * 199, "b\n" * 199), set()),
        (commit("a\n" * 200, "b\n" * 200), {"commit_change_long"}),
        (commit(message=""), {"commit_subject_empty"}),
        (commit(message=" \nbody of the message"), {"commit_subject_empty"}),
        (commit(message="this is an Auto Commit of mine"), {"commit_subject_automatic"}),
        (commit(message="<?XML is here to stay"), {"commit_subject_automatic"}),
        (commit(message="Update README.md"), {"commit_subject_says_nothing", "commit_subject_short"}),
        (commit(message="four words are few"), {"commit_subject_short"}),
        (commit(message="v1.2.3 of the great and good"), set()),  # a space behind it
        (commit(message="1.2.3-rc of the great and good"), {"commit_subject_is_version"}),
        (commit(message="1.2.3"), {"commit_subject_is_version", "commit_subject_short"}),
        (commit(message="0123456789012345678901"), {"commit_subject_of_long_words", "commit_subject_short"}),
        (commit(message=" word"), {"commit_subject_is_one_word", "commit_subject_short"}),
        (commit(path=b"a.json"), {"commit_of_data"}),
        (commit(path=b"ajson"), set()),
    ],
)
def test_filters_are_the_published_ones(one: Change, expected: set[str]) -> None:
    assert reasons(one) == expected


@pytest.mark.parametrize(
    ("one", "reason", "kept"),
    [
        (commit("a\n" * 9, "a\n" * 8 + "b\n"), "commit_change_short", 0.1),
        (commit("a\n" * 300, "b\n" * 300), "commit_change_long", 0.1),
        (commit(message="few words"), "commit_subject_short", 0.5),
        (commit(path=b"a.yml"), "commit_of_data", 0.5),
    ],
)
def test_shares_are_kept_by_a_chance_of_their_own(one: Change, reason: str, kept: float) -> None:
    passed = sum(reason not in reasons_against_commit(one, b"%d" % n) for n in range(1000))
    assert abs(passed / 1000 - kept) < 0.05


def test_windows_hold_the_change_and_up_to_31_lines_around_it_or_all() -> None:
    before = "".join(f"{n}\n" for n in range(200))
    after = before.replace("100\n", "hundred\n")
    whole, sizes = 0, Counter[int]()
    for n in range(2000):
        (a, b), (c, d) = windows(Change(b"a", before, "m", after), b"%d" % n, 0)
        old, new = before[a:b], after[c:d]
        assert "100" in old
        assert new == old.replace("100", "hundred")
        if old == before:
            whole += 1
        else:
            sizes[len(old.split("\n"))] += 1
    assert abs(whole / 2000 - 0.2) < 0.03
    assert min(sizes) < 5
    assert 58 < max(sizes) <= 1 + 2 * 31
    assert len(sizes) > 50


def test_a_commit_is_laid_out_as_published() -> None:
    fields = (Field("before", "a\nb"), Field("message", "why\n\nbecause"), Field("after", "a\nc"))
    (row,) = laid("commit", fields)
    assert controls(row) == [
        ("commit_before", "a\nb"), ("commit_message", "why"), ("commit_after", "a\nc"), ("end_of_document", ""),
    ]  # fmt: skip
    assert rendered_commit(Change(b"a", "", "new file", "x\n"), b"1", 0).parts[0].text == ""


def test_the_history_is_one_row_for_each_commit_of_a_single_file(tmp_path: Path) -> None:
    ids = plant_git(
        tmp_path / "repo",
        {b"a.py": b"1\n", b"deep/b.py": b"1\n"},  # two files
        {b"a.py": b"2\n", b"deep/b.py": b"1\n"},
        {b"a.py": b"2\n", b"deep/b.py": b"2\n"},
        {b"a.py": b"2\n"},  # removed
        {b"a.py": b"2\n", b"new.py": b"3\n"},
        {b"a.py": b"2\n", b"new.py": b"3\n"},  # nothing
        {b"a.py": b"\xff\n", b"new.py": b"3\n"},
    )
    built = made(Read(f"commits:{tmp_path / 'repo'}"), tmp_path / "store")
    found = [(row["path"], row["revisions"][0].encode(), row["unread"], row["text"]) for row in rows(built)]
    assert sorted(found) == sorted(
        [
            (b"a.py", ids[1], None, "1\n\nchange 1\n2\n"),
            (b"deep/b.py", ids[2], None, "1\n\nchange 2\n2\n"),
            (b"new.py", ids[4], None, "\nchange 4\n3\n"),
            (b"a.py", ids[6], "not_utf8", None),
        ]
    )
    assert built.counts["dropped"] == {"no_change": 1, "removed_file": 1, "several_files": 1}
    assert {row["kind"] for row in rows(built)} == {"commit"}
    assert rows(built)[0]["authors"] == ["a", "a@example.org"]
    verdicts = made(KindRules(Read(f"commits:{tmp_path / 'repo'}")), tmp_path / "store")
    assert verdicts.counts["rows_in"] == 4


def test_a_revision_leads_to_its_own_history_only_and_merges_are_counted(tmp_path: Path) -> None:
    ids = plant_git(tmp_path / "repo", {b"a.py": b"1\n"}, {b"a.py": b"2\n"}, {b"a.py": b"3\n"})
    repo = Repo(str(tmp_path / "repo"))
    merge = Commit()
    merge.tree = repo[ids[2]].tree
    merge.parents = [ids[2], ids[0]]
    merge.author = merge.committer = b"B <12+Login@users.noreply.github.com>"
    merge.author_time = merge.commit_time = 1_700_000_010
    merge.author_timezone = merge.commit_timezone = 0
    merge.message = b"merge"
    repo.object_store.add_object(merge)
    repo.refs[b"refs/heads/main"] = merge.id
    repo.close()
    whole = made(Read(f"commits:{tmp_path / 'repo'}"), tmp_path / "store")
    assert (whole.counts["rows_out"], whole.counts["dropped"]) == (3, {"merge": 1})
    early = made(Read(f"commits:{tmp_path / 'repo'}@{ids[1].decode()}"), tmp_path / "store")
    assert early.counts["rows_out"] == 2


def test_co_authors_of_a_message_are_authors(tmp_path: Path) -> None:
    ids = plant_git(tmp_path / "repo", {b"a.py": b"1\n"}, {b"a.py": b"2\n"})
    repo = Repo(str(tmp_path / "repo"))
    with closing(repo):
        commit = repo[ids[1]]
        commit.message = (
            b"Mend it\n\nCo-Authored-By: Bo Li <Bo@X.org>\nco-authored-by: <7+cy@users.noreply.github.com>\n"
        )
        repo.object_store.add_object(commit)
        repo.refs[b"refs/heads/main"] = commit.id
    (row,) = (row for row in rows(made(Read(f"commits:{tmp_path / 'repo'}"), tmp_path / "s")) if "Mend" in row["text"])
    assert row["authors"] == ["a", "a@example.org", "bo li", "bo@x.org", "7+cy@users.noreply.github.com", "cy"]


def test_authors_are_case_folded_and_a_no_reply_address_tells_the_account() -> None:
    from starloom.corpus.sources.commits import people_of

    assert list(people_of(b"Ann B <12+Login@users.noreply.github.com>")) == [
        "ann b", "12+login@users.noreply.github.com", "login",
    ]  # fmt: skip
    assert list(people_of(b"no address")) == ["no address"]
    assert list(people_of("STRASSE <ß@X>".encode("latin-1"))) == ["strasse", "\ufffd@x"]


def test_links_and_hostile_names_in_a_history_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    plant_git(root, {b"a.py": b"1\n"})
    repo = Repo(str(root))
    blob = Blob.from_string(b"x\n")
    repo.object_store.add_object(blob)
    for name, mode in ((b"..", FILE), (b"link", LINK)):
        tree = Tree.from_string(repo[repo[repo.head()].tree].as_raw_string())
        tree.add(name, mode, blob.id)
        repo.object_store.add_object(tree)
        commit_ = Commit()
        commit_.tree, commit_.parents = tree.id, [repo.head()]
        commit_.author = commit_.committer = b"A <a@b>"
        commit_.author_time = commit_.commit_time = commit_.author_timezone = commit_.commit_timezone = 0
        commit_.message = b"m"
        repo.object_store.add_object(commit_)
        repo.refs[b"refs/heads/main"] = commit_.id
    repo.close()
    assert made(Read(f"commits:{root}"), tmp_path / "store").counts["dropped"] == {"symbolic_link": 1, "unsafe_name": 1}


def test_a_damaged_file_is_a_row_without_text_and_a_damaged_commit_an_error(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    ids = plant_git(root, {b"a.py": b"1\n"}, {b"a.py": b"2\n"}, {b"a.py": b"3\n"})
    broken = Blob.from_string(b"2\n").id.decode()
    path = root / ".git" / "objects" / broken[:2] / broken[2:]
    path.chmod(0o644)
    path.write_bytes(b"damage" + path.read_bytes()[6:])
    built = made(Read(f"commits:{root}"), tmp_path / "store")
    assert Counter(row["unread"] for row in rows(built)) == {None: 1, "damaged": 2}
    name = ids[1].decode()
    path = root / ".git" / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(b"damage")
    with pytest.raises(SourceError, match=f"commit {name} .* is damaged"):
        made(Read(f"commits:{root}"), tmp_path / "store")


def test_a_history_without_such_commits_says_what_there_is(tmp_path: Path) -> None:
    plant_git(tmp_path / "repo", {b"a.py": b"1\n", b"b.py": b"1\n"})
    with pytest.raises(SourceError, match=r"has no commit of a single file \(several_files 1\)"):
        made(Read(f"commits:{tmp_path / 'repo'}"), tmp_path / "store")


def test_commits_are_under_the_license_that_their_repository_shows(tmp_path: Path) -> None:
    license_ = {b"LICENSE": b"Licensed under the Apache License, Version 2.0", b"pyproject.toml": b"[broken"}
    texts = (b"x = 1\n" * 9, b"x = 2\n" * 9)
    plant_git(tmp_path / "shown", *({**license_, b"a.py": text} for text in texts))
    plant_git(tmp_path / "bare", *({b"a.py": text} for text in texts))
    for name, expected in (("shown", ["Apache-2.0"]), ("bare", [])):
        found = rows(made(Read(f"commits:{tmp_path / name}"), tmp_path / "store"))
        assert [row["licenses"] for row in found if row["path"] == b"a.py"][-1] == expected
        licensed = rows(made(License(Read(f"commits:{tmp_path / name}")), tmp_path / "store"))
        assert {row["value"] for row in licensed} == {*(expected or [None])}
