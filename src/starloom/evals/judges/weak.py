"""Weak verdicts: a program and a benchmark's own tests in one process, and an ending that leaving early cannot forge.

A toolchain that is missing is named and skipped; one that fails on a program known to be right is named and counted apart
(`harness_error`): neither says anything about the answer. See `starloom.sandbox.epilogue` for what is covered.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from starloom.evals.bench import Bench, tail
from starloom.evals.judges.outcomes import failed
from starloom.evals.verdict import Verdict
from starloom.sandbox import Command, Limits, Outcome, Python, epilogue, epilogue_rust, epilogue_support, languages
from starloom.sandbox.epilogue_samples import SAMPLES

CACHE: Final = 256 << 20  # bytes of compiled programs that are kept: samples at T 0.2 repeat themselves. Our choice
_NAMED: Final = re.compile(r"(Uncaught )?[\w.]*(Error|Exception)\b")
_TELLS: Final = re.compile(r"error|exception|assert|panic|fatal|undefined|--- FAIL", re.IGNORECASE)
_ASSERTED: Final = re.compile(r"assert|test case|did not pass|failed to pass|--- FAIL", re.IGNORECASE)


def telling(stderr: str) -> str:
    """The line of an error report that says what happened: most runtimes print a trace of calls behind it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    first = next((line for line in lines if _NAMED.match(line)), None)
    return (first or next((line for line in lines if _TELLS.search(line)), lines[-1] if lines else ""))[:300]


class CannotBuildError(Exception):
    """What all programs of a language need could not be built; the message says why."""


