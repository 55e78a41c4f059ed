"""License of each file: what its repository and every folder above it state and show, and its own SPDX header.

What is covered: metadata and license files, which hold for everything below their folder, as in The Stack v2; what the
source itself says of a file; SPDX headers and notices in a file's comments; conflicts, which are resolved so that
everything must be obeyed: a file under a GPL header or beside a GPL text is GPL whatever the tree is. What is not
covered: permissive notices in a tree that has a license, and lists of which bundled file is under which license.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from starloom.corpus.license_evidence import (
    NO_LICENSE,
    Evidence,
    folder_licenses,
    license_at,
    repository_license,
    spdx_header,
    told_by,
)
from starloom.corpus.license_expressions import (
    UNRECOGNIZED,
    as_expression,
    combined,
    explained,
    ids,
    joined,
    license_type,
    named,
)
from starloom.corpus.license_headers import notice
from starloom.corpus.schemas import ATTRIBUTE, Attribute, table_of
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, write_table

_FILES = ("file", "notebook")
_TALK = ("issue", "pull_request")  # what people say; a header in it is a quotation
_STDLIB = "python:stdlib"


def file_license(repository: Attribute, header: str | None) -> Attribute:
    """License of one file: its own header where the repository's license names it, else both must be obeyed."""
    if header is None:
        return repository
    listed = repository.how == "license_list"  # what is used somewhere: the header says which of it here
    if repository.value is None or listed or all(explained(one, repository.value) for one in ids(header)):
        return Attribute(header, "spdx_header", 1.0)
    return Attribute(combined([repository.value, header], []), f"{repository.how} and spdx_header", 0.8)


def noticed_license(known: Attribute, said: str | None) -> Attribute:
    """License of a file with a notice of its own: what is known from elsewhere must be obeyed beside it."""
    if said is None:
        return known
    if known.value is None:
        return Attribute(said, "notice", 0.8)
    if all(explained(one, known.value) for one in ids(said)) and (
        license_type(known.value) != "permissive" or license_type(said) == "permissive"
    ):  # the notice knows whether it is "or later", a license's text does not
        return Attribute(said, "notice", 0.9) if len(ids(known.value)) == 1 else known
    return Attribute(joined([known.value, said], "AND"), f"{known.how} and notice", 0.8)


def gather(files: pa.Table) -> tuple[list[Evidence], dict[str, str | None]]:
    """Evidence in a shard, and for each repository the folder that all its files of the shard lie in; None without files.

    Only files tell: the text of an issue or of a commit is no license, whatever its path.
    """
    found = []
    folders: dict[str, list[str] | None] = {}
    columns = (files[name].to_pylist() for name in ("repository", "path", "text"))
    for kind, repository, path, text in zip(_kinds(files), *columns, strict=True):
        if kind not in _FILES:
            folders.setdefault(repository, None)
            continue
        spelled = path.decode("utf-8", "backslashreplace")  # for names and prefixes, not to open it
        folder = spelled.split("/")[:-1]
        before = folders.get(repository)
        folders[repository] = folder if before is None else _common(before, folder)
        if kind == "file" and text is not None:
            found += told_by(repository, spelled, text)
    return found, {
        repository: None if folder is None else "".join(f"{part}/" for part in folder)
        for repository, folder in folders.items()
    }


def _kinds(files: pa.Table) -> list[str]:
    """What each row is; a table without the column has files."""
    if "kind" not in files.column_names:
        return ["file"] * len(files)
    return [kind or "file" for kind in files["kind"].to_pylist()]


def _common(one: list[str], other: list[str]) -> list[str]:
    length = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        length += 1
    return one[:length]


def decide(gathered: Iterable[tuple[list[Evidence], dict[str, str | None]]]) -> dict[str, dict[str, Attribute]]:
    """Repository → folder → license, from what its shards told; the repository's own stands under ""."""
    evidence: dict[str, list[Evidence]] = {}
    roots: dict[str, list[str] | None] = {}
    for found, folders in gathered:
        for repository, folder in folders.items():
            before = roots.setdefault(repository, None)
            if folder is not None:
                parts = folder.split("/")[:-1]
                roots[repository] = parts if before is None else _common(before, parts)
        for one in found:
            evidence.setdefault(one.repository, []).append(one)
    licenses: dict[str, dict[str, Attribute]] = {}
    for repository, common in roots.items():
        root = "".join(f"{part}/" for part in common or [])
        found = evidence.get(repository, [])
        own = repository_license(found, root)
        if repository == _STDLIB and own.value is None:
            own = Attribute("PSF-2.0", "source", 1.0)  # Python's source tree is under it
        licenses[repository] = {"": own, **folder_licenses(found, root)}
    return licenses


