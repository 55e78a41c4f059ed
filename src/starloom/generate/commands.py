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
from starloom.errors import ConfigError, GenerationError, SourceError
from starloom.flags import flag
from starloom.generate import session
from starloom.generate.generators.named import open_generator
from starloom.generate.holes import infill_many
from starloom.generate.protocol import Ask, Completion, Generator, Hole, Keep, Prompt, Settings, samples_of


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

    model: str = flag(
        help="folder of a trained model, OWNER/MODEL@REVISION of a published one, openai:URL#MODEL, file:PATH",
        positional=True,
        metavar="MODEL",
    )
    max_tokens: int = flag(128, help="tokens to generate at most", metavar="COUNT")
    temperature: float = flag(0.0, help="0 is greedy; higher is more varied")
    top_p: float = flag(1.0, help="draw from the fewest likeliest tokens that have this share together")
    top_k: int = flag(0, help="draw from this many likeliest tokens (0: all)", metavar="COUNT")
    min_p: float = flag(0.0, help="draw from tokens with at least this share of the likeliest one's chance")
    repetition_penalty: float = flag(1.0, help="above 1, make tokens that were there before less likely")
    seed: int = flag(0, help="the same seed draws the same tokens")
    n: int = flag(1, help="completions to make, each another draw from the seed", metavar="COUNT")
    stop: tuple[str, ...] = flag((), help="end before this text (repeatable)", metavar="TEXT")
    stop_token: tuple[str, ...] = flag((), help="end before this token, such as '###' (repeatable)", metavar="TEXT")
    response_prefix: str = flag("", help="begin the answer with this text", metavar="TEXT")
    device: str = flag("cpu", help="where to compute: cpu or cuda")
    dtype: Literal["float32", "bfloat16", "float16", "int8", "float64"] = flag(
        "float32", help="number format: of everything, or int8 of the weights alone"
    )
    threads: int | None = flag(None, help="threads to compute with (default: as many as torch takes)", metavar="COUNT")
    hub: Path | None = flag(
        None,
        help="hub folder of a published model (default: what HF_HUB_CACHE names, else starloom-store/hub)",
        metavar="DIR",
    )
    json: bool = flag(False, help="print one JSON object when done, instead of text as it comes")


@dataclass(frozen=True, kw_only=True)
class CompleteFlags(GenerationFlags):
    """Complete a text with a trained model, and print what follows it as it comes.

    The text is --prompt, a --file, or standard input. An empty one starts a new document. Sentinels in it are text, unless
    it is --raw and exactly one frame.

    Examples:
      starloom complete starloom-store/models/quickstart --prompt 'def read_json(path):'
      head -40 module.py | starloom complete starloom-store/models/quickstart --max-tokens 64
      starloom complete MODEL --prompt 'def f(' --n 3 --temperature 0.8 --min-p 0.05 --stop-token '###' --json
      starloom complete MODEL --raw --prompt '<fim_prefix>def f():<fim_suffix>    return x<fim_middle>'
    """

    prompt: str | None = flag(None, help="the text to go on from", metavar="TEXT")
    file: Path | None = flag(None, help="a file to go on from", metavar="FILE")
    keep: Keep = flag("all", help="what to keep of a prompt longer than the model's context (all: it is an error)")
    raw: bool = flag(False, help="take a prompt that is exactly one fill-in-the-middle frame as one")
    new_document: bool = flag(False, help="put the end-of-document token before the prompt")


@dataclass(frozen=True, kw_only=True)
class InfillFlags(GenerationFlags):
    """Fill in the code at a place of a file, and print it as it comes; at several places, print the whole file.

    Lines and columns count from 1; a column is a character (a tab is one). `12:1` is before the first character of line
    12, and the column after a line's last character is its end. Of a long file the code around the place is read. Several
    places are filled in order, each seeing what was filled before it, or each on its own with --apart.

    Examples:
      starloom infill starloom-store/models/quickstart --file module.py --at 12:5
      starloom infill MODEL --file module.py --at 12:5 --at 30:1 --apart --json
    """

    file: Path = flag(help="the file with the gap", metavar="FILE")
    at: tuple[Position, ...] = flag(help="where to fill in (repeatable)", metavar="LINE:COLUMN")
    apart: bool = flag(False, help="fill each of several places as if the others were empty")
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
    settings = _settings(given, keep=given.keep, new_document=given.new_document)
    return _answer(Prompt(prompt, settings, raw=given.raw), given)


