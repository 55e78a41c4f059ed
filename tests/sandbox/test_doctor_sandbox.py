"""`starloom doctor sandbox` tells the truth: about this machine, and about a sandbox that does not hold."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, cast

import pytest

from starloom.cli import dispatch
from starloom.errors import SandboxError
from starloom.sandbox import Outcome, Python, Sandbox, doctor, languages, self_test

ATTACKS = 6


@pytest.fixture(autouse=True)
def short_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking twenty toolchains for their versions takes seconds."""
    whole = languages.table
    monkeypatch.setattr(doctor.languages, "table", lambda: whole(versions=False))


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    code = dispatch(["doctor", "sandbox", "--json", *argv])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_attacks_are_run_and_blocked_in_each_tier(tier: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts = told(capsys, "--tier", tier)
    if facts["tier"] is None:
        pytest.skip(facts["problem"])
    assert facts["tier"] == tier
    assert [attack for attack in facts["attacks"] if not attack["blocked"]] == []
    assert len(facts["attacks"]) == ATTACKS
    assert code == 0
    assert {layer["name"]: layer["on"] for layer in facts["explained"]}["seccomp"]
    assert all(layer["why"] for layer in facts["explained"])
    assert any(line.startswith("Python ") for line in facts["languages"])


class Open:
    """What runs programs without any protection. For attacks that only look and knock."""

    def run(self, program: Python) -> Outcome:
        done = subprocess.run([sys.executable, "-c", program.source], capture_output=True, check=False)
        return Outcome("exited", done.returncode, stdout=done.stdout)


@pytest.mark.parametrize("attack", ["reads", "connects"])
def test_attack_on_what_does_not_hold_gets_through(attack: str) -> None:
    unprotected = cast(Sandbox, Open())
    if attack == "reads":
        probe = self_test._reads_our_files(unprotected, "a secret word of this test")
        assert probe.seen == "it read a secret of ours and /etc/passwd"
    else:
        probe = self_test._opens_a_socket(unprotected)
        assert probe.seen == "a port of ours was reached by TCP and UDP"
    assert not probe.blocked


def test_machine_without_a_tier_is_told_so_with_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(tier: str = "auto") -> None:
        raise SandboxError("no user namespaces and no Landlock")

    monkeypatch.setattr(doctor, "layers", none)
    code, facts = told(capsys)
    assert code == 1
    assert facts["tier"] is None
    assert facts["problem"] == "no user namespaces and no Landlock"
    assert doctor.line() == (False, "no user namespaces and no Landlock")
    assert dispatch(["doctor", "sandbox"]) == 1
    assert "no untrusted program is run here" in capsys.readouterr().err


def test_attack_that_gets_through_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "probes", lambda tier: [self_test.Probe("knocks", False, "the door opened")])
    assert dispatch(["doctor", "sandbox"]) == 1
    said = capsys.readouterr()
    assert "NOT blocked knocks" in said.out
    assert "1 of 1 attacks got through" in said.err
