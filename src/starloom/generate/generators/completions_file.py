"""Completions from a file, and into one: JSON lines, one or more completions of a prompt or problem on each.

    {"id": "HumanEval/0", "completions": ["    return 1\n", …]}
    {"prompt": "5d41…", "completions": [{"text": "…", "finish_reason": "stop", "sample": 0}, …]}

`id` is the ask's own name, and the key where there is one; `prompt` is the digest of what was asked (`digest`). A completion
is a text, or an object with the number of its sample; lines of one key go together in their order. The same file serves
whatever the settings: those are not part of the key. A last line that was not written to its end is passed over: its
completion is then missing, by name.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Unpack

from starloom.errors import BusyError, GenerationError, SourceError
from starloom.generate.generators.whole import Whole, ending
from starloom.generate.protocol import (
    Ask,
    Capability,
    Completion,
    Generator,
    Hole,
    Likelihood,
    Mode,
    Options,
    Prompt,
    Settings,
)
from starloom.generate.text_stream import Ending

LONGEST_LINE = 64 << 20  # bytes, our choice: hundreds of samples of a long problem


def digest(ask: Ask) -> str:
    """32 hex digits that say what was asked: blake2b-128 over the length-prefixed texts, the response prefix among them."""
    fields = ("prompt", ask.text) if isinstance(ask, Prompt) else ("hole", ask.prefix, ask.suffix)
    if isinstance(ask, Prompt) and ask.header is not None:
        fields = ("headed", *(text for field in ask.header.fields for text in field), *fields)
    hasher = blake2b(digest_size=16)
    for field in (*fields, ask.settings.response_prefix):
        data = field.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "little") + data)
    return hasher.hexdigest()


class CompletionsFile:
    """A `Generator` that looks completions up. One that is missing is an error that names it."""

    def __init__(self, path: Path) -> None:
        """Raises SourceError, with the line, for a file that is not of this kind."""
        self.path = path
        self._found = read(path)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({"complete", "infill"})

    def complete(self, prompt: str, **options: Unpack[Options]) -> Completion:
        """What the file holds for a prompt."""
        return self._answer(Prompt(prompt, Settings(**options)))

    def infill(self, prefix: str, suffix: str, *, mode: Mode = "psm", **options: Unpack[Options]) -> Completion:
        """What the file holds for a gap."""
        return self._answer(Hole(prefix, suffix, Settings(**options), mode))

    def start(self, ask: Ask) -> Whole:
        """What the file holds for an ask."""
        return Whole(self._answer(ask))

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
        """Many, in the order asked; one that is missing is its error."""
        for ask in asks:
            try:
                yield self._answer(ask)
            except GenerationError as error:
                yield error

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood | GenerationError]:
        """Raises GenerationError: a file holds texts."""
        raise GenerationError(f"{self.path} holds completions, not likelihoods; ask a model")

    def holds(self, ask: Ask) -> bool:
        """Whether there is a completion for an ask."""
        return any(ask.sample in self._found.get(key, ()) for key in _keys(ask))

    def _answer(self, ask: Ask) -> Completion:
        for key in _keys(ask):
            samples = self._found.get(key)
            if samples and ask.sample in samples:
                return _ended(samples[ask.sample], ask)
        known = next((samples for key in _keys(ask) if (samples := self._found.get(key))), {})
        what = f"'{ask.id}'" if ask.id is not None else f"the prompt {digest(ask)} ({_shown(ask)})"
        raise GenerationError(
            f"{self.path} has no completion {ask.sample} of {what}; "
            + (
                f"it has {len(known)} of it"
                if known
                else "it was written for other prompts, or the response prefix differs"
            )
        )


def read(path: Path) -> dict[str, dict[int, Completion]]:
    """Key → number of the sample → completion. Raises SourceError."""
    found: dict[str, dict[int, Completion]] = {}
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(line) > LONGEST_LINE:
                    raise SourceError(f"{where} is longer than {LONGEST_LINE:,} bytes; is this a file of completions?")
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    if not line.endswith(b"\n"):
                        break  # the writer was killed in the middle of it
                    raise SourceError(f"{where} is not JSON; each line is one object with completions") from None
                _add(found, row, where)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    return found


def write(generator: Generator, asks: Iterable[Ask], path: Path) -> Iterator[Completion | GenerationError]:
    """Ask a generator for what the file does not hold yet, and append each answer as it comes; a killed run goes on.

    Gives every answer in the order asked, old ones from the file; an error is given and not written. What is asked twice is
    asked for once. Raises BusyError while another process writes the file.
    """
    asks = list(asks)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another process writes {path}; wait for it, or write another file") from None
        _end_last_line(path)
        kept = CompletionsFile(path)
        wanted: dict[tuple[str, int], Ask] = {}
        for ask in asks:
            if not kept.holds(ask):
                wanted.setdefault((_keys(ask)[0], ask.sample), ask)
        new = iter(generator.run(wanted.values()))
        answers: dict[tuple[str, int], Completion | GenerationError] = {}
        for ask in asks:
            key = (_keys(ask)[0], ask.sample)
            if key not in wanted:
                yield kept._answer(ask)
                continue
            if key not in answers:
                answer = answers[key] = next(new)
                if isinstance(answer, Completion):
                    file.write(json.dumps(_row(ask, answer), ensure_ascii=True).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            yield answers[key]


def _keys(ask: Ask) -> tuple[str, ...]:
    return (digest(ask),) if ask.id is None else (f"id {ask.id}", digest(ask))


def _add(found: dict[str, dict[int, Completion]], row: Any, where: str) -> None:
    completions = row.get("completions") if isinstance(row, Mapping) else None
    name = row.get("id", row.get("prompt")) if isinstance(row, Mapping) else None
    if not isinstance(completions, list) or not isinstance(name, str):
        raise SourceError(
            f"{where} has no list 'completions' beside an 'id' or 'prompt'; is this a file of completions?"
        )
    samples = found.setdefault(f"id {name}" if "id" in row else name, {})
    for said in completions:
        number, completion = _completion(said, max(samples, default=-1) + 1, where)
        if number in samples:
            raise SourceError(f"{where} gives sample {number} of '{name}' a second time")
        samples[number] = completion


def _completion(said: Any, number: int, where: str) -> tuple[int, Completion]:
    fields: Any = {"text": said} if isinstance(said, str) else said
    if not isinstance(fields, Mapping) or not isinstance(fields.get("text"), str):
        raise SourceError(f"{where} has a completion that is neither a text nor an object with one")
    reason, by, number = fields.get("finish_reason", "stop"), fields.get("stopped_by"), fields.get("sample", number)
    if reason not in ("stop", "length") or not isinstance(by, str | None) or type(number) is not int or number < 0:
        raise SourceError(f"{where} has a completion with a finish_reason, stopped_by or sample that cannot be")
    return number, Completion(fields["text"], (), reason, by)


def _ended(held: Completion, ask: Ask) -> Completion:
    """Ended where this ask has it end, which may be earlier than where it was written."""
    before = ask.settings.response_prefix
    if before and not held.text.startswith(before):
        raise GenerationError(f"the completion of {_shown(ask)} does not begin with the response prefix {before!r}")
    known = held.stopped_by is not None or held.finish_reason == "length"  # who wrote it looked for the suffix
    end = Ending(ask.settings.stop, None, before) if known else ending(ask)
    text = end.feed(held.text.removeprefix(before))
    text = before + text + end.finish()
    if end.stopped_by is None:
        return held
    return Completion(text, (), "stop", end.stopped_by)


def _row(ask: Ask, answer: Completion) -> dict[str, Any]:
    said = {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "stopped_by": answer.stopped_by,
        "sample": ask.sample,
    }
    return {**({"id": ask.id} if ask.id is not None else {}), "prompt": digest(ask), "completions": [said]}


def _end_last_line(path: Path) -> None:
    """Give a last line its end, or cut off one that was not written to its end."""
    with path.open("rb+") as file:
        length = start = file.seek(0, os.SEEK_END)
        tail = b""
        while start > 0 and b"\n" not in tail:
            start = max(0, start - 65536)
            file.seek(start)
            tail = file.read(length - start)
        last = tail.rpartition(b"\n")[2]
        if last and _is_json(last):
            file.seek(length)
            file.write(b"\n")
        else:
            file.truncate(length - len(last))


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _shown(ask: Ask) -> str:
    text = ask.text if isinstance(ask, Prompt) else ask.prefix
    return repr(text if len(text) <= 40 else "…" + text[-40:])
