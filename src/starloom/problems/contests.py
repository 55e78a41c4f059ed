"""The tests of a contest's problem: what goes in, and what should come out, as APPS and LiveCodeBench publish them."""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from dataclasses import dataclass
from typing import Any, Final

from starloom.errors import SourceError
from starloom.problems.problem import Problem

LARGEST: Final = 1 << 30  # bytes of unpacked private tests, our choice: the largest published are 200 MB


@dataclass(frozen=True, slots=True)
class ContestTests:
    """With a function, `inputs` are lists of arguments and `outputs` its results; else both are texts."""

    function: str | None
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def contest_tests(problem: Problem) -> ContestTests:
    """Raises SourceError for tests that cannot be read."""
    try:
        return _livecodebench(problem) if problem.benchmark == "livecodebench" else _apps(problem)
    except (KeyError, TypeError, ValueError, RecursionError, zlib.error, binascii.Error) as error:
        raise SourceError(f"the tests of {problem.id} cannot be read ({type(error).__name__}: {error})") from None


def _apps(problem: Problem) -> ContestTests:
    told = problem.row["input_output"]
    found = json.loads(told) if isinstance(told, str) else told
    function = found.get("fn_name") or None
    inputs, outputs = found["inputs"], found["outputs"]
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
    if function is None:
        inputs, outputs = ([_text(item) for item in side] for side in (inputs, outputs))
    else:  # a list of one item is often the item's wrapping
        inputs = [item if isinstance(item, list) else [item] for item in inputs]
    return ContestTests(function, tuple(inputs), tuple(outputs))


def _livecodebench(problem: Problem) -> ContestTests:
    tests = [
        *json.loads(problem.row["public_test_cases"]),
        *json.loads(_private(str(problem.row["private_test_cases"]))),
    ]
    inputs, outputs = [str(test["input"]) for test in tests], [str(test["output"]) for test in tests]
    metadata = problem.row.get("metadata") or "{}"
    function = (json.loads(metadata) if isinstance(metadata, str) else metadata).get("func_name") or None
    if function is None:
        return ContestTests(None, tuple(inputs), tuple(outputs))
    arguments = tuple([json.loads(line) for line in text.split("\n")] for text in inputs)
    return ContestTests(function, arguments, tuple(json.loads(text) for text in outputs))


def _private(told: str) -> str:
    """JSON, or what was packed as base64(zlib(pickle(JSON))): the pickle is read as a list of opcodes and never run."""
    if told.lstrip().startswith("["):
        return told
    unpack = zlib.decompressobj()
    data = unpack.decompress(base64.b64decode(told, validate=True), LARGEST)
    if unpack.unconsumed_tail:
        raise ValueError(f"more than {LARGEST:,} bytes of private tests")
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "UNICODE"):
            texts.append(str(argument))
        elif opcode.name not in ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"):
            raise ValueError(f"the private tests are packed with {opcode.name}, which is no text")
    if len(texts) != 1:
        raise ValueError(f"the private tests are {len(texts)} texts, not one")
    return texts[0]


def _text(item: object) -> str:
    return "\n".join(str(line) for line in item) if isinstance(item, list) else str(item)
