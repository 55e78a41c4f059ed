"""The recipe `corpus`, killed again and again and with other numbers of workers: always the same bytes."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 10


def run(store: Path, workers: int) -> subprocess.Popen[bytes]:
    """`starloom run corpus` on the standard library, in a process group of its own."""
    command = [sys.executable, "-m", "starloom", "run", "corpus", "--sources", "python:stdlib", "--vocab-size", "4096"]
    flags = ["--store", str(store), "--workers", str(workers), "--quiet", "--set", "read.shard_bytes=2000000"]
    return subprocess.Popen([*command, *flags], start_new_session=True)


def digests(store: Path) -> dict[str, str]:
    """Every data file and its SHA-256; what says when and how it was built is left out."""
    left_out = ("manifest.json", "report.html", "dataset_card.md")
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name not in left_out and not {".units", ".locks"} & set(path.parts)
    }


@pytest.mark.slow
def test_a_corpus_killed_ten_times_is_the_corpus_that_was_never_killed(tmp_path: Path) -> None:
    started = time.monotonic()
    assert run(tmp_path / "one", 1).wait() == 0
    seconds = time.monotonic() - started
    expected = digests(tmp_path / "one")
    assert len(expected) > 50
    assert run(tmp_path / "two", 2).wait() == 0
    assert digests(tmp_path / "two") == expected
    chance = random.Random(4)
    kills = 0
    while kills < KILLS:
        process = run(tmp_path / "killed", 2)
        try:
            process.wait(timeout=chance.uniform(0.5, seconds / 6))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            break
    assert kills >= KILLS // 2, f"finished after {kills} kills: too quick to say anything"
    assert run(tmp_path / "killed", 1).wait() == 0
    assert digests(tmp_path / "killed") == expected
