"""How commits, issues, notebooks and pull requests become training text, and which layouts have the controls for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from starloom.corpus.commits import commit_of, rendered_commit
from starloom.corpus.issues import rendered_issue
from starloom.corpus.layouts import LAYOUTS, Document, Row
from starloom.corpus.notebooks import Notebook, notebook_of, script, structured
from starloom.corpus.pull_request_fields import pull_request_of
from starloom.corpus.pull_requests import rendered_pull_request
from starloom.corpus.rendered import Rendered
from starloom.corpus.traced import Parts

NotebookForm = Literal["both", "structured", "script"]
KINDS = ("file", "notebook", "commit", "issue", "pull_request")

# Controls of the published tokenizers: StarCoder has none for pull requests, StarCoder2 none for commits, SantaCoder
# only its ends, so that a notebook becomes a script there.
IN_LAYOUT: dict[str, frozenset[str]] = {
    "santacoder": frozenset(("file", "notebook")),
    "starcoder": frozenset(("file", "notebook", "commit", "issue")),
    "starcoder2": frozenset(("file", "notebook", "issue", "pull_request")),
}
NO_FORM = "kind_not_in_layout"


def rows_of(
    layout: str, documents: Sequence[Document], metadata: float, seed: int, notebooks: NotebookForm = "both"
) -> Iterator[Row]:
    """The rows of a shard: files as their layout lays them out, then every other document by its kind.

    A document without a form (a notebook in no known language) makes no row.
    """
    yield from LAYOUTS[layout]([one for one in documents if one.kind == "file"], metadata, seed)
    for one in documents:
        for parts in _forms(layout, one, seed, notebooks) if one.kind != "file" else ():
            parts.control("end_of_document")
            yield Row([one], Rendered(tuple(parts.parts), tuple(parts.edits)))


def _forms(layout: str, one: Document, seed: int, notebooks: NotebookForm) -> Iterator[Parts]:
    if one.kind == "notebook":
        yield from _notebook(layout, notebook_of(one.fields), one.id, notebooks)
    elif one.kind == "commit":
        yield rendered_commit(commit_of(one.path, one.fields), one.id, seed)
    elif one.kind == "issue":
        yield rendered_issue(one.fields, one.id)
    else:
        yield rendered_pull_request(pull_request_of(one.repository, one.fields), one.id, seed)


def _notebook(layout: str, notebook: Notebook, source: bytes, form: NotebookForm) -> Iterator[Parts]:
    """Both forms of a notebook, as StarCoder had two sets of them; each where the notebook allows it."""
    if form != "script" and layout != "santacoder":
        cells = structured(notebook, source)
        if cells is not None:
            yield cells
    if form != "structured" or layout == "santacoder":
        control = "jupyter_script" if layout == "starcoder2" else None  # the one family that has it
        text = script(notebook, source, control)
        if text is not None:
            yield text
