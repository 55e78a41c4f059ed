"""Issues and pull requests from files of JSON lines: `.jsonl`, or `.jsonl.gz`, one file or a folder of them.

Issues: BigCode's rows (`repo`, `issue_id` or `issue_number`, `events` with `author`, `action`, and `text`, `comment` or
`description`, `title`), or GH Archive's events as they are (`type`, `actor`, `repo`, `payload`), gathered by issue.
Pull requests: The Stack v2's rows (`pull_request.guid` as `owner/name/pull/7`, `events` with `actor.login`, `type`,
`action`, `text`, …, and `PullRequestCommitEvent`s with `head_base_files`). What is not covered: other exports.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from starloom.corpus.fields import Field, sound
from starloom.corpus.issues import Event as IssueEvent
from starloom.corpus.issues import issue_fields
from starloom.corpus.pull_request_fields import ChangedFile, Event, pull_request_fields
from starloom.corpus.sources import json_lines
from starloom.corpus.sources.listing import (
    Entry,
    Listing,
    Raw,
    Repository,
    Said,
    changed,
    digest_of,
    github_repository,
    regular,
)
from starloom.errors import SourceError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".json", ".json.gz")  # GH Archive calls its lines .json.gz
_KINDS = {
    "PullRequestEvent": "pull_request",
    "PullRequestReviewEvent": "review",
    "PullRequestReviewCommentEvent": "review_comment",
    "IssueCommentEvent": "comment",
}
_SAID = {  # field of an event → where The Stack v2's rows have it
    "text": "text", "title": "title", "status": "action", "merged": "pull_request.merged", "head": "head_commit_id",
    "base_commit": "base_commit_id", "id": "review_comment.id", "state": "review.state",
    "to_review": "comment.pull_request_review_id", "to_comment": "comment.in_reply_to_id", "path": "comment.path",
    "line": "comment.original_position", "hunk": "comment.diff_hunk",
}  # fmt: skip


class Where(NamedTuple):
    """A line of a file."""

    file: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Export:
    """The issues, or the pull requests, of a file or of a folder of files."""

    path: Path
    kind: Literal["issue", "pull_request"]

    def files(self) -> list[Path]:
        """The files in a fixed order. Raises SourceError when there are none."""
        found = lines_files(self.path, _SUFFIXES)
        if not found:
            raise SourceError(f"{self.path} holds no {' or '.join(_SUFFIXES)} file of {self.kind.replace('_', ' ')}s")
        return found

    def listing(self) -> Listing:
        files = self.files()
        problems: list[str] = []
        skipped: Counter[str] = Counter()
        repositories: dict[str, Repository] = {}
        places: dict[tuple[str, int], list[Where]] = {}
        for number, path in enumerate(files):
            for line in json_lines.lines(path, problems):
                try:
                    found = _identity(line.value, self.kind)
                except json_lines.Malformed as error:
                    problems.append(f"{path}:{line.number} {error}")
                    continue
                if found is None:
                    skipped["another_kind"] += 1
                    continue
                name, issue, whole = found
                repository = github_repository(name)
                if repository is None:
                    skipped["unsafe_repository_name"] += 1
                    continue
                repositories.setdefault(repository.name, repository)
                where = places.setdefault((repository.name, issue), [])
                if where and whole:
                    skipped["row_twice"] += 1  # the first one stays
                else:
                    where.append(Where(number, line.offset, line.size))
        json_lines.check(problems)
        if not places:
            said = ", ".join(f"{reason} {count}" for reason, count in sorted(skipped.items()))
            raise SourceError(f"{self.path} holds no {self.kind.replace('_', ' ')}s" + (f" ({said})" if said else ""))
        folder = b"issues" if self.kind == "issue" else b"pull"
        entries = [
            Entry(name, b"%s/%d" % (folder, issue), sum(one.size for one in where), place=tuple(where), kind=self.kind)
            for (name, issue), where in sorted(places.items())
        ]
        digest = digest_of([self.kind.encode(), *(json_lines.sha256_of(path).encode() for path in files)])
        return Listing(f"{self.kind} {digest}", repositories, entries, dict(skipped))

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        files = self.files()
        opened: dict[int, Any] = {}
        try:
            for entry in entries:
                rows = []
                for where in entry.place:
                    if where.file not in opened:
                        opened[where.file] = json_lines.opened(files[where.file])
                    try:
                        rows.append(json_lines.at(opened[where.file], where.offset, where.size))
                    except json_lines.Malformed:
                        raise changed(str(files[where.file])) from None
                yield _raw(rows, entry, self.kind)
        finally:
            for file in opened.values():
                file.close()


def lines_files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """A file, or the regular files with one of the suffixes below a folder, sorted. A pipe is refused, not waited for."""
    if not path.is_dir():
        regular(path)
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.name.endswith(tuple(suffixes)) and file.is_file() and not file.is_symlink()
    )


def _identity(row: dict[str, Any], kind: str) -> tuple[str, int, bool] | None:
    """(owner/name, number, whether the row is the whole of it); None for a row of another kind. Raises Malformed."""
    if kind == "pull_request":
        guid = row.get("pull_request.guid")
        found = re.fullmatch(r"([^\s]+)/pull/(\d{1,18})", guid) if isinstance(guid, str) else None
        if found is None:
            raise json_lines.Malformed("has no 'pull_request.guid' such as owner/name/pull/7")
        return found[1], int(found[2]), True
    if "payload" in row:
        issue = _table(_table(row, "payload"), "issue", required=False)
        if row.get("type") not in ("IssuesEvent", "IssueCommentEvent") or not issue or "pull_request" in issue:
            return None
        return _text(_table(row, "repo"), "name"), _number(issue, "number"), False
    number = _number(row, "issue_number" if row.get("issue_number") is not None else "issue_id")
    if isinstance(row.get("pull_request"), dict) and row["pull_request"]:
        return None
    return _text(row, "repo" if "repo" in row else "repo_name"), number, True


def _table(row: dict[str, Any], key: str, required: bool = True) -> dict[str, Any]:
    value = row.get(key)
    if not isinstance(value, dict):
        if required:
            raise json_lines.Malformed(f"has no '{key}' that is an object")
        return {}
    return value


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise json_lines.Malformed(f"has no '{key}' that is text")
    return value


def _number(row: dict[str, Any], key: str) -> int:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise json_lines.Malformed(f"has no '{key}' that is a number")
    return value


def _raw(rows: Sequence[dict[str, Any]], entry: Entry, kind: str) -> Raw:
    fields = _issue(rows) if kind == "issue" else _pull_request(rows[0])
    if fields is None:
        return Raw(None, None, entry.size, unread=f"malformed_{kind}")
    if not any(field.text.strip() for field in fields):
        return Raw(None, None, entry.size, unread=f"{kind}_without_text")
    authors = tuple(dict.fromkeys(field.author.casefold() for field in fields if field.author))
    licenses = rows[0].get("licenses")
    said = tuple(one for one in licenses if isinstance(one, str)) if isinstance(licenses, list) else ()
    return Raw(None, None, entry.size, fields=fields, said=Said(licenses=said, authors=authors))


def _events(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The events of a row, also where they are JSON within the JSON; None when they are no list of objects."""
    events = row.get("events")
    if isinstance(events, str):
        try:
            events = json.loads(events)
        except (ValueError, RecursionError):
            return None
    if not isinstance(events, list) or not all(isinstance(one, dict) for one in events):
        return None
    times = [one.get("datetime", one.get("created_at")) for one in events]
    if all(isinstance(time, str) for time in times):
        events = [events[place] for place in sorted(range(len(events)), key=lambda place: times[place])]
    return events


