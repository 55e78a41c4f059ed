"""How much of a file is comment: one small lexer for the comment and string syntax of about eighty languages.

What is covered: line and block comments (nested where the language nests them), strings that hide them, Python's
docstrings, JavaScript's regular expressions. What is not covered: here documents, and quoting that only a parser can
follow; there the count is off by a line or two. Time is linear: what is not closed once is not looked for again.
"""

from __future__ import annotations

import inspect
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

_DOUBLE = r'"(?:[^"\\\n]++|\\[\s\S])*+"?'
_SINGLE = r"'(?:[^'\\\n]++|\\[\s\S])*+'?"
_CHARACTER = r"'(?:[^'\\\n]|\\[^'\n]{1,10}+|\\')'"  # where a lone quote means something else
_DOUBLED = r"(?<![\w)\]}'.])'[^'\n]*+'|\"[^\"\n]*+\""  # quotes are escaped by doubling, and transpose a matrix
_BOTH = (_DOUBLE, _SINGLE)
_JS_REGEX = r"(?<=[(,=:\[!&|?{};+*%~^<>])[ \t]{0,9}+/(?![*/])(?:[^/\\\[\n]++|\\.|\[(?:[^\]\\\n]++|\\.)*+\])++/"
_C_BLOCK = (("/*", "*/"),)


@dataclass(frozen=True, slots=True)
class Syntax:
    """Regular expressions of what starts a line comment and of one-line strings, and pairs that span lines."""

    line: tuple[str, ...] = ()
    block: tuple[tuple[str, str], ...] = ()
    strings: tuple[str, ...] = _BOTH
    long: tuple[tuple[str, str], ...] = ()  # strings over several lines
    nested: bool = False


_C = Syntax(("//",), _C_BLOCK)
_RUST = Syntax(("//",), _C_BLOCK, (_DOUBLE, _CHARACTER), nested=True)
_SCRIPT = Syntax(("//",), _C_BLOCK, (*_BOTH, _JS_REGEX), (("`", "`"),))
_HASH = Syntax(("#",))
_SHELL = Syntax((r"(?<!\S)#",))
_PYTHON = Syntax(("#",), (), _BOTH, (('"""', '"""'), ("'''", "'''")))
_ELIXIR = Syntax(("#",), (), (_DOUBLE,), (('"""', '"""'), ("'''", "'''")))
_DASHES = Syntax(("--",), _C_BLOCK, (r"'[^'\n]*+'", r'"[^"\n]*+"'))
_ADA = Syntax(("--",), (), (_DOUBLE,))
_LISP = Syntax((";",), (("#|", "|#"),), (_DOUBLE,), nested=True)
_PERCENT = Syntax(("%",), (), (_DOUBLE, _CHARACTER))
_HASKELL = Syntax((r"--+(?![!#$%&*+./<=>?@\\^|~])",), (("{-", "-}"),), (_DOUBLE, _CHARACTER), nested=True)
_ML = Syntax((), (("(*", "*)"),), (_DOUBLE, _CHARACTER), nested=True)
_MARKUP = Syntax((), (("<!--", "-->"),), ())
_TEX = Syntax((r"(?<!\\)%",), (), ())
_BASIC = Syntax(("'", r"(?im:^[ \t]*rem\b)"), (), (r'"[^"\n]*+"',))

