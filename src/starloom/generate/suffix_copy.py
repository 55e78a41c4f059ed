"""Ends a middle before it runs on into a copy of the suffix, and holds back what may still become one.

The model that fills a gap often goes on with the lines that follow it. What it copied is cut off, so that the suffix never
stands there twice; whatever merely resembles it stays:

- To be sure takes whole lines with SURE letters or digits in all; `)` or `end` may well come twice. A text that broke off
  in the middle of a line may have less of that line.
- A copy that the model writes on from counts once it has LINES_MORE lines more.
- A line that is indented otherwise is another line (`return total`, one level deeper, is an early return), and a line that
  merely ends in the same words is another (`subtotal = 1`), unless the next line is copied as well, or the text after the
  cursor would otherwise be joined to its own copy on one line.
- Blank lines before a copy, and carriage returns, may differ from the suffix's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

SURE = 6  # letters and digits (our choice)
LINES_MORE = 2  # (our choice)
LOOK_AHEAD = 2000  # characters of the suffix that are compared at all (our choice)
BLANK = " \t\n"  # and carriage returns, which are passed over

_Verdict = Literal["no", "maybe", "sure"]


class _Match(NamedTuple):
    verdict: _Verdict
    copied: str = ""  # the beginning of the suffix that the text ends in


class SuffixCopy:
    """`feed` gives the text that is safe to show; `found` says that a copy ended it; `held` waits for what follows."""

    def __init__(self, prefix: str, suffix: str) -> None:
        self.held = ""
        self.found = False
        last = prefix.rpartition("\n")[2].replace("\r", "")
        self._cursor = (
            last if not last.strip(BLANK) else None
        )  # blanks before the cursor, if nothing else is on its line
        text = suffix.replace("\r", "")
        self._lead = _blanks(suffix)
        self._own_line = "\n" in self._lead  # the first line of the suffix that says something is a line of its own
        if self._own_line:
            text = text[_blanks(text).rindex("\n") + 1 :]
        self._head, self._least, self._whole = _head(text)
        self._line = last  # of prefix and middle, what stands before `held` on its line
        self._first = True  # nothing was shown yet

    def feed(self, piece: str) -> str:
        """Take in more text; after a copy was found, nothing more comes out."""
        if self.found:
            return ""
        if not self._head:
            return piece
        self.held += piece
        for start in range(len(self.held)):
            verdict = self._match(start).verdict
            if verdict == "sure":
                return self._end(start)
            if verdict == "maybe":
                return self._show(start)
        return self._show(len(self.held))

    def finish(self, *, broken_off: bool = False) -> str:
        """The text ends here, or was broken off: what was held back is text after all, or a copy."""
        if self.found:
            return ""
        for start in range(len(self.held)):
            match = self._match(start)
            letters = sum(map(str.isalnum, match.copied))
            if match.verdict == "maybe" and (len(match.copied) >= self._least or (broken_off and letters >= SURE)):
                return self._end(start)
        return self._show(len(self.held))

    def _end(self, start: int) -> str:
        """A copy begins here, with blanks that the suffix has too, or has otherwise; those that go beyond stay."""
        self.found = True
        blanks = _blanks(self.held[start:])
        spare = len(blanks) - len(self._lead) if self._own_line and blanks.endswith(self._lead) else 0
        return self._show(start + spare)

    def _show(self, length: int) -> str:
        shown, self.held = self.held[:length], self.held[length:]
        if shown:
            self._first = False
            self._line = (self._line + shown).rpartition("\n")[2]
        return shown

    def _match(self, start: int) -> _Match:
        """Whether what is held, from `start` to its end, is a copy as far as it goes."""
        text = self.held[start:].replace("\r", "")
        if self._own_line:
            return self._match_own_line(text, first=self._first and start == 0)
        match = self._compare(text)
        if self._cursor is None or "\n" not in text:
            return match
        before = (self._line + self.held[:start]).rpartition("\n")[2].replace("\r", "")
        if before == self._cursor:
            return match
        rest = text[: len(self._head)].partition("\n")[2]
        another = not before.strip(BLANK) or _in_word(
            before[-1] + text[0]
        )  # indented otherwise, or `subtotal` for `total`
        if another and sum(map(str.isalnum, rest)) < SURE:
            return _Match("maybe") if match.verdict == "maybe" else _Match("no")
        return match

    def _match_own_line(self, text: str, *, first: bool) -> _Match:
        said = text.lstrip(BLANK)
        blanks = _blanks(text)
        if first and self._cursor is not None:
            blanks = "\n" + self._cursor + blanks  # the cursor is on a line of its own too
        if not said:
            return _Match("maybe" if blanks else "no")
        if "\n" not in blanks:
            return _Match("no")
        return self._compare(blanks[blanks.rindex("\n") + 1 :] + said)

    def _compare(self, text: str) -> _Match:
        if self._head.startswith(text):
            return _Match("maybe", text)
        if text.startswith(self._head) and (text[len(self._head)] == "\n" or not self._whole):
            return _Match("sure")
        return _Match("no")


def _in_word(pair: str) -> bool:
    """Whether two characters stand within one word."""
    return all(character.isalnum() or character == "_" for character in pair)


def _blanks(text: str) -> str:
    """The blanks and line breaks that a text begins with."""
    return text[: len(text) - len(text.lstrip(BLANK + "\r"))]


def _head(text: str) -> tuple[str, int, bool]:
    """The first lines of a text, how much of them is sure, and whether they are whole lines.

    Empty for a text with too few letters and digits to tell a copy from code.
    """
    seen, end, least, more = 0, -1, 0, 0
    for line in text[:LOOK_AHEAD].split("\n"):
        letters = sum(map(str.isalnum, line))
        seen += letters
        end += 1 + len(line)
        if least and letters:
            more += 1
        elif seen >= SURE and not least:
            least = end
        if more == LINES_MORE:
            break
    if not least:
        return "", 0, True
    head = text[:end].rstrip("\n")
    return head, least, len(head) == len(text) or text[len(head)] == "\n"
