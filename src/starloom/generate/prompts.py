"""From what is asked to the ids of a prompt that fits: what is kept of long texts, and where the controls stand."""

from __future__ import annotations

from typing import NamedTuple

from starloom.errors import GenerationError, TokenizerError
from starloom.generate import frames, infill
from starloom.generate.protocol import Ask, Header, Hole, Prompt, Settings
from starloom.tokens.bpe import Vocabulary

BEGINNING_SHARE = 0.25  # of the room, where both ends of a prompt are kept (our choice)


class PromptIds(NamedTuple):
    """A prompt as a model gets it."""

    ids: list[int]
    cut: bool  # whether some of the text was left out
    surroundings: tuple[int, ...] = ()  # of a gap, more of the file than the prompt holds


class Prompts:
    """Turns asks into ids for one vocabulary and one length of context. Typed sentinels stay text, unless `raw`."""

    def __init__(self, vocabulary: Vocabulary, context: int, name: str) -> None:
        self.vocabulary = vocabulary
        self.context = context
        self.name = name  # of the model, in errors

    def understood(self, ask: Ask) -> Ask:
        """The ask with its raw text parsed."""
        return frames.ask(ask, self.vocabulary) if isinstance(ask, Prompt) and ask.raw else ask

    def ids(self, ask: Ask) -> PromptIds:
        """The prompt. Raises GenerationError for one that does not fit and may not be cut."""
        start = [self.vocabulary.end_of_document] if ask.settings.new_document else []
        made = self._frame(ask, len(start)) if isinstance(ask, Hole) else self._text(ask, len(start))
        ids = [*start, *made.ids] or [self.vocabulary.end_of_document]
        return made._replace(ids=ids)

    def scored(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """The ids that come first, and those whose likelihood is the continuation's; both are encoded as one string.

        Blanks at the end of a context count as the continuation's, since a token begins with its blank; a context that is
        too long loses its beginning.
        """
        first = self._encode(context.rstrip())
        whole = self._encode(context + continuation)
        scored = whole[len(first) :]
        start = [self.vocabulary.end_of_document] if not first else []
        room = self.context + 1 - len(scored)
        return (start + whole[: len(first)])[-max(room, 1) :], scored

    def stop_ids(self, settings: Settings) -> frozenset[int]:
        """Ids of the stop tokens. Raises GenerationError for a text that is not one token."""
        found = set()
        for text in settings.stop_tokens:
            ids = self._encode(text)
            if len(ids) != 1:
                raise GenerationError(
                    f"stop token {text!r} is {len(ids)} tokens in the vocabulary of {self.name}; make it a stop string"
                )
            found.add(ids[0])
        return frozenset(found)

    def _encode(self, text: str) -> list[int]:
        try:
            return self.vocabulary.encode(text)
        except TokenizerError as error:  # it is this ask's alone, and others go on
            raise GenerationError(str(error)) from None

    def _room(self, settings: Settings) -> int:
        """Prompt ids that leave room for max_tokens, but at least half the context."""
        return max(self.context - settings.max_tokens, self.context // 2, 1)

    def _text(self, prompt: Prompt, start: int) -> PromptIds:
        settings = prompt.settings
        header, line = self._header(prompt.header, joined=True)
        ids = [*header, *self._encode(line + prompt.text + settings.response_prefix)]
        if settings.keep == "all":
            if start + len(ids) >= self.context:
                raise GenerationError(
                    f"the prompt has {start + len(ids):,} tokens and the context of {self.name} is {self.context:,}; shorten it, "
                    "or keep its end or both ends (keep='end', keep='both_ends'; --keep)"
                )
            return PromptIds(ids, cut=False)
        room = max(self._room(settings) - start, 1)
        if len(ids) <= room:
            return PromptIds(ids, cut=False)
        beginning = int(room * BEGINNING_SHARE) if settings.keep == "both_ends" else 0
        first = infill.first_ids(ids, beginning, self.vocabulary)
        last = infill.last_ids(ids, room - beginning, self.vocabulary)
        return PromptIds([*first, *last], cut=True)

    def _frame(self, hole: Hole, start: int) -> PromptIds:
        words = self.vocabulary
        middle = self._encode(hole.settings.response_prefix) if hole.mode == "psm" else []
        room = self._room(hole.settings) - start - infill.FRAME_TOKENS - len(middle)
        if room < 1:
            raise GenerationError(
                f"the context of {self.name}, {self.context}, is too short to infill"
                + (" after this response prefix" if middle else "")
            )
        within = hole.header is not None and hole.header.within
        header, line = self._header(hole.header, joined=within)
        whole = line + hole.prefix + (hole.settings.response_prefix if hole.mode == "spm" else "")
        prefix = infill.end_of(whole, room, self._encode)
        suffix = infill.start_of(hole.suffix, room, self._encode)
        fits = len(header) + len(prefix) + len(suffix) <= room
        if not fits:  # a header says less than the code around the cursor
            header, prefix = [], infill.end_of(whole.removeprefix(line), room, self._encode)
        before, after = infill.share_room(len(prefix), len(suffix), room - len(header))
        kept = infill.last_ids(prefix, before, words), infill.first_ids(suffix, after, words)
        ids = infill.frame([*header, *kept[0]] if within else kept[0], kept[1], words, hole.mode, middle)
        surroundings = () if fits else (*prefix, *suffix)
        return PromptIds(ids if within else [*header, *ids], not fits, surroundings)

    def _header(self, header: Header | None, *, joined: bool) -> tuple[list[int], str]:
        """The ids of a header, and its last line where that is encoded together with the text that follows."""
        if header is None:
            return [], ""
        ids: list[int] = []
        line = ""
        for number, (control, text) in enumerate(header.fields, 1):
            ids.append(self.vocabulary.control(control))
            if joined and number == len(header.fields):
                line = text
            else:
                ids += self._encode(text)
        return ids, line