_FAMILIES: dict[Syntax, str] = {
    _C: "C, C++, C#, CSS, Cuda, Go, Java, Objective-C, Objective-C++, OpenCL, GLSL, HLSL, Metal, Less, SCSS, Groovy, "
    "Gradle, ANTLR, Protocol Buffer, Solidity, Stan, SystemVerilog, Verilog, Zig, V, Alloy, Bluespec, ActionScript, "
    "Apex, Yacc, Lex, Vala, Java Server Pages",
    _RUST: "Rust, Swift, Kotlin, Scala, Dart, D, Thrift",
    _SCRIPT: "JavaScript, TypeScript, TSX, Vue, Svelte",
    _HASH: "R, Perl, Raku, YAML, TOML, CMake, Makefile, Awk, Tcl, Nix, GDScript, Crystal, RMarkdown, SPARQL, Starlark",
    _SHELL: "Shell, Tcsh, Dockerfile, fish",
    _PYTHON: "Python, Cython",
    _ELIXIR: "Elixir",
    _DASHES: "SQL, PLSQL, PLpgSQL, TSQL, SQLPL",
    _ADA: "Ada, VHDL",
    _LISP: "Common Lisp, Scheme, Racket, Clojure, Emacs Lisp",
    _PERCENT: "Erlang",
    _HASKELL: "Haskell, Elm, Idris, Agda, PureScript, Literate Haskell, Literate Agda, Lean",
    _ML: "OCaml, F#, Standard ML, Coq, Mathematica, Isabelle, Augeas",
    _MARKUP: "HTML, XML, XSLT, Markdown, SVG",
    _TEX: "TeX, BibTeX",
    _BASIC: "Visual Basic .NET, VBA, VBScript",
    Syntax(("//", "#(?!\\[)"), _C_BLOCK): "PHP, Hack",
    Syntax(("#",), (("=begin", "=end"),)): "Ruby",
    Syntax(("#",), (("###", "###"),)): "CoffeeScript",
    Syntax(("#",), (("<#", "#>"),)): "PowerShell",
    Syntax(("#",), (("#=", "=#"),), (_DOUBLE, _CHARACTER), (('"""', '"""'),), nested=True): "Julia",
    Syntax(("--",), (("--[[", "]]"),), _BOTH, (("[[", "]]"),)): "Lua",
    Syntax(("%",), (("%{", "%}"),), (_DOUBLED,)): "MATLAB",
    Syntax(("%",), _C_BLOCK, (_DOUBLE, _SINGLE)): "Prolog",
    Syntax((";", "#"), _C_BLOCK, _BOTH): "Assembly, Unix Assembly",
    Syntax((";",), (), _BOTH): "INI",
    Syntax(("//",), (("{", "}"), ("(*", "*)")), (r"'[^'\n]*+'",)): "Pascal",
    Syntax(("!", r"(?m:^[cC*])"), (), (_DOUBLED,)): "Fortran",
    Syntax((r"(?im:^[ \t]*(?:rem\b|::))",), (), ()): "Batchfile",
    Syntax((r"(?m:^[ \t]*\*)", "//"), _C_BLOCK, (_DOUBLE,)): "Stata, SAS",
    Syntax(("--",), (("(*", "*)"),), (_DOUBLE,), nested=True): "AppleScript",
    Syntax((), (('"', '"'),), (r"'[^'\n]*+'",)): "Smalltalk",
    Syntax((r"(?m:^\.\.[ \t](?!\w+::))",), (), ()): "reStructuredText",
}
_SYNTAX = {name.strip(): syntax for syntax, names in _FAMILIES.items() for name in names.split(",")}


def languages_with_comments() -> frozenset[str]:
    """Languages whose comments are known."""
    return frozenset(_SYNTAX)


def comment_ratio(text: str, language: str) -> float | None:
    """Share of a file's characters that is comment; None for a language whose comments are not known.

    As BigCode counts: comments with their marks, but for Python, where `#` is left out and docstrings count, with
    their indentation removed (bigcode-dataset `utils/text_extraction.py`).
    """
    syntax = _SYNTAX.get(language)
    if syntax is None:
        return None
    if not text:
        return 0.0
    return _characters(text, syntax, python=syntax is _PYTHON) / len(text)


@cache
def _master(syntax: Syntax) -> re.Pattern[str]:
    """What interrupts code: a block comment, a line comment, a string over lines, a string on one line."""
    parts = [f"(?P<block{n}>{re.escape(start)})" for n, (start, _) in enumerate(syntax.block)]
    long = [f"(?P<long{n}>{re.escape(start)})" for n, (start, _) in enumerate(syntax.long)]
    line = [f"(?P<line>{'|'.join(syntax.line)})"] if syntax.line else []
    strings = [f"(?P<string>{'|'.join(syntax.strings)})"] if syntax.strings else []
    return re.compile("|".join([*parts, *line, *long, *strings]))