def stated_by_source(licenses: Sequence[str]) -> Attribute:
    """What a source says of a file (The Stack's columns): a list of ids, all of which must be obeyed."""
    known = [as_expression(one) or named(one) or UNRECOGNIZED for one in licenses if one.strip()]
    return Attribute(joined(known, "AND"), "source", 0.9) if known else NO_LICENSE


def licenses_of(files: pa.Table, repositories: Mapping[str, Mapping[str, Attribute]]) -> pa.Table:
    """The attribute rows of a shard with columns id, repository, path, text; kind, and licenses where the source states
    them."""
    columns = [files[name].to_pylist() for name in ("id", "repository", "path", "text")]
    stated = files["licenses"].to_pylist() if "licenses" in files.column_names else [None] * len(files)
    headers: dict[tuple[str, str], Attribute] = {}
    rows = []
    for kind, document, name, path, text, licenses in zip(_kinds(files), *columns, stated, strict=True):
        folder = path.decode("utf-8", "backslashreplace").rpartition("/")[0] + "/"
        found = headers.get((name, folder))
        if found is None:
            found = headers[name, folder] = license_at(folder, repositories[name])
        if licenses:
            source = stated_by_source(licenses)
            if source.value is not None and found.value is not None:
                found = Attribute(combined([source.value, found.value], []), f"source and {found.how}", 0.8)
            elif source.value is not None:
                found = source
        if text and kind not in _TALK:
            header = spdx_header(text)
            found = file_license(found, header)
            said = notice(path, text, found.value is None) if kind == "file" else None
            if header is None or said is None or not all(explained(one, header) for one in ids(said)):
                found = noticed_license(found, said)
        rows.append({"id": document, **found._asdict()})
    return table_of(rows, ATTRIBUTE)


def _gather_part(call: tuple[Built, str], folder: Path) -> Facts:
    files, part = call
    evidence, folders = gather(files.table(part, ["kind", "repository", "path", "text"]))
    said: list[dict[str, Any]] = [
        {"repository": one.repository, "path": one.path, "how": one.how, "expressions": one.expressions,
         "names": one.names}
        for one in evidence
    ]  # fmt: skip
    return {"evidence": said, "folders": folders}


def _license_part(call: tuple[Built, str, dict[str, dict[str, Attribute]]], folder: Path) -> Facts:
    files, part, repositories = call
    table = licenses_of(files.table(part, ["id", "kind", "repository", "path", "text", "licenses"]), repositories)
    write_table(folder / part, table)
    types: dict[str, int] = {}
    for value in table["value"].to_pylist():
        types[license_type(value)] = types.get(license_type(value), 0) + 1
    return {"rows": len(table), "types": types}


@dataclass(frozen=True, slots=True)
class License(Stage):
    """License of each file as an attribute: an SPDX expression, or null where nothing is known."""

    version: ClassVar[int] = 9
    files: Stage

    def produce(self, work: Work) -> None:
        files = work.input("files")
        parts = files.parts()
        told = work.map(
            _gather_part,
            {part.replace("part-", "evidence-").removesuffix(".parquet"): (files, part) for part in parts},
            scratch=True,
        )
        repositories = decide(_read_evidence(told))
        calls = {}
        for part in parts:
            here = set(files.table(part, ["repository"])["repository"].to_pylist())
            calls[part.removesuffix(".parquet")] = (files, part, {name: repositories[name] for name in sorted(here)})
        for _, facts in work.map(_license_part, calls):
            work.count(rows_in=facts["rows"], rows_out=facts["rows"], types=facts["types"])
        types = work.counts.get("types", {})
        said = ", ".join(f"{name} {number:,}" for name, number in sorted(types.items()))
        work.summary = f"{work.counts.get('rows_in', 0):,} files in {len(repositories):,} repositories ({said})"


def _read_evidence(told: Iterable[tuple[str, Facts]]) -> Iterator[tuple[list[Evidence], dict[str, str | None]]]:
    for _, facts in told:
        found = [
            Evidence(one["repository"], one["path"], one["how"], tuple(one["expressions"]), tuple(one["names"]))
            for one in facts["evidence"]
        ]
        yield found, facts["folders"]
