"""A hundred thousand runs in the sandbox, and what they leave behind: nothing.

    python benchmarks/sandbox_soak.py [--runs 100000] [--tiers namespaces landlock] [--workers 2]

Of a hundred runs 68 are trivial, 12 end badly (an exception, an exit code, a segmentation fault, a kill of their own), 6 leave
processes behind that have left their session, 6 fill their scratch folder, 5 print 200 kB, and 3 never end and are ended after
0.1 s. Each outcome is checked. This process adopts orphans (PR_SET_CHILD_SUBREAPER), so that no descendant can hide from the count.

Counted before, after every tenth of the runs with all workers idle, and after closing: living descendants, our descriptors,
files in our temporary folder, mounts, System V objects, control groups called starloom, and resident memory of us and of all
descendants. Exit code 1 when anything is left, when a count grew while the workers idled, or when memory grew by more than
32 MiB after the first tenth. Appends one line to benchmarks/results/sandbox_soak.jsonl.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from starloom.sandbox import Limits, Outcome, Python, Sandbox

RESULTS = Path(__file__).parent / "results" / "sandbox_soak.jsonl"
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
GROWTH = 32 << 20  # bytes of resident memory; our choice: an allocator's slack, 320 bytes a run
LIMITS = Limits(wall_s=10, memory_bytes=256 << 20)
BIG = "x" * 200_000

# kind → (of a hundred, program, limits, status, exit code or signal)
KINDS: dict[str, tuple[int, str, Limits, str, int]] = {
    "trivial": (68, "print(1)\n", LIMITS, "exited", 0),
    "raises": (5, "raise ValueError('wrong')\n", LIMITS, "exited", 1),
    "exits": (3, "import os\nos._exit(7)\n", LIMITS, "exited", 7),
    "faults": (2, "import ctypes\nctypes.string_at(0)\n", LIMITS, "signaled", 11),
    "kills_itself": (2, "import os\nos.kill(os.getpid(), 9)\n", LIMITS, "signaled", 9),
    "orphans": (
        6,
        "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        try:\n            os.setsid()\n"
        "        except OSError:\n            pass\n        if os.fork() == 0:\n            time.sleep(1000)\n        os._exit(0)\n",
        LIMITS,
        "exited",
        0,
    ),
    "files": (
        6,
        "import os\nos.makedirs('a/b')\nfor place in range(50):\n    open(f'a/b/{place}', 'w').write('x' * 5000)\n"
        "os.symlink('/', 'a/root')\nos.mkfifo('a/fifo')\nos.chmod('a/b', 0)\nprint(open('given').read())\n",
        LIMITS,
        "exited",
        0,
    ),
    "output": (5, f"import sys\nprint({len(BIG)} * 'x')\nsys.stderr.write({len(BIG)} * 'x')\n", LIMITS, "exited", 0),
    "endless": (3, "while True:\n    pass\n", replace(LIMITS, wall_s=0.1), "timed_out", 0),
}


def programs(count: int) -> Iterator[tuple[str, Python]]:
    """The mix, in one fixed order that spreads the kinds."""
    hundred = [kind for kind, (share, *_) in KINDS.items() for _ in range(share)]
    assert len(hundred) == 100
    spread = [hundred[place * 37 % 100] for place in range(100)]
    for kind in itertools.islice(itertools.cycle(spread), count):
        _, source, limits, _, _ = KINDS[kind]
        files = {"given": b"here"} if kind == "files" else {}
        yield kind, Python(source, files=files, limits=limits)


def as_wanted(kind: str, outcome: Outcome) -> bool:
    _, _, _, status, number = KINDS[kind]
    if outcome.status != status:
        return False
    if kind == "output" and (outcome.stdout != BIG.encode() + b"\n" or outcome.stderr != BIG.encode()):
        return False
    return number == {"exited": outcome.exit_code, "signaled": outcome.signal}.get(status, 0)


def descendants() -> list[int]:
    """Every living process below this one, those in namespaces of their own too."""
    found, todo = [], [os.getpid()]
    while todo:
        for task in Path(f"/proc/{todo.pop()}/task").glob("*"):
            try:
                children = [int(word) for word in (task / "children").read_text().split()]
            except OSError:  # it has just ended
                continue
            found += children
            todo += children
    return found


def resident(pid: int | str) -> int:
    """Bytes, those shared with other processes in proportion."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * int(next((line.split()[1] for line in lines if line.startswith("Pss:")), 0))


