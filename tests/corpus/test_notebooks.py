"""Notebooks: fields of what two formats hold, BigCode's pairs, and scripts that Python can parse."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.kinds import controls, laid
from starloom.corpus.fields import Field
from starloom.corpus.notebooks import Cell, Notebook, notebook_fields, notebook_of, pairs, reasons_against_notebook


def fields_of_cells(*cells: dict[str, Any], language: str = "python") -> tuple[Field, ...]:
    fields, unread = notebook_fields(json.dumps({"cells": cells, "metadata": {"language_info": {"name": language}}}))
    assert unread is None
    assert fields is not None
    return fields


def markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": text}


def code(text: str, *printed: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "source": text,
        "outputs": [{"output_type": "stream", "text": list(printed)}] * bool(printed),
    }


def test_a_notebook_is_its_cells_and_outputs_in_order() -> None:
    value = {"output_type": "execute_result", "data": {"text/plain": ["4", "2"], "image/png": "AAAA"}}
    fields = fields_of_cells(
        markdown("# A"), {"cell_type": "code", "source": ["x\n", "y"], "outputs": [value, {"text": "p"}]}
    )
    assert fields == (
        Field("language", "python"), Field("markdown:0", "# A"), Field("code:1", "x\ny"), Field("result:1:0", "42"),
        Field("output:1:1", "p"),
    )  # fmt: skip


def test_the_older_format_reads_alike() -> None:
    cells = [{"cell_type": "heading", "source": "A", "level": 1}, {"cell_type": "code", "input": "x", "language": "python",
             "outputs": [{"output_type": "stream", "text": "p"}]}]  # fmt: skip
    fields, _ = notebook_fields(json.dumps({"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]}))
    assert fields == (
        Field("language", "python"),
        Field("markdown:0", "A"),
        Field("code:1", "x"),
        Field("output:1:0", "p"),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", "not_a_notebook"),
        ("", "not_a_notebook"),
        ("[]", "not_a_notebook"),
        ('{"cells": 3}', "not_a_notebook"),
        ("[" * 200_000, "not_a_notebook"),
        ('{"a":' * 100_000, "not_a_notebook"),
        ('{"cells": []}', "notebook_without_cells"),
        (
            '{"cells": [1, null, {"cell_type": []}, {"cell_type": "code", "source": 5, "outputs": 7}]}',
            "notebook_without_cells",
        ),
    ],
)
def test_what_is_no_notebook_has_a_reason(text: str, reason: str) -> None:
    assert notebook_fields(text) == (None, reason)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["cells", "cell_type", "source", "outputs", "text", "metadata", "worksheets", "data"]), inner, max_size=4)))  # fmt: skip
def test_no_json_breaks_the_reader(value: Any) -> None:
    fields, unread = notebook_fields(json.dumps(value))
    assert (fields is None) == (unread is not None)
    for field in fields or ():
        field.text.encode()


def test_half_a_character_becomes_a_replacement() -> None:
    fields, _ = notebook_fields('{"cells": [{"cell_type": "code", "source": "a\\ud800b"}]}')
    assert fields == (Field("code:0", "a\ufffdb"),)


KINDS = st.lists(st.sampled_from(["markdown", "code", "raw"]), max_size=8)


@given(KINDS)
def test_pairs_are_every_cell_between_the_first_markdown_and_the_last_code(kinds: list[str]) -> None:
    """Against a state machine over the cells."""
    cells = tuple(Cell(kind, f"{kind}:{n}", "x") for n, kind in enumerate(kinds))
    expected: list[tuple[list[Cell], list[Cell]]] = []
    prose: list[Cell] = []
    for cell in (one for one in cells if one.kind != "raw"):
        if cell.kind == "markdown":
            prose = [*prose, cell] if not expected or prose else [cell]
        elif prose:
            expected.append((prose, [cell]))
            prose = []
        elif expected:
            expected[-1][1].append(cell)
    assert pairs(Notebook("python", cells)) == expected


def test_structured_is_as_published() -> None:
    fields = fields_of_cells(
        code("leading()"), markdown("# Title\n\n<b>bold</b> words"), markdown(" more"), code("\na = 1"), code("print(a)\n", "1\n"),
        markdown("second"), code("b"), markdown("trailing"),
    )  # fmt: skip
    row, _ = laid("notebook", fields)
    assert controls(row) == [
        ("jupyter_start", ""), ("jupyter_text", "Titlebold words  more".replace("Title", " Title").strip()),
        ("jupyter_code", "a = 1\nprint(a)"), ("jupyter_output", "1"),
        ("jupyter_text", "second"), ("jupyter_code", "b"), ("jupyter_output", ""), ("empty_output", ""), ("end_of_document", ""),
    ]  # fmt: skip


def test_an_output_is_cut_behind_a_thousand_characters() -> None:
    row, _ = laid("notebook", fields_of_cells(markdown("m"), code("c", "ö" * 1001)))
    assert dict(controls(row))["jupyter_output"] == "ö" * 1000 + "[...]"
    row, _ = laid("notebook", fields_of_cells(markdown("m"), code("c", "ö" * 1000)))
    assert dict(controls(row))["jupyter_output"] == "ö" * 1000


def test_a_script_is_code_with_everything_else_as_comments() -> None:
    cells = (
        markdown("# A\n\nb"),
        code("%matplotlib inline\nx = 5\ny = (x\n % 3)\n!ls\nx?"),
        code("%%bash\nls"),
        code("%%time\nz = 1"),
    )
    *_, row = laid("notebook", fields_of_cells(*cells))
    text = row.rendered.text
    assert text == (
        "# # A\n#\n# b\n\n# %matplotlib inline\nx = 5\ny = (x\n % 3)\n# !ls\n# x?\n\n# %%bash\n# ls\n\n# %%time\nz = 1\n"
    )
    ast.parse(text)


def test_a_script_of_another_language_has_its_comments_and_no_magics() -> None:
    (row,) = laid("notebook", fields_of_cells(markdown("m"), code("%x"), language="Scala"))
    assert row.rendered.text == "// m\n\n%x\n"


def test_only_starcoder2_announces_a_script_and_santacoder_has_nothing_else() -> None:
    fields = fields_of_cells(markdown("m"), code("c"))
    assert [controls(row)[0][0] for row in laid("notebook", fields, layout="starcoder2")] == [
        "jupyter_start",
        "jupyter_script",
    ]
    assert [controls(row) for row in laid("notebook", fields, layout="santacoder")] == [
        [(None, "# m\n\nc\n"), ("end_of_document", "")]
    ]


def test_a_notebook_without_a_form_says_so() -> None:
    assert reasons_against_notebook(notebook_of(fields_of_cells(code("x"), language="klingon"))) == [
        "notebook_without_form"
    ]
    assert reasons_against_notebook(notebook_of(fields_of_cells(markdown("only words")))) == ["notebook_without_form"]
    assert reasons_against_notebook(notebook_of(fields_of_cells(code("x")))) == []
