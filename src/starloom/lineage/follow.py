"""`starloom follow`: from a file to its tokens and steps, or from a training step back to its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from starloom import flags
from starloom.errors import ConfigError
from starloom.flags import flag
from starloom.lineage.journal import Journal, store_of
from starloom.store import Store


@dataclass(frozen=True)
class FollowFlags:
    """Lead a file to its tokens, or a training step back to its files.

    REPOSITORY:PATH prints a file's way: what was found, each verdict with its reasons, the split, the range of tokens,
    the training steps that saw them. With --run and --step, the files and byte ranges of that step's batch.

    Examples:
      starloom follow python:stdlib:json/decoder.py
      starloom follow --run starloom-store/models/quickstart --step 10
      starloom follow --run starloom-store/models/quickstart --step 10 --text
    """

    name: str | None = flag(None, help="a file that was read", positional=True, metavar="[REPOSITORY:PATH]")
    run: Path | None = flag(None, help="a model's directory", metavar="DIR")
    step: int | None = flag(None, help="a training step, counted from 1 as in log.jsonl")
    text: bool = flag(False, help="with --step: print the text of each span too")
    store: Path = flag(Path("starloom-store"), help="the store that is searched for a file", metavar="DIR")
    json: bool = flag(False, help="print one JSON object")


def follow(argv: Sequence[str]) -> int:
    """Run the command."""
    follow_flags = flags.parse(FollowFlags, argv, "starloom follow")
    if (follow_flags.name is None) == (follow_flags.run is None):
        raise ConfigError("starloom follow takes either REPOSITORY:PATH, or --run DIR with --step N")
    if follow_flags.name is not None:
        return _follow_file(follow_flags.name, follow_flags)
    if follow_flags.step is None:
        raise ConfigError("--run needs --step N: which step to lead back")
    assert follow_flags.run is not None
    return _follow_step(follow_flags.run, follow_flags.step, follow_flags)


def _follow_file(name: str, follow_flags: FollowFlags) -> int:
    from starloom.corpus.sources.listing import printable
    from starloom.lineage.way import ways_of

    ways = ways_of(Journal.open(Store(follow_flags.store)), name)
    if follow_flags.json:
        print(
            json.dumps(
                {
                    "ways": [
                        {
                            "id": way.id.hex(),
                            "repository": way.repository,
                            "path": way.path.decode("utf-8", "surrogateescape"),
                            "stops": [asdict(stop) for stop in way.stops],
                        }
                        for way in ways
                    ]
                },
                indent=2,
                default=str,
            )
        )
        return 0
    for way in ways:
        print(f"{printable(way.repository)}:{printable(way.path)}  id {way.id.hex()}")
        width = max(len(Path(stop.directory).name) for stop in way.stops)
        for stop in way.stops:
            print(f"  {Path(stop.directory).name:<{width}}  {stop.text}")
    return 0


def _follow_step(run: Path, step: int, follow_flags: FollowFlags) -> int:
    from starloom.corpus.sources.listing import printable
    from starloom.lineage.batch import run_at, sequences_of

    model = run_at(run.resolve())
    sequences = sequences_of(Journal.open(store_of(run)), model, step)
    if follow_flags.json:
        print(
            json.dumps(
                {"run": str(model.directory), "step": step, "sequences": [asdict(one) for one in sequences]}, indent=2
            )
        )
        return 0
    for number, sequence in enumerate(sequences):
        print(f"sequence {number}: {sequence.tokens:,} tokens, {sequence.controls} of them control tokens")
        for span in sequence.spans:
            name = printable(f"{span.repository}:{span.path}") + ("" if span.field == "text" else f" ({span.field})")
            print(f"  {name}  bytes {span.start:,} to {span.end:,}")
            if follow_flags.text:
                print("\n".join(f"    | {_shown(line)}" for line in span.text.split("\n")))
    return 0


def _shown(line: str) -> str:
    """A line of a file for a terminal: what would steer it, or turn the reading direction, is escaped."""
    from starloom.corpus.sources.listing import printable

    return "\t".join(map(printable, line.split("\t")))
