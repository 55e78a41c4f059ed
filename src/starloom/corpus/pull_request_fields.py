"""Pull requests as events and changed files, and these as named fields of one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starloom.corpus.fields import Field


class Event(NamedTuple):
    """One event, by the fields that it has: `text`, `title`, `status`, `merged`, `head`, `base_commit`, `id`, `state`,
    `to_review`, `to_comment`, `path`, `line`, `hunk`."""

    number: int
    kind: str  # pull_request, review, review_comment, comment
    author: str
    said: Mapping[str, str]

    def field(self, name: str) -> str:
        return f"{self.kind if name == 'text' else name}:{self.number}"


class ChangedFile(NamedTuple):
    """A file before and after the commits up to one head."""

    number: int
    head: str
    path: str
    language: str
    before: str
    after: str


class PullRequest(NamedTuple):
    repository: str
    events: Sequence[Event]
    files: Sequence[ChangedFile]


KINDS = ("pull_request", "review", "review_comment", "comment")
_FILE_FIELDS = ("file_head", "file_path", "file_language", "before", "after")


def pull_request_fields(events: Sequence[Event], files: Sequence[ChangedFile]) -> tuple[Field, ...]:
    """What an event says as `WHAT:N`, its text as `KIND:N`; a changed file as `before:N`, `after:N`, …."""
    fields: list[Field] = []
    for event in events:
        fields.append(Field(event.field("text"), event.said.get("text", ""), event.author))
        fields += [
            Field(event.field(name), value, event.author)
            for name, value in event.said.items()
            if name != "text" and value
        ]
    for file in files:
        values = (file.head, file.path, file.language, file.before, file.after)
        fields += [Field(f"{name}:{file.number}", value) for name, value in zip(_FILE_FIELDS, values, strict=True)]
    return tuple(fields)


def pull_request_of(repository: str, fields: Sequence[Field]) -> PullRequest:
    """The events and files of a stored row."""
    events: list[Event] = []
    said: dict[int, dict[str, str]] = {}
    files: dict[int, dict[str, str]] = {}
    for field in fields:
        name, _, digits = field.name.partition(":")
        number = int(digits)
        if name in KINDS:
            said[number] = {"text": field.text}
            events.append(Event(number, name, field.author or "", said[number]))
        elif name in _FILE_FIELDS:
            files.setdefault(number, {})[name] = field.text
        else:
            said[number][name] = field.text
    return PullRequest(
        repository,
        events,
        [ChangedFile(number, *(file[name] for name in _FILE_FIELDS)) for number, file in files.items()],
    )