def _characters(text: str, syntax: Syntax, *, python: bool) -> int:
    total = position = 0
    headers = _Headers(text) if python else None
    search = _master(syntax).search
    open_ended: set[str] = set()  # kinds that nothing closes any more
    while found := search(text, position):
        kind = found.lastgroup or ""
        start, end = found.span()
        if headers is not None:
            headers.code(position, start)
        if kind == "line":
            stop = _line_end(text, end)
            comment = text[start:stop]
            total += len(comment) - (comment.count("#") if python else 0)
        elif kind == "string":
            stop = end
            if headers is not None:
                total += headers.docstring(start, end, 1)
        else:
            first, last = (syntax.block if kind.startswith("block") else syntax.long)[int(kind[-1])]
            closed = -1
            if kind not in open_ended:
                nested = syntax.nested and kind.startswith("block")
                closed = _nested_end(text, end, first, last) if nested else _end(text, end, last, kind)
            if closed < 0:
                open_ended.add(kind)
                stop = end
            else:
                stop = closed
                if kind.startswith("block"):
                    total += stop - start
                elif headers is not None:
                    total += headers.docstring(start, stop, 3)
        position = max(stop, start + 1)
    return total


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    before = text.find("\r", position, end)
    return end if before < 0 else before


def _end(text: str, position: int, last: str, kind: str) -> int:
    """Behind the closing mark, or -1. A backslash hides the end of a string, not of a comment."""
    while (found := text.find(last, position)) >= 0:
        if kind.startswith("block") or not _escaped(text, position, found):
            return found + len(last)
        position = found + 1
    return -1


def _escaped(text: str, begin: int, position: int) -> bool:
    slashes = 0
    while position - slashes > begin and text[position - slashes - 1] == "\\":
        slashes += 1
    return slashes % 2 == 1


def _nested_end(text: str, position: int, first: str, last: str) -> int:
    depth = 1
    for mark in re.compile(f"{re.escape(first)}|{re.escape(last)}").finditer(text, position):
        depth += 1 if mark[0] == first else -1
        if not depth:
            return mark.end()
    return -1


_STATEMENT_END = re.compile(r"[ \t\f]*+(?:[\r\n;#]|\Z)")
# Python's escapes, each of one character but for a line that goes on; what is none stays as it is
_ESCAPE = re.compile(
    r"\\([\n\\'\"abfnrtv]|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}\n]{1,100}\})"
)
_ESCAPED = {"\n": "", "n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}  # of the rest only the length counts


class _Headers:
    """Tells docstrings from other strings: first in the file, or right behind the colon of a def or class."""

    _HEADER = re.compile(r"^[ \t]*+(?:async[ \t]++)?(?:def|class)\b", re.MULTILINE)
    _INSIDE = re.compile(r"[()\[\]{}:]|#[^\n]*+|" + _DOUBLE + "|" + _SINGLE)

    def __init__(self, text: str) -> None:
        self._text = text
        self._last = -1  # the last character of code
        self._starts: list[int] | None = None
        self._colons: dict[int, int] = {}
        self._prefix = ""

    def code(self, start: int, end: int) -> None:
        """Code between two strings or comments; a string's prefix (`r`) is none of it."""
        piece = self._text[start:end]
        prefix = re.search(r"(?<!\w)[rRuU]$", piece)
        self._prefix = prefix[0] if prefix else ""
        piece = piece.removesuffix(self._prefix).rstrip()
        if piece:
            self._last = start + len(piece) - 1

    def docstring(self, start: int, end: int, quotes: int) -> int:
        """Characters of a string if it is a docstring, else 0."""
        begin = start - len(self._prefix)
        text = self._text
        found = _STATEMENT_END.match(text, end) is not None
        found = found and (
            text[text.rfind("\n", 0, begin) + 1 : begin].strip() in ("", "\ufeff") or text[self._last] == ":"
        )
        if self._last >= 0 and text[self._last] != "\ufeff":
            found = found and text[self._last] == ":" and self._colon(self._last) == self._last
        self._last = end - 1
        return len(inspect.cleandoc(self._value(text[start + quotes : end - quotes]))) if found else 0

    def _value(self, body: str) -> str:
        """A string's value, in which an escape is one character."""
        body = body.replace("\r\n", "\n")
        if "\\" not in body or "r" in self._prefix.lower():
            return body
        return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], "x"), body)

    def _colon(self, position: int) -> int:
        """The colon that ends the header of the last def or class before a position."""
        if self._starts is None:
            self._starts = [match.start() for match in self._HEADER.finditer(self._text)]
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return -1
        header = self._starts[index]
        if header not in self._colons:
            depth, self._colons[header] = 0, -1
            for mark in self._INSIDE.finditer(self._text, header):
                depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(mark[0], 0)
                if mark[0] == ":" and depth <= 0:
                    self._colons[header] = mark.start()
                    break
        return self._colons[header]


SYNTAXES: Mapping[str, Syntax] = _SYNTAX
