"""A program's functions over a pipe, and tests in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from starloom.sandbox import Limits, Sandbox
from starloom.sandbox.calls import INSIDE, TESTS, Calls, Reply, packed
from starloom.sandbox.calls_bridge import Told, run_tests

PROGRAM = """
import math, os, sys
print("anything")
FD = 3
state = []
def add(a, b): return a + b
def noisy(x):
    print(x * 100)
    sys.stderr.write("loud")
    os.write(1, b"raw")
    return x
def append(items, x): items.append(x); items[0].append(x)
def gone(): os._exit(0)
def leave(): sys.exit(0)
def numbers():
    yield from (1, 2, 3)
def fails(): raise KeyError("nope")
def forever():
    while True: pass
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
def garbage(): os.write(FD, b"\\x00\\x00\\x00\\x02zz"); return 1
def forged(): os.write(FD, b"\\x00\\x00\\x00\\x01N" * 3); return 1
def closed(): os.close(FD); return 1
def read(): return os.read(0, 10) or input()
class Pair:
    def __init__(self, a, b): self.a, self.b = a, b
    def total(self): return self.a + self.b
    def __eq__(self, other): return True
    def __len__(self): return 0
def totals(pairs): return [pair.total() for pair in pairs]
def first(node): return node.next.value
def reverse(node):
    before = None
    while node: node.next, before, node = before, node, node.next
    return before
def pry(node):
    found = []
    for name in ("method", "hidden"):
        try: found.append(getattr(node, name))
        except AttributeError: found.append(None)
    side, number = object.__getattribute__(node, "_side"), object.__getattribute__(node, "_number")
    for name in ("__class__", "__init__", "__dict__"):
        try: found.append(side.ask("get", node, name))
        except AttributeError: pass
    for ask in (("call", node, (), {}), ("item", node, "a"), ("name", "pry"), ("iter", node)):
        try: found.append(side.ask(*ask))
        except TypeError: pass
    node.extra = 5
    return found
"""


@pytest.fixture(scope="module")
def boxes() -> Iterator[tuple[Sandbox, Sandbox]]:
    with Sandbox(warm=(INSIDE,)) as programs, Sandbox(warm=(TESTS,)) as tests:
        yield programs, tests


def ask(boxes: tuple[Sandbox, Sandbox], name: str, *calls: list[object], limit: float = 1.0) -> list[Reply]:
    with Calls(boxes[0], Limits()) as program:
        assert program.load(PROGRAM, [name], depth=500).ok
        return list(program.many(name, packed(calls), [limit] * len(calls)))


def told(boxes: tuple[Sandbox, Sandbox], tests: str, names: str, reference: str = "") -> Told:
    with Calls(boxes[0], Limits()) as program:
        loaded = program.load(PROGRAM, names.split())
        taken = {name: loaded.names.get(name, "") for name in names.split()}
        return run_tests(boxes[1], program, tests, taken, reference=reference, limits=Limits())


def test_answers_come_in_order_whatever_is_printed(boxes: tuple[Sandbox, Sandbox]) -> None:
    replies = ask(boxes, "noisy", *([n] for n in range(500)))
    assert [(reply.what, reply.value) for reply in replies] == [("value", n) for n in range(500)]


@pytest.mark.parametrize(
    ("name", "what", "kind"),
    [
        ("fails", "raised", "KeyError"),
        ("leave", "raised", "SystemExit"),
        ("read", "raised", "OSError"),
        ("gone", "ended", ""),
        ("closed", "ended", ""),
        ("forever", "timed_out", ""),
        ("garbage", "no_answer", ""),
        ("forged", "no_answer", ""),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(boxes: tuple[Sandbox, Sandbox], name: str, what: str, kind: str) -> None:
    reply, *_ = ask(boxes, name, [], limit=0.2)
    assert (reply.what, reply.kind) == (what, kind)


def test_calls_nest_as_deep_as_is_said(boxes: tuple[Sandbox, Sandbox]) -> None:
    deepest = [reply.what for reply in ask(boxes, "deep", *([n] for n in range(490, 510)))]
    assert deepest.index("raised") in range(5, 12) and deepest[0] == "value"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def f(:", "DoesNotCompile"),
        ("x = 1 / 0", "ZeroDivisionError"),
        ("exit(0)", "SystemExit"),
        ("\ud800", "DoesNotCompile"),
    ],
)
def test_a_program_that_does_not_load_says_why(boxes: tuple[Sandbox, Sandbox], source: str, kind: str) -> None:
    with Calls(boxes[0], Limits()) as program:
        loaded = program.load(source)
        assert not loaded.ok and loaded.reply.kind == kind


NODE = """
class Node:
    hidden = 1
    def __init__(self, value, next=None): self.value, self.next = value, next
    def method(self): return 1
