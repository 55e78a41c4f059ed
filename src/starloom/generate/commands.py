"""`starloom complete` and `starloom infill`: a trained model at the command line."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from starloom import flags
from starloom.errors import ConfigError, SourceError
from starloom.flags import flag
from starloom.generate import session
from starloom.generate.protocol import Hole, Keep, Prompt, Settings
from starloom.generate.session import Session
from starloom.generate.text_stream import Stream


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file as editors count: lines and columns from 1, a column per character, a tab being one."""

    line: int
    column: int

    @classmethod
    def parse(cls, text: str) -> Position:
        line, colon, column = text.partition(":")
        if not (colon and line.isdecimal() and column.isdecimal() and int(line) and int(column)):
            raise ConfigError(f"--at takes LINE:COLUMN, both from 1, such as 12:5, not '{text}'")
        return cls(int(line), int(column))

    def split(self, text: str, where: str) -> tuple[str, str]:
        """What stands before and after the place; column 1 is before the first character of a line, and the column after
        its last is its end. Raises ConfigError, naming the file, for a place outside it."""
        lines = text.split("\n")
        if self.line > len(lines):
            raise ConfigError(f"--at {self.line}:{self.column} is outside {where}: it has {_count(len(lines), 'line')}")
        length = len(lines[self.line - 1].removesuffix("\r"))
        if self.column > length + 1:
            raise ConfigError(
                f"--at {self.line}:{self.column} is outside {where}: line {self.line} has {_count(length, 'character')}, "
                f"so its columns are 1 to {length + 1}"
            )
        place = sum(len(line) + 1 for line in lines[: self.line - 1]) + self.column - 1
        return text[:place], text[place:]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


@dataclass(frozen=True, kw_only=True)
class GenerationFlags:
    """What both commands share."""

    model: Path = flag(help="folder of a trained model", positional=True, metavar="MODEL")
    max_tokens: int = flag(128, help="tokens to generate at most", metavar="COUNT")
    temperature: float = flag(0.0, help="0 is greedy; higher is more varied")
    top_p: float = flag(1.0, help="draw from the fewest likeliest tokens that have this share together")
    top_k: int = flag(0, help="draw from this many likeliest tokens (0: all)", metavar="COUNT")
    seed: int = flag(0, help="the same seed draws the same tokens")
    stop: tuple[str, ...] = flag((), help="end before this text (repeatable)", metavar="TEXT")
    device: str = flag("cpu", help="where to compute: cpu or cuda")
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = flag("float32", help="number format of the weights")
    threads: int | None = flag(None, help="threads to compute with (default: as many as torch takes)", metavar="COUNT")
    json: bool = flag(False, help="print one JSON object when done, instead of text as it comes")


@dataclass(frozen=True, kw_only=True)
class CompleteFlags(GenerationFlags):
    """Complete a text with a trained model, and print what follows it as it comes.

    The text is --prompt, a --file, or standard input. An empty one starts a new document.

    Examples:
      starloom complete starloom-store/models/quickstart --prompt 'def read_json(path):'
      head -40 module.py | starloom complete starloom-store/models/quickstart --max-tokens 64
    """

    prompt: str | None = flag(None, help="the text to go on from", metavar="TEXT")
    file: Path | None = flag(None, help="a file to go on from", metavar="FILE")
    keep: Keep = flag("all", help="what to keep of a prompt longer than the model's context (all: it is an error)")


@dataclass(frozen=True, kw_only=True)
class InfillFlags(GenerationFlags):
    """Fill in the code at a place of a file, and print it as it comes.

    Lines and columns count from 1; a column is a character (a tab is one). `12:1` is before the first character of line
    12, and the column after a line's last character is its end. Of a long file the code around the place is read.

    Examples:
      starloom infill starloom-store/models/quickstart --file module.py --at 12:5
    """

    file: Path = flag(help="the file with the gap", metavar="FILE")
    at: Position = flag(help="where to fill in", metavar="LINE:COLUMN")
    mode: Literal["psm", "spm"] = flag("psm", help="order of the prompt: prefix first (psm) or suffix first (spm)")


def complete(argv: Sequence[str]) -> int:
    """`starloom complete MODEL`."""
    given = flags.parse(CompleteFlags, argv, "starloom complete")
    if given.prompt is not None and given.file is not None:
        raise ConfigError("--prompt and --file are both given; give one")
    if given.prompt is not None:
        prompt = given.prompt
    elif given.file is not None:
        prompt = _read(given.file)
    elif sys.stdin.isatty():
        raise ConfigError("no prompt: give --prompt TEXT or --file FILE, or pipe a text in")
    else:
        prompt = _decode(sys.stdin.buffer.read(), "standard input")
    settings = _settings(given, keep=given.keep)
    stream = _load(given).start(Prompt(prompt, settings))
    return _print(stream, given, dataclasses.asdict(settings))


def infill(argv: Sequence[str]) -> int:
    """`starloom infill MODEL`."""
    given = flags.parse(InfillFlags, argv, "starloom infill")
    prefix, suffix = given.at.split(_read(given.file), str(given.file))
    settings = _settings(given)
    stream = _load(given).start(Hole(prefix, suffix, settings, given.mode))
    return _print(stream, given, {**dataclasses.asdict(settings), "mode": given.mode})


def _load(given: GenerationFlags) -> Session:
    return session.load(given.model, device=given.device, dtype=given.dtype, threads=given.threads)


def _settings(given: GenerationFlags, *, keep: Keep = "all") -> Settings:
    return Settings(
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        top_k=given.top_k,
        top_p=given.top_p,
        seed=given.seed,
        stop=given.stop,
        keep=keep,
    )


def _print(stream: Stream, given: GenerationFlags, settings: dict[str, Any]) -> int:
    if given.json:
        completion = dataclasses.asdict(stream.completion)
        print(json.dumps({**completion, "model": str(given.model), "settings": settings}, ensure_ascii=False))
        return 0
    terminal = sys.stdout.isatty()
    for piece in stream:
        sys.stdout.write(_visible(piece) if terminal else piece)
        sys.stdout.flush()
    if terminal:
        sys.stdout.write("\n")
    return 0


def _visible(text: str) -> str:
    """For a terminal: control characters drawn instead of obeyed, for a model may have learned escape sequences."""
    return "".join(
        character if character.isprintable() or character in "\n\t" or ord(character) > 0x9F
        else chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"
        for character in text
    )  # fmt: skip


def _read(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror or error}") from None
    return _decode(data, str(file))


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{where} is not UTF-8 at byte {error.start}; convert it, for example with iconv") from None
