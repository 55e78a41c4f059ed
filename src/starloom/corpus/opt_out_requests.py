"""Requests to leave the corpus: how they are written, and which rows they mean.

One JSON object a line (JSONL), with the fields of BigCode's form and an id and a date:

    {"request": "4711", "date": "2026-02-03", "accounts": ["someone"], "repositories": ["an-org/one-repo"],
     "commits": ["someone"], "issues": ["someone"], "notes": "a previous account"}

`accounts` are people and organizations whose every repository leaves, with what they wrote elsewhere; `repositories`
leave alone: `owner/name` at GitHub, any other by its address or by its name in the corpus (`pypi:NAME`). `commits` and
`issues` are people whose commits (as author, committer or co-author), or issues and pull requests, leave, wherever they
are: by account, name or mail address. `opt_out_names.py` says how names are compared. A date says when someone asked; it
delays nothing. A line that is not such a request is an error that names the line: nobody's wish is passed over in silence.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starloom.corpus.opt_out_names import COMPARED, WANTED, folded
from starloom.corpus.sources.listing import regular
from starloom.errors import ConfigError, SourceError, suggestion

_LISTS = ("accounts", "repositories", "commits", "issues")
_WORDS = ("request", "date", "notes", "relation", "proof")
_ISSUES = ("issue", "pull_request")
_SHOWN = 10  # malformed lines that one error names


@dataclass(frozen=True, slots=True)
class Request:
    """One person's wish: names as they were written, and when."""

    request: str
    date: datetime.date
    accounts: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    issues: tuple[str, ...] = ()

    def as_json(self) -> str:
        """The line that is read as this request."""
        body: dict[str, Any] = {"request": self.request, "date": self.date.isoformat()}
        body |= {name: list(getattr(self, name)) for name in _LISTS if getattr(self, name)}
        return json.dumps(body, ensure_ascii=False)


def parse_request(line: str) -> Request:
    """The request of one line. Raises ValueError with what is wrong with it."""
    try:
        data = json.loads(line, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError("is no JSON object")
    for key in data:
        if key not in (*_LISTS, *_WORDS):
            raise ValueError(f"has an unknown field '{key}'; {suggestion(key, (*_LISTS, *_WORDS))}")
    name, date = data.get("request"), data.get("date")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.#/:-]{1,200}", name):
        raise ValueError("needs a 'request': an id of letters, digits and . # / : - _")
    try:
        when = datetime.date.fromisoformat(date if isinstance(date, str) else "")
    except ValueError:
        raise ValueError(f"needs a 'date' like 2026-02-03, not {date!r}") from None
    lists = {key: _names(key, data.get(key, [])) for key in _LISTS}
    if not any(lists.values()):
        raise ValueError("names nothing; at least one of accounts, repositories, commits, issues")
    return Request(name, when, **lists)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the field '{name}' stands there twice")
    return dict(pairs)


def _names(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"has '{key}', which is no list of names")
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"has {name!r} in '{key}', which is no name")
        if COMPARED[key](name) is None:
            raise ValueError(f"has {name!r} in '{key}'; {WANTED[key]} is wanted")
    return tuple(value)


def parse_requests(data: bytes, where: str) -> list[Request]:
    """Every request of a file; blank lines and lines that begin with # are none. Raises SourceError naming bad lines."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = data[: error.start].count(b"\n") + 1
        raise SourceError(f"opt-out list {where}: line {bad} is not UTF-8; save the file as UTF-8") from None
    requests: list[Request] = []
    problems = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            one = parse_request(line)
            if one.request in lines:
                raise ValueError(f"has the id '{one.request}' of line {lines[one.request]}; give each request its own")
        except ValueError as error:
            problems.append(f"line {number} {error}")
            continue
        lines[one.request] = number
        requests.append(one)
    if problems:
        more = f"; and {len(problems) - _SHOWN} more lines" if len(problems) > _SHOWN else ""
        raise SourceError(
            f"opt-out list {where}: {'; '.join(problems[:_SHOWN])}{more}. Nothing was removed: mend the list first"
        )
    return requests


def read_requests(path: Path) -> tuple[bytes, list[Request]]:
    """The file's bytes and its requests."""
    regular(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"opt-out list {path}: {error.strerror}; give the path of a JSONL file") from None
    return data, parse_requests(data, str(path))


_HEADINGS = {
    "accounts and organizations to remove entirely": "accounts",
    "specific repositories to remove": "repositories",
}


def request_of_form(body: str, request: str, date: datetime.date) -> Request:
    """The request behind an issue that was filled in with BigCode's form. Raises ConfigError for a box that makes no sense."""
    found: dict[str, list[str]] = {name: [] for name in _LISTS}
    box: str | None = None
    for line in body.splitlines():
        if line.startswith("### "):
            box = _HEADINGS.get(line[4:].strip().casefold())
        elif box is not None and line.strip() and line.strip() != "_No response_":
            found[box].append(re.sub(r"^[-*]\s+", "", line.strip()).strip("`"))
    text = json.dumps(
        {"request": request, "date": date.isoformat(), **{key: names for key, names in found.items() if names}}
    )
    try:
        return parse_request(text)
    except ValueError as error:
        raise ConfigError(f"the form of request {request} {error}; ask the person who filed it") from None


class Wishes:
    """Requests as tables, to ask of one row after another."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self.requests = tuple(requests)
        self._named: dict[str, dict[str, list[str]]] = {key: {} for key in _LISTS}
        for one in self.requests:
            for key in _LISTS:
                for name in getattr(one, key):
                    compared = COMPARED[key](name)
                    if compared is None:
                        raise ConfigError(f"request {one.request} has {name!r} in {key}; {WANTED[key]} is wanted")
                    self._named[key].setdefault(compared, []).append(one.request)

    def against(self, kind: str, repository: str, owner: str | None, authors: Sequence[str]) -> list[str]:
        """Ids of the requests that a row falls under, in the order of the list."""
        place = folded(repository)
        host, _, rest = place.partition("/")
        holder = folded(owner) if owner is not None else rest.partition("/")[0] if rest.count("/") == 1 else None
        holders = {holder, f"{host}/{holder}"} if holder is not None else set()
        people = {folded(name) for name in authors}
        found: set[str] = set(self._named["repositories"].get(place, ()))
        for one in holders:
            found.update(self._named["accounts"].get(one, ()))
        lists = ["accounts"]  # what an account wrote elsewhere goes as well
        lists += ["commits"] if kind == "commit" else ["issues"] if kind in _ISSUES else []
        if kind != "file" and kind != "notebook":
            for key in lists:
                for person in people | holders:  # BigCode matched commits by owner
                    found.update(self._named[key].get(person, ()))
        return [one.request for one in self.requests if one.request in found]
