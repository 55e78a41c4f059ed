"""Opting out: who is meant, that nothing is passed over in silence, and what it does to a cluster of duplicates."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.planted import made, plant, rows
from starloom.corpus import ExactDedup, Language, Mix, OptOut, Read
from starloom.corpus.components import Duplicates, reasons_to_drop
from starloom.corpus.opt_out import receipt
from starloom.corpus.opt_out_command import optout
from starloom.corpus.opt_out_names import account, folded, person, repository
from starloom.corpus.opt_out_requests import (
    Request,
    Wishes,
    parse_request,
    parse_requests,
    request_of_form,
)
from starloom.errors import ConfigError, SourceError

DAY = datetime.date(2026, 2, 3)


def asked(**names: tuple[str, ...]) -> Wishes:
    return Wishes([Request("1", DAY, **names)])


@pytest.mark.parametrize(
    ("names", "row", "meant"),
    [
        ({"accounts": ("Someone",)}, ("file", "github.com/SOMEONE/tool", None, ()), True),
        ({"accounts": ("someone",)}, ("file", "github.com/someone-else/tool", None, ()), False),
        ({"accounts": ("straße",)}, ("file", "github.com/STRASSE/x", "STRASSE", ()), True),
        ({"accounts": ("someone",)}, ("file", "folder:code", "someone", ()), True),
        ({"accounts": ("someone",)}, ("commit", "github.com/other/tool", "other", ("Someone",)), True),
        ({"accounts": ("someone",)}, ("file", "github.com/other/tool", "other", ("someone",)), False),
        ({"repositories": ("org/Tool",)}, ("file", "github.com/Org/tool", "org", ()), True),
        ({"repositories": ("org/tool",)}, ("issue", "github.com/org/tool", "org", ()), True),
        ({"repositories": ("org/tool",)}, ("file", "github.com/org/tool2", "org", ()), False),
        ({"repositories": ("https://github.com/org/tool.git",)}, ("file", "github.com/org/tool", "org", ()), True),
        ({"commits": ("someone",)}, ("commit", "github.com/org/tool", "org", ("SOMEONE",)), True),
        ({"commits": ("someone",)}, ("issue", "github.com/org/tool", "org", ("someone",)), False),
        ({"commits": ("org",)}, ("commit", "github.com/org/tool", "org", ()), True),
        ({"commits": ("org",)}, ("file", "github.com/org/tool", "org", ()), False),
        ({"issues": ("@someone",)}, ("issue", "github.com/org/tool", "org", ("a", "someone")), True),
        ({"issues": ("someone",)}, ("pull_request", "github.com/org/tool", "org", ("someone",)), True),
        ({"issues": ("someone",)}, ("commit", "github.com/org/tool", "org", ("someone",)), False),
    ],
)
def test_a_request_means_what_it_names_and_nothing_beside(
    names: dict[str, tuple[str, ...]], row: tuple[str, str, str | None, tuple[str, ...]], meant: bool
) -> None:
    assert asked(**names).against(*row) == (["1"] if meant else [])


NAME = st.from_regex(r"[A-Za-zÄÖÜßéΣ][A-Za-z0-9_-]{0,8}", fullmatch=True)


@given(st.lists(st.tuples(NAME, NAME), min_size=1, max_size=4), NAME, NAME)
def test_a_repository_leaves_exactly_when_a_fold_of_it_is_on_the_list(
    listed: list[tuple[str, str]], owner: str, name: str
) -> None:
    """Against the plainest oracle: a loop over the list."""
    wishes = asked(repositories=tuple("/".join(one) for one in listed))
    expected = any(f"{a}/{b}".casefold() == f"{owner}/{name}".casefold() for a, b in listed)
    assert bool(wishes.against("file", f"github.com/{owner}/{name}", owner, ())) == expected
    assert bool(wishes.against("file", f"github.com/{owner.upper()}/{name.upper()}", owner, ())) == bool(
        any(f"{a}/{b}".casefold() == f"{owner}/{name}".upper().casefold() for a, b in listed)
    )


@given(NAME, st.lists(NAME, max_size=3), st.lists(NAME, max_size=3), st.dates())
def test_a_request_is_read_as_it_was_written(
    name: str, accounts: list[str], issues: list[str], day: datetime.date
) -> None:
    if not accounts and not issues:
        accounts = [name]
    one = Request("r.1", day, accounts=tuple(accounts), issues=tuple(issues))
    assert parse_request(one.as_json()) == one


BAD = [
    ("no json", "is no JSON"),
    ("[]", "is no JSON object"),
    ("[" * 100_000, "is"),
    ('{"date": "2026-02-03", "accounts": ["a"]}', "needs a 'request'"),
    ('{"request": "1", "accounts": ["a"]}', "needs a 'date'"),
    ('{"request": "1", "date": "3.2.2026", "accounts": ["a"]}', "needs a 'date'"),
    ('{"request": "1", "date": "2026-02-03"}', "names nothing"),
    ('{"request": "1", "date": "2026-02-03", "accounts": []}', "names nothing"),
    ('{"request": "1", "date": "2026-02-03", "accounts": "a"}', "no list"),
    ('{"request": "1", "date": "2026-02-03", "accounts": [3]}', "no name"),
    ('{"request": "1", "date": "2026-02-03", "accounts": ["a/b"]}', "one account"),
    ('{"request": "1", "date": "2026-02-03", "accounts": [""]}', "one account"),
    ('{"request": "1", "date": "2026-02-03", "repositories": ["a"]}', "owner/name"),
    ('{"request": "1", "date": "2026-02-03", "repositories": ["a/b/c"]}', "owner/name"),
    ('{"request": "1", "date": "2026-02-03", "repositories": ["org/*"]}', "owner/name"),
    ('{"request": "1", "date": "2026-02-03", "accounts": ["some*"]}', "one account"),
    ('{"request": "1", "date": "2026-02-03", "accounts": ["a", "b c"]}', "one account"),
    ('{"request": "1", "date": "2026-02-03", "commits": ["a/b"]}', "one person"),
    ('{"request": "1", "date": "2026-02-03", "accounts": ["a"], "accounts": []}', "'accounts' stands there twice"),
    ('{"request": "1", "date": "2026-02-03", "acounts": ["a"]}', "did you mean 'accounts'"),
]


@pytest.mark.parametrize(("line", "problem"), BAD)
def test_a_malformed_line_is_named_and_stops_everything(line: str, problem: str) -> None:
    good = Request("good", DAY, accounts=("x",)).as_json()
    with pytest.raises(SourceError, match="line 3") as error:
        parse_requests(f"{good}\n# a remark\n{line}\n\n".encode(), "list.jsonl")
    assert problem in str(error.value) and "Nothing was removed" in str(error.value)


def test_bytes_that_are_no_text_and_ids_that_come_twice_are_named_too() -> None:
    good = Request("good", DAY, accounts=("x",)).as_json()
    with pytest.raises(SourceError, match="line 2 is not UTF-8"):
        parse_requests(good.encode() + b"\n\xff\n", "l")
    with pytest.raises(SourceError, match="line 2 has the id 'good' of line 1"):
        parse_requests(f"{good}\n{good}".encode(), "l")
    with pytest.raises(SourceError, match="and 5 more lines"):
        parse_requests(b"x\n" * 15, "l")
    assert len(parse_requests(f"\ufeff{good}\r\n".encode(), "l")) == 1


@given(st.text(max_size=80))
def test_any_line_is_a_request_or_an_error(line: str) -> None:
    with contextlib.suppress(ValueError):
        parse_request(line)


def test_bigcodes_form_becomes_a_request() -> None:
    body = """### Accounts and organizations to remove ENTIRELY

