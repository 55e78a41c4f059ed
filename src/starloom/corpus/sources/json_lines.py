"""JSON, one object a line, read strictly: whatever two readers could take differently is refused with its line.

What is covered: NaN and infinities, numbers that no double holds, a key twice, nesting without end, carriage returns
within a line, text that is not UTF-8, lines longer than memory. What is not covered: meanings.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from starloom.corpus.sources.listing import printable, regular
from starloom.errors import SourceError

LONGEST_LINE = 256 << 20  # bytes; our choice: the largest pull request with its files is a few MB
_REPORTED = 5  # lines that an error names


class Line(NamedTuple):
    """One object, and where it stands."""

    number: int  # from 1
    offset: int  # bytes before it, unpacked
    size: int
    value: dict[str, Any]


class Malformed(ValueError):
    """Why a line is no object."""


def parsed(data: bytes) -> dict[str, Any]:
    """One line as an object. Raises Malformed."""
    if b"\r" in data.rstrip(b"\r\n"):
        raise Malformed("holds a carriage return within the line")
    try:
        value = json.loads(data, parse_constant=_constant, parse_float=_float, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise Malformed(f"is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise Malformed("is nested too deeply") from None
    except Malformed:
        raise
    except ValueError as error:  # JSONDecodeError, or a number of more digits than Python reads
        raise Malformed(f"is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise Malformed(f"holds a {type(value).__name__}, not an object")
    return value


def _constant(name: str) -> None:
    raise Malformed(f"holds {name}, which JSON has no word for")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Malformed(f"holds the number {digits[:20]}, which is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"has the key '{printable(twice)}' twice")
    return value


def opened(path: Path) -> IO[bytes]:
    """A file of lines, unpacked where its name ends in .gz. Raises SourceError."""
    regular(path)
    try:
        return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
    except FileNotFoundError:
        raise SourceError(f"file {path} does not exist") from None
    except (PermissionError, IsADirectoryError) as error:
        raise SourceError(f"file {path} cannot be read: {error.strerror}") from None


def lines(path: Path, problems: list[str]) -> Iterator[Line]:
    """Every object of a file; a line that is none is added to `problems` and passed over, empty lines are allowed."""
    number = offset = 0
    with opened(path) as file:
        try:
            while data := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(data) > LONGEST_LINE:
                    problems.append(f"{path}:{number} is longer than {LONGEST_LINE:,} bytes")
                    return
                if data.strip():
                    try:
                        yield Line(number, offset, len(data), parsed(data))
                    except Malformed as error:
                        problems.append(f"{path}:{number} {error}")
                offset += len(data)
        except (OSError, EOFError) as error:  # gzip's own
            problems.append(f"{path} is damaged ({error})")


def check(problems: list[str]) -> None:
    """Raises SourceError with the first problems, when there are any."""
    if problems:
        more = f", and {len(problems) - _REPORTED:,} more" if len(problems) > _REPORTED else ""
        raise SourceError("; ".join(problems[:_REPORTED]) + more + "; correct or remove them, then run again")


def sha256_of(path: Path) -> str:
    """Of a file as it lies there."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def at(file: IO[bytes], offset: int, size: int) -> dict[str, Any]:
    """The object that was found at an offset."""
    file.seek(offset)
    return parsed(file.read(size))