"""


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("assert add(2, 3) == 5 and add('a', 'b') == 'ab' and add([1], []) == [1]", "add"),
        ("items = [[1]]\nsame = items[0]\nassert append(items, 2) is None\nassert items == [[1, 2], 2] and same is items[0]", "append"),
        ("assert list(numbers()) == [1, 2, 3] and sum(numbers()) == 6 and 2 in numbers()", "numbers"),
        ("try:\n    fails()\nexcept KeyError:\n    pass\nelse:\n    assert False", "fails"),
        ("assert totals([Pair(1, 2), Pair(3, 4)]) == [3, 7]", "totals Pair"),
        ("pair = Pair(1, 2)\npair.a = 5\nassert pair.a == 5 and pair.total() == 7 and pair == pair and pair", "Pair"),
        ("assert math.floor(1.5) == add(1, 0)", "math add"),
        (NODE + "assert first(Node(1, Node(2))) == 2", "first"),
        (NODE + "a = Node(1)\nb = Node(2, a)\nassert reverse(b) is a and a.next is b and b.next is None", "reverse"),
        (NODE + "node = Node(1)\nfound = pry(node)\nassert found == [None, None] and node.extra == 5", "pry"),
    ],
)  # fmt: skip
def test_tests_of_benchmarks_run_on_stand_ins(boxes: tuple[Sandbox, Sandbox], tests: str, names: str) -> None:
    assert told(boxes, tests, names) == Told("passed")


@pytest.mark.parametrize(
    ("tests", "names", "status", "detail"),
    [
        ("assert add(2, 3) == 6", "add", "wrong_answer", "assert add(2, 3) == 6; add(2, 3) gave 5"),
        ("x = 1\nassert (add(2, 3)\n    == 6)", "add", "wrong_answer", "add(2, 3) gave 5"),
        ("assert Pair(1, 2) == 3", "Pair", "wrong_answer", "gave <an object>"),
        ("assert Pair(1, 2) == Pair(1, 2)", "Pair", "wrong_answer", ""),
        ("assert fails() == 1", "fails", "raised", "KeyError"),
        ("assert leave() == 1", "leave", "raised", "SystemExit"),
        ("assert absent(1) == 1", "absent", "raised", "absent"),
        ("assert abs(Pair(1, 2) - 1) < 1", "Pair", "wrong_answer", "TypeError"),
        ("gone()", "gone", "program_ended", ""),
        ("garbage()", "garbage", "wrong_answer", "no value"),
        ("forged()", "forged", "wrong_answer", "BadAnswer"),
        ("add(lambda: 1, 2)", "add", "harness_error", "function"),
        ("assert (", "add", "harness_error", "compile"),
    ],
)  # fmt: skip
def test_tests_that_fail_say_where(
    boxes: tuple[Sandbox, Sandbox], tests: str, names: str, status: str, detail: str
) -> None:
    found = told(boxes, tests, names)
    assert found.status == status and detail in found.detail, found


def test_helpers_come_from_the_reference_and_never_from_the_program(boxes: tuple[Sandbox, Sandbox]) -> None:
    reference = "def add(a, b): return a + b\ndef total(x): return x + 1000"
    assert told(boxes, "assert total(1) == 1001 and add(1, 2) == 3", "add", reference) == Told("passed")
    assert told(boxes, "assert absent(1) == 1", "absent", "def absent(x): return 1").status == "raised"