- my-username
`my-org`

### Specific repositories to remove

someone/one-repo

### Optional - a link that helps confirm this is you/yours

_No response_
"""
    found = request_of_form(body, "#17", DAY)
    assert (found.accounts, found.repositories) == (("my-username", "my-org"), ("someone/one-repo",))
    with pytest.raises(ConfigError, match="names nothing"):
        request_of_form("### Anything else\n\nhello\n", "#18", DAY)
    with pytest.raises(ConfigError, match="owner/name"):
        request_of_form("### Specific repositories to remove\n\neverything\n", "#19", DAY)


def write_list(path: Path, *requests: Request) -> Path:
    path.write_text("".join(one.as_json() + "\n" for one in requests))
    return path


def corpus_of(tmp_path: Path) -> Read:
    """Two files of a folder, which is a repository without an owner."""
    plant(tmp_path / "code", {"a.py": b"x = 1\n", "b.py": b"y = 2\n"})
    return Read(f"folder:{tmp_path / 'code'}")


def test_the_stage_keeps_the_lists_digest_and_another_list_is_another_step(tmp_path: Path) -> None:
    files = corpus_of(tmp_path)
    one = write_list(tmp_path / "one.jsonl", Request("1", DAY, accounts=("nobody",)))
    first = made(OptOut(files, str(one)), tmp_path / "store")
    assert first.manifest["externals"]["requests"]["digest"] == hashlib.sha256(one.read_bytes()).hexdigest()
    assert {row["keep"] for row in rows(first)} == {True}
    said = json.loads(first.read_bytes("receipt.json"))
    assert said["requests"] == [{"request": "1", "date": "2026-02-03", "rows": 0, "repositories": [], "found": []}]
    write_list(one, Request("1", DAY, accounts=("nobody",)), Request("2", DAY, issues=("nobody",)))
    assert made(OptOut(files, str(one)), tmp_path / "store").fingerprint != first.fingerprint
    one.write_text("oops\n")
    with pytest.raises(SourceError, match="line 1 is no JSON"):
        made(OptOut(files, str(one)), tmp_path / "store")
    with pytest.raises(SourceError, match=r"missing\.jsonl"):
        made(OptOut(files, str(tmp_path / "missing.jsonl")), tmp_path / "store")


def stack_rows(path: Path) -> Path:
    """A file in The Stack's schema: rows of several owners."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    body = [
        ("Owner-A/one", "same.py", "def f(x):\n    return x + 1\n", 900),
        ("owner-b/two", "same.py", "def f(x):\n    return x + 1\n", 3),
        ("owner-b/two", "other.py", "def g(x):\n    return x * 2\n", 3),
        ("owner-c/three", "third.py", "def h(x):\n    return x - 3\n", 0),
    ]
    names = ("max_stars_repo_name", "max_stars_repo_path", "content", "max_stars_count")
    columns = {name: list(column) for name, column in zip(names, zip(*body, strict=True), strict=True)}
    pq.write_table(pa.table({**columns, "max_stars_repo_licenses": [["MIT"]] * len(body)}), path)
    return path


