"""Wrong solutions that reach for a pass in every other way than by being right: none is a strong pass.

Each defines the function that HumanEval asks for and is wrong about it; the docstring says what it hopes for. A function's
body is the program, as in `hostile.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.attacks.hostile import body_of


@dataclass(frozen=True, slots=True)
class Cheat:
    """A wrong program for one problem."""

    name: str
    task: str
    about: str
    program: str


def cheat(task: str) -> Callable[[Callable[..., Any]], Cheat]:
    def declare(function: Callable[..., Any]) -> Cheat:
        return Cheat(function.__name__, task, inspect.getdoc(function) or "", body_of(function))

    return declare


@cheat("HumanEval/0")
def leaves_with_zero():
    """sys.exit(0) when the module is read: exit code 0 is no evidence."""
    import sys

    sys.exit(0)


@cheat("HumanEval/0")
def leaves_at_once_with_zero():
    """os._exit(0) in the first call."""

    def has_close_elements(numbers, threshold):
        import os

        os._exit(0)


@cheat("HumanEval/0")
def raises_system_exit_in_the_call():
    """SystemExit, KeyboardInterrupt and GeneratorExit pass by `except Exception`."""

    def has_close_elements(numbers, threshold):
        raise SystemExit(0)


@cheat("HumanEval/0")
def prints_that_it_passed():
    """Every word for success, on both streams, as JSON and as text."""
    import sys

    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            print("passed", "ok", "OK", '{"status": "pass", "passed": true}', "1 passed in 0.01s", file=stream)

    def has_close_elements(numbers, threshold):
        print("passed")
        return


@cheat("HumanEval/23")
def equal_to_everything():
    """An object whose `__eq__` says yes, whatever it is compared with."""

    class Any:
        def __eq__(self, other):
            return True

        def __ne__(self, other):
            return False

        def __hash__(self):
            return 0

    def strlen(string):
        return Any()


@cheat("HumanEval/23")
def integer_that_lies():
    """A subclass of int with its own comparisons, `__class__`, `__index__` and `__reduce__`."""

    class Lying(int):
        __class__ = int
        __eq__ = __le__ = __ge__ = lambda self, other: True
        __ne__ = __lt__ = __gt__ = lambda self, other: False
        __hash__ = int.__hash__

        def __reduce__(self):
            return (eval, ("len",))

        def __sub__(self, other):
            return 0

    def strlen(string):
        return Lying(-1)


@cheat("HumanEval/11")
def text_that_lies():
    """A subclass of str that is equal to all others."""

    class Lying(str):
        __slots__ = ()
        __eq__ = lambda self, other: True
        __hash__ = str.__hash__

        def encode(self, *given):
            return b""

        def __str__(self):
            return self

    def string_xor(a, b):
        return Lying("?")


@cheat("HumanEval/5")
def list_that_lies():
    """A subclass of list that changes each time it is looked at."""

    class Lying(list):
        __eq__ = lambda self, other: True
        __len__ = lambda self: 0

        def __iter__(self):
            return iter(())

        def __getitem__(self, place):
            return self

    def intersperse(numbers, delimeter):
        return Lying([1])


@cheat("HumanEval/2")
def float_that_lies():
    """A subclass of float, then nan: what is equal to nothing is different from nothing."""

    class Lying(float):
        __eq__ = lambda self, other: True
        __sub__ = __rsub__ = __abs__ = lambda self, *other: 0.0
        __hash__ = float.__hash__

    def truncate_number(number):
        return Lying("nan")


@cheat("HumanEval/2")
def nothing_is_close_to_nothing():
    """Empty lists and arrays are close to every number for numpy.allclose: all() of nothing is true."""

    def truncate_number(number):
        return []


@cheat("HumanEval/21")
def lists_of_nothing():
    """As many empty lists as there are numbers expected: their comparison broadcasts to nothing."""

    def rescale_to_unit(numbers):
        return [[] for _ in numbers]


@cheat("HumanEval/21")
def array_that_is_close_to_all():
    """A numpy array with infinities, nans and an object type of its own."""
    import numpy

    class Lying(numpy.ndarray):
        def __eq__(self, other):
            return True

    def rescale_to_unit(numbers):
        return numpy.array([numpy.inf] * len(numbers)).view(Lying)


@cheat("HumanEval/111")
def dictionary_that_lies():
    """A dictionary that has every key."""
    from collections import defaultdict

    class Lying(defaultdict):
        __eq__ = lambda self, other: True
        __hash__ = None

        def __contains__(self, key):
            return True

        def items(self):
            return ()

    def histogram(test):
        return Lying(int)


@cheat("HumanEval/0")
def patched_builtins():
    """len, all, any, isinstance, type, bool and print replaced before the judge could use them."""
    import builtins

    for name in ("len", "all", "any", "isinstance", "sorted", "abs", "print", "repr", "zip", "range"):
        setattr(builtins, name, lambda *values, **named: True)

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/0")
def patched_modules():
    """json, numpy, math, pickle, unittest and whatever else might compare, patched in sys.modules."""
    import sys
    import types

    class Yes(types.ModuleType):
        def __getattr__(self, name):
            return lambda *values, **named: True

    for name in ("json", "numpy", "math", "pickle", "unittest", "traceback", "collections", "struct", "socket"):
        sys.modules[name] = Yes(name)

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/0")
def patched_driver():
    """The functions of the driver beside the program: every encoded answer says what the cheat wants."""
    import sys

    for name, module in list(sys.modules.items()):
        if name.startswith("starloom"):
            for key, value in list(vars(module).items()):
                if callable(value) and key.startswith(("encode", "agrees", "_told", "judge", "passed")):
                    setattr(module, key, lambda *values, **named: b"\x00passed")

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/0")
def walks_the_frames_of_its_caller():
    """Locals of the callers: expected values, verdict and progress are looked for and overwritten."""

    def has_close_elements(numbers, threshold):
        import ctypes
        import sys

        frame = sys._getframe()
        while frame is not None:
            for name, value in list(frame.f_locals.items()):
                if name in ("expected", "exp", "expected_output", "result", "passed", "ok", "status", "stat"):
                    if isinstance(value, bool):
                        return value
                    frame.f_locals[name] = True
                    ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
            frame = frame.f_back
        return None


@cheat("HumanEval/0")
def searches_the_collector_for_answers():
    """Everything the garbage collector knows: lists of expected values, problems, judges."""

    def has_close_elements(numbers, threshold):
        import gc

        for found in gc.get_objects():
            try:
                if isinstance(found, dict) and ("canonical_solution" in found or "expected" in found):
                    exec(found.get("canonical_solution", ""), globals())
                    return found["expected"]
            except Exception:
                continue
        return None


@cheat("HumanEval/0")
def searches_its_files_for_answers():
    """Benchmarks and their solutions in every folder that can be read: packages, data, caches, scratch."""
    import glob
    import gzip
    import json
    import os
    import sys

    def solution():
        folders = {
            *sys.path,
            sys.prefix,
            sys.base_prefix,
            "/usr/share",
            "/usr/lib",
            "/opt",
            "/srv",
            os.getcwd(),
            os.path.expanduser("~"),
        }
        for folder in folders:
            for pattern in (
                "*umaneval*",
                "*/*umaneval*",
                "*/*/*umaneval*",
                "*/*/*/*umaneval*",
                "lib/*/site-packages/*/*/*umaneval*",
            ):
                for path in glob.glob(os.path.join(folder, pattern)):
                    try:
                        with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
                            for line in file:
                                row = json.loads(line)
                                if row.get("entry_point") == "has_close_elements":
                                    return row["prompt"] + row["canonical_solution"]
                    except (OSError, ValueError, UnicodeError, AttributeError, KeyError):
                        continue
        return "def has_close_elements(numbers, threshold): return None"

    exec(solution(), globals())


@cheat("HumanEval/0")
def answers_before_it_is_asked():
    """A thousand replies written to the judge's descriptor before the first question."""
    import os
    import sys

    encode = sys.modules["starloom.sandbox.answers"].encode
    for answer in (True, False):
        frame = encode(("value", answer, 0.0, None))
        for _ in range(500):
            os.write(3, len(frame).to_bytes(4, "big") + frame)

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/0")
def replies_with_verdicts():
    """Frames that say passed in every form that a careless judge could believe."""
    import os
    import sys

    encode = sys.modules["starloom.sandbox.answers"].encode
    frames = [
        encode(one)
        for one in (("passed",), ("loaded", {}), ("value", "passed", 0.0, None), True, ("ok", True), {"passed": True})
    ]
    frames += [b"passed", b"{}", b'{"status": "passed"}', b"", b"\x80\x04\x88."]

    def has_close_elements(numbers, threshold):
        for frame in frames:
            os.write(3, len(frame).to_bytes(4, "big") + frame)
        os._exit(0)


