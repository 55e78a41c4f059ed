"""Commits: one changed file as it was, the message, and as it became; BigCode's filters and its windows.

Thresholds: bigcode-dataset `preprocessing/filtering_git_commits.ipynb`. Two differences: a change's span is measured from
its first changed line (there it always begins at line 0), and lines end at line feeds alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from starloom.corpus.fields import Field
from starloom.corpus.hunks import changed_lines, lines_between
from starloom.corpus.traced import Parts, Traced
from starloom.records import uniform

LONGEST = 100_000  # characters of a file, exclusive
SHORT_CHANGE, LONG_CHANGE = 2, 200  # lines of the old file; up to, from
KEPT_OF_EXTREME_CHANGES = 0.1
SHORT_SUBJECT, KEPT_OF_SHORT_SUBJECTS = 5, 0.5  # words
LONGEST_WORDS = 20  # characters per word on average: hashes
AUTOMATIC = ("auto commit", "update contributing", "<?xml")
NOTHING_SAID = frozenset(
    [
        "readme",
        "update",
        "dummy",
        "updated",
        "debug",
        "test",
        "update readme",
        "update readme.md",
        "updated readme.md",
        "updated readme",
    ]
)
DATA_EXTENSIONS = frozenset((b"json", b"yml", b"yaml", b"xml", b"html"))
KEPT_OF_DATA = 0.5
WHOLE_FILES = 0.2  # chance that the files are shown whole
WINDOW = 32  # lines around a change, exclusive

_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?=$|\S)")


class Commit(NamedTuple):
    """One file's change."""

    path: bytes
    before: str
    message: str
    after: str

    @property
    def subject(self) -> str:
        """The message's first line."""
        return self.message.partition("\n")[0]


def commit_of(path: bytes, fields: Sequence[Field]) -> Commit:
    """The change of a stored row."""
    texts = {field.name: field.text for field in fields}
    return Commit(path, texts["before"], texts["message"], texts["after"])


def reasons_against_commit(commit: Commit, identity: bytes, seed: int = 0) -> list[str]:
    """Every filter that drops a commit; shares are kept by a chance of its own for each filter."""
    return list(_reasons(commit, identity, seed))


def _reasons(commit: Commit, identity: bytes, seed: int) -> Iterator[str]:
    def chance(name: str) -> float:
        return uniform(seed, "commit", name, identity)

    if len(commit.before) >= LONGEST:
        yield "commit_of_long_file"
    if not commit.after:
        yield "commit_empties_file"
    start, old_end, _ = changed_lines(commit.before, commit.after)
    span = old_end - start
    if span <= SHORT_CHANGE and chance("short") >= KEPT_OF_EXTREME_CHANGES:
        yield "commit_change_short"
    if span >= LONG_CHANGE and chance("long") >= KEPT_OF_EXTREME_CHANGES:
        yield "commit_change_long"
    yield from _about_subject(commit.subject, chance("subject"))
    if commit.path.rpartition(b".")[2] in DATA_EXTENSIONS and chance("data") >= KEPT_OF_DATA:
        yield "commit_of_data"


def _about_subject(subject: str, chance: float) -> Iterator[str]:
    words = subject.split()
    lower = subject.lower()
    if not words:
        yield "commit_subject_empty"
        return
    if any(part in lower for part in AUTOMATIC):
        yield "commit_subject_automatic"
    if lower in NOTHING_SAID:
        yield "commit_subject_says_nothing"
    if len(words) < SHORT_SUBJECT and chance >= KEPT_OF_SHORT_SUBJECTS:
        yield "commit_subject_short"
    if _VERSION.match(lower):
        yield "commit_subject_is_version"
    if len(subject) / len(words) > LONGEST_WORDS:
        yield "commit_subject_of_long_words"
    if subject.startswith(" ") and len(words) == 1:
        yield "commit_subject_is_one_word"


def windows(commit: Commit, identity: bytes, seed: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Characters of the old and of the new file that are shown: both whole, or the change and some lines around it."""
    if uniform(seed, "commit", "whole", identity) < WHOLE_FILES:
        return (0, len(commit.before)), (0, len(commit.after))
    above, below = (int(uniform(seed, "commit", side, identity) * WINDOW) for side in ("above", "below"))
    start, old_end, new_end = changed_lines(commit.before, commit.after)
    return (
        lines_between(commit.before, start - above, old_end + below),
        lines_between(commit.after, start - above, new_end + below),
    )


def rendered_commit(commit: Commit, identity: bytes, seed: int) -> Parts:
    """`<commit_before>OLD<commit_message>SUBJECT<commit_after>NEW`."""
    parts = Parts()
    old, new = windows(commit, identity, seed)
    parts.add("commit_before", Traced.of(commit.before).cut(*old), identity, "before")
    parts.add("commit_message", Traced.of(commit.message).cut(0, len(commit.subject)), identity, "message")
    parts.add("commit_after", Traced.of(commit.after).cut(*new), identity, "after")
    return parts
