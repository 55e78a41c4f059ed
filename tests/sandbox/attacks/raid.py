"""Runs the suite against one tier, as the user and in the surroundings that the caller chose; writes what happened as JSON.

    python -m sandbox.attacks.raid FOLDER '{"docker": true, "user": 65534, "tier": "auto", "families": ["kernel"], "seed": 0}'

FOLDER gets home, bait and scratch folders. A process of its own, so that a
filter as Docker's binds nobody else, and so that orphans have one place to be found at: this process is their subreaper.
"""

from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.attacks import (
    bombs,
    channels,
    controls,
    disk,
    keeps,
    kernel,
    leaks,
    leftovers,
    memory,
    poison,
    ported,
    privileges,
    replies,
    signals,
    time_and_output,
)
from sandbox.attacks.bait import SECRET_NAME, Bait, descendants, descriptors, litter, waits_until_gone
from sandbox.attacks.docker_like import enter_docker_like
from sandbox.attacks.hostile import Attack, declared
from sandbox.attacks.other_user import become
from starloom.sandbox import Limits, Outcome, Python, Sandbox, languages

ALONE = [memory, disk, time_and_output, bombs, signals, leaks, channels, kernel, privileges, keeps, controls]  # at once
IN_TURN = ("leftovers", "poison")
SLACK_S = 20.0  # beyond the wall clock, before a run counts as hung: the machine may be busy with other things
FRAMES = 2000  # a caller that asks for one answer would have stopped reading long before


def attacks() -> list[Attack]:
    """Every program of the suite."""
    return declared(*ALONE, leftovers, poison, replies)


def program(attack: Attack, facts: dict[str, object]) -> Python:
    return Python(attack.program(facts), stdin=attack.stdin, keep=attack.keep, limits=Limits(**attack.limits))


def violations(attack: Attack, outcome: Outcome, secret: bytes) -> list[str]:
    """What the run did that it should not have been able to do; empty is held."""
    found = []
    lines = (outcome.stdout + b"\n" + outcome.stderr).split(b"\n")
    found += [line.decode("utf-8", "replace") for line in lines if line.startswith(b"ESCAPED")][:5]
    if any(secret in data for data in (outcome.stdout, outcome.stderr, *outcome.files.values())):
        found.append("the caller's secret came back")
    if outcome.status not in attack.ends:
        found.append(f"ended as {outcome.status} ({outcome.detail})")
    if attack.ends == ("exited",) and not outcome.ok:
        found.append(
            f"the program broke: exit code {outcome.exit_code}, {outcome.stderr[-600:].decode('utf-8', 'replace')}"
        )
    if attack.says.encode() not in outcome.stdout:
        found.append(f"did not get as far as saying {attack.says!r}")
    if outcome.wall_s > attack.limits["wall_s"] + SLACK_S:
        found.append(f"took {outcome.wall_s:.1f} s")
    if max(len(outcome.stdout), len(outcome.stderr)) > attack.limits["output_bytes"]:
        found.append(f"{len(outcome.stdout)} and {len(outcome.stderr)} bytes of output came back")
    if sum(map(len, outcome.files.values())) > attack.limits["scratch_bytes"]:
        found.append("more came back than fits into scratch")
    for name in outcome.files:
        if (
            name.startswith(("/", "../"))
            or "/../" in name
            or not any(fnmatch.fnmatchcase(name, one) for one in attack.keep)
        ):
            found.append(f"{name!r} came back")
    found += [f"{name!r} did not come back" for name in attack.hands_back if name not in outcome.files]
    return found


def row(attack: Attack, outcome: Outcome, found: list[str]) -> dict[str, Any]:
    return {
        "name": attack.name,
        "family": attack.family,
        "violations": found,
        "status": outcome.status,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "detail": outcome.detail,
        "stdout": outcome.stdout[-3000:].decode("utf-8", "replace"),
        "stderr": outcome.stderr[-1500:].decode("utf-8", "replace"),
        "wall_s": round(outcome.wall_s, 3),
        "cpu_s": round(outcome.cpu_s, 3),
        "peak_mb": outcome.peak_bytes >> 20,
    }


def at_once(sandbox: Sandbox, chosen: Sequence[Attack], bait: Bait) -> Iterator[dict[str, Any]]:
    """Attacks beside each other; `then_…` programs of the leftovers between them find each worker clean."""
    programs = [program(one, bait.facts) for one in chosen]
    for one, outcome in zip(chosen, sandbox.map(programs), strict=True):
        yield row(one, outcome, violations(one, outcome, bait.secret))


def in_turn(sandbox: Sandbox, chosen: Sequence[Attack], bait: Bait) -> Iterator[dict[str, Any]]:
    """One worker, one program after the other: what the first leaves, the second looks for."""
    for one in chosen:
        outcome = sandbox.run(program(one, bait.facts))
        yield row(one, outcome, violations(one, outcome, bait.secret))


def in_languages(names: Sequence[str], tier: Any, bait: Bait, workers: int) -> Iterator[dict[str, Any]]:
    """The attacks ported to other languages, whose toolchains this machine has."""
    with Sandbox(workers=workers, tier=tier, read=languages.roots(names)) as sandbox:
        for name in names:
            files = ported.built(sandbox, name)
            some = ported.ports(name)
            outcomes = sandbox.map([ported.command(one, files, bait.facts) for one in some])
            for one, outcome in zip(some, outcomes, strict=True):
                yield row(one.attack, outcome, violations(one.attack, outcome, bait.secret))


