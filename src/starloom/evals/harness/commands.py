"""`starloom eval run | score | compare | tasks | canonical`."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from starloom import flags
from starloom.errors import ConfigError, SourceError, suggestion
from starloom.evals.harness import model, paired
from starloom.evals.harness.asks import Sampling, Wording
from starloom.evals.harness.canonical import Canonical, sweep, table_of_sweeps
from starloom.evals.harness.flags import (
    CanonicalFlags,
    CompareFlags,
    FigureFlags,
    JudgeFlags,
    RunFlags,
    ScoreFlags,
    TasksFlags,
)
from starloom.evals.harness.given import Given
from starloom.evals.harness.named import chosen, task_named, task_names
from starloom.evals.harness.page import PAGE
from starloom.evals.harness.pass_at_k import PUBLISHED_K
from starloom.evals.harness.results import JSON, MARKDOWN, Results, json_rows, render
from starloom.evals.harness.sample import ROWS as COMPLETIONS
from starloom.evals.harness.sample import Sample
from starloom.evals.harness.score import FACTS, Limit, Score
from starloom.evals.harness.score import ROWS as RESULTS
from starloom.progress import Progress, for_terminal
from starloom.report import plain
from starloom.report.show import table
from starloom.stage import Identities, Runtime, Stage, build, cores
from starloom.store import Built, Store, write_atomically

USAGE = """\
Usage: starloom eval COMMAND [ARGUMENTS]      (starloom eval COMMAND --help for its flags)

  run        ask a model, judge its answers, say what it scores
  score      judge a file of completions: EvalPlus, human-eval, BigCode harness, our own
  compare    two models on the same problems: difference, interval, exact test
  tasks      the tasks, how they were published, whether their data are here
  canonical  judge every task's own solutions

Examples:
  starloom eval run starloom-store/models/quickstart --tasks humaneval,infill_python --limit 20
  starloom eval score samples.jsonl --tasks humaneval+
  starloom eval compare starloom-store/evals/one starloom-store/evals/other"""
MIB = 1 << 20


def evaluate(argv: Sequence[str]) -> int:
    """The command."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    verbs = {"run": run, "score": score, "compare": compare, "tasks": tasks, "canonical": canonical}
    if argv[0] not in verbs:
        raise ConfigError(f"no command 'eval {argv[0][:80]}'; {suggestion(argv[0], verbs)}")
    return verbs[argv[0]](argv[1:])


def run(argv: Sequence[str]) -> int:
    """Sample, judge, and say what came of it."""
    given = flags.parse(RunFlags, argv, "starloom eval run")
    names, board = chosen(given.tasks)
    data, hub = _text(given.data), _text(given.hub)
    called = given.name or model.shown(given.model, hub or None)
    sampling = Sampling(given.samples, given.temperature, given.top_p, given.max_tokens, given.seed)
    wording = Wording(given.style, given.strip, given.template, _family(given, hub))
    samples = [
        Sample(
            name, given.model, sampling=sampling, wording=wording, limit=given.limit, dtype=given.dtype, data=data, hub=hub,
            shown=called, label=_label(name),
        )
        for name in names
    ]  # fmt: skip
    boards: list[Stage] = []
    if board:
        from starloom.evals.leaderboard import Leaderboard

        boards.append(
            Leaderboard(board, given.model, limit=given.limit, dtype=given.dtype, data=data, hub=hub, shown=called)
        )
    runtime = _runtime(given, given.device, given.threads)
    return _concluded(given, called, names, samples, runtime, [*samples, *boards], boards)


def score(argv: Sequence[str]) -> int:
    """Judge a file of completions."""
    given = flags.parse(ScoreFlags, argv, "starloom eval score")
    names, board = chosen(given.tasks)
    if board:
        raise ConfigError(f"{board[0]} compares likelihoods, which no file holds; ask the model: starloom eval run")
    taken = Given(tuple(names), str(given.file), _text(given.data))
    called = given.name or re.sub(r"(\.jsonl?)?(\.gz)?$", "", given.file.absolute().name)
    return _concluded(given, called, names, [taken] * len(names), _runtime(given), [taken], [])


def compare(argv: Sequence[str]) -> int:
    """Two models on the same problems."""
    given = flags.parse(CompareFlags, argv, "starloom eval compare")
    compared = paired.compare(given.a, given.b, seed=given.seed)
    print(json.dumps(compared, indent=2) if given.json else paired.render(compared))
    return 0


def tasks(argv: Sequence[str]) -> int:
    """List the tasks."""
    from starloom.evals.leaderboard.board import leaderboard_tasks

    given = flags.parse(TasksFlags, argv, "starloom eval tasks")
    rows = [_listed(name, _text(given.data)) for name in task_names()]
    if given.json:
        print(json.dumps(rows, indent=2))
        return 0
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["name"].rpartition(":")[0] or row["name"], []).append(row)
    shown: list[tuple[str, ...]] = [("task", "problems", "samples", "T", "tokens", "what is asked")]
    for family, some in families.items():
        published, first = some[0]["published"], some[0]
        there = [row["problems"] for row in some if row["problems"] is not None]
        shown.append((
            first["name"] if len(some) == 1 else f"{family}:…", plain.count(sum(there)) if there else "–",
            str(published["samples"]), f"{published['temperature']:g}", plain.count(published["max_tokens"]),
            first["about"] if len(some) == 1 else f"{', '.join(row['name'].rpartition(':')[2] for row in some)}",
        ))  # fmt: skip
    print("\n".join(table(shown, right=(1, 2, 3, 4))))
    print(f"\nleaderboard: {', '.join(leaderboard_tasks())}, by lm-evaluation-harness")
    missing = [family for family, some in families.items() if all(row["missing"] for row in some)]
    if missing:
        print(
            f"without data here (–): {', '.join(missing)}; --data DIR names a folder that has them, --json says which files"
        )
    return 0