class WeakJudge:
    """The weak judge of one bench: what is built once, what was compiled lately, and which toolchains work."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._lock = threading.Lock()
        self._building: dict[str, threading.Lock] = {}
        self._support: dict[str, Mapping[str, bytes] | CannotBuildError] = {}
        self._broken: dict[str, str | None] = {}
        self._compiled: OrderedDict[tuple[str, str, str], tuple[epilogue.Woven, Mapping[str, bytes]]] = OrderedDict()
        self._size = 0

    def judge(self, name: str, program: str, tests: str, limits: Limits | None = None) -> Verdict:
        """One program in a language of the table. `limits` are those of its run, in place of the language's own."""
        if name not in SAMPLES:
            return _missing(f"no entry for {name} in the sandbox's table of languages")
        found = languages.toolchain(name)
        if found is None:
            return _missing(languages.missing(name))
        self._bench.toolchains[name] = found.version
        broken = self._why_broken(found)
        if broken is not None:
            return Verdict(False, "weak", "harness_error", f"{name}, {found.version}: {broken}")
        return self._judged(found, program, tests, limits)

    def _why_broken(self, found: languages.Toolchain) -> str | None:
        """None where the toolchain passes a program that is known to be right; asked once."""
        name = found.language.name
        with self._lock_of(f"broken {name}"):
            if name not in self._broken:
                self._broken[name] = self._sample_fails(found)
            return self._broken[name]

    def _sample_fails(self, found: languages.Toolchain) -> str | None:
        verdict = self._judged(found, *SAMPLES[found.language.name], None)
        if verdict.passed:
            return None
        told = verdict.stderr.strip().splitlines()
        return f"fails on a right program ({verdict.status}: {verdict.detail}{'; ' + told[-1] if told else ''})"

    def _judged(self, found: languages.Toolchain, program: str, tests: str, limits: Limits | None) -> Verdict:
        name = found.language.name
        try:
            program.encode(), tests.encode()
        except UnicodeEncodeError as error:
            return Verdict(False, "weak", "does_not_compile", f"the program is not text: {error}")
        try:
            woven, files = self._built(found, program, tests)
        except _NotBuiltError as stopped:
            return stopped.verdict
        except CannotBuildError as error:
            return Verdict(False, "weak", "harness_error", f"{name}: {error}")
        token = epilogue.fresh()
        own = self._bench.limited(limits if limits is not None else found.language.limits)
        outcome = self._run(found, epilogue.run_command(found, woven, files, token, own))
        ending = token.said(outcome)
        if outcome.ok and ending is not None:
            detail = "" if ending.checks is None else f"{ending.checks} checks ran"
            return Verdict(True, "weak", "passed", detail, seconds=outcome.wall_s)
        if outcome.ok:
            detail = "the program ended before its tests did"
            return Verdict(False, "weak", "end_not_reached", detail, tail(outcome.stderr), seconds=outcome.wall_s)
        if not outcome.stderr.strip():  # Go's and R's test runners write to stdout
            outcome = dataclasses.replace(outcome, stderr=outcome.stdout)
        verdict = failed(outcome, "weak")
        if outcome.status == "exited" and found.language.name != "Python":
            verdict = dataclasses.replace(verdict, detail=telling(verdict.stderr) or verdict.detail)
        asserted = outcome.status in ("exited", "signaled") and verdict.status in ("raised", "crashed")
        if asserted and _ASSERTED.search(verdict.stderr):
            return Verdict(False, "weak", "wrong_answer", verdict.detail, verdict.stderr, seconds=outcome.wall_s)
        return verdict

    def _built(
        self, found: languages.Toolchain, program: str, tests: str
    ) -> tuple[epilogue.Woven, Mapping[str, bytes]]:
        """What runs: from the cache, or compiled. Raises _NotBuiltError with a verdict, CannotBuildError."""
        name = found.language.name
        key = (name, program, tests)
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
        woven = epilogue.weave(found, program, tests)
        support = {part: self._supported(found, part) for part in woven.support}
        early = {path: data for part, files in support.items() if part not in epilogue_support.AT_RUN for path, data in files.items()}  # fmt: skip
        late = {path: data for part, files in support.items() if part in epilogue_support.AT_RUN for path, data in files.items()}  # fmt: skip
        command = epilogue.compile_command(found, woven, early)
        if command is None:
            return woven, late
        outcome = self._run(found, command)
        if not outcome.ok:
            raise _NotBuiltError(self._not_compiled(found, program, tests, outcome))
        result = (woven, {**outcome.files, **late})
        size = sum(map(len, outcome.files.values()))
        with self._lock:
            self._compiled[key] = result
            self._size += size
            while self._size > CACHE and len(self._compiled) > 1:
                _, (_, dropped) = self._compiled.popitem(last=False)
                self._size -= sum(map(len, dropped.values()))
        return result

    def _not_compiled(self, found: languages.Toolchain, program: str, tests: str, outcome: Outcome) -> Verdict:
        """A compiler that says no is the program's fault. One that crashes or hangs is, if it still passes what is right."""
        name, stderr = found.language.name, tail(outcome.stderr or outcome.stdout)
        if outcome.status in ("not_started", "lost"):
            return Verdict(False, "weak", "harness_error", f"{name}: the compiler: {outcome.detail}", stderr)
        if outcome.status == "exited":
            lines = [line for line in stderr.splitlines() if line.strip()] or ["the compiler says no"]
            first = next((line for line in lines if "error" in line.lower()), lines[0])
            return Verdict(False, "weak", "does_not_compile", first.strip()[:300], stderr, seconds=outcome.wall_s)
        told = f"the compiler: {outcome.status}"
        if (program, tests) != SAMPLES[name]:
            with self._lock:
                self._forget((name, *SAMPLES[name]))
            broken = self._sample_fails(found)
            if broken is not None:
                return Verdict(False, "weak", "harness_error", f"{name}, {found.version}: {told}; it {broken}", stderr)
        return Verdict(False, "weak", "does_not_compile", told, stderr, seconds=outcome.wall_s)

    def _forget(self, key: tuple[str, str, str]) -> None:
        if key in self._compiled:
            self._size -= sum(map(len, self._compiled.pop(key)[1].values()))

    def _supported(self, found: languages.Toolchain, part: str) -> Mapping[str, bytes]:
        """What is built once for all programs. Raises CannotBuildError, every time that it is asked for, and _NotBuiltError."""
        if part == "crates" and epilogue_rust.absent():
            lacking = ", ".join(epilogue_rust.absent())
            raise _NotBuiltError(
                _missing(f"Rust: no sources of {lacking}; apt-get install {' '.join(found.language.debian[1:])}")
            )
        with self._lock_of(part):
            if part not in self._support:
                outcome = self._run(found, epilogue_support.command(part, found))
                if outcome.ok and outcome.files:
                    self._support[part] = outcome.files
                else:
                    said = tail(outcome.stderr).strip().splitlines()
                    why = outcome.detail or (said[-1] if said else outcome.status)
                    self._support[part] = CannotBuildError(f"its {part} epilogue or library cannot be built: {why}")
            support = self._support[part]
        if isinstance(support, CannotBuildError):
            raise support
        return support

    def _run(self, found: languages.Toolchain, command: Command | Python) -> Outcome:
        return self._bench.opened(read=found.roots).run(command)

    def _lock_of(self, name: str) -> threading.Lock:
        with self._lock:
            return self._building.setdefault(name, threading.Lock())


class _NotBuiltError(Exception):
    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.detail)
        self.verdict = verdict


def _missing(detail: str) -> Verdict:
    return Verdict(False, "weak", "toolchain_missing", detail)


_JUDGES: WeakKeyDictionary[Bench, WeakJudge] = WeakKeyDictionary()


def weak_judge(bench: Bench) -> WeakJudge:
    """The bench's weak judge: one for all tasks, so that what was built stays."""
    if bench not in _JUDGES:
        _JUDGES[bench] = WeakJudge(bench)
    return _JUDGES[bench]
