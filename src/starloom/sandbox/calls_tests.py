"""What runs a benchmark's own tests, unmodified, with stand-ins for the program's names: in a process of its own.

What is covered: the program is in another process and sends plain values and references; comparing, counting and asserting
happen here, on values whose kinds are Python's own. Of the objects that tests hand to the program, it can read and set
the attributes that lie in the instance, and nothing else: no class, no method, no module, and so no way back into the tests.
What is not covered: tests that a wrong program passes by answering what they accept.

    ("tests", options) → ("verdict", status, detail), and in between what calls_side.py says
"""

from __future__ import annotations

import ast
import importlib
import linecache
import os
import re
import sys
from reprlib import Repr
from typing import Any, Final

from starloom.sandbox.answers import BadAnswer, NotPlain
from starloom.sandbox.calls_side import OtherEndGone, Raised, Side, text_of

FILE: Final = "<tests>"
IMPORTED: Final = sys.stdlib_module_names | {"numpy"}  # modules that tests may take by a name that the program imported
LONGEST_DETAIL: Final = 600
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
HEAP_TYPE: Final = (
    1 << 9
)  # Py_TPFLAGS_HEAPTYPE: a class made by a class statement; `exec` in an empty namespace puts it in builtins


def main(descriptor: int) -> None:
    """Run the tests that come, once."""
    side = Side(descriptor, _served)
    try:
        match side.receive():
            case ("tests", dict(options)):
                status, detail = _run(side, options)
                side.send(side.encoded(("verdict", status, detail[:LONGEST_DETAIL])))
    except OtherEndGone:
        pass
    os._exit(0)


def _run(side: Side, options: dict[str, Any]) -> tuple[str, str]:
    """`reference`: a program whose helpers the tests may use. `names`: what they take from the program, with its kind there."""
    names: dict[str, Any] = {}
    exec(compile(options["reference"], "<reference>", "exec", dont_inherit=True), names)
    text = options["tests"]
    try:
        code = compile(text, FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return "harness_error", f"the tests do not compile: {error}"
    linecache.cache[FILE] = (len(text), None, text.splitlines(True), FILE)
    side.may_refer = _is_of_the_tests
    labels: dict[int, str] = {}
    for name, kind in options["names"].items():
        names.pop(name, None)
        if kind == "object":
            names[name] = side.ask("name", name)
            labels[id(names[name])] = name
        elif kind.startswith("module ") and kind[7:].partition(".")[0] in IMPORTED:
            names[name] = importlib.import_module(kind[7:])
    try:
        exec(code, names)
    except OtherEndGone:
        raise
    except BaseException as error:
        return _status(side, error, options["names"]), _told(side, error, labels)
    return "passed", ""


def _is_of_the_tests(value: Any) -> bool:
    """Instances of classes that the tests define; no function, class or module."""
    return (
        bool(type(value).__flags__ & HEAP_TYPE) and type(value).__module__ == "builtins" and hasattr(value, "__dict__")
    )


def _status(side: Side, error: BaseException, taken: dict[str, str]) -> str:
    if error is side.raised or (isinstance(error, NameError) and getattr(error, "name", None) in taken):
        return "raised"
    return "harness_error" if isinstance(error, NotPlain) else "wrong_answer"


def _told(side: Side, error: BaseException, labels: dict[int, str]) -> str:
    """One line: the test that failed, what was raised, and the last answer before."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    parts = [" ".join(_statement(line).split())[:300]]
    if not isinstance(error, AssertionError):
        kind = "" if type(error) is Raised else f"{type(error).__name__}: "
        parts.append(f"{kind}{text_of(error)[:150]}")
    elif side.said is not None:
        whom, args, value = side.said
        parts.append(f"{labels.get(id(whom), 'it')}({', '.join(map(short, args))}) gave {short(value)}")
    return "; ".join(part for part in parts if part)


def _statement(line: int) -> str:
    """The smallest statement of the tests around a line, from its first line to its last."""
    lines = linecache.getlines(FILE)
    spans = [
        (node.end_lineno - node.lineno, node.lineno, node.end_lineno)
        for node in ast.walk(ast.parse("".join(lines)))
        if isinstance(node, ast.stmt) and node.end_lineno is not None and node.lineno <= line <= node.end_lineno
    ]
    _, first, last = min(spans, default=(0, line, line))
    return " ".join(lines[first - 1 : last])


def short(value: Any) -> str:
    """A value as text, cut where it is long."""
    cut = Repr()
    cut.maxstring = cut.maxother = 80
    try:
        return _ADDRESS.sub("", cut.repr(value))  # the same text in every run
    except ValueError:  # integers of more than 4,300 digits
        return f"<a very long {type(value).__name__}>"


def _served(side: Side, message: tuple[Any, ...]) -> tuple[Any, ...]:
    """An answer to the program, which asks for attributes of what it was handed."""
    match message:
        case ("get", whom, str(name)):
            inside = _attributes(side, whom)
            if name in inside:
                return ("value", inside[name], [])
            return ("raised", "AttributeError", f"no attribute '{name[:100]}'", 0)
        case ("set", whom, str(name), value):
            _attributes(side, whom)[name] = side.revive(value)
            return ("value", None, [])
    return ("raised", "TypeError", "the tests' objects have attributes, and nothing else can be asked of them", 0)


def _attributes(side: Side, whom: Any) -> dict[str, Any]:
    try:
        inside: dict[str, Any] = vars(side.own[whom.number])
        return inside
    except (AttributeError, IndexError, TypeError):
        raise BadAnswer("no object of the tests") from None
