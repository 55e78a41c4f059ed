"""CRUXEval, strongly: what a function returns is compared here, with a value read as a literal; nothing asserts inside.

An answer is an expression. As an output it is read as a literal, or worked out in a sandbox where the function does not exist.
As an input it must be a call of `f` whose arguments are values: CRUXEval takes any expression with `f(` in it, and so
`f(1) if 0 else [2]` for a right answer.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from starloom.evals.bench import Bench
from starloom.evals.judges.lively import is_several, lively
from starloom.evals.judges.strong import failed, raised, shown
from starloom.evals.verdict import Verdict
from starloom.problems import Problem
from starloom.sandbox import Limits, Sandbox
from starloom.sandbox.calls import INSIDE, Calls, packed
from starloom.sandbox.in_order import in_order

CPU_S: Final = 3.0  # evaluation/utils_general.py: check_correctness(…, 3)
LONGEST: Final = 1 << 16  # characters of an answer
ANSWER: Final = "_answer"
BUILDERS: Final = frozenset(
    (
        "dict",
        "set",
        "list",
        "tuple",
        "frozenset",
        "range",
        "str",
        "int",
        "float",
        "bool",
        "bytes",
        "complex",
        "len",
        "chr",
        "ord",
    )
)
METHODS: Final = frozenset(  # of plain kinds: a generator's gi_frame leads to exec
    name
    for kind in (str, bytes, int, float, complex, list, tuple, dict, set, frozenset, range)
    for name in dir(kind)
    if not name.startswith("_")
)
_MALFORMED: Final = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)  # of ast.parse and literal_eval
_UNEQUAL: Final = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


def judge_outputs(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Whether each text is what the problem's function returns."""
    sandbox = bench.opened(warm=(INSIDE, "numpy"))

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        problem, text = pair
        expected = ast.literal_eval(str(problem.row["output"]))
        try:
            return _compared(ast.literal_eval(_short(text.strip())), expected)
        except _MALFORMED:
            return _worked_out(bench, sandbox, "", text, expected)

    yield from in_order(bench.workers, verdict, pairs)


def judge_inputs(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Whether each text, a call of `f`, gives the output."""
    sandbox = bench.opened(warm=(INSIDE, "numpy"))

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        problem, text = pair
        why = not_a_call(text, problem.prompt)
        if why:
            return failed("wrong_answer", why)
        return _worked_out(bench, sandbox, problem.prompt, text, ast.literal_eval(str(problem.row["output"])))

    yield from in_order(bench.workers, verdict, pairs)


def _worked_out(bench: Bench, sandbox: Sandbox, code: str, text: str, expected: Any) -> Verdict:
    """An expression's value, behind the program that it may use."""
    try:
        ast.parse(_short(text.strip()), mode="eval")
    except _MALFORMED as error:
        return failed("does_not_compile", f"the answer is no expression: {error}")
    limits = Limits(wall_s=3 * CPU_S, cpu_s=CPU_S)
    with Calls(sandbox, bench.limited(limits)) as calls:
        loaded = calls.load(f"{code}\ndef {ANSWER}():\n    return (\n{text.strip()}\n)\n", [ANSWER])
        if not loaded.ok:
            return raised(loaded.reply, calls)
        reply = next(calls.many(ANSWER, packed([[]]), [CPU_S]))
        return _compared(reply.value, expected) if reply.what == "value" else raised(reply, calls)


def _compared(answer: Any, expected: Any) -> Verdict:
    try:
        found = lively(answer)[0]
        equal = not is_several(found) and bool(expected == found)
    except _UNEQUAL:
        equal = False
    if equal:
        return Verdict(True, "strong", "passed")
    return failed("wrong_answer", f"{shown(answer)}, not {shown(expected)}")


def _short(text: str) -> str:
    if len(text) > LONGEST:
        raise ValueError(f"an answer of {len(text)} characters")
    return text


def not_a_call(text: str, code: str = "") -> str:
    """Why a text is no call of `f` with values; empty where it is one. The program's own values may be among them."""
    try:
        call = ast.parse(_short(text.strip()), mode="eval").body
    except _MALFORMED as error:
        return f"the answer is no expression: {error}"
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "f"):
        return "the answer is no call of f"
    arguments = (*call.args, *(keyword.value for keyword in call.keywords))
    values = [node for node in ast.parse(code).body if isinstance(node, ast.Assign)]
    known = BUILDERS | (_bound((*arguments, *values)) - {"f", *dir(builtins)})
    for given in arguments:
        for node in ast.walk(given):
            if isinstance(node, ast.Attribute) and node.attr not in METHODS:
                return f"an argument takes {node.attr}"
            if isinstance(node, ast.Name) and node.id not in known:  # [TEXT].sort(key=exec) runs what it likes
                return f"an argument uses {node.id}"
            if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                return "an argument does more than give a value"
            if isinstance(node, ast.Call) and not (
                isinstance(node.func, ast.Attribute) or (isinstance(node.func, ast.Name) and node.func.id in BUILDERS)
            ):
                return "an argument calls something that makes no value"
    return ""


def _bound(arguments: Iterable[ast.AST]) -> set[str]:
    """Names that assignments, comprehensions and lambdas give to values."""
    nodes = [node for given in arguments for node in ast.walk(given)]
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.arg for node in nodes if isinstance(node, ast.arg)}
