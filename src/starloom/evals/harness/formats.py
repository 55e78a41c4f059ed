"""Files of completions as others write them, read one answer at a time; what cannot be read is named and passed over.

    {"task_id": "HumanEval/0", "solution": "def …"}          EvalPlus: a whole program
    {"task_id": "HumanEval/0", "completion": "    return 1"}  human-eval, EvalPlus: goes on from the prompt as published
    HumanEval_0/0.py                                         EvalPlus: a folder with a folder of programs for each problem
    [["def …", …], …]                                        BigCode harness: programs of every problem, in the task's order
    {"task": "humaneval", "id": "HumanEval/0", "text": …}    our own `completions.jsonl`
    {"id": "HumanEval/0", "completions": ["…", …]}           a file of completions, as `file:` takes it

Files may be gzipped. Nothing here trusts what it reads: lines, texts and nesting are bounded.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal, cast, get_args

from starloom.errors import ConfigError, SourceError
from starloom.evals.harness.asks import Wording
from starloom.evals.tasks.task import Style
from starloom.tokens.special import FAMILIES

LONGEST_LINE: Final = 64 << 20  # bytes, as `file:` has it
LONGEST_LIST: Final = 4 << 30  # bytes of a BigCode file, which is one JSON value; our choice
LONGEST_TEXT: Final = 1 << 20  # bytes of one completion: hundreds of times the longest that was published; our choice
_TEXTS: Final = ("model", "finish_reason", "prompt", "prefix", "suffix")  # of our own rows
Kind = Literal["raw", "completion", "program"]
Trouble = Literal["malformed", "unknown_problem", "too_long", "not_text", "repeated"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion of a file. `raw` is what a model wrote, `completion` goes on from the whole prompt, `program` stands alone."""

    where: str  # "line 3"
    problem: str | int  # its id, or its number in the task's order
    text: str
    kind: Kind
    task: str | None = None  # None: any task that knows the problem
    sample: int | None = None  # None: the next of its problem
    wording: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)  # what else our own rows say
    error: str | None = None  # of a request that failed


@dataclass(frozen=True, slots=True)
class Bad:
    """Something that is not scored, and why."""

    where: str
    trouble: Trouble
    why: str


def read(path: Path) -> Iterator[Answer | Bad]:
    """Everything that a file or folder holds, in its order. Raises SourceError where it cannot be read at all."""
    try:
        if path.is_dir():
            yield from _folder(path)
            return
        with _opened(path) as file:
            start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            file.seek(0)
            yield from _list(file, path) if start == b"[" else _lines(file)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _opened(path: Path) -> IO[bytes]:
    file = path.open("rb")
    if file.read(2) == b"\x1f\x8b":
        file.close()
        return cast(IO[bytes], gzip.open(path))
    file.seek(0)
    return file


def _lines(file: IO[bytes]) -> Iterator[Answer | Bad]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        where = f"line {number}"
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(1 << 20)
            yield Bad(where, "too_long", f"the line is longer than {LONGEST_LINE:,} bytes")
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            value = _json(line)
            yield from _row(value.value, where) if isinstance(value, _Value) else [Bad(where, "malformed", value)]