def infill(argv: Sequence[str]) -> int:
    """`starloom infill MODEL`."""
    given = flags.parse(InfillFlags, argv, "starloom infill")
    text = _read(given.file)
    pairs = [place.split(text, str(given.file)) for place in given.at]
    if len(pairs) == 1:
        return _answer(Hole(*pairs[0], _settings(given), given.mode), given)
    if given.n > 1:
        raise ConfigError("--n and several --at are both given; fill one place several times, or several places once")
    generator, settings = _open(given), _settings(given)
    gaps = [len(prefix) for prefix, _ in pairs]
    filled = infill_many(generator, text, gaps, settings=settings, apart=given.apart, mode=given.mode)
    failed = [middle for middle in filled.middles if isinstance(middle, GenerationError)]
    if given.json:
        middles = [_told(middle) for middle in filled.middles]
        about = {"model": given.model, "settings": dataclasses.asdict(settings), "mode": given.mode}
        print(json.dumps({"text": filled.text, "middles": middles, **about}, ensure_ascii=False))
    else:
        _write(filled.text)
    for error in failed:
        print(f"starloom: {error}", file=sys.stderr)
    return 1 if failed else 0


def _open(given: GenerationFlags) -> Generator:
    """The generator that the command line names; how to compute is for a folder alone."""
    compute = {name: getattr(given, name) for name in ("device", "dtype", "threads", "hub")}
    if ":" not in given.model or Path(given.model).exists():
        return session.load(given.model, **compute)
    chosen = [f"--{name}" for name, value in compute.items() if value != getattr(GenerationFlags, name)]
    if chosen:
        raise ConfigError(
            f"{', '.join(chosen)} is about computing here, and {given.model} is not a folder; leave it out"
        )
    return open_generator(given.model)


def _settings(given: GenerationFlags, *, keep: Keep = "all", new_document: bool = False) -> Settings:
    return Settings(
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        top_k=given.top_k,
        top_p=given.top_p,
        min_p=given.min_p,
        repetition_penalty=given.repetition_penalty,
        seed=given.seed,
        stop=given.stop,
        stop_tokens=given.stop_token,
        response_prefix=given.response_prefix,
        keep=keep,
        new_document=new_document,
    )


def _answer(ask: Ask, given: GenerationFlags) -> int:
    """Print what a generator makes of one ask, or of `n` samples of it."""
    asks = samples_of(ask, given.n)
    generator = _open(given)
    settings = dataclasses.asdict(ask.settings) | ({"mode": ask.mode} if isinstance(ask, Hole) else {})
    about = {"model": given.model, "settings": settings}
    if given.n > 1:
        results = list(generator.run(asks))
        if given.json:
            print(json.dumps({"completions": [_told(result) for result in results], **about}, ensure_ascii=False))
        for number, result in enumerate(() if given.json else results, 1):
            print(f"--- {number} of {given.n}")
            _write(str(result) if isinstance(result, GenerationError) else result.text, line=True)
        return 1 if any(isinstance(result, GenerationError) for result in results) else 0
    stream = generator.start(ask)
    if given.json:
        print(json.dumps({**_told(stream.completion), **about}, ensure_ascii=False))
        return 0
    for piece in stream:
        _write(piece, line=None)
    if sys.stdout.isatty():
        sys.stdout.write("\n")
    return 0


def _told(result: Completion | GenerationError) -> dict[str, Any]:
    return {"error": str(result)} if isinstance(result, GenerationError) else dataclasses.asdict(result)


def _write(text: str, *, line: bool | None = False) -> None:
    """Text to standard output. `line`: end with a line break always, at a terminal alone, or never (None)."""
    terminal = sys.stdout.isatty()
    sys.stdout.write(_visible(text) if terminal else text)
    if (line or (terminal and line is not None)) and not text.endswith("\n"):
        sys.stdout.write("\n")
    sys.stdout.flush()


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
