"""Changes of code that leave what it does: the last of ReCode's families (`perturbations`)."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import replace

from starloom.evals.tasks.perturbations import Chance, Code, parsed


def dead_code(code: Code, chance: Chance) -> Code | None:
    """Statements that are never reached, where the shown code breaks off."""
    kinds = ("if False:\n{0}    {1} = 0\n", "while False:\n{0}    {1} = 0\n", "for {1} in ():\n{0}    pass\n")
    following = next((line for line in code.rest.split("\n") if line.strip()), "")
    indent = following[: len(following) - len(following.lstrip())]
    clause = following.lstrip().startswith(("else", "elif", "except", "finally"))
    if not indent or clause or not _complete(code.shown + indent + "pass\n"):
        return None
    made = kinds[int(chance("kind") * len(kinds))].format(indent, f"unused_{int(chance('name') * 100)}")
    return replace(code, shown=code.shown + indent + made)


def swapped_operands(code: Code, chance: Chance) -> Code | None:
    """`a < b` as `b > a`, for one comparison of what is shown."""
    mirror: Mapping[type[ast.cmpop], str] = {
        ast.Lt: ">", ast.Gt: "<", ast.LtE: ">=", ast.GtE: "<=", ast.Eq: "==", ast.NotEq: "!=",
    }  # fmt: skip
    tree, whole = parsed(code), code.shown + code.rest
    if tree is None or not whole.isascii():  # columns of the tree are bytes
        return None
    starts = [0]
    for line in whole.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in mirror:
            left, right = node.left, node.comparators[0]
            one, other = (
                (
                    starts[side.lineno - 1] + side.col_offset,
                    starts[(side.end_lineno or 0) - 1] + (side.end_col_offset or 0),
                )
                for side in (left, right)
            )
            simple = all(
                isinstance(side, ast.Name | ast.Constant | ast.Call | ast.Subscript | ast.Attribute)
                for side in (left, right)
            )
            if simple and other[1] <= len(code.shown):
                found.append((one, other, mirror[type(node.ops[0])]))
    if not found:
        return None
    one, other, sign = found[int(chance("which") * len(found))]
    swapped = f"{whole[slice(*other)]} {sign} {whole[slice(*one)]}"
    return replace(code, shown=code.shown[: one[0]] + swapped + code.shown[other[1] :])


def renamed_variable(code: Code, chance: Chance) -> Code | None:
    """A variable of the function under a name that says nothing, in what is shown and what follows."""
    tree = parsed(code)
    if tree is None:
        return None
    local = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    other = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    other |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg | ast.keyword) and node.arg}
    other |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    shown = sorted(name for name in local - other if re.search(rf"\b{name}\b\s*(?:=|in\b|,)", code.shown))
    if not shown:
        return None
    name = shown[int(chance("which") * len(shown))]
    new = "VAR_0"  # the naive name of ReCode's VarRenamer
    text = code.shown + code.rest
    pieces, place = [], 0
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string == name:
            start = lines[token.start[0] - 1] + token.start[1]
            pieces += [text[place:start], new]
            place = start + len(name)
    whole = "".join([*pieces, text[place:]])
    grown = len(whole) - len(text)
    behind = (len(new) - len(name)) * sum(
        token.string == name and lines[token.start[0] - 1] + token.start[1] >= len(code.shown)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME
    )
    cut = len(code.shown) + grown - behind
    return Code(whole[:cut], whole[cut:], code.name)


def half_shown(code: Code) -> Code | None:
    """The same with the first half of the solution's lines shown, as ReCode does for changes of code."""
    lines = code.rest.split("\n")
    full = [number for number, line in enumerate(lines) if line.strip()]
    if len(full) < 2:
        return None
    cut = full[len(full) // 2]
    return Code(code.shown + "\n".join(lines[:cut]) + "\n", "\n".join(lines[cut:]), code.name)


def _complete(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