def talked(sandbox: Sandbox, chosen: Sequence[Attack], bait: Bait) -> Iterator[dict[str, Any]]:
    """Conversations with programs that answer as they like."""
    with ThreadPoolExecutor(len(chosen)) as threads:
        yield from threads.map(lambda one: talked_to(sandbox, one, bait), chosen)


def talked_to(sandbox: Sandbox, one: Attack, bait: Bait) -> dict[str, Any]:
    frames, size, found = 0, 0, []
    with sandbox.talk(program(one, bait.facts)) as talk:
        began = time.monotonic()
        talk.send(b"q" * (8 << 20 if "never_read" in one.name else 100))
        try:
            while frames < FRAMES and (reply := talk.receive(timeout_s=30)) is not None:
                frames, size = frames + 1, size + len(reply)
                if len(reply) > one.limits["output_bytes"]:
                    found.append(f"a reply of {len(reply)} bytes")
        except TimeoutError:
            found.append(f"receive waited for 30 s, the wall clock is {one.limits['wall_s']} s")
        outcome = talk.end()
    if time.monotonic() - began > one.limits["wall_s"] + SLACK_S:
        found.append(f"the conversation took {time.monotonic() - began:.1f} s")
    if one.name == "reply_cut_short" and frames:
        found.append("half a frame was taken for one")
    return row(one, outcome, found + violations(one, outcome, bait.secret))


def unguarded(one: Attack, bait: Bait) -> dict[str, Any]:
    """A harmless attack in a plain interpreter: what the suite would see if nothing held it."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", one.program(bait.facts)], capture_output=True, pass_fds=bait.inheritable, timeout=60
    )
    outcome = Outcome("exited", done.returncode, None, done.stdout, done.stderr, wall_s=time.monotonic() - began)
    time.sleep(0.05)
    found = violations(one, outcome, bait.secret) + bait.harm()
    bait.begin()
    return row(one, outcome, found)


def raid(folder: Path, wish: dict[str, Any]) -> dict[str, Any]:
    """The whole suite, or the families and names asked for; see the module's docstring."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us
    scratch = folder / "tmp"
    scratch.mkdir()
    os.environ.update(TMPDIR=str(scratch), HOME=str(folder / "home"))
    bait = Bait(folder, os.environ[SECRET_NAME])
    if wish.get("docker"):
        enter_docker_like()
    if wish.get("bare"):
        bare_rows = [unguarded(one, bait) for one in attacks() if one.name in wish["names"]]
        bait.close()
        return {"rows": bare_rows}
    held = set(descendants(os.getpid()))
    before, dirt = descriptors(), litter()
    names, families = wish.get("names"), wish.get("families")
    chosen = [
        one
        for one in attacks()
        if (names is None or one.name in names) and (families is None or one.family in families)
    ]
    rng = random.Random(wish.get("seed", 0))
    rows: list[dict[str, Any]] = []
    harm: list[str] = []
    times: dict[str, float] = {}
    with Sandbox(workers=wish.get("workers", 6), tier=wish.get("tier", "auto")) as sandbox:
        layers = {**sandbox.active.as_dict(), "describe": sandbox.active.describe()}
        chosen = [one for one in chosen if layers["tier"] in one.tiers]
        for _ in range(wish.get("repeats", 1)):
            alone = [one for one in chosen if one.family not in (*IN_TURN, "replies")]
            alone += [one for one in chosen if one.name.startswith("then_")] * 2
            rng.shuffle(alone)
            began = time.monotonic()
            rows += at_once(sandbox, alone, bait)
            times["at once"] = round(time.monotonic() - began, 2)
        harm += bait.harm()
    for part, those in ((in_turn, IN_TURN), (talked, ("replies",))):
        some = [one for one in chosen if one.family in those]
        began = time.monotonic()
        if some:
            workers = 1 if part is in_turn else wish.get("workers", 6)
            with Sandbox(workers=workers, tier=wish.get("tier", "auto")) as sandbox:
                for _ in range(wish.get("repeats", 1)):
                    rows += part(sandbox, some, bait)
        times[those[-1]] = round(time.monotonic() - began, 2)
    if wish.get("languages"):
        began = time.monotonic()
        rows += in_languages(wish["languages"], layers["tier"], bait, wish.get("workers", 6))
        times["languages"] = round(time.monotonic() - began, 2)
    harm += [f"process {pid} outlives its run: {name}" for pid, name in waits_until_gone(held).items()]
    harm += [
        f"descriptor {number} is left open: {link}" for number, link in descriptors().items() if number not in before
    ]
    harm += [f"{name} is left on the host" for name in sorted(litter() - dirt)]
    harm += [f"{path.relative_to(folder)} is left of a scratch folder" for path in scratch.rglob("*")][:10]
    harm += bait.harm()
    bait.close()
    drawn = [
        line
        for one in rows
        if one["name"] == "then_random_state"
        for line in one["stdout"].split("\n")
        if line.startswith("drawn")
    ]
    if len(set(drawn)) != len(drawn):
        harm.append("two runs drew the same random number")
    return {"layers": layers, "rows": rows, "harm": harm, "times": times, "uid": os.getuid()}


def with_a_high_number() -> None:
    """Goes on in a child whose process number no run's own process has: attacks are told numbers of the caller's."""
    while os.getpid() < 400:
        child = os.fork()
        if child == 0 and os.getpid() >= 400:
            return
        if child == 0:
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if child >= 400:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    target, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    if asked.get("user", os.getuid()) != os.getuid():
        os.chown(target, asked["user"], asked["user"])
        become(asked["user"], os.environ["PYTHONPATH"].split(":"))
    with_a_high_number()
    result = raid(target, asked)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(result))
