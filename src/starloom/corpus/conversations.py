"""What issues and pull requests share: who is a bot, what mail programs add, and names that stand for people.

Lists and thresholds: bigcode-dataset `preprocessing/utils/utils_issues.py`. What is not covered: bots under names that
say nothing, people named only in prose, quotations without a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from starloom.corpus.traced import Traced

MOST_LINES, LAST_LINES = 80, 20  # a longer comment keeps its first 60 lines and its last 20
TRUNCATED = "\n[Truncated]\n"

# GitHub accounts that are programs.
BOT_NAMES = frozenset(
    [
        "apache-hbase",
        "autorestci",
        "claassistant",
        "claassistantio",
        "cmsbuild",
        "codecov-commenter",
        "codecov-io",
        "coveralls",
        "danger-public",
        "dnfclas",
        "karma-pr-reporter",
        "msftclas",
        "probot-stale",
        "pydocteur",
        "sparkqa",
    ]
)  # compared without case; the published list names one of them twice
BOT_PARTS = ("[bot]", "botmanager", "bors-", "jenkins", "k8s-", "-test-", "travis")
BOT_ENDS = (
    "bot",
    "-automation",
    "-automaton",
    "-benchmark",
    "-build",
    "-ci",
    "-cloud",
    "-deployer",
    "-linter",
    "-service-account",  # published with capitals, which no lower-cased name ends in
    "-teamcity",
    "-test",
    "-testing",
)

_BY_MAIL = "notifications@github.com"
_REPLY = "Reply to this email directly"
_ON_GITHUB = "view it on GitHub"
_MAIL_DATE = re.compile(r"\d/\d+/\d+ \d{2}:\d{2} [AP]M.+wrote")
_RULE_OFF = re.compile(r"_{20,}")
_LOGIN = r"[A-Za-z0-9-]"


def is_bot(author: str) -> bool:
    """Whether a name is a program's."""
    name = author.lower()
    return name in BOT_NAMES or any(part in name for part in BOT_PARTS) or name.endswith(BOT_ENDS)


def without_mail(text: Traced) -> Traced:
    """Without what a mail program put around an answer: headers, quotations, footers, signatures."""
    text = text.stripped()
    found = text.text
    place = _before_mail(found)
    if place is not None:
        text = text.cut(0, place)
    elif (signed := _signature(found)) is not None:
        text = text.replaced([(*signed, "")])
    else:
        start, end = _mail_lines(found)
        text = text.replaced([(start, end, "")]) if start < end else text
    return text.substituted(_RULE_OFF, "").stripped()


def _before_mail(text: str) -> int | None:
    """Where the last mail that ends in GitHub's footer begins: at its `From:`, or at `On … wrote:`."""
    for marks in (("From:", _REPLY, _ON_GITHUB), ("On", _BY_MAIL, "wrote:", _REPLY, _ON_GITHUB)):
        place = len(text)
        for mark in reversed(marks):
            gap = 0 if mark is _ON_GITHUB else 1  # at least one character between two
            place = text.rfind(mark, 0, max(place - gap, 0))
            if place < 0:
                break
        else:
            return place
    return None


def _signature(text: str) -> tuple[int, int] | None:
    """From the last `Signed-off-by: NAME <MAIL>` to the text's last `>` and the line's end."""
    mark = "Signed-off-by: "
    close = text.rfind(">")
    opening = text.rfind("<", 0, max(close - 1, 0))
    start = text.rfind(mark, 0, max(opening - 1, 0)) if opening > 0 else -1
    if start < 0:
        return None
    return start, close + 1 + text.startswith("\n", close + 1)


def _mail_lines(text: str) -> tuple[int, int]:
    """Characters from the line that a mail program put first to the last one that it put or quoted.

    A header without anything behind it is left alone (the published code repeats the text before it).
    """
    at = start = end = 0
    lines = text.split("\n")
    after_next = False
    for line in lines:
        stop = at + len(line) + 1
        bare = line.strip()
        if after_next:
            end, after_next = stop, False
        if _BY_MAIL in bare or _MAIL_DATE.search(bare):
            start = at
        if _REPLY in bare:
            end, after_next = stop, bare.endswith(":")
        if bare.startswith(">"):
            end, after_next = stop, False
        at = stop
    return start, min(end, len(text))


def truncated(text: Traced) -> Traced:
    """The first and the last lines of a long comment."""
    lines = text.text.split("\n")
    if len(lines) <= MOST_LINES:
        return text
    first = len("\n".join(lines[: MOST_LINES - LAST_LINES]))
    last = len("\n".join(lines[-LAST_LINES:]))
    return text.replaced([(first, len(text) - last, TRUNCATED)])


def pseudonyms(authors: Iterable[str]) -> dict[str, str]:
    """Name in lower case → `username_K`, in the order of first words."""
    return {name: f"username_{number}" for number, name in enumerate(dict.fromkeys(one.lower() for one in authors))}


def masked(text: Traced, names: dict[str, str]) -> Traced:
    """With the names of those who take part replaced wherever one stands by itself, in any case.

    The published code replaces them within words as well; a participant called `a` would be everywhere.
    """
    known = [re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)) if name]
    if not known:
        return text
    pattern = re.compile(rf"(?<!{_LOGIN})(?:{'|'.join(known)})(?!{_LOGIN})", re.IGNORECASE)
    return text.substituted(pattern, lambda found: names.get(found.group().lower(), found.group()))


def calls_bot(text: str, bot: str) -> bool:
    """Whether a comment was written to a program: it names it, or is a command."""
    return bot in text or text.startswith("/")


def without_bots(authors: Sequence[str], texts: Sequence[str]) -> list[int]:
    """Numbers of the comments that people wrote for people: none of a bot, and not the call right before its answer.

    A call is dropped where the bot had answered before (utils_issues.py: the first answer keeps its call).
    """
    kept: list[int] = []
    last_answer = 0
    for number, author in enumerate(authors):
        if not is_bot(author):
            kept.append(number)
            continue
        if 0 < last_answer < number - 1 and kept and kept[-1] == number - 1 and calls_bot(texts[number - 1], author):
            kept.pop()
        last_answer = number
    return kept
