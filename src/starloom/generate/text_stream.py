"""From ids to text as they come: whole characters only, and nothing that a stop string may still take back."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence

from starloom.generate.engine import Engine
from starloom.generate.protocol import Completion, Handle
from starloom.generate.stop_strings import StopStrings
from starloom.generate.suffix_copy import SuffixCopy
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.special import FAMILIES, REDACTION_MARKS


class ControlTokens:
    """What each control means to a text: a redaction mark is written out, any other control ends the text.

    A model that emits `file_separator` or `issue_comment` has left the document that it was asked to go on with;
    masking those ids instead would make it write on past the end. The ids that a checkpoint itself stops at end it too.
    """

    def __init__(self, vocabulary: Vocabulary, stop_ids: Collection[int] = ()) -> None:
        self._vocabulary = vocabulary
        names = {vocabulary.control(name): name for name, _ in FAMILIES[vocabulary.family].controls
                 if vocabulary.has_control(name)}  # fmt: skip
        self.marks = {token: REDACTION_MARKS[name] for token, name in names.items() if name in REDACTION_MARKS}
        controls = vocabulary.control_mask.nonzero()[0].tolist()
        self.names = {token: names.get(token) or vocabulary.spelling(token) for token in controls}
        self.ends = frozenset(self.names) - frozenset(self.marks) | frozenset(stop_ids)

    def name(self, token: int) -> str:
        """What ended a text: a control's name, or the text of an ordinary token."""
        return self.names.get(token) or self._vocabulary.decode((token,))


class Ending:
    """Where a text ends: before a stop string, or before a copy of the suffix. Half of either never shows.

    `before` is the text that the answer was given to begin with.
    """

    def __init__(self, stop: Sequence[str] = (), copy: SuffixCopy | None = None, before: str = "") -> None:
        self._stops = StopStrings(stop, before)
        self._copy = copy
        self.stopped_by: str | None = None  # the stop string, or "suffix"

    def feed(self, text: str) -> str:
        """What is safe to show now; nothing more once `stopped_by` is set."""
        if self.stopped_by is not None:
            return ""
        shown = self._through_copy(self._stops.feed(text))
        self.stopped_by = self.stopped_by or self._stops.found
        return shown

    def finish(self, *, broken_off: bool = False) -> str:
        """The text ends here, or breaks off for lack of room: what was held back and is text after all."""
        shown = self._through_copy(self._stops.finish())
        if self._copy:
            shown += self._copy.finish(broken_off=broken_off)
            self.stopped_by = self.stopped_by or ("suffix" if self._copy.found else None)
        return shown

    def _through_copy(self, text: str) -> str:
        if not self._copy:
            return text
        shown = self._copy.feed(text)
        if self._copy.found:
            self.stopped_by = "suffix"
        return shown


class TextStream:
    """`feed` ids, get text. The pieces concatenated are the text; half a character at the very end is left out."""

    def __init__(self, vocabulary: Vocabulary, controls: ControlTokens, ending: Ending) -> None:
        self._vocabulary = vocabulary
        self._marks = controls.marks
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.ending = ending

    def feed(self, token: int) -> str:
        """The text that is safe to show once this id is known."""
        mark = self._marks.get(token)
        return self.ending.feed(self._decode(self._vocabulary.bytes_of((token,)) if mark is None else mark.encode()))


class Stream:
    """Pieces of a completion's text as they become certain; `completion` once they are through; `close` stops early."""

    def __init__(
        self, engine: Engine, handle: Handle, text: TextStream, controls: ControlTokens, *, before: str = "", cut: bool
    ) -> None:
        self._engine = engine
        self._handle = handle
        self._text = text
        self._controls = controls
        self._cut = cut
        self._seen = len(handle.request.prompt)
        self._shown = [before] if before else []  # all pieces so far
        self._given = 0  # of them, by __next__
        self._completion: Completion | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        while True:
            self.advance()
            if self._given < len(self._shown):
                piece = "".join(self._shown[self._given :])
                self._given = len(self._shown)
                return piece
            if self._completion is not None:
                raise StopIteration
            self._engine.step()

    def advance(self) -> bool:
        """Take in what the engine has drawn since, without a step; whether the completion is whole. Raises its error."""
        if self._completion is None:
            done = self._handle.done  # before the ids: when it is set, they are all there
            ids = self._handle.ids
            while self._seen < len(ids) and self._text.ending.stopped_by is None:
                self._show(self._text.feed(ids[self._seen]))
                self._seen += 1
            if self._text.ending.stopped_by is not None or done:
                self._complete()
        return self._completion is not None

    @property
    def completion(self) -> Completion:
        """The whole; runs to the end whatever was not taken yet."""
        while not self.advance():
            self._engine.step()
        assert self._completion is not None
        return self._completion

    def close(self) -> None:
        """Stop here; the engine gives the request's place to others."""
        self._engine.cancel(self._handle)

    def __del__(self) -> None:
        self.close()

    def _show(self, piece: str) -> None:
        if piece:
            self._shown.append(piece)

    def _complete(self) -> None:
        handle = self._handle
        if handle.error is not None and self._text.ending.stopped_by is None:
            raise handle.error
        self._show(self._text.ending.finish(broken_off=handle.finish_reason == "length"))
        reason, stopped_by = handle.finish_reason, self._text.ending.stopped_by
        if stopped_by is not None:
            self._engine.cancel(handle)
            reason = "stop"
        elif handle.stop_id is not None:
            stopped_by = self._controls.name(handle.stop_id)
        assert reason is not None
        first = len(handle.request.prompt)
        self._completion = Completion(
            text="".join(self._shown),
            tokens=tuple(handle.ids[first : self._seen]),
            finish_reason=reason,
            stopped_by=stopped_by,
            prompt_tokens=first,
            prompt_cut=self._cut,
            logprobs=tuple(handle.logprobs[: self._seen - first]) if handle.request.logprobs else None,
            top_logprobs=tuple(handle.top_logprobs[: self._seen - first]) if handle.request.top_logprobs else None,
        )