def canonical(argv: Sequence[str]) -> int:
    """Judge the references."""
    given = flags.parse(CanonicalFlags, argv, "starloom eval canonical")
    names, _ = chosen(given.tasks or ("all",))
    if given.runs < 1:
        raise ConfigError(f"--runs is {given.runs}; it must be at least 1")
    store, runtime, known = Store(given.store), _runtime(given), Identities()
    sweeps: list[dict[str, Any]] = []
    lacking: dict[str, str] = {}
    for number in range(given.runs):
        for name in names:
            if name in lacking:
                continue
            try:
                samples = Canonical(name, given.limit, number, _text(given.data), label=_label(name))
                built = build(_score(given, name, samples), store, runtime, known)
            except SourceError as error:
                lacking[name] = str(error)
                continue
            facts = json.loads(built.read_bytes(FACTS))
            sweeps.append({"run": number, **sweep(name, list(json_rows(built, RESULTS)), facts["exceptions"])})
    sound = not any(one["unexplained"] for one in sweeps)
    if given.json:
        print(json.dumps({"tasks": sweeps, "without_data": lacking, "sound": sound}, indent=2))
    else:
        print(table_of_sweeps(sweeps, lacking))
    return 0 if sound else 1


def _concluded(
    given: FigureFlags,
    called: str,
    names: Sequence[str],
    samples: Sequence[Stage],
    runtime: Runtime,
    first: Iterable[Stage],
    boards: Sequence[Stage],
) -> int:
    """Build everything, samples before scores so that a model is opened once; leave the results in a folder; print."""
    scores = [_score(given, name, one) for name, one in zip(names, samples, strict=True)]
    results = Results(
        called, tuple(scores), tuple(samples), tuple(boards), k=given.k or PUBLISHED_K, missing=given.missing
    )
    store, known = Store(given.store), Identities()
    known.of(results)  # what is missing outside, such as data or an extra, is said before the first answer is asked for
    built: dict[int, Built] = {}
    for stage in first:
        build(stage, store, runtime, known, built)
    model.opened.cache_clear()
    whole = build(results, store, runtime, known, built)
    out = given.out or given.store / "evals" / _file_name(called)
    parts = [(built[id(one)], built[id(other)]) for one, other in zip(samples, scores, strict=True)]
    _leave(out, whole, parts)
    if given.json:
        print(json.dumps({"out": str(out), **json.loads(whole.read_bytes(JSON))}, indent=2))
    else:
        print(f"\n{render(whole)}\nresults: {out}")
    return 0


def _score(given: JudgeFlags, name: str, samples: Stage) -> Score:
    memory = None if given.memory is None else int(given.memory * MIB)
    limit = Limit(wall_s=given.timeout, cpu_s=given.timeout, memory_bytes=memory)
    return Score(samples, name, limit, given.tier, _text(given.data), _text(given.python), label=_label(name))


def _leave(out: Path, whole: Built, parts: Sequence[tuple[Built, Built]]) -> None:
    """Results, completions and verdicts of all tasks in one folder."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be a folder: {error.strerror or error}") from None
    for name in (JSON, MARKDOWN, PAGE):
        write_atomically(out / name, whole.read_bytes(name))
    for name, place in ((COMPLETIONS, 0), (RESULTS, 1)):
        sources = list({pair[place].directory: pair[place] for pair in parts}.values())
        fresh = out / f".{name}.new"
        with fresh.open("wb") as file:
            for one in sources:
                with one.path(name).open("rb") as source:
                    shutil.copyfileobj(source, file)
        fresh.replace(out / name)


def _listed(name: str, data: str) -> dict[str, Any]:
    """What `starloom eval tasks` says of one."""
    task = task_named(name)
    try:
        problems, missing = len(task.problems(data)), None
    except SourceError as error:
        problems, missing = None, str(error)
    published = task.published
    return {
        "name": name, "about": task.about, "language": task.language, "kind": task.kind, "metric": task.metric,
        "problems": problems, "missing": missing, "derived": task.derived, "judge": task.judge,
        "published": {
            "samples": published.n, "temperature": published.temperature, "top_p": published.top_p,
            "max_tokens": published.max_tokens, "source": published.source,
        },
    }  # fmt: skip


def _runtime(given: JudgeFlags, device: str = "cpu", threads: int | None = None) -> Runtime:
    for name, number in (("--workers", given.workers), ("--threads", threads)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} is {number}; it must be at least 1")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    silent = given.quiet or (given.json and not sys.stderr.isatty())
    return Runtime(
        given.workers or cores(), threads or cores(), device, progress=Progress() if silent else for_terminal()
    )


def _family(given: RunFlags, hub: str) -> str:
    """The family of a folder's tokenizer, which the prompted form spells file names by."""
    folder = model.folder_of(given.model, hub or None) if given.style == "prompted" else None
    if folder is None:
        return ""
    from starloom.tokens.bpe import Vocabulary

    return Vocabulary.load(folder).family


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)


def _label(task: str) -> str:
    """A task's name as the label of a step, and so part of a directory's name."""
    return "".join(sign if sign.isalnum() or sign in "+-_" else "-" for sign in task.partition("=")[0])


def _file_name(called: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "+-_.@" else "-" for sign in called).strip(".-") or "model"
