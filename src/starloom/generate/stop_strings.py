"""Ends a stream of text before a string, and holds back what may still become one.

Each string is followed by its own automaton (Knuth, Morris and Pratt), a character at a time, so that the result does
not depend on how the text was cut into pieces. The string that is complete first ends the text; of several complete at
once, the one that began first.
"""

from __future__ import annotations

from collections.abc import Sequence


class _Pattern:
    """How many characters of one string the end of the text so far is the beginning of."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        self._shorter = [0]  # for each beginning of the string: the longest shorter one that it ends with
        for character in text[1:]:
            self._shorter.append(self._next(self._shorter[-1], character))

    def _next(self, matched: int, character: str) -> int:
        while matched and (matched == len(self.text) or self.text[matched] != character):
            matched = self._shorter[matched - 1]
        return matched + (self.text[matched] == character)

    def feed(self, character: str) -> bool:
        self.matched = self._next(self.matched, character)
        return self.matched == len(self.text)


class StopStrings:
    """`feed` gives the text that is safe to show; `found` is the string that ended it; `held` waits for what follows.

    A string may begin in the text `before`, which was shown already and stays; it has to end in what is fed.
    """

    def __init__(self, strings: Sequence[str], before: str = "") -> None:
        self._patterns = [_Pattern(text) for text in dict.fromkeys(strings) if text]
        self.held = ""
        self.found: str | None = None
        for pattern in self._patterns:
            for character in before[-len(pattern.text) :]:
                pattern.feed(character)

    def feed(self, piece: str) -> str:
        """Take in more text; after a string was found, nothing more comes out."""
        if self.found is not None:
            return ""
        seen = len(self.held)
        text = self.held + piece
        if not self._patterns:
            return text
        for end, character in enumerate(piece, seen + 1):
            complete = [pattern.text for pattern in self._patterns if pattern.feed(character)]
            if complete:
                self.found = max(complete, key=len)
                self.held = ""
                return text[: max(end - len(self.found), 0)]
        safe = max(len(text) - max(pattern.matched for pattern in self._patterns), 0)
        self.held = text[safe:]
        return text[:safe]

    def finish(self) -> str:
        """The text ends here: what was held back is only text after all."""
        held, self.held = self.held, ""
        return held