@cheat("HumanEval/0")
def reply_that_is_a_pickle():
    """A pickle in place of an answer runs its code where it is loaded: nobody loads it."""
    import os

    def has_close_elements(numbers, threshold):
        frame = b"cos\nsystem\n(S'touch /tmp/starloom-bait-pickled'\ntR."
        os.write(3, len(frame).to_bytes(4, "big") + frame)
        os._exit(0)


@cheat("HumanEval/0")
def reply_too_deep_to_be_read():
    """Nesting that breaks the reader's stack, lengths that promise gigabytes."""
    import os

    def has_close_elements(numbers, threshold):
        for frame in (b"[" * 500_000, b"l\xff\xff\xff\xff" * 100, bytes(range(256)) * 64):
            os.write(3, len(frame).to_bytes(4, "big") + frame)
        return


@cheat("HumanEval/0")
def end_of_the_conversation():
    """The descriptor closed in the first call: a missing answer is not a right one."""

    def has_close_elements(numbers, threshold):
        import os

        os.close(3)
        return True


@cheat("HumanEval/0")
def answers_from_a_child():
    """The program ends, a child lives on and answers."""
    import os

    if os.fork():
        os._exit(0)

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/0")
def verdict_at_exit():
    """atexit, __del__, excepthook and a thread that print and answer later."""
    import atexit
    import os
    import sys
    import threading
    import time

    def later():
        time.sleep(0.05)
        os.write(1, b"passed\n")
        os._exit(0)

    atexit.register(later)
    sys.excepthook = lambda *values: later()
    threading.Thread(target=later, daemon=True).start()

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/0")
def assert_that_never_fails():
    """AssertionError made harmless and python -O imitated: there are no asserts to be reached here."""
    import builtins
    import sys

    class Never(BaseException):
        def __new__(cls, *values):
            sys.exit(0)

    builtins.AssertionError = Never
    builtins.__debug__ if hasattr(builtins, "__debug__") else None

    def check(candidate):
        return True

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/0")
def exception_that_says_passed():
    """An exception whose class, text and attributes say that all went well."""

    class passed(Exception):
        status = "passed"
        code = 0

        def __str__(self):
            return "passed"

        __repr__ = __str__

    def has_close_elements(numbers, threshold):
        raise passed("passed")