def test_an_opted_out_row_that_ranked_best_hands_its_place_to_its_twin(tmp_path: Path) -> None:
    source = f"stack:{stack_rows(tmp_path / 'stack.parquet')}"
    try:
        files = Read(source)
        read = made(files, tmp_path / "store")
    except (ConfigError, SourceError) as error:
        pytest.skip(f"sources of The Stack's schema are spelled otherwise: {error}")
    list_ = write_list(
        tmp_path / "list.jsonl",
        Request("7", DAY, accounts=("OWNER-A",)),
        Request("8", DAY, repositories=("owner-c/three",)),
    )
    wishes = OptOut(files, str(list_))
    language = Language(files)
    verdicts = made(wishes, tmp_path / "store")
    why = {place["repository"]: row["reasons"] for place, row in zip(rows(read), rows(verdicts), strict=True)}
    assert sorted(map(tuple, why.values())) == [(), ("opted_out", "opted_out_by:7"), ("opted_out", "opted_out_by:8")]
    clean = made(Mix(files, (language,), (wishes,), (ExactDedup(files),), heldout=0.0), tmp_path / "store")
    assert clean.counts["dropped"] == {"opted_out": 2}
    kept = {part["text"] for row in rows(clean) for part in row["parts"] if part["source"] is not None}
    assert any("x + 1" in text for text in kept), "the twin stays although the opted-out copy had more stars"
    found = receipt(read, parse_requests(list_.read_bytes(), "l"), "digest", limit=0)
    assert [one["rows"] for one in found["requests"]] == [1, 1] and found["requests"][0]["found"] == []


def test_an_opted_out_bridge_no_longer_joins_what_it_joined() -> None:
    """a ~ b ~ c, and a and c are no duplicates: with b gone both stay; with b there one of the three does."""
    edges = [Duplicates("near_duplicate", [(0, 1, 0.8), (1, 2, 0.8)])]
    assert reasons_to_drop([True, False, True], [1, 0, 2], edges) == [None, None, None]
    assert reasons_to_drop([True, True, True], [1, 0, 2], edges) == ["near_duplicate", None, "near_duplicate"]