def _issue(rows: Sequence[dict[str, Any]]) -> tuple[Field, ...] | None:
    if "payload" in rows[0]:
        ordered = sorted(rows, key=lambda row: str(row.get("created_at", "")))
        return issue_fields([_archived(row) for row in ordered])
    events = _events(rows[0])
    if events is None:
        return None
    return issue_fields(
        [
            _event(
                one.get("action"),
                one.get("author"),
                _first(one, "text", "comment", "description", "body"),
                one.get("title"),
            )
            for one in events
        ]
    )


def _archived(row: dict[str, Any]) -> IssueEvent:
    """One of GH Archive's events: the text of an issue is what it was opened with."""
    payload, actor = row["payload"], row.get("actor")
    issue = payload["issue"]
    opened = row["type"] == "IssuesEvent" and payload.get("action") == "opened"
    comment = payload.get("comment") if row["type"] == "IssueCommentEvent" else issue if opened else None
    return _event(
        payload.get("action"),
        actor.get("login") if isinstance(actor, dict) else None,
        comment.get("body") if isinstance(comment, dict) else None,
        issue.get("title") if opened else None,
    )


def _event(action: object, author: object, text: object, title: object) -> IssueEvent:
    named = (
        action if isinstance(action, str) and re.fullmatch(r"[a-z_]{1,40}", action) and action != "title" else "created"
    )
    return IssueEvent(named, _string(author), _string(text), _string(title) or None)


def _first(row: dict[str, Any], *keys: str) -> object:
    return next((row[key] for key in keys if row.get(key)), None)


def _string(value: object) -> str:
    """Text, or a number or truth value as text; nothing for anything else."""
    if isinstance(value, float) and value.is_integer():  # tables with gaps hold whole numbers as floats
        value = int(value)
    return sound(value) if isinstance(value, str) else str(value) if isinstance(value, (bool, int)) else ""


def _pull_request(row: dict[str, Any]) -> tuple[Field, ...] | None:
    found = _events(row)
    if found is None:
        return None
    events: list[Event] = []
    files: list[ChangedFile] = []
    for one in found:
        if one.get("type") == "PullRequestCommitEvent":
            changes = one.get("head_base_files")
            for change in changes if isinstance(changes, list) else ():
                if isinstance(change, dict) and all(
                    isinstance(change.get(k), str) for k in ("base_content", "head_content")
                ):
                    head, language = _string(one.get("head_commit_id")), _string(change.get("base_language"))
                    texts = (sound(change["base_content"]), sound(change["head_content"]))
                    files.append(ChangedFile(len(files), head, _string(change.get("base_path")), language, *texts))
        elif one.get("type") in _KINDS:
            kind = _KINDS[one["type"]]
            said = {name: _string(one.get(key)) for name, key in _SAID.items()}
            if kind == "comment":
                said["id"] = _string(one.get("comment_id"))
            author = _string(one.get("actor.login"))
            events.append(Event(len(events), kind, author, {k: v for k, v in said.items() if v or k == "text"}))
    return pull_request_fields(events, files)
