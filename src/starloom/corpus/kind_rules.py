"""Verdicts on commits, issues, notebooks and pull requests, each by the filters of its kind; files pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from starloom.corpus.commits import commit_of, reasons_against_commit
from starloom.corpus.fields import Field, fields_of
from starloom.corpus.issues import reasons_against_issue
from starloom.corpus.notebooks import notebook_of, reasons_against_notebook
from starloom.corpus.pull_request_fields import pull_request_of
from starloom.corpus.pull_requests import reasons_against_pull_request
from starloom.corpus.schemas import EDGES, GROUP, VERDICT, table_of
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, write_table

_COLUMNS = ["id", "kind", "repository", "path", "text", "fields", "unread"]


def reasons_against_kind(
    kind: str, repository: str, path: bytes, fields: list[Field], identity: bytes, of_repository: int, seed: int
) -> list[str]:
    """Every filter of its kind that drops a document; a file has none here."""
    if kind == "commit":
        return reasons_against_commit(commit_of(path, fields), identity, seed)
    if kind == "issue":
        return reasons_against_issue(fields)
    if kind == "notebook":
        return reasons_against_notebook(notebook_of(fields))
    if kind == "pull_request":
        return reasons_against_pull_request(pull_request_of(repository, fields), identity, of_repository, seed)
    return []


def kind_verdicts(files: pa.Table, pull_requests: Mapping[str, int], seed: int) -> pa.Table:
    """The verdict rows of a shard; `pull_requests` counts those of each repository."""
    rows = []
    for identity, kind, repository, path, text, ranges, unread in zip(
        *(files[name].to_pylist() for name in _COLUMNS), strict=True
    ):
        if text is None:
            reasons = [unread]
        else:
            fields = fields_of(text, ranges) if kind != "file" else []
            count = pull_requests.get(repository, 1)
            reasons = reasons_against_kind(kind, repository, path, fields, identity, count, seed)
        rows.append({"id": identity, "keep": not reasons, "reasons": reasons, "spans": []})
    return table_of(rows, VERDICT)


def _judge_part(call: tuple[str, Built, dict[str, int], int], folder: Path) -> Facts:
    part, files, pull_requests, seed = call
    table = kind_verdicts(files.table(part, _COLUMNS), pull_requests, seed)
    write_table(folder / part, table)
    every = table["reasons"].to_pylist()
    dropped = Counter(reasons[0] for reasons in every if reasons)
    applied = Counter(reason for reasons in every for reason in reasons)
    return {"rows": len(table), "dropped": dict(sorted(dropped.items())), "applied": dict(sorted(applied.items()))}


@dataclass(frozen=True, slots=True)
class KindRules(Stage):
    """A verdict on each document by the filters of its kind: BigCode's for commits, issues and notebooks, The Stack
    v2's for pull requests."""

    files: Stage
    seed: int = 0  # of the filters that keep a share

    def produce(self, work: Work) -> None:
        files = work.input("files")
        counts: Counter[str] = Counter()
        for table in files.tables(["kind", "repository"]):
            counts.update(_pull_requests(table))
        calls = {part.removesuffix(".parquet"): (part, files, dict(counts), self.seed) for part in files.parts()}
        for _, facts in work.map(_judge_part, calls):
            kept = facts["rows"] - sum(facts["dropped"].values())
            work.count(rows_in=facts["rows"], rows_out=kept, dropped=facts["dropped"], applied=facts["applied"])
        dropped = Counter(work.counts.get("dropped", {}))
        said = ", ".join(f"{reason} {number:,}" for reason, number in dropped.most_common())
        work.summary = f"{work.counts['rows_in']:,} → {work.counts['rows_out']:,} documents" + (
            f" ({said})" if said else ""
        )


def _pull_requests(table: pa.Table) -> Iterator[str]:
    columns = zip(table["kind"].to_pylist(), table["repository"].to_pylist(), strict=True)
    return (repository for kind, repository in columns if kind == "pull_request")


@dataclass(frozen=True, slots=True)
class OneCommitPerFile(Stage):
    """Commits of one file as a group, of which `Mix` keeps the best that every verdict keeps (BigCode: one commit of a
    (repository, file))."""

    reason: ClassVar[str] = "another_commit_of_the_file"
    same_content: ClassVar[bool] = False
    files: Stage

    def produce(self, work: Work) -> None:
        files = work.input("files")
        number: dict[tuple[str, bytes], int] = {}
        last: dict[int, bytes] = {}
        edges: list[dict[str, object]] = []
        rows = 0
        for part in files.parts():
            table = files.table(part, ["id", "kind", "repository", "path"])
            found = []
            for identity, kind, *place in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
                group = rows
                if kind == "commit":
                    group = number.setdefault((place[0], place[1]), rows)
                    if group in last:
                        edges.append({"a": last[group], "b": identity, "jaccard": 1.0})
                    last[group] = identity
                found.append({"id": identity, "group": group})
                rows += 1
            if work.finished(part.removesuffix(".parquet")) is None:
                with work.unit(part.removesuffix(".parquet")) as unit:
                    write_table(unit.path(part), table_of(found, GROUP))
        if work.finished("edges") is None:
            with work.unit("edges") as unit:
                write_table(unit.path("edges.parquet"), table_of(edges, EDGES))
        work.count(rows_in=rows, rows_out=rows, files=len(number))
        work.summary = f"commits of {len(number):,} files"
