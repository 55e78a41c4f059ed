"""Issues: what mail programs and robots add is taken out, people become numbers, and every row of an export is told."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpus.kinds import controls, laid
from corpus.planted import made, rows
from starloom.corpus import KindRules, Read
from starloom.corpus.conversations import is_bot, masked, pseudonyms, truncated, without_bots, without_mail
from starloom.corpus.fields import Field
from starloom.corpus.issues import Event, issue_fields, reasons_against_issue
from starloom.corpus.traced import Traced
from starloom.errors import SourceError

ANYTHING = ".+"
FOOTER = f"Reply to this email directly{ANYTHING}view it on GitHub"
MAILS = [  # what the published patterns ask for, in order: any text, the marks with something between them, any text
    re.compile(f"(.*){marks}(.*)\n?(.*)", re.DOTALL)
    for marks in (f"From:{ANYTHING}{FOOTER}", f"On{ANYTHING}notifications@github.com{ANYTHING}wrote:{ANYTHING}{FOOTER}")
]
SIGNED = re.compile("(.*)Signed-off-by: .+<.+>(.*?)\n?(.*)", re.DOTALL)

PIECES = st.lists(
    st.sampled_from(
        ["From:", "On", "notifications@github.com", "wrote:", "Reply to this email directly", "view it on GitHub",
         "Signed-off-by: ", "<", ">", "\n", " ", "a", "text\n", "\n> cited", "\n>", ", x:"]
    ), max_size=14,
).map("".join)  # fmt: skip


@given(PIECES)
@example("\n> citedReply to this email directlyFrom:\nFrom:")
def test_mail_is_cut_where_the_published_patterns_cut_it(text: str) -> None:
    """Ours walks the marks from behind, in linear time; the patterns backtrack."""
    text = text.strip()
    found = next((match for match in (pattern.match(text) for pattern in (*MAILS, SIGNED)) if match), None)
    ours = without_mail(Traced.of(text)).text
    if found is not None:
        assert ours == (found[1] + found[3]).strip()
        return
    lines = text.split("\n")
    start, end = 0, -1
    for number, line in enumerate(lines):
        if "notifications@github.com" in line:
            start = number
        if "Reply to this email directly" in line:
            end = number + line.strip().endswith(":")
        if line.strip().startswith(">"):
            end = number
    expected = lines[:start] + lines[end + 1 :] if end >= start else lines  # the published code repeats the first lines
    assert ours == "\n".join(expected).strip()


def test_a_megabyte_of_bait_takes_no_time() -> None:
    bait = "From:" * 60_000 + "Signed-off-by: " * 20_000 + "<" * 100_000 + "\n>" * 50_000 + "_" * 19
    without_mail(Traced.of(bait))
    masked(Traced.of("a-" * 100_000), pseudonyms(["a", "a-a", "b"]))


def test_rules_of_underscores_and_dated_headers_go() -> None:
    text = "keep\nOn 1/23/2020 10:22 AM, Ann wrote:\n> what she said\nbelow " + "_" * 20
    assert without_mail(Traced.of(text)).text == "keep\nbelow"
    assert without_mail(Traced.of("a " + "_" * 19)).text == "a " + "_" * 19


@given(st.integers(1, 200))
def test_a_long_comment_keeps_its_first_60_lines_and_its_last_20(count: int) -> None:
    lines = [f"line {n}" for n in range(count)]
    expected = lines if count <= 80 else [*lines[:60], "[Truncated]", *lines[-20:]]
    assert truncated(Traced.of("\n".join(lines))).text == "\n".join(expected)


@pytest.mark.parametrize(
    ("name", "bot"),
    [
        ("dependabot[bot]", True), ("Travis-CI-user", True), ("k8s-thing", True), ("my-TEST-x", True), ("a-test", True),
        ("CLAassistant", True), ("SPARKQA", True), ("robot", True), ("x-Service-Account", True), ("release-automation", True),
        ("ann", False), ("bottle", False), ("testing", False), ("", False), ("jenkin", False), ("coveralls2", False),
    ],
)  # fmt: skip
def test_bots_are_known_by_name(name: str, bot: bool) -> None:
    assert is_bot(name) == bot


def test_a_call_of_a_bot_goes_with_its_answer() -> None:
    authors = ["ann", "bob", "x-bot", "ann", "bob", "x-bot"]
    assert without_bots(authors, ["hello", "x-bot please", "done", "thanks", "x-bot again", "done"]) == [0, 1, 3]
    assert without_bots(authors, ["hello", "/retest", "done", "thanks", "well", "done"]) == [0, 1, 3, 4]
    assert without_bots(authors, ["hello", "/retest", "done", "thanks", "/retest", "done"]) == [0, 1, 3]


@given(st.lists(st.sampled_from(["ann", "Ann", "an", "bob-x", "bob"]), min_size=1, max_size=5), PIECES)
def test_no_participant_is_named_and_one_person_is_one_number(authors: list[str], text: str) -> None:
    names = pseudonyms(authors)
    assert len(set(names.values())) == len({author.lower() for author in authors})
    said = masked(Traced.of(" @".join([*authors, text, "anna", "BOB"])), names).text
    for author in authors:
        assert not re.search(rf"(?<![\w-]){re.escape(author)}(?![\w-])", said, re.IGNORECASE)
    assert "anna" in said


WORDS = "words that say something about it. "


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([Event("opened", "ann", "x" * 200)], []),
        ([Event("opened", "ann", "x" * 199)], ["issue_short"]),
        ([Event("opened", "ann", "x" * 199), Event("created", "bob", "y")], []),
        ([Event("opened", "ann", "x" * 7000)], []),
        ([Event("opened", "ann", "x" * 7001)], ["issue_of_one_person"]),
        ([Event("opened", "ann", "x" * 7001), Event("created", "bob", "y")], []),
        ([Event("opened", "ann", "x" * 50)] * 10, []),
        ([Event("opened", "ann", "x" * 50)] * 11, ["issue_of_one_person"]),
        ([Event("opened", "ann", "x" * 50)] * 11 + [Event("created", "z-bot", "x")], ["issue_of_one_person"]),
        ([Event("opened", "z-bot", "x" * 500)], ["issue_of_bots"]),
        ([Event("opened", "ann", "ok\n> " + "x" * 300)], ["issue_short"]),
    ],
)
def test_filters_are_the_published_ones(events: list[Event], expected: list[str]) -> None:
    assert reasons_against_issue(issue_fields(events)) == expected


def test_an_issue_is_laid_out_with_its_people_as_numbers() -> None:
    fields = issue_fields(
        [
            Event("opened", "Ann", "It breaks, @bob.", "Ann's crash"),
            Event("created", "x-bot", "beep"),
            Event("created", "bob", "> It breaks\nann: fixed"),
            Event("labeled", "bob", ""),
            Event("closed", "ANN", ""),
        ]
    )
    (row,) = laid("issue", fields)
    assert controls(row) == [
        ("issue_start", "Title: username_0's crash\nusername_0: It breaks, @username_1."),
        ("issue_comment", "username_1: username_0: fixed"), ("issue_closed", ""), ("end_of_document", ""),
    ]  # fmt: skip


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_an_export_is_a_row_for_each_issue_with_its_authors(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.jsonl",
        {"repo": "Owner/Name", "issue_number": 7, "issue_id": 1, "events": [
            {"author": "Bob", "action": "created", "comment": "later", "description": None, "datetime": "2020-01-02"},
            {"author": "Ann", "action": "opened", "comment": None, "description": "first", "title": "T", "datetime": "2020-01-01"}]},
        {"repo": "owner/other", "issue_id": 8, "events": json.dumps([{"author": None, "action": "closed: no", "text": "x"}])},
        {"repo": "owner/other", "issue_id": 8, "events": []},
        {"repo": "owner/other", "issue_id": 9, "events": [{"author": "a", "action": "opened", "text": None, "title": None}]},
        {"repo": "owner/other", "issue_id": 10, "events": 5},
        {"repo": "owner/other", "issue_id": 11, "events": [], "pull_request": {"number": 11}},
        {"repo": "../../x", "issue_id": 1, "events": []},
        {"repo": "a\n/b", "issue_id": 1, "events": []},
    )  # fmt: skip
    built = made(Read(f"issues:{path}"), tmp_path / "store")
    found = {row["path"]: row for row in rows(built)}
    assert set(found) == {b"issues/7", b"issues/8", b"issues/9", b"issues/10"}
    seven = found[b"issues/7"]
    assert (seven["repository"], seven["owner"], seven["authors"], seven["kind"]) == (
        "github.com/owner/name", "owner", ["ann", "bob"], "issue",
    )  # fmt: skip
    assert seven["text"] == "T\nfirst\nlater"
    assert [field["name"] for field in seven["fields"]] == ["title:0", "opened:0", "created:1"]
    assert [field["name"] for field in found[b"issues/8"]["fields"]] == ["created:0"]
    assert found[b"issues/9"]["unread"] == "issue_without_text"
    assert found[b"issues/10"]["unread"] == "malformed_issue"
    assert built.counts["dropped"] == {"another_kind": 1, "row_twice": 1, "unsafe_repository_name": 2}
    verdicts = made(KindRules(Read(f"issues:{path}")), tmp_path / "store")
    assert verdicts.counts["dropped"] == {"issue_short": 2, "issue_without_text": 1, "malformed_issue": 1}


def test_github_archives_events_are_gathered_by_issue_wherever_they_stand(tmp_path: Path) -> None:
    def event(kind: str, time: str, login: str, action: str, **payload: Any) -> dict[str, Any]:
        body = {
            "action": action,
            **payload,
            "issue": {"number": 3, "title": "T", "body": "opening", **payload.get("issue", {})},
        }
        return {"type": kind, "created_at": time, "actor": {"login": login}, "repo": {"name": "O/n"}, "payload": body}

    one = [
        event("IssueCommentEvent", "2", "bob", "created", comment={"body": "comment"}),
        event("IssuesEvent", "3", "ann", "closed"),
    ]
    two = [
        event("IssuesEvent", "1", "ann", "opened"),
        event("IssueCommentEvent", "4", "x", "created", comment={"body": "c"}, issue={"pull_request": {}}),
        {"type": "PushEvent", "payload": {}, "repo": {"name": "O/n"}},
    ]
    folder = tmp_path / "hours"
    folder.mkdir()
    write(folder / "0.jsonl", *one)
    with gzip.open(folder / "1.json.gz", "wt") as file:
        file.writelines(json.dumps(value) + "\n" for value in two)
    built = made(Read(f"issues:{folder}"), tmp_path / "store")
    [row] = rows(built)
    assert row["text"] == "T\nopening\ncomment\n"
    assert [field["name"] for field in row["fields"]] == ["title:0", "opened:0", "created:1", "closed:2"]
    assert built.counts["dropped"] == {"another_kind": 2}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"repo": "a/b", "x": NaN}', "holds NaN"),
        (b'{"repo": "a/b", "x": 1e400}', "1e400, which is too large"),
        (b'{"repo": "a/b", "x": 1, "x": 2}', "has the key 'x' twice"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"repo":\r"a/b"}', "holds a carriage return within the line"),
        (b'{"repo": "\xff"}', "is not UTF-8"),
        (b"{", "is no JSON"),
        (b"3", "holds a int, not an object"),
        (b'{"x": ' + b"9" * 5000 + b"}", "is no JSON"),
        (b'{"issue_id": 1, "events": []}', "has no 'repo_name' that is text"),
        (b'{"repo": "a/b", "issue_id": "one", "events": []}', "has no 'issue_id' that is a number"),
        (b'{"type": "IssuesEvent", "payload": 3}', "has no 'payload' that is an object"),
    ],
)
def test_a_malformed_line_is_refused_with_its_number(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"repo": "a/b", "issue_id": 1, "events": []}\r\n\n' + line + b"\n")
    with pytest.raises(SourceError, match=re.escape(f"{path}:3 ") + ".*" + re.escape(said)) as caught:
        made(Read(f"issues:{path}"), tmp_path / "store")
    assert len(str(caught.value)) < 1000


def test_every_malformed_line_is_counted(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"{\n" * 12)
    with pytest.raises(SourceError, match=r":5 .*and 7 more; correct or remove"):
        made(Read(f"issues:{tmp_path / 'x.jsonl'}"), tmp_path / "store")


def test_a_title_belongs_to_its_event() -> None:
    assert issue_fields([Event("opened", "a", "b", "t")]) == (Field("title:0", "t", "a"), Field("opened:0", "b", "a"))
