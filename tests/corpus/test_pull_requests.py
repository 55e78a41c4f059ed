"""Pull requests: The Stack v2's order of controls and filters, and diffs that apply."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.kinds import controls, laid
from corpus.planted import made, rows
from starloom.corpus import KindRules, Read
from starloom.corpus.hunks import add_hunks
from starloom.corpus.pull_request_fields import ChangedFile, Event, pull_request_fields, pull_request_of
from starloom.corpus.pull_requests import (
    kept_of_repository,
    reasons_against_pull_request,
)
from starloom.corpus.traced import Parts, Traced
from starloom.errors import SourceError

LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), min_size=1, max_size=25).map("\n".join)


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, str]:
    """Thirty lines, and the same with a few changed, removed or added."""
    before = [f"line {n}" for n in range(30)]
    after = list(before)
    for place in sorted(draw(st.sets(st.integers(0, 29), max_size=6)), reverse=True):
        after[place : place + 1] = draw(st.sampled_from([[], ["new"], ["new", "lines"], [before[place], "more"]]))
    return "\n".join(before), "\n".join(after)


@given(st.tuples(LINES, LINES) | edited(), st.integers(0, 4))
def test_hunks_applied_to_the_old_text_make_the_new_one(texts: tuple[str, str], context: int) -> None:
    before, after = texts
    parts = Parts()
    add_hunks(parts, Traced.of(before), Traced.of(after), ("b", "a"), bytes(16), context=context, first_line=0)
    old, new = before.split("\n"), []
    at = 0
    for text in "".join(("\0" if part.control else "") + part.text for part in parts.parts).split("\0")[1:]:
        head, *lines = text.split("\n")
        start, count, new_start, new_count = map(int, re.fullmatch(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@", head).groups())  # type: ignore[union-attr]
        assert start - 1 >= at
        new += old[at : start - 1]
        assert len(new) == new_start - 1
        at = start - 1
        assert [line[1:] for line in lines if line[0] in " -"] == old[at : at + count]
        added = [line[1:] for line in lines if line[0] in " +"]
        assert len(added) == new_count
        new += added
        at += count
    assert new + old[at:] == after.split("\n")


BEFORE = "".join(f"line {n}\n" for n in range(30))
AFTER = BEFORE.replace("line 15\n", "line fifteen\n")


def events(**changes: Any) -> list[Event]:
    found = {
        "open": Event(0, "pull_request", "ann", {"text": "A change that Bob asked for.", "title": "Spell the line out",
                                                "status": "opened", "head": "h1", "base_commit": "b1"}),
        "review": Event(1, "review", "bob", {"text": "", "id": "11", "state": "approved", "head": "h1", "base_commit": "b1"}),
        "on_code": Event(2, "review_comment", "bob", {"text": "Is this line really needed, ann?", "id": "12", "to_review": "11",
                                                     "path": "a.py", "line": "2", "hunk": "@@ -1 +1 @@\n-x\n+y", "head": "h1"}),
        "comment": Event(3, "comment", "ann", {"text": "Yes, all the others are.", "id": "13", "status": "created"}),
        "robot": Event(4, "comment", "ci-bot", {"text": "All the checks have passed today.", "id": "14"}),
        "closed": Event(5, "pull_request", "bob", {"text": "A change", "status": "closed", "merged": "True", "head": "h1"}),
    }  # fmt: skip
    return [one for name, one in (found | changes).items() if one is not None]


def request(**changes: Any) -> tuple[list[Event], list[ChangedFile]]:
    files = changes.pop("files", [ChangedFile(0, "h1", "a.py", "Python", BEFORE, AFTER)])
    return events(**changes), files


def test_a_pull_request_is_laid_out_in_the_published_order() -> None:
    (row,) = laid("pull_request", pull_request_fields(*request()))
    found = controls(row)
    assert [control for control, _ in found] == [
        "pull_request", "pull_request_status", "repository",
        "pull_request_base", "pull_request_file", "pull_request_base_code",
        "pull_request_diff", "pull_request_file", "pull_request_diff_hunk",
        "pull_request_review", "pull_request_event_id", "pull_request_review_state",
        "pull_request_review_comment", "pull_request_event_id", "pull_request_in_reply_to_review_id", "pull_request_file",
        "pull_request_diff_hunk_comment_line", "pull_request_diff_hunk", "pull_request_comment",
        "pull_request_comment", "pull_request_event_id", "pull_request_status",
        "pull_request", "pull_request_status", "pull_request_is_merged", "end_of_document",
    ]  # fmt: skip
    texts = [text for _, text in found]
    assert texts[:3] == ["Title: Spell the line out\nusername_0: A change that username_1 asked for.", "opened", "o/n"]
    assert "line 15" in texts[5]
    assert "-line 15\n+line fifteen\n" in texts[8]
    assert texts[9:12] == ["username_1", "11", "approved"]
    assert texts[18] == "username_1: Is this line really needed, username_0?"
    assert texts[22:25] == ["username_1", "closed", "True"]


def test_diff_lines_are_counted_from_the_first_line_that_is_shown() -> None:
    for seed in range(8):
        (row,) = laid("pull_request", pull_request_fields(*request()), seed=seed)
        found = dict(controls(row)[:9])
        head = re.match(r"@@ -(\d+),(\d+) ", found["pull_request_diff_hunk"])
        assert head is not None
        shown = found["pull_request_base_code"].split("\n")
        diff = [line[1:] for line in found["pull_request_diff_hunk"].split("\n")[1:] if line[0] in " -"]
        assert len(diff) == int(head[2])
        first = int(head[1]) - 1
        assert (shown + BEFORE.split("\n"))[first] == diff[0]


def test_a_new_head_shows_its_diff_before_its_event() -> None:
    files = [
        ChangedFile(0, "h1", "a.py", "Python", BEFORE, AFTER),
        ChangedFile(1, "h2", "a.py", "Python", AFTER, AFTER + "more\n"),
    ]
    later = Event(2, "review", "bob", {"text": "", "state": "approved", "head": "h2"})
    (row,) = laid("pull_request", pull_request_fields(*request(files=files, on_code=later, comment=None, robot=None)))
    names = [control for control, _ in controls(row)]
    assert names.count("pull_request_diff") == 3  # opened, the new head, and the head of the last event
    second = [place for place, name in enumerate(names) if name == "pull_request_diff"][1]
    assert "+more" in controls(row)[second + 2][1]
    assert names[second + 3] == "pull_request_review"


def test_comments_lose_html_and_end_after_a_thousand_characters() -> None:
    text = "before <!-- a\nb --> after <!-- open " + "y" * 2000
    said = Event(0, "pull_request", "ann", {"text": text, "title": "x" * 600, "status": "opened", "head": "h1"})
    (row,) = laid("pull_request", pull_request_fields(*request(open=said)))
    title, _, rest = controls(row)[0][1].partition("\n")
    assert title == "Title: " + "x" * 500
    assert rest.startswith("username_0: before  after <!-- open yyy")
    assert len(rest) == len("username_0: ") + 1000


def changed(event: str, **said: Any) -> dict[str, Any]:
    one = next(one for one in events() if one.number == {"open": 0, "review": 1, "closed": 5}[event])
    author = said.pop("author", one.author)
    return {event: one._replace(author=author, said={k: v for k, v in {**one.said, **said}.items() if v is not None})}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        (changed("open", author="x-bot"), ["pull_request_of_bot"]),
        (changed("open", text=" "), ["pull_request_without_description"]),
        (changed("open", text="x" * 19), ["pull_request_description_short"]),
        (changed("open", text="x" * 20), []),
        (changed("open", title="x" * 9), ["pull_request_title_short"]),
        (changed("open", title="Bump dependencies of x"), ["pull_request_is_routine"]),
        (changed("open", title="Prepare the Release"), ["pull_request_is_routine"]),
        (changed("open", head="h0"), ["pull_request_without_diff"]),
        ({"files": []}, ["pull_request_without_diff"]),
        ({"review": None, "on_code": None, "comment": None}, ["pull_request_without_answer"]),
        (changed("review", state="commented") | changed("closed", merged="False"), ["pull_request_not_accepted"]),
        (changed("review", state="commented"), []),
        (changed("review", base_commit="b2"), []),  # a merge moves the base once
        (changed("review", base_commit="b2") | changed("closed", base_commit="b3"), ["pull_request_rebased"]),
        ({"open": None, "closed": None}, ["pull_request_without_opening"]),
    ],
)
def test_filters_are_the_published_ones(changes: dict[str, Any], expected: list[str]) -> None:
    made_of = pull_request_of("github.com/o/n", pull_request_fields(*request(**changes)))
    assert reasons_against_pull_request(made_of, b"1") == expected


def test_the_whole_has_a_least_and_a_most_length() -> None:
    tiny = [ChangedFile(0, "h1", "a", "Python", "a", "b")]
    short = pull_request_of("r", pull_request_fields(*request(files=tiny, on_code=None, comment=None, robot=None)))
    assert reasons_against_pull_request(short, b"1") == ["pull_request_short"]
    large = [ChangedFile(0, "h1", "a", "Python", "a\n" * 600_000, "b\n")]
    long = pull_request_of("r", pull_request_fields(*request(files=large)))
    assert reasons_against_pull_request(long, b"1") == ["pull_request_long"]


def test_large_repositories_are_sampled_down() -> None:
    assert kept_of_repository(1) == 1
    assert kept_of_repository(2) == pytest.approx(0.7993)
    assert kept_of_repository(1000) == pytest.approx(0.1007)
    assert kept_of_repository(10_000) == pytest.approx(0.01)
    one = pull_request_of("r", pull_request_fields(*request()))
    kept = sum(reasons_against_pull_request(one, b"%d" % n, of_repository=500) == [] for n in range(300))
    assert abs(kept / 300 - 0.45) < 0.1


def test_a_data_file_that_is_most_of_the_change_is_mostly_left_out() -> None:
    files = [
        ChangedFile(0, "h1", "a.py", "Python", BEFORE, AFTER), ChangedFile(1, "h1", "b.yml", "YAML", "x: 1\n" * 500, "y: 1\n" * 500),
    ]  # fmt: skip
    shown = 0
    for seed in range(100):
        (row,) = laid("pull_request", pull_request_fields(*request(files=files)), seed=seed)
        shown += ("pull_request_file", "b.yml") in controls(row)
    assert 2 <= shown <= 22


def test_rows_of_the_stack_v2_are_read(tmp_path: Path) -> None:
    row = {
        "pull_request.guid": "Owner/Name/pull/7",
        "licenses": ["MIT"],
        "events": [
            {"type": "PullRequestEvent", "actor.login": "Ann", "action": "opened", "title": "T", "text": "body",
             "pull_request.merged": False, "head_commit_id": "h", "base_commit_id": "b"},
            {"type": "PullRequestReviewCommentEvent", "actor.login": "bob", "text": "t", "review_comment.id": 5.0,
             "comment.path": "a.py", "comment.original_position": 3, "comment.diff_hunk": "@@"},
            {"type": "IssueCommentEvent", "actor.login": None, "text": None, "comment_id": 8},
            {"type": "PullRequestCommitEvent", "head_commit_id": "h", "head_base_files": [
                {"base_path": "a.py", "base_content": "x\n", "head_content": "y\n", "base_language": "Python"},
                {"base_path": "b.py", "base_content": None, "head_content": "y\n"}, 5]},
        ],
    }  # fmt: skip
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n")
    [found] = rows(made(Read(f"pull_requests:{path}"), tmp_path / "store"))
    assert (found["repository"], found["path"], found["kind"]) == ("github.com/owner/name", b"pull/7", "pull_request")
    assert (found["authors"], found["licenses"]) == (["ann", "bob"], ["MIT"])
    data = found["text"].encode()
    values = {one["name"]: data[one["start"] : one["end"]].decode() for one in found["fields"]}
    assert values == {
        "pull_request:0": "body", "title:0": "T", "status:0": "opened", "merged:0": "False", "head:0": "h", "base_commit:0": "b",
        "review_comment:1": "t", "id:1": "5", "path:1": "a.py", "line:1": "3", "hunk:1": "@@", "comment:2": "", "id:2": "8",
        "file_head:0": "h", "file_path:0": "a.py", "file_language:0": "Python", "before:0": "x\n", "after:0": "y\n",
    }  # fmt: skip
    assert made(KindRules(Read(f"pull_requests:{path}")), tmp_path / "store").counts["rows_out"] == 0


@pytest.mark.parametrize("guid", [None, 5, "owner/name", "owner/name/pull/x", "owner/name/pull/7\n"])
def test_a_row_without_its_name_is_refused_with_its_line(tmp_path: Path, guid: Any) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"pull_request.guid": guid, "events": []}) + "\n")
    with pytest.raises(SourceError, match=r"x\.jsonl:1 has no 'pull_request.guid' such as owner/name/pull/7"):
        made(Read(f"pull_requests:{path}"), tmp_path / "store")
