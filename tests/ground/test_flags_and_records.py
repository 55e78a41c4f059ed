"""Flags from dataclasses, names to objects, identities and chance."""

from __future__ import annotations

import hashlib
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom import flags, records
from starloom.cli import dispatch
from starloom.errors import ConfigError
from starloom.flags import flag
from starloom.registry import Registry


@dataclass(frozen=True)
class Example:
    """An example.

    Examples:
      example FILE --threshold 0.5
    """

    file: Path = flag(help="what to read", positional=True)
    threshold: float = flag(0.7, help="how alike")
    kind: Literal["a", "b"] = flag("a", help="which")
    stop: tuple[str, ...] = flag((), help="where to stop")
    most: int | None = flag(None, help="how many")
    json: bool = flag(False, help="as JSON")
    stream: bool = flag(True, help="as it comes")


def parse(*argv: str) -> Example:
    return flags.parse(Example, argv, "example")


def test_flags_become_the_types_that_the_fields_declare() -> None:
    got = parse(
        "x/y",
        "--threshold",
        "0.5",
        "--stop",
        "a",
        "--stop",
        "b,c",
        "--most",
        "3",
        "--json",
        "--no-stream",
        "--kind",
        "b",
    )
    assert got == Example(Path("x/y"), 0.5, "b", ("a", "b,c"), 3, True, False)
    assert parse("x") == Example(Path("x"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["x", "--treshold", "1"], r"--treshold.*--threshold"),
        (["x", "--threshold", "many"], "takes a number, not 'many'"),
        (["x", "--kind", "c"], "'a', 'b'"),
        ([], "FILE"),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def test_help_shows_every_flag_and_keeps_the_examples_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("--threshold", "--stop", "--no-stream", "FILE"))
    assert "\n    example FILE --threshold 0.5\n" in shown


def test_a_recipe_parameter_is_a_flag_with_its_line_of_the_docstring() -> None:
    def recipe(source: str = "python:stdlib", minutes: float = 3) -> None:
        """Train.

        source: where the code lies
        minutes: how long to train
        """

    made = flags.from_signature(recipe)
    assert flags.parse(made, ["--minutes", "10"], "r") == made(source="python:stdlib", minutes=10.0)
    assert "where the code lies" in flags.command(made, "r").get_help(
        __import__("click").Context(flags.command(made, "r"))
    )
    assert made.__doc__ == "Train."


def test_unknown_names_are_answered_with_the_nearest() -> None:
    registry = Registry("recipe", {"quickstart": "starloom.recipes.quickstart:quickstart"})
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        registry.get("quikstart")
    with pytest.raises(ConfigError, match="no module 'nowhere'"):
        registry.get("nowhere:thing")
    assert registry.get("starloom.records:blob_id") is records.blob_id
    with pytest.raises(ConfigError, match="did you mean 'verify'"):
        dispatch(["verfy"])


def test_blob_ids_are_gits() -> None:
    assert (
        records.blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    )  # `echo hello | git hash-object --stdin`


@given(st.lists(st.tuples(st.text(), st.text(), st.binary(), st.text()), min_size=2, unique=True))
def test_different_documents_have_different_ids(documents: list[tuple[str, str, bytes, str]]) -> None:
    ids = {records.document_id(*document) for document in documents}
    assert len(ids) == len(documents)
    assert all(len(one) == records.ID_BYTES for one in ids)


def test_an_id_is_the_same_on_every_machine() -> None:
    fields = [b"file", b"pypi:six", b"six.py", b"ab"]
    plain = b"".join(len(field).to_bytes(8, "little") + field for field in fields)
    assert records.document_id("file", "pypi:six", b"six.py", "ab") == hashlib.blake2b(plain, digest_size=16).digest()


def test_chance_is_a_function_that_looks_uniform() -> None:
    draws = [records.uniform(7, "split", number) for number in range(4000)]
    assert draws == [records.uniform(7, "split", number) for number in range(4000)]
    assert draws != [records.uniform(8, "split", number) for number in range(4000)]
    assert min(draws) >= 0 and max(draws) < 1
    assert abs(statistics.mean(draws) - 0.5) < 0.02
    assert abs(sum(draw < 0.05 for draw in draws) / 4000 - 0.05) < 0.015
