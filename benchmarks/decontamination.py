"""Decontamination: which disguises of HumanEval's and MBPP's solutions are found, what else is, and how fast.

    python benchmarks/decontamination.py [--root DIR ...] [--limit N]

* Recall: each reference solution in each disguise of `tests/corpus/disguised.py`, between two functions of a file of
  the standard library; with its prompt, and without its docstring; prompts alone; tasks' texts alone, as a docstring
  and broken at another width into `//` comments. Found means that the problem is named at the file.
* False hits: every text file of known code and documentation endings below the roots (this Python's standard library
  and packages when none is given), each content once. All hits are printed, to be judged by eye.
* Speed: CPU seconds of one process over those files.

Appends one line to benchmarks/results/decontamination.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import sys
import sysconfig
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from corpus.disguised import DISGUISES, planted_in
from starloom.corpus.code_tokens import tokens_of
from starloom.corpus.leaks import Leaks
from starloom.problems import Problem, load
from starloom.problems.problem import signature_of

RESULTS = Path(__file__).parent / "results" / "decontamination.jsonl"
ENDINGS = re.compile(
    r"\.(py|pyi|[cm]?[jt]sx?|c|h|hpp|cpp|cc|cuh|java|go|rs|p[lm]|tcl|sh|rb|s?css|html|rst|md|txt|json|ya?ml|toml|xml|lua|sql"
    r"|el|vim|cmake|m4)"
)
LARGEST = 1 << 20  # bytes of a file


def recall(leaks: Leaks, problems: list[Problem], texts: list[str]) -> tuple[int, list[str]]:
    """(how many problems are named at their text, those that are not with the tokens of their solution)."""
    missed = []
    for problem, mine in zip(problems, leaks.find(texts), strict=True):
        if problem.id not in {leaks.problems[leak.problem].id for leak in mine}:
            missed.append(f"{problem.id} ({len(tokens_of([bare(problem)]).hashes)} tokens)")
    return len(problems) - len(missed), missed


def bare(problem: Problem) -> str:
    header = signature_of(problem.prompt) if problem.continues else ""
    return header + problem.solutions[0].replace("\r\n", "\n")


def classes(problems: list[Problem]) -> Iterator[tuple[str, list[str]]]:
    """(class, a text for each problem)."""
    for name, disguise in DISGUISES.items():
        if problems[0].continues:
            yield f"{name}, with prompt", [disguise(problem.programs()[0]) for problem in problems]
        yield name, [disguise(bare(problem)) for problem in problems]
    yield "prompt alone", [one.prompt if one.continues else f"# {one.prompt}" for one in problems]
    yield "task alone, docstring", [f'"""{problem.description}"""' for problem in problems]
    broken = [textwrap.wrap(problem.description.strip(), 60) for problem in problems]
    yield "task alone, // comments", ["\n".join(f"// {line}" for line in lines) for lines in broken]


def files_below(roots: list[Path], limit: int) -> Iterator[tuple[Path, str]]:
    seen: set[bytes] = set()
    for root in roots:
        for path in sorted(root.rglob("*")):
            if (
                not ENDINGS.fullmatch(path.suffix)
                or path.is_symlink()
                or not path.is_file()
                or path.stat().st_size > LARGEST
            ):
                continue
            data = path.read_bytes()
            digest = hashlib.sha256(data).digest()
            if digest in seen or len(seen) >= limit:
                continue
            seen.add(digest)
            try:
                yield path, data.decode()
            except UnicodeDecodeError:
                continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", action="append", type=Path, help="where to look for false hits")
    parser.add_argument("--limit", type=int, default=1_000_000, help="files at most")
    flags = parser.parse_args()
    stdlib = Path(sysconfig.get_path("stdlib"))
    leaks = Leaks([*load("humaneval"), *load("mbpp"), *load("gsm8k")], share=0.6, jaccard=0.58)
    mbpp = [problem for problem in load("mbpp") if 11 <= problem.row["task_id"] <= 510]
    hosts = [(stdlib / f"{name}.py").read_text() for name in ("textwrap", "shelve", "queue", "bisect", "heapq", "csv")]
    result: dict[str, object] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    for name, problems in (("humaneval", list(load("humaneval"))), ("mbpp", mbpp)):
        figures = {}
        for kind, texts in classes(problems):
            planted = [planted_in(hosts[place % len(hosts)], text, place) for place, text in enumerate(texts)]
            found, missed = recall(leaks, problems, planted)
            figures[kind] = found
            print(f"{name:10} {kind:50} {found}/{len(problems)}  {', '.join(missed)}")
        result[name] = {"problems": len(problems), **figures}
    count = size = hits = 0
    spent = 0.0
    batch: list[tuple[Path, str]] = []
    every = files_below(flags.root or [stdlib, Path(sysconfig.get_path("purelib"))], flags.limit)
    while batch := [one for _, one in zip(range(200), every, strict=False)]:
        begin = time.process_time()
        found_in = leaks.find([text for _, text in batch])
        spent += time.process_time() - begin
        count, size = count + len(batch), size + sum(len(text.encode()) for _, text in batch)
        for (path, text), mine in zip(batch, found_in, strict=True):
            hits += bool(mine)
            for leak in mine:
                print(f"  {path}: {leak.how} {leaks.problems[leak.problem].id} {text[leak.start : leak.end][:200]!r}")
    result |= {"files": count, "megabytes": round(size / 1e6, 1), "files_hit": hits}
    result["mb_per_cpu_s"] = round(size / 1e6 / spent, 2) if spent else None
    print(json.dumps(result))
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
