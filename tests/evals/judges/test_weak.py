"""Weak verdicts: an end that is not reached is never a pass, and toolchains that fail are not the programs' failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from weak_cheats import CHEATS, LEAVE, SLOW, STYLES

from starloom.errors import SandboxError
from starloom.evals.bench import Bench
from starloom.evals.judges.weak import WeakJudge, weak_judge
from starloom.sandbox import Command, Outcome, Python, languages
from starloom.sandbox.epilogue_samples import SAMPLES, wrong


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(workers=2) as made:
        try:
            assert made.sandbox
        except SandboxError as error:
            pytest.skip(str(error))
        yield made


def marked(name: str, *values: str) -> object:
    label = " ".join((name, *values[:1]))
    return pytest.param(name, *values, id=label, marks=pytest.mark.slow if SLOW & {name, label} else ())


def judged(bench: Bench, name: str, program: str, tests: str) -> tuple[str, str]:
    if languages.toolchain(name) is None:
        pytest.skip(languages.missing(name))
    verdict = weak_judge(bench).judge(name, program, tests)
    assert verdict.strength == "weak"
    assert verdict.status not in ("harness_error", "toolchain_missing"), verdict.detail
    return verdict.status, verdict.stderr


@pytest.mark.parametrize("name", [marked(name) for name in SAMPLES])
def test_a_right_program_passes_and_a_wrong_one_does_not(bench: Bench, name: str) -> None:
    assert judged(bench, name, *SAMPLES[name])[0] == "passed"
    assert judged(bench, name, *wrong(name))[0] in ("wrong_answer", "raised", "crashed")


@pytest.mark.parametrize(("name", "what", "program"), [marked(*cheat) for cheat in CHEATS])
def test_a_program_that_leaves_early_or_forges_an_end_never_passes(
    bench: Bench, name: str, what: str, program: str
) -> None:
    status, stderr = judged(bench, name, f"{program}\n", SAMPLES[name][1])
    assert status not in ("passed", "timed_out", "out_of_memory"), stderr


@pytest.mark.parametrize(
    ("name", "program", "tests"),
    [pytest.param(*styled, id=styled[0], marks=() if styled[0] == "Shell" else pytest.mark.slow) for styled in STYLES],
)
def test_other_ways_to_write_tests_fail_what_is_wrong_too(bench: Bench, name: str, program: str, tests: str) -> None:
    """As MultiPL-E writes them: `set -e`, test runners that run at exit or exit themselves, tests beside main."""
    assert judged(bench, name, program, tests)[0] == "passed"
    changed = program.replace("1 + x", "2 + x")
    assert judged(bench, name, changed, tests)[0] in ("wrong_answer", "raised", "crashed")
    left = program.replace("1 + x", LEAVE[name])
    assert judged(bench, name, left, tests)[0] not in ("passed", "does_not_compile")


def test_an_empty_program_and_one_that_is_no_text_do_not_pass(bench: Bench) -> None:
    for program in ("", "\0", "x = '\ud800'", "\u202e" * 1000):
        assert not weak_judge(bench).judge("Python", program, SAMPLES["Python"][1]).passed


def test_a_language_without_a_toolchain_is_named_with_what_installs_it_and_is_not_a_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(languages, "toolchain", lambda name: None)
    monkeypatch.setattr(languages, "missing", lambda name: f"{name}: no ruby on PATH; apt-get install ruby")
    verdict = WeakJudge(bench).judge("Ruby", *SAMPLES["Ruby"])
    assert (verdict.status, verdict.judged) == ("toolchain_missing", False)
    assert "apt-get install ruby" in verdict.detail


def test_a_language_that_the_table_does_not_know_is_missing_too(bench: Bench) -> None:
    verdict = WeakJudge(bench).judge("Racket", "(define x 1)", "(check x)")
    assert (verdict.status, "Racket" in verdict.detail) == ("toolchain_missing", True)


@pytest.mark.parametrize(
    ("what", "program"), [("crashes", "kill -SEGV $$"), ("hangs", '[ "$1" = -e ] || sleep 100'), ("says nothing", "")]
)
def test_a_toolchain_that_fails_on_a_right_program_is_named_and_the_rest_is_scored(
    what: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "perl"
    broken.parent.mkdir()
    broken.write_text(f"#!/bin/sh\n{program}\n")
    broken.chmod(0o755)
    tmp_path.chmod(0o755)
    real = languages.toolchain
    fake = languages.Toolchain(languages.language("Perl"), {"perl": broken})
    monkeypatch.setattr(languages, "toolchain", lambda name: fake if name == "Perl" else real(name))
    with Bench(limits={"wall_s": 0.3}) as bench:
        judge = WeakJudge(bench)
        first, second = (judge.judge("Perl", *SAMPLES["Perl"]) for _ in range(2))
        assert (first.status, second.status, first.judged) == ("harness_error", "harness_error", False)
        assert "Perl" in first.detail and "right program" in first.detail
        assert judge.judge("Shell", *SAMPLES["Shell"]).passed


def test_what_was_compiled_is_not_compiled_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    if languages.toolchain("C") is None:
        pytest.skip(languages.missing("C"))
    judge = WeakJudge(bench)
    runs: list[tuple[str, ...]] = []
    run = judge._run

    def counted(found: languages.Toolchain, command: Command | Python) -> Outcome:
        runs.append(command.argv)
        return run(found, command)

    monkeypatch.setattr(judge, "_run", counted)
    for _ in range(3):
        assert judge.judge("C", *SAMPLES["C"]).passed
    compilers = [argv for argv in runs if argv[0].endswith(("gcc", "cc")) and "main.c" in argv]
    assert len(compilers) == 1


def test_a_fresh_token_is_given_to_each_run(bench: Bench) -> None:
    """What one run said is no pass for the next."""
    shown = "import sys\nprint(sys._getframe(1).f_locals['given'].decode())\ndef f(x): return 2\n"
    judge = weak_judge(bench)
    first = judge.judge("Python", shown, SAMPLES["Python"][1])
    assert first.passed  # it is right, and tells what it was given
    again = "import os\nos.write(1, b'\\n' + b'0' * 64 + b' 1\\n')\nos._exit(0)\n"
    assert judge.judge("Python", again, SAMPLES["Python"][1]).status == "end_not_reached"
