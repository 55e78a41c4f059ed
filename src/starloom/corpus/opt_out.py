"""Opting out as a verdict: rows that someone asked to leave, each with the request's id, and a receipt for who asked.

A verdict, so that a new list makes a new `Mix` and what follows, without reading the corpus again. The list is outside
the store: its SHA-256 stands in the manifest and decides the fingerprint.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from starloom.corpus.opt_out_requests import Request, Wishes, parse_requests, read_requests
from starloom.corpus.schemas import VERDICT, table_of
from starloom.errors import SourceError
from starloom.stage import Facts, Stage, Work, external
from starloom.store import Built, canonical_json, write_table

_COLUMNS = ["id", "kind", "repository", "owner", "authors", "path"]
REASON = "opted_out"


def opt_outs(files: pa.Table, wishes: Wishes) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each row of a shard, and the ids of the requests that it falls under."""
    known: dict[tuple[str, str, str | None, tuple[str, ...]], list[str]] = {}
    for row in files.select(_COLUMNS).to_pylist():
        key = (row["kind"], row["repository"], row["owner"], tuple(row["authors"] or ()))
        if key not in known:
            known[key] = wishes.against(*key)
        yield row, known[key]


def opt_out_verdicts(files: pa.Table, wishes: Wishes) -> pa.Table:
    """The verdict rows of a shard: `opted_out`, then one reason for each request, `opted_out_by:ID`."""
    rows = []
    for row, found in opt_outs(files, wishes):
        reasons = [REASON, *(f"{REASON}_by:{one}" for one in found)] if found else []
        rows.append({"id": row["id"], "keep": not found, "reasons": reasons, "spans": []})
    return table_of(rows, VERDICT)


def receipt(files: Built, requests: list[Request], digest: str, limit: int | None = None) -> dict[str, Any]:
    """What each request means in a `Read`, without touching it: how many rows, of which repositories, and the rows.

    `limit` is the number of rows that are named for each request (all of them are counted).
    """
    wishes = Wishes(requests)
    found: dict[str, list[dict[str, str]]] = {one.request: [] for one in requests}
    counted: Counter[str] = Counter()
    repositories: dict[str, set[str]] = {one.request: set() for one in requests}
    for table in files.tables(_COLUMNS):
        for row, by in opt_outs(table, wishes):
            for one in by:
                counted[one] += 1
                repositories[one].add(row["repository"])
                if limit is None or len(found[one]) < limit:
                    place = {"id": row["id"].hex(), "kind": row["kind"], "repository": row["repository"]}
                    found[one].append({**place, "path": row["path"].decode("utf-8", "backslashreplace")})
    return {
        "list": {"sha256": digest, "requests": len(requests)},
        "corpus": {"step": files.name, "fingerprint": files.fingerprint},
        "requests": [
            {
                "request": one.request,
                "date": one.date.isoformat(),
                "rows": counted[one.request],
                "repositories": sorted(repositories[one.request]),
                "found": found[one.request],
            }
            for one in requests
        ],
    }


def _judge_part(call: tuple[str, Built, tuple[Request, ...]], folder: Path) -> Facts:
    part, files, requests = call
    table = opt_out_verdicts(files.table(part, _COLUMNS), Wishes(requests))
    write_table(folder / part, table)
    dropped = len(table) - sum(table["keep"].to_pylist())
    by = Counter(reason for reasons in table["reasons"].to_pylist() for reason in reasons[1:])
    return {"rows": len(table), "dropped": dropped, "by": dict(sorted(by.items()))}


@dataclass(frozen=True, slots=True)
class OptOut(Stage):
    """A verdict on each row: kept, or opted out and by whose request. `requests` is the path of a JSONL list.

    `receipt.json` beside the verdicts says what each request removed, those that found nothing included.
    """

    version: ClassVar[int] = 2

    files: Stage
    requests: str = external()

    def external_digests(self) -> dict[str, str]:
        data, _ = read_requests(Path(self.requests))
        return {"requests": hashlib.sha256(data).hexdigest()}

    def produce(self, work: Work) -> None:
        data, _ = read_requests(Path(self.requests))
        digest = hashlib.sha256(data).hexdigest()
        if digest != work.externals["requests"]:
            raise SourceError(f"opt-out list {self.requests} changed meanwhile; run again when nothing writes to it")
        requests = parse_requests(data, self.requests)
        files = work.input("files")
        calls = {part.removesuffix(".parquet"): (part, files, tuple(requests)) for part in files.parts()}
        for _, facts in work.map(_judge_part, calls):
            dropped = {REASON: facts["dropped"]} if facts["dropped"] else {}
            kept = facts["rows"] - facts["dropped"]
            work.count(rows_in=facts["rows"], rows_out=kept, dropped=dropped, applied=facts["by"])
        if work.finished("receipt") is None:
            with work.unit("receipt") as unit:
                unit.path("receipt.json").write_bytes(canonical_json(receipt(files, requests, digest)))
        work.count(requests=len(requests))
        gone = work.counts["rows_in"] - work.counts["rows_out"] if work.counts.get("rows_in") else 0
        work.summary = f"{gone:,} of {work.counts.get('rows_in', 0):,} rows opted out by {len(requests):,} requests"