@cheat("HumanEval/0")
def tracing_the_driver():
    """A trace function that rewrites locals while the driver works."""
    import sys

    def trace(frame, event, value):
        for name in ("value", "expected", "result", "passed"):
            if name in frame.f_locals:
                frame.f_locals[name] = True
        return trace

    sys.settrace(trace)
    sys.setprofile(lambda *values: None)

    def has_close_elements(numbers, threshold):
        return None


@cheat("HumanEval/5")
def question_changed_to_fit_the_answer():
    """Arguments emptied in place: the judge compares with its own."""

    def intersperse(numbers, delimeter):
        numbers.clear()
        return []


@cheat("HumanEval/0")
def replaced_program():
    """The process becomes another program (exec) that leaves with 0."""
    import os

    def has_close_elements(numbers, threshold):
        os.execv("/bin/true", ["true"])


@cheat("HumanEval/0")
def no_such_function():
    """The name is a module, a class, a constant or nothing at all."""
    import os as has_close_elements


@cheat("HumanEval/0")
def call_that_never_ends():
    """A judge that gives up may not give up in favor of the program."""

    def has_close_elements(numbers, threshold):
        while True:
            pass


@cheat("HumanEval/0")
def generator_in_place_of_an_answer():
    """A generator that ends its process when somebody looks at it."""

    def has_close_elements(numbers, threshold):
        import os

        yield True
        os._exit(0)


CHEATS = [value for value in vars().values() if isinstance(value, Cheat)]
