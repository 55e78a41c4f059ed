"""`starloom optout`: what a list of requests means for a corpus that was read, before anything is removed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starloom.corpus.opt_out import receipt
from starloom.corpus.opt_out_requests import read_requests
from starloom.errors import ConfigError
from starloom.flags import flag, parse
from starloom.store import Built, canonical_json, write_atomically


@dataclass(frozen=True)
class OptOutFlags:
    """Say which rows of a corpus each request of an opt-out list means. Nothing is removed: that is the OptOut step.

    Examples:
      starloom optout requests.jsonl --corpus starloom-store/read-0123456789abcdef
      starloom optout requests.jsonl --corpus … --receipt receipt.json --limit 10
      starloom optout requests.jsonl --corpus … --json
    """

    requests: Path = flag(help="the list, one JSON request a line", positional=True)
    corpus: Path = flag(help="directory of a read step")
    receipt: Path | None = flag(None, help="write the receipt, a JSON file, there")
    limit: int | None = flag(None, help="name at most so many rows for each request; all are counted")
    json: bool = flag(False, help="print the receipt, one JSON object, instead of lines")


def optout(argv: Sequence[str]) -> int:
    """The command."""
    flags = parse(OptOutFlags, argv, "starloom optout")
    if flags.limit is not None and flags.limit < 0:
        raise ConfigError(f"--limit is {flags.limit}; it is a number of rows, 0 or more")
    data, requests = read_requests(flags.requests)
    found = receipt(Built.open(flags.corpus), requests, hashlib.sha256(data).hexdigest(), flags.limit)
    if flags.json:
        print(canonical_json(found).decode())
    for one in found["requests"] if not flags.json else ():
        places = one["repositories"]
        said = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
        print(f"{one['request']}  {one['date']}  {one['rows']:,} rows" + (f" in {said}" if places else ""))
    if not found["requests"] and not flags.json:
        print(f"{flags.requests} holds no request")
    if flags.receipt is not None:
        write_atomically(flags.receipt, canonical_json(found))
        if not flags.json:
            print(f"receipt in {flags.receipt}")
    return 0
