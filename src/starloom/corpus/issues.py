"""GitHub issues: their events as named fields, BigCode's filters, and the text with names taken out.

Thresholds: bigcode-dataset `preprocessing/filtering_issues.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from starloom.corpus.conversations import masked, pseudonyms, truncated, without_bots, without_mail
from starloom.corpus.fields import Field
from starloom.corpus.traced import Parts, Traced

SHORTEST = 200  # characters of all comments together
LONGEST_ALONE, MOST_ALONE = 7000, 10  # characters and events of an issue in which one person speaks


class Event(NamedTuple):
    """One thing that somebody did or said."""

    action: str  # opened, created, closed, reopened, …
    author: str
    text: str
    title: str | None = None


class Said(NamedTuple):
    """An event after cleaning, and the field that its text is from."""

    action: str
    author: str
    field: str
    text: Traced
    title: Traced | None
    title_field: str


def issue_fields(events: Sequence[Event]) -> tuple[Field, ...]:
    """`title:N` where an event has one, then `ACTION:N` with what was said."""
    fields: list[Field] = []
    for number, event in enumerate(events):
        if event.title:
            fields.append(Field(f"title:{number}", event.title, event.author))
        fields.append(Field(f"{event.action}:{number}", event.text, event.author))
    return tuple(fields)


def said_in(fields: Sequence[Field]) -> list[Said]:
    """The events of a stored row that people wrote, without mail around them and cut to their first and last lines."""
    titles: dict[str, Field] = {}
    events: list[Said] = []
    for field in fields:
        action, _, number = field.name.partition(":")
        if action == "title":
            titles[number] = field
            continue
        title = titles.get(number)
        events.append(
            Said(
                action,
                field.author or "",
                field.name,
                truncated(without_mail(Traced.of(field.text))),
                Traced.of(title.text) if title else None,
                f"title:{number}",
            )
        )
    kept = without_bots([one.author for one in events], [one.text.text for one in events])
    return [events[number] for number in kept]


def reasons_against_issue(fields: Sequence[Field]) -> list[str]:
    """`issue_of_bots`, `issue_short`, or `issue_of_one_person`: long, and nobody answered."""
    events = said_in(fields)
    if not events:
        return ["issue_of_bots"]
    size = sum(len(one.text) for one in events)
    if size < SHORTEST:
        return ["issue_short"]
    alone = len({one.author for one in events}) < 2
    return ["issue_of_one_person"] if alone and (size > LONGEST_ALONE or len(events) > MOST_ALONE) else []


def rendered_issue(fields: Sequence[Field], source: bytes) -> Parts:
    """`<issue_start>Title: T\\nusername_0: TEXT<issue_comment>username_1: TEXT…<issue_closed>`, names masked.

    A comment of nobody's words is left out, except the one that closes the issue.
    """
    events = said_in(fields)
    names = pseudonyms(one.author for one in events)
    parts = Parts()
    parts.control("issue_start")
    fresh = True  # nothing was said behind the last control
    for number, one in enumerate(events):
        text = masked(one.text, names)
        if number == 0 and one.title is not None and one.title.text.strip():
            parts.insert("Title: ")
            parts.add(None, masked(one.title.stripped(), names), source, one.title_field)
            parts.insert("\n")
        if one.action == "closed":
            parts.control("issue_closed")
        elif not text.text:
            continue
        elif number and not fresh:
            parts.control("issue_comment")
        if text.text:
            parts.insert(f"{names[one.author.lower()]}: ")
            parts.add(None, text, source, one.field)
        fresh = False
    return parts