def objects_of(user: int) -> int:
    """System V objects that this user made."""
    found = 0
    for kind in ("shm", "sem", "msg"):
        head, *rows = (line.split() for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines())
        found += sum(int(row[head.index("cuid")]) == user for row in rows)
    return found


def counts(folder: Path, user: int) -> dict[str, int]:
    """What a run could leave behind; `user` is who the programs are."""
    below = descendants()
    groups = sum(len(list(Path("/sys/fs/cgroup").glob(f"{stars}starloom*"))) for stars in ("", "*/", "*/*/", "*/*/*/"))
    return {
        "processes": len(below), "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()), "files": len(list(folder.rglob("*"))),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()), "sysv": objects_of(user), "cgroups": groups,
        "shared_memory": sum(1 for path in Path("/dev/shm").glob("*") if path.lstat().st_uid == user),
        "own_bytes": resident("self"), "workers_bytes": sum(map(resident, below)),
    }  # fmt: skip


def left(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What there is more of."""
    return {
        name: after[name] - before[name]
        for name in before
        if not name.endswith("_bytes") and after[name] > before[name]
    }


def soak(tier: str, runs: int, workers: int, folder: Path) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    idle: list[dict[str, int]] = []
    with Sandbox(tier=tier) as sandbox:  # type: ignore[arg-type]
        user = sandbox.active.user
    before = counts(folder, user)
    start = time.perf_counter()
    with Sandbox(workers=workers, tier=tier) as sandbox:  # type: ignore[arg-type]
        layers = sandbox.active.as_dict()
        for tenth in range(10):
            kinds, inputs = zip(*programs(max(runs // 10, 1)), strict=True)
            for kind, outcome in zip(kinds, sandbox.map(inputs), strict=True):
                statuses[f"{kind}: {outcome.status}"] += 1
                if not as_wanted(kind, outcome):
                    wrong.append(
                        f"{kind}: {outcome.status} {outcome.exit_code} {outcome.signal} {outcome.stderr[-200:]!r}"
                    )
            idle.append(counts(folder, user))
            took = time.perf_counter() - start
            print(f"{tier} {(tenth + 1) * (runs // 10):>7} runs {took:7.1f} s {idle[-1]}", file=sys.stderr, flush=True)
    after = counts(folder, user)
    growth = {name: idle[-1][name] - idle[0][name] for name in idle[0]}
    return {
        "tier": tier, "layers": layers, "runs": sum(statuses.values()), "seconds": round(took, 1), "statuses": dict(statuses),
        "wrong": wrong[:20], "wrong_count": len(wrong), "before": before, "first_tenth": idle[0], "last_tenth": idle[-1],
        "after": after, "left": left(before, after),
        "grew": {name: more for name, more in growth.items() if more > (GROWTH if name.endswith("_bytes") else 0)},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000, help="in each tier")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tiers", nargs="+", choices=("namespaces", "landlock"), default=("namespaces", "landlock"))
    options = parser.parse_args()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    bad = False
    for tier in options.tiers:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            found = soak(tier, options.runs, options.workers, Path(folder))
            tempfile.tempdir = None
            del os.environ["TMPDIR"]
        bad |= bool(found["left"] or found["grew"] or found["wrong_count"])
        print(json.dumps({name: found[name] for name in ("tier", "runs", "seconds", "wrong_count", "left", "grew")}))
        line = {
            "machine": {"kernel": platform.release(), "python": platform.python_version(), "uid": os.geteuid()}
        } | found
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