def _list(file: IO[bytes], path: Path) -> Iterator[Answer | Bad]:
    data = file.read(LONGEST_LIST + 1)
    if len(data) > LONGEST_LIST:
        raise SourceError(f"{path} is longer than {LONGEST_LIST:,} bytes; cut it into several files")
    value = _json(data.removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(value, _Value):
        raise SourceError(f"{path} begins as a JSON list and {value}")
    for number, entry in enumerate(value.value):
        where = f"entry {number}"
        if isinstance(entry, list):
            for sample, text in enumerate(entry):
                if isinstance(text, str):
                    yield Answer(f"{where}, sample {sample}", number, text, "program", None, sample)
                else:
                    yield Bad(f"{where}, sample {sample}", "malformed", f"it is {_kind(text)}, not a text")
        elif isinstance(entry, dict):
            yield from _row(entry, where)
        else:
            yield Bad(where, "malformed", f"it is {_kind(entry)}, not a list of programs")


def _folder(path: Path) -> Iterator[Answer | Bad]:
    for problem in sorted((one for one in path.iterdir() if one.is_dir()), key=_natural):
        programs = [one for one in problem.rglob("*") if one.is_file() and one.suffix and not one.name.startswith(".")]
        for number, program in enumerate(sorted(programs, key=_natural)):
            where = program.relative_to(path).as_posix()
            with program.open("rb") as file:
                data = file.read(LONGEST_TEXT + 1)
            try:
                yield Answer(where, problem.name, data.decode("utf-8"), "program", None, number)
            except UnicodeDecodeError as error:
                # a whole text whose last character the bound cut is too long, and not malformed
                if len(data) > LONGEST_TEXT and error.start >= LONGEST_TEXT - 3:
                    yield Bad(where, "too_long", f"longer than {LONGEST_TEXT:,} bytes")
                else:
                    yield Bad(where, "malformed", _not_utf8(error))


def _row(row: Any, where: str) -> Iterator[Answer | Bad]:
    """What one JSON object says."""
    if not isinstance(row, dict):
        yield Bad(where, "malformed", f"it is {_kind(row)}, not an object")
        return
    name = row.get("task_id", row.get("id"))
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name:
        yield Bad(where, "malformed", "it names no problem: there is no text 'task_id' or 'id'")
    elif isinstance(row.get("completions"), list):
        for number, said in enumerate(row["completions"]):
            text = said.get("text") if isinstance(said, dict) else said
            if isinstance(text, str):
                yield Answer(where, name, text, "raw", None, _count(said, "sample"))
            else:
                yield Bad(
                    where, "malformed", f"completion {number} of {name!r:.80} is neither a text nor an object with one"
                )
    else:
        kinds: dict[str, Kind] = {"solution": "program", "completion": "completion", "text": "raw"}
        found = next((key for key in kinds if isinstance(row.get(key), str)), None)
        if found is None:
            yield Bad(where, "malformed", f"{name!r:.80} has no text 'solution', 'completion' or 'text'")
            return
        own = found == "text"
        task, wording, error = row.get("task"), row.get("wording"), row.get("error")
        why = _odd(row) if own else None
        if why is not None:
            yield Bad(where, "malformed", f"{name!r:.80}: {why}")
            return
        yield Answer(
            where, name, row[found], kinds[found],
            task if isinstance(task, str) else None,
            _count(row, "sample") if own else None,
            wording if own and isinstance(wording, dict) else None,
            {key: row[key] for key in ("seed", *_TEXTS) if own and key in row},
            error if own and isinstance(error, str) else None,
        )  # fmt: skip


def _odd(row: Mapping[str, Any]) -> str | None:
    """What a row in our own form says that no row of ours does; None for a sound one."""
    for key in _TEXTS:
        if not isinstance(row.get(key), str | None):
            return f"{key!r} is {_kind(row[key])}, not a text"
    if (row.get("prefix") is None) != (row.get("suffix") is None):
        return "'prefix' and 'suffix' come together"
    wording = row.get("wording")
    if not isinstance(wording, dict) or not wording:
        return None
    kinds = {"style": str, "strip": bool, "template": str, "family": str}
    if not all(isinstance(value, kinds.get(key, ())) for key, value in wording.items()):
        return f"'wording' holds other things than {', '.join(kinds)}"
    if wording.get("style", "plain") not in get_args(Style) or wording.get("family", "") not in ("", *FAMILIES):
        return "'wording' names a style or a family that does not exist"
    try:
        Wording(**wording).as_answered()
    except ConfigError as error:
        return str(error)
    return None


def _count(said: Any, name: str) -> int | None:
    number = said.get(name) if isinstance(said, dict) else None
    return number if type(number) is int and number >= 0 else None


@dataclass(frozen=True, slots=True)
class _Value:
    value: Any


def _json(data: bytes) -> _Value | str:
    """The value of some bytes, or what is wrong with them."""
    try:
        return _Value(json.loads(data.decode("utf-8")))
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is not JSON ({error})"


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"is not UTF-8 at byte {error.start}"


def _kind(value: Any) -> str:
    known = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return known.get(type(value), "a number")


def _natural(path: Path) -> list[tuple[int, str]]:
    """2.py before 10.py."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"([0-9]+)", path.as_posix())]
