"""From ids to text as they come: whole characters only, and nothing that a stop string may still take back."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence

from starloom.generate.engine import Engine
from starloom.generate.infill import SuffixCopy
from starloom.generate.protocol import Completion, Handle
from starloom.generate.stop_strings import StopStrings
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.special import FAMILIES, REDACTION_MARKS


class ControlTokens:
    """What each control means to a text: a redaction mark is written out, any other control ends the text.

    A model that emits `file_separator` or `issue_comment` has left the document that it was asked to go on with;
    masking those ids instead would make it write on past the end. The ids that a checkpoint itself stops at end it too.
    """

    def __init__(self, vocabulary: Vocabulary, stop_ids: Collection[int] = ()) -> None:
        names = {vocabulary.control(name): name for name, _ in FAMILIES[vocabulary.family].controls
                 if vocabulary.has_control(name)}  # fmt: skip
        self.marks = {token: REDACTION_MARKS[name] for token, name in names.items() if name in REDACTION_MARKS}
        controls = vocabulary.control_mask.nonzero()[0].tolist()
        self.names = {token: names.get(token) or vocabulary.spelling(token) for token in controls}
        self.ends = frozenset(self.names) - frozenset(self.marks) | frozenset(stop_ids)
        self.names |= {token: vocabulary.decode((token,)) for token in self.ends - frozenset(self.names)}


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


class Stream:
    """Pieces of a completion's text as they become certain; `completion` once they are through; `close` stops early."""

    def __init__(self, engine: Engine, handle: Handle, text: TextStream, controls: ControlTokens, cut: bool) -> None:
        self._engine = engine
        self._handle = handle
        self._text = text
        self._controls = controls
        self._cut = cut
        self._seen = len(handle.request.prompt)
        self._shown: list[str] = []  # all pieces so far
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
            while self._seen < len(ids) and self._text.stopped_by is None:
                self._show(self._text.feed(ids[self._seen]))
                self._seen += 1
            if self._text.stopped_by is not None or done:
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
        if handle.error is not None and self._text.stopped_by is None:
            raise handle.error
        self._show(self._text.finish())
        reason, stopped_by = handle.finish_reason, self._text.stopped_by
        if stopped_by is not None:
            self._engine.cancel(handle)
            reason = "stop"
        elif handle.stop_id is not None:
            stopped_by = self._controls.names[handle.stop_id]
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
        )
