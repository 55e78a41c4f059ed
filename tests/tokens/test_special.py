"""Spellings and ids of control tokens, against what is published."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from small_mix import vocabulary

import starloom
from starloom.errors import TokenizerError
from starloom.tokens.special import FAMILIES, every_spelling, family_named


@pytest.mark.parametrize(("family", "count"), [("starcoder", 19), ("starcoder2", 38)])
def test_controls_of_starcoder_take_the_first_ids_in_their_order(family: str, count: int) -> None:
    words = vocabulary(family)
    controls = [control for control, _ in FAMILIES[family].controls]
    assert [words.control(control) for control in controls] == list(range(count))


@pytest.mark.parametrize(
    ("family", "control", "token", "spelling"),
    [
        ("starcoder", "end_of_document", 0, "<|endoftext|>"),
        ("starcoder", "fim_suffix", 3, "<fim_suffix>"),
        ("starcoder", "file_name", 5, "<filename>"),
        ("starcoder", "commit_message", 16, "<commit_msg>"),
        ("starcoder", "repository", 18, "<reponame>"),
        ("starcoder2", "repository", 5, "<repo_name>"),
        ("starcoder2", "file_separator", 6, "<file_sep>"),
        ("starcoder2", "jupyter_script", 14, "<jupyter_script>"),
        ("starcoder2", "redacted_password", 37, "<PASSWORD>"),
    ],
)
def test_published_ids_and_spellings(family: str, control: str, token: int, spelling: str) -> None:
    words = vocabulary(family)
    assert words.control(control) == token
    assert words.spelling(token) == spelling


def test_controls_of_santacoder_follow_the_bpe_tokens() -> None:
    words = vocabulary("santacoder", 500)
    names = ("end_of_document", "fim_prefix", "fim_middle", "fim_suffix", "fim_pad")
    assert [words.control(name) for name in names] == [500, 501, 502, 503, 504]
    assert words.spelling(501) == "<fim-prefix>"
    assert words.size == 505


def test_the_embedding_matrix_has_the_published_rows() -> None:
    assert family_named("santacoder").matrix_rows(49157) == 49280
    assert family_named("starcoder").matrix_rows(49152) == 49152
    assert family_named("starcoder2").matrix_rows(49152) == 49152


def test_a_control_that_a_family_lacks_is_an_error_that_names_the_families_that_have_it() -> None:
    with pytest.raises(TokenizerError, match=r"santacoder family has no control token 'commit_before'.*starcoder"):
        vocabulary("santacoder", 500).control("commit_before")
    with pytest.raises(TokenizerError, match="did you mean 'file_name'"):
        vocabulary().control("filename")
    with pytest.raises(TokenizerError, match="did you mean 'santacoder'"):
        family_named("santacode")


def test_redaction_marks_are_controls_in_starcoder2_and_text_elsewhere() -> None:
    assert family_named("starcoder2").marks_as_text() == {}
    assert family_named("starcoder").marks_as_text()["redacted_email"] == "<EMAIL>"


def test_a_loaded_tokenizer_is_recognized_by_its_controls(tmp_path: Path) -> None:
    for family in FAMILIES:
        vocabulary(family).save(tmp_path)
        assert type(vocabulary()).load(tmp_path).family == family


def test_no_other_file_spells_a_control_token() -> None:
    package = Path(starloom.__file__).parent
    distinct = [spelling for spelling in every_spelling() if spelling not in ("<pr>", "<NAME>", "<KEY>")]
    for path in package.rglob("*.py"):
        if path.name == "special.py":
            continue
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                spelled = [spelling for spelling in distinct if spelling in node.value]
                assert not spelled, f"{path}:{node.lineno} spells {spelled}"