def test_the_command_says_what_each_request_means_and_writes_a_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = made(corpus_of(tmp_path), tmp_path / "store")
    list_ = write_list(tmp_path / "l.jsonl", Request("17", DAY, accounts=("nobody",)))
    before = sorted((tmp_path / "store").rglob("*"))
    assert optout([str(list_), "--corpus", str(read.directory), "--receipt", str(tmp_path / "r.json")]) == 0
    assert "17  2026-02-03  0 rows" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["list"]["requests"] == 1
    assert sorted((tmp_path / "store").rglob("*")) == before, "a dry run touches nothing"
    with pytest.raises(ConfigError, match="--limit"):
        optout([str(list_), "--corpus", str(read.directory), "--limit", "-1"])


@pytest.mark.parametrize(
    "written",
    [
        "Org/Repo", "org/repo/", "https://GitHub.com/Org/Repo.git", "http://www.github.com/org/repo/", "github.com/ORG/REPO",
        "git@github.com:Org/Repo.git", "ssh://git@github.com:22/org/repo.GIT", "https://github.com/org/repo?tab=readme#top",
        " org/repo\u200b", "\uff2frg/\uff32epo", "https://token@github.com/org/repo", "git+ssh://git@github.com/org/repo",
    ],
)  # fmt: skip
def test_every_way_to_write_a_repository_means_it(written: str) -> None:
    assert repository(written) == "github.com/org/repo"
    assert asked(repositories=(written,)).against("file", "github.com/org/repo", "org", ()) == ["1"]
    assert asked(repositories=(written,)).against("file", "gitlab.com/org/repo", "org", ()) == []


def test_repositories_that_are_not_at_github_can_leave_too() -> None:
    for written, row in {
        "https://gitlab.com/Group/Sub/Tool.git": "gitlab.com/group/sub/tool",
        "codeberg.org/a/b": "codeberg.org/a/b",
        "pypi:Foo_Bar": "pypi:foo-bar",
        "npm:@Scope/Name": "npm:@scope/name",
        "folder:Code": "folder:Code",
    }.items():
        wishes = asked(repositories=(written,))
        assert wishes.against("file", row, None, ()) == ["1"]
        assert wishes.against("file", f"{row}2", None, ()) == []


def test_every_way_to_write_an_account_means_it() -> None:
    for written in ("Someone", "@someone", "https://github.com/Someone/", "github.com/orgs/someone", "SOMEONE\u200d",
                    "https://github.com/someone?tab=repositories"):  # fmt: skip
        assert account(written) == "someone"
        assert asked(accounts=(written,)).against("file", "gitlab.com/someone/x", "someone", ()) == ["1"]
    there = asked(accounts=("https://gitlab.com/Someone",))
    assert there.against("file", "gitlab.com/someone/x", "someone", ()) == ["1"]
    assert there.against("file", "github.com/someone/x", "someone", ()) == []


def test_people_are_meant_by_account_name_or_mail() -> None:
    row = ("commit", "github.com/o/t", "o", ("jo m\u00fcller", "jo@x.org", "jom"))
    for written in ("Jo Mu\u0308ller", "JO@X.ORG", "Someone Else <Jo@x.org>", "JoM", "@jom"):
        assert asked(commits=(written,)).against(*row) == ["1"], written
    for written in ("Jo", "Jo Müller <other@x.org>", "x.org", "o@x.org"):
        assert asked(commits=(written,)).against(*row) == [], written
    assert person("a/b") is None and person(" ") is None and person("*") is None


def test_a_wish_of_tomorrow_holds_today() -> None:
    (one,) = parse_requests(b'{"request": "1", "date": "2999-01-01", "accounts": ["a"]}', "l")
    assert Wishes([one]).against("file", "github.com/a/b", "a", ()) == ["1"]


def test_names_are_folded_as_unicode_folds_them() -> None:
    assert folded(" ΣΊΣΥΦΟΣ ") == folded("σίσυφος")
    assert folded("Straße") == folded("STRASSE") != folded("strase")
    assert folded("\u212a") == "k" and folded("a\u200bb\ufeff") == "ab"


@given(st.text(max_size=20))
def test_folding_twice_is_folding_once(name: str) -> None:
    assert folded(folded(name)) == folded(name)


def test_the_command_prints_its_receipt_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = made(Read(f"folder:{plant(tmp_path / 'code', {'a.py': b'x = 1'})}"), tmp_path / "store")
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"request": "1", "date": "2026-01-01", "accounts": ["ann"]}\n')
    assert optout([str(requests), "--corpus", str(files.directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"][0]["rows"] == 0
    requests.write_text("")
    assert optout([str(requests), "--corpus", str(files.directory)]) == 0
    assert "holds no request" in capsys.readouterr().out
