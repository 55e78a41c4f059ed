"""From ids to text as they come: whole characters only, and nothing that a stop string may still take back."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from starloom.generate.infill import SuffixCopy
from starloom.generate.stop_strings import StopStrings
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.special import FAMILIES, REDACTION_MARKS


class ControlTokens:
    """What each control means to a text: a redaction mark is written out, any other control ends the text.

    A model that emits `file_separator` or `issue_comment` has left the document that it was asked to go on with;
    masking those ids instead would make it write on past the end.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        names = {vocabulary.control(name): name for name, _ in FAMILIES[vocabulary.family].controls
                 if vocabulary.has_control(name)}  # fmt: skip
        self.marks = {token: REDACTION_MARKS[name] for token, name in names.items() if name in REDACTION_MARKS}
        controls = vocabulary.control_mask.nonzero()[0].tolist()
        self.names = {token: names.get(token) or vocabulary.spelling(token) for token in controls}
        self.ends = frozenset(self.names) - frozenset(self.marks)


class TextStream:
    """`feed` ids, get text. The pieces concatenated are the text; half a character at the very end is left out."""

    def __init__(
        self, vocabulary: Vocabulary, controls: ControlTokens, stop: Sequence[str], copy: SuffixCopy | None = None
    ) -> None:
        self._vocabulary = vocabulary
        self._marks = controls.marks
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._copy = copy
        self._stops = StopStrings([*stop, copy.head] if copy else stop)
        self._strings = frozenset(stop)
        self.stopped_by: str | None = None  # the stop string, or "suffix"

    def feed(self, token: int) -> str:
        """The text that is safe to show once this id is known."""
        mark = self._marks.get(token)
        text = self._decode(self._vocabulary.bytes_of((token,)) if mark is None else mark.encode())
        shown = self._stops.feed(text)
        if self._stops.found is not None:
            self.stopped_by = self._stops.found if self._stops.found in self._strings else "suffix"
        return shown

    def finish(self) -> str:
        """What was held back and is text after all, less a copy of the suffix's beginning."""
        copied = self._stops.matched(self._copy.head) if self._copy and not self.stopped_by else 0
        held = self._stops.finish()
        if self._copy and copied >= self._copy.sure:
            self.stopped_by = "suffix"
            return held[: len(held) - copied]
        return held
