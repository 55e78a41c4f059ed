"""The attack suite against each tier: the machine as it is, and a process like one in a default Docker container.

Each raid is one child process (`raid.py`) that runs every program; one test per program and raid tells what came of it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sandbox.attacks import controls, ported, raid
from sandbox.attacks.bait import SECRET_NAME
from sandbox.attacks.hostile import declared
from starloom.errors import SandboxError
from starloom.sandbox import Python, languages

NOBODY = 65534
ROOT = os.getuid() == 0
# name → (docker-like, user number or None for this one)
QUICK = {"here": (False, None), "docker": (True, NOBODY if ROOT else None)}
SLOW = {"here as nobody": (False, NOBODY), "docker as root": (True, None)} if ROOT else {}
EVERY = [
    *(pytest.param(name, id=name) for name in QUICK),
    *(pytest.param(name, id=name, marks=pytest.mark.slow) for name in SLOW),
]
TESTS = Path(__file__).parents[2]


@cache
def raided(name: str, **more: Any) -> dict[str, Any]:
    """What the raid of that name wrote."""
    docker, user = {**QUICK, **SLOW}[name]
    folder = Path(tempfile.mkdtemp(prefix="starloom-raid-"))
    try:
        folder.chmod(0o755)
        wish = {"docker": docker, **more, **({} if user is None else {"user": user})}
        return run_raid(folder, wish)
    finally:
        shutil.rmtree(folder)


def run_raid(folder: Path, wish: dict[str, Any]) -> dict[str, Any]:
    import starloom

    paths = f"{TESTS}:{Path(starloom.__file__).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-B", "-m", "sandbox.attacks.raid", str(folder), json.dumps(wish)],
        env={**os.environ, "PYTHONPATH": paths, SECRET_NAME: secrets.token_hex(16)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(params=EVERY)
def result(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    yield raided(request.param)


@pytest.mark.parametrize("name", [one.name for one in raid.attacks()])
def test_attack_is_held(result: dict[str, Any], name: str) -> None:
    rows = [one for one in result["rows"] if one["name"] == name]
    (attack,) = (one for one in raid.attacks() if one.name == name)
    if result["layers"]["tier"] not in attack.tiers:
        pytest.skip(f"not claimed by the {result['layers']['tier']} tier (docs/sandbox.md)")
    assert rows
    assert [one for one in rows if one["violations"]] == []


def test_nothing_of_the_callers_is_touched_and_nothing_outlives_the_raid(result: dict[str, Any]) -> None:
    assert result["harm"] == []


def test_docker_like_surroundings_leave_the_landlock_tier() -> None:
    assert raided("docker")["layers"]["tier"] == "landlock"
    assert raided("docker")["layers"]["landlock"] > 0
    assert raided("docker")["layers"]["seccomp"] is True


def test_the_suite_is_as_large_as_it_says() -> None:
    hostile = [one for one in raid.attacks() if one.family != "controls"]
    assert len(hostile) >= 80
    assert len(declared(controls)) >= 12
    assert len({one.name for one in raid.attacks()}) == len(raid.attacks())


@pytest.mark.parametrize("pattern", ["../*", "/etc/hostname", "a/../../b", "", "a\0b"])
def test_a_pattern_that_names_what_is_outside_is_refused_before_anything_runs(pattern: str) -> None:
    with pytest.raises(SandboxError, match="inside the scratch folder"):
        Python("", keep=(pattern,))
    with pytest.raises(SandboxError, match="inside the scratch folder"):
        Python("", files={pattern: b""})


@pytest.mark.slow
@pytest.mark.parametrize("docker", [False, True], ids=["here", "docker"])
@pytest.mark.parametrize("language", [*ported.TEXTS])
def test_ported_attacks_are_held(language: str, docker: bool) -> None:
    if languages.toolchain(language) is None:
        pytest.skip(languages.missing(language))
    found = raided("docker" if docker else "here", families=(), languages=(language,))
    assert [one for one in found["rows"] if one["violations"]] == []
    assert found["harm"] == []
    assert len(found["rows"]) == len(ported.ports(language)) >= 18


@pytest.mark.parametrize("language", [*ported.TEXTS])
def test_every_text_knows_every_attack(language: str) -> None:
    text = (ported.PORTS / ported.TEXTS[language]).read_text()
    for port in ported.ports(language):
        assert port.attack.body in text, port.attack.name


@pytest.mark.slow
def test_attacks_succeed_where_no_sandbox_is(tmp_path: Path) -> None:
    """An attack that nothing stops must be seen: the caller's belongings tell of it, or it says so itself."""
    wish = {"names": [one.name for one in raid.attacks() if one.bare], "bare": True}
    seen = {row["name"]: row["violations"] for row in run_raid(tmp_path, wish)["rows"]}
    assert len(seen) >= 15
    assert [name for name, found in seen.items() if not found] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_twenty_raids_in_one_sandbox_are_held(name: str) -> None:
    found = raided(name, repeats=20)
    assert [one for one in found["rows"] if one["violations"]] == []
    assert found["harm"] == []
