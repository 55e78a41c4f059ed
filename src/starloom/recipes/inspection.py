"""`starloom show | verify`: look at what was built, and check every byte of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starloom import flags
from starloom.errors import DamagedError, StoreError
from starloom.flags import flag
from starloom.report.running import LOG, as_json, read_run, render_run
from starloom.store import MANIFEST, Built, Store, reopen, write_atomically


@dataclass(frozen=True)
class ShowFlags:
    """Render a step's manifest; of a training run that goes on, how far it is and its curves.

    Examples:
      starloom show starloom-store/mix-0123456789abcdef
      starloom show mix                     the newest step of that name in the store
      starloom show pretrain --page run.html
    """

    target: str = flag(help="a step's directory, or a step's name", positional=True, metavar="DIR|STEP")
    store: Path = flag(Path("starloom-store"), help="where a step's name is looked up", metavar="DIR")
    json: bool = flag(False, help="print the manifest as it is; of a run that goes on, how far it is")
    page: Path | None = flag(None, help="write a page about a training run here, finished or not", metavar="FILE")


def find(target: str, store: Store, *, running: bool = False) -> Path:
    """A step's directory by path, or the newest complete one by step name or by a fingerprint's beginning; with `running`,
    also one that is being trained."""
    path = Path(target)
    if path.is_dir():
        return path
    directories = store.directories()
    candidates = [one for one in directories if (one / MANIFEST).is_file()]
    named = [
        one
        for one in (directories if running else candidates)
        if (one / MANIFEST).is_file() or (one / LOG).is_file()
        if one.name.rpartition("-")[0] == target.replace(":", ".")
        or (len(target) >= 6 and one.name.rpartition("-")[2].startswith(target))
    ]
    if not named:
        steps = sorted({one.name.rpartition("-")[0] for one in candidates})
        raise StoreError(
            f"'{target}' is neither a directory nor a finished step of {store.root}; "
            f"finished: {', '.join(steps) or 'none'}"
        )
    return named[-1]


def show(argv: Sequence[str]) -> int:
    """Print one manifest, or how far a run is that has none yet."""
    show_flags = flags.parse(ShowFlags, argv, "starloom show")
    directory = find(show_flags.target, Store(show_flags.store), running=True)
    running = not (directory / MANIFEST).is_file() and (directory / LOG).is_file()
    if show_flags.page is not None:
        from starloom.report.page import run_page

        write_atomically(show_flags.page, run_page(read_run(directory)).encode())
        print(f"page: {show_flags.page}")
    elif running:
        run = read_run(directory)
        written = (directory / LOG).stat().st_mtime
        print(json.dumps(as_json(run), indent=2) if show_flags.json else render_run(run, written))
    elif show_flags.json:
        print(json.dumps(Built.open(directory).manifest, indent=2, ensure_ascii=False))
    else:
        from starloom.report.show import render_manifest

        print(render_manifest(Built.open(directory)))
    return 0


@dataclass(frozen=True)
class VerifyFlags:
    """Read every byte and compare it with the hashes in the manifests. Exit code 1 when anything differs.

    Examples:
      starloom verify starloom-store                     everything
      starloom verify starloom-store/pack-0123456789abcdef
      starloom verify --repair starloom-store            set damaged steps back; the next run makes them anew
    """

    target: str = flag(
        "starloom-store", help="a store, a step's directory, or a step's name", positional=True, metavar="DIR|STEP"
    )
    repair: bool = flag(False, help="set damaged directories back to unfinished, so that the next run mends them")
    json: bool = flag(False, help="print one JSON object")


def verify(argv: Sequence[str]) -> int:
    """Check a directory, or every finished directory of a store."""
    verify_flags = flags.parse(VerifyFlags, argv, "starloom verify")
    target = Path(verify_flags.target)
    store = Store(target if target.is_dir() else Path("starloom-store"))
    whole = target.is_dir() and not (target / MANIFEST).exists() and bool(store.directories())
    directories = store.directories() if whole else [find(verify_flags.target, store)]
    report: dict[str, list[str]] = {}
    unfinished = []
    for directory in directories:
        if whole and not (directory / MANIFEST).exists():
            unfinished.append(directory.name)
            continue
        try:
            problems = Built.open(directory).verify()
        except DamagedError as error:
            problems = [str(error)]
        report[str(directory)] = problems
        if problems and verify_flags.repair:
            reopen(directory)
    bad = {name: problems for name, problems in report.items() if problems}
    if verify_flags.json:
        print(json.dumps({"sound": not bad, "directories": report, "unfinished": unfinished}, indent=2))
    else:
        for problems in bad.values():
            print("\n".join(problems))
        print(
            f"{len(report) - len(bad)} of {len(report)} directories are sound"
            + (f", {len(unfinished)} unfinished" if unfinished else "")
        )
        if bad and verify_flags.repair:
            print("set back to unfinished; run the recipe again to make anew what is damaged", file=sys.stderr)
    return 1 if bad else 0
