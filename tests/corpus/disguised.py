"""Programs in other clothes: with other names, in another layout, with other comments. The program stays the same."""

from __future__ import annotations

import ast
import builtins
import io
import random
import re
import textwrap
import tokenize
import warnings
from collections.abc import Callable


def parsed(program: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # solutions of MBPP write '\\w'
        return ast.parse(program)


def renamed(program: str, prefix: str = "other_") -> str:
    """A Python program with other names for its functions, classes, arguments and variables; all else as it was."""
    tree = parsed(program)
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    new = {name: f"{prefix}{place}" for place, name in enumerate(sorted(names - set(dir(builtins))))}
    lines = program.splitlines(keepends=True)
    edits = []
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(program).readline):
        if token.type == tokenize.NAME and token.string in new and before != ".":
            edits.append((token.start, token.end, new[token.string]))
        before = token.string.strip() or before
    for (row, start), (_, end), name in sorted(edits, reverse=True):
        lines[row - 1] = lines[row - 1][:start] + name + lines[row - 1][end:]
    return "".join(lines)


def reindented(program: str, indent: str = "\t") -> str:
    """The same lines, indented otherwise: strings over several lines and continued lines stay as they are."""
    tokens = list(tokenize.generate_tokens(io.StringIO(program).readline))
    depth, lines = 0, program.splitlines(keepends=True)
    starts: dict[int, int] = {}  # first row of a statement → depth
    fresh = True
    for token in tokens:
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif token.type == tokenize.NEWLINE:
            fresh = True
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER) and fresh:
            starts[token.start[0]] = depth
            fresh = False
    for row, level in starts.items():
        lines[row - 1] = indent * level + lines[row - 1].lstrip(" \t")
    return "".join(lines)


def without_comments(program: str) -> str:
    """No comments and no docstrings."""
    return ast.unparse(_Bare().visit(parsed(program))) + "\n"


class _Bare(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if ast.get_docstring(node) is not None and len(node.body) > 1:
            node.body = node.body[1:]
        return node


REMARKS = (
    "# first of all",
    "# now look at what is left",
    "# O(n), see the discussion in #12",
    "# TODO",
    "# noqa: E501",
)


def commented(program: str, seed: int = 0) -> str:
    """A remark behind every other statement, and a line of its own before every third."""
    chance = random.Random(seed)
    rows = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(program).readline)
        if token.type == tokenize.NEWLINE
    }
    first = {node.lineno for node in ast.walk(parsed(program)) if isinstance(node, ast.stmt)}
    done = []
    for row, line in enumerate(program.splitlines(), 1):
        if row in first and chance.random() < 1 / 3:
            done.append(re.match(r"\s*", line)[0] + chance.choice(REMARKS))  # type: ignore[index]
        done.append(f"{line}  {chance.choice(REMARKS)}" if row in rows and chance.random() < 0.5 else line)
    return "\n".join(done) + "\n"


def wrapped(program: str, width: int = 44) -> str:
    """Long bracketed lists as black breaks them: an element a line, a comma behind the last; quotes doubled."""
    rows = without_comments(program).replace("'", '"') if '"' not in program else without_comments(program)
    done = []
    for line in rows.splitlines():
        match = re.fullmatch(r"(\s*)([^\"'#]*?[\w\])])\(([^()\"']+(?:, [^()\"']+)+)\)([^()\"']*)", line)
        if len(line) > width and match and "[" not in match[3] and "{" not in match[3] and " for " not in match[3]:
            lead, head, inner, tail = match.groups()
            comma = "" if inner.lstrip().startswith("*") else ","
            done += [f"{lead}{head}(", *(f"{lead}    {one}," for one in inner.split(", ")[:-1])]
            done += [f"{lead}    {inner.split(', ')[-1]}{comma}", f"{lead}){tail}"]
        else:
            done.append(line)
    return "\n".join(done) + "\n"


def nested(program: str) -> str:
    """As a method of a class, one level deeper."""
    return "class Solution:\n" + textwrap.indent(program, "    ")


DISGUISES: dict[str, Callable[[str], str]] = {
    "verbatim": lambda program: program,
    "renamed": renamed,
    "tabs": reindented,
    "two blanks": lambda program: reindented(program, "  "),
    "comments added": commented,
    "comments and docstring removed": without_comments,
    "wrapped": wrapped,
    "method": nested,
    "renamed, unparsed": lambda program: without_comments(renamed(program)),
    "renamed, wrapped, method": lambda program: nested(wrapped(renamed(program))),
    "renamed, unparsed, tabs, comments": lambda program: commented(reindented(without_comments(renamed(program)))),
}


def planted_in(host: str, program: str, seed: int = 0) -> str:
    """A Python file with a program between two of its functions or classes."""
    places = [
        node.lineno - 1 - len(node.decorator_list)
        for node in parsed(host).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    lines = host.splitlines(keepends=True)
    at = places[seed % len(places)] if places else len(lines)
    return "".join([*lines[:at], program, "\n\n", *lines[at:]])
