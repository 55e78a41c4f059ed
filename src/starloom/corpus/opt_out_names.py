"""Names of people, accounts and repositories as an opt-out compares them.

Without case, in any script (Unicode case folding); without the difference between letters that look alike by
compatibility (NFKC: full-width letters, composed accents); without characters that cannot be seen; without what surrounds
a name on a web page. A name that could not be anyone's gives None.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from starloom.corpus.sources.listing import canonical_remote

_GITHUB: Final = "github.com"
_WORD: Final = re.compile(r"[^\s/\\\"'<>*?#:]{1,100}")
_HOST: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_MAIL: Final = re.compile(r"[^<>]*<\s*([^\s<>]+@[^\s<>]+)\s*>")
_PERSON: Final = re.compile(r"[^\t\n\r/\\\"<>*?]{1,200}")
_OTHER: Final = re.compile(r"(pypi|npm|debian|python|folder|archive):([^\s:\\]{1,250})")  # repositories without a host


def folded(name: str) -> str:
    """A name without case, compatibility variants and invisible characters."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold()).strip()


def _place(name: str) -> list[str]:
    """The words of an address: host (GitHub where it has none), then the path."""
    text = re.sub(r"[?#].*", "", folded(name))
    remote = canonical_remote(text)
    if remote is None:
        text = re.sub(r"\A[a-z+]+://(?:[^/@]*@)?", "", text)
    words = [word.removesuffix(".git") for word in (remote[0] if remote else text).rstrip("/").split("/")]
    words[0] = words[0].removeprefix("www.") if len(words) > 1 else words[0]
    return words if len(words) > 1 and _HOST.fullmatch(words[0]) else [_GITHUB, *words]


def repository(name: str) -> str | None:
    """The canonical name of what `owner/name`, an address of git or of a web page, or a name in the corpus means."""
    other = _OTHER.fullmatch(folded(name))
    if other:
        normal = re.sub(r"[-_.]+", "-", other[2]) if other[1] == "pypi" else other[2]
        return f"{other[1]}:{normal}"
    words = _place(name)
    least, most = (3, 3) if words[0] == _GITHUB else (3, 9)  # GitLab has groups within groups
    sound = least <= len(words) <= most and all(_WORD.fullmatch(word) for word in words)
    return "/".join(words) if sound else None


def account(name: str) -> str | None:
    """An account: bare, wherever it is; with another host than GitHub's in front, there."""
    words = _place(name)
    if words[1:2] == ["orgs"] and len(words) == 3:
        words = [words[0], words[2]]
    words[-1] = words[-1].removeprefix("@").strip()
    if len(words) != 2 or not all(_WORD.fullmatch(word) for word in words):
        return None
    return words[1] if words[0] == _GITHUB else "/".join(words)


def person(name: str) -> str | None:
    """Who wrote something: an account, a mail address, or a name as git has it. `Name <mail>` is the mail address."""
    text = folded(name)
    mail = _MAIL.fullmatch(text)
    if mail:
        return mail[1]
    return account(text) or (text if _PERSON.fullmatch(text) else None)


COMPARED: Final[Mapping[str, Callable[[str], str | None]]] = {
    "accounts": account,
    "repositories": repository,
    "commits": person,
    "issues": person,
}
WANTED: Final = {
    "accounts": "the name of one account",
    "repositories": "owner/name, an address, or a name in the corpus such as pypi:NAME",
    "commits": "the name, account or mail address of one person",
    "issues": "the name, account or mail address of one person",
}
