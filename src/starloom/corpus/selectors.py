"""Which documents a setting is about: `language:Python`, `kind:issue`, `source:npm:*`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from starloom.corpus.forms import KINDS
from starloom.corpus.language import check_languages
from starloom.errors import ConfigError, suggestion

_SUBJECTS = ("language", "kind", "source")


class Selector(NamedTuple):
    """Documents of one language (linguist's name), of one kind, or of the repositories that a glob matches."""

    subject: str
    pattern: str

    @classmethod
    def parse(cls, text: str, where: str) -> Selector:
        """From `SUBJECT:PATTERN`. Raises ConfigError, naming the setting."""
        subject, colon, pattern = text.partition(":")
        if not colon or not pattern or subject not in _SUBJECTS:
            raise ConfigError(
                f"{where} holds '{text}', which selects nothing; write language:NAME, kind:NAME or source:GLOB"
            )
        if subject == "language":
            check_languages((pattern,))
        if subject == "kind" and pattern not in KINDS:
            raise ConfigError(f"{where}: no kind of documents '{pattern}'; {suggestion(pattern, KINDS)}")
        return cls(subject, pattern)

    def __str__(self) -> str:
        return f"{self.subject}:{self.pattern}"

    def matches(self, language: str | None, kind: str, repository: str) -> bool:
        if self.subject == "source":
            return fnmatchcase(repository.casefold(), self.pattern.casefold())
        return self.pattern == (language if self.subject == "language" else kind)


def with_numbers(texts: Sequence[str], where: str) -> tuple[tuple[Selector, float], ...]:
    """`SUBJECT:PATTERN=NUMBER` of each text. Raises ConfigError for a number that is none, or below 0."""
    found = []
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or not re.fullmatch(r"\d{1,20}(?:\.\d{0,20})?(?:e\d{1,2})?|\.\d{1,20}", number):
            raise ConfigError(f"{where} holds '{text}'; write SELECTOR=NUMBER, such as language:JSON=0.5")
        found.append((Selector.parse(name, where), float(number)))
    return tuple(found)
