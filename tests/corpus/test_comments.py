"""The share of comments: against tokenize and ast on Python, against Pygments elsewhere, and linear in the text."""

from __future__ import annotations

import ast
import io
import sysconfig
import tokenize
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.corpus.comments import SYNTAXES, comment_ratio, languages_with_comments
from starloom.corpus.language import languages

LIBRARY = Path(sysconfig.get_paths()["stdlib"])


def python_oracle(source: str) -> float:
    """As BigCode counts: comments without their `#`, and docstrings, in characters of the file's."""
    found = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found += len(token.string) - token.string.count("#")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found += len(ast.get_docstring(node) or "")
    return found / len(source)


def test_python_is_within_a_hundredth_of_tokenize_and_ast_on_the_standard_library() -> None:
    seen, far = 0, []
    for path in sorted([*LIBRARY.glob("*.py"), *LIBRARY.glob("asyncio/*.py"), *LIBRARY.glob("email/*.py")])[::3]:
        try:
            text = path.read_text("utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about escapes in its own strings
                expected = python_oracle(text) if text else 0.0
        except (UnicodeDecodeError, SyntaxError, tokenize.TokenError):
            continue
        seen += 1
        ratio = comment_ratio(text, "Python")
        assert ratio is not None
        if abs(ratio - expected) > 0.01:
            far.append((path.name, expected, ratio))
    assert seen >= 50
    assert not far


STRING = st.sampled_from(['"# no"', "'# no'", "r'\\d'", '"\\"#"', "f'{x}'", '"""# no\n"""'])
STATEMENT = st.one_of(
    st.just("x = 1"),
    STRING.map(lambda value: f"x = {value}"),
    st.just("y = 2  # yes"),
    st.just("# alone # twice"),
    st.just('"""not a docstring"""'),
    st.just("def f(a: int = 3, b=']') -> dict[str, int]:\n    '''A docstring.'''\n    return a"),
    st.just("class A:\n    'Short.'\n    def g(self):\n        # first\n        \"\"\"Behind a comment.\n\n        Deep.\n        \"\"\""),
    st.just("if x:\n    'no docstring'"),
    st.just("def h():\n    '''Escapes: \\n \\x41 \\u00b6 \\N{BULLET} \\d \\\\ \\\n    and on.\\n    '''"),
    st.just("def h():\n    r'''Raw: \\n \\x41'''"),
    st.just("def h():\n    'no docstring'.upper()"),
)  # fmt: skip


@given(st.lists(STATEMENT, min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_any_mix_of_strings_comments_and_docstrings_is_counted_as_python_does(statements: list[str], end: str) -> None:
    text = end.join(["import a", *"\n".join(statements).split("\n")]) + end
    ratio = comment_ratio(text, "Python")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about `\\d`
        expected = python_oracle(text)
    assert ratio is not None and abs(ratio - expected) * len(text) < 0.5


@pytest.mark.parametrize(
    ("language", "text", "comments"),
    [
        ("C", 'x = "/* no */"; /* yes */ // and\ny', "/* yes */" + "// and"),
        ("C", "a /* never closed\nb // line", "// line"),
        ("JavaScript", "a = /[/*]/; // yes\nb = `// no`;", "// yes"),
        ("JavaScript", "a / b / c // yes", "// yes"),
        ("Java", "/** doc */ char c = '\"'; // d", "/** doc */" + "// d"),
        ("Rust", "fn f<'a>(x: &'a str) {} /* a /* nested */ b */", "/* a /* nested */ b */"),
        ("Shell", "echo $# ${#x} # yes", "# yes"),
        ("SQL", "SELECT '--no' -- yes", "-- yes"),
        ("Haskell", "f x = x --> y\n-- yes\n{- a {- b -} -}", "-- yes" + "{- a {- b -} -}"),
        ("Lua", "x = [[-- no]] --[[ yes\n]] -- and", "--[[ yes\n]]" + "-- and"),
        ("HTML", "<p># // no</p><!-- yes -->", "<!-- yes -->"),
        ("TeX", "50\\% % yes", "% yes"),
        ("MATLAB", "A = B'; % yes\nfprintf('%d')", "% yes"),
        ("OCaml", "let c = 'a' (* yes *)", "(* yes *)"),
        ("Ruby", "x = '#'\n=begin\nyes\n=end\n# and", "=begin\nyes\n=end" + "# and"),
        ("PHP", "<?php # one\n// two\n/* three */", "# one" + "// two" + "/* three */"),
        ("Common Lisp", "(f #\\a) ; yes\n#| b |#", "; yes" + "#| b |#"),
        ("Pascal", "{ yes } x := 'no { }'; // and", "{ yes }" + "// and"),
        ("Batchfile", "echo rem no\nREM yes\n:: and", "REM yes" + ":: and"),
        ("Elixir", '@doc """\n# no\n"""\n# yes', "# yes"),
    ],
)
def test_strings_hide_comments_in_every_family(language: str, text: str, comments: str) -> None:
    ratio = comment_ratio(text, language)
    assert ratio is not None and round(ratio * len(text)) == len(comments)


def test_every_language_of_the_table_is_one_of_linguists() -> None:
    assert languages_with_comments() <= set(languages())
    assert len(SYNTAXES) >= 80
    assert comment_ratio("x", "Text") is None and comment_ratio("", "C") == 0.0


def test_c_and_javascript_agree_with_pygments_on_installed_files() -> None:
    """Pygments is what BigCode counted with."""
    lexers = pytest.importorskip("pygments.lexers")
    token = pytest.importorskip("pygments.token").Token
    includes = Path(sysconfig.get_paths()["include"])
    files = [(path, "C", lexers.CLexer()) for path in sorted(includes.glob("*.h"))[:60:2]]
    seen, far = 0, []
    for path, language, lexer in files:
        text = path.read_text("utf-8")
        counted = sum(
            len(value)
            for kind, value in lexer.get_tokens(text)
            if kind in (token.Comment.Single, token.Comment.Multiline)
        )
        ratio = comment_ratio(text, language)
        seen += 1
        if ratio is None or abs(ratio - counted / max(1, len(text))) > 0.01:
            far.append((path.name, counted / len(text), ratio))
    if not seen:
        pytest.skip("this Python has no headers")
    assert len(far) <= seen // 10, far  # a comment inside of a preprocessor line is none for Pygments


@given(st.sampled_from(sorted(SYNTAXES)), st.text(alphabet="\"'`/*#-%{}()[]<>!;\\\nab=:.| ", max_size=120))
def test_a_ratio_is_a_share_whatever_the_text(language: str, text: str) -> None:
    ratio = comment_ratio(text, language)
    assert ratio is not None and 0 <= ratio <= 1


@pytest.mark.parametrize(
    "piece", ["/*", '"', "'", "`", '"""', "(*", "{-", "#|", "--[[", "<!--", "=begin\n", "\\", "(", "/", "\n", "'''a:\n"]
)
def test_nothing_that_is_opened_and_never_closed_is_looked_for_again(piece: str) -> None:
    """Half a megabyte of openings: minutes if each of them searched to the end."""
    text = piece * (500_000 // len(piece))
    for language in ("Python", "JavaScript", "C", "OCaml", "Haskell", "Lua", "HTML", "MATLAB"):
        assert comment_ratio(text, language) is not None
