"""Registries' own clients, run as they are."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from starloom.corpus.sources.listing import printable
from starloom.errors import SourceError

TIMEOUT_S = 900  # of one client's run; our choice


def run(command: Sequence[str], folder: Path, what: str) -> str | None:
    """Run a registry's client in a folder; None when it succeeds, else the line that says why."""
    if shutil.which(command[0]) is None:
        raise SourceError(f"{what} is fetched with {Path(command[0]).name}, which is not installed here")
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    said = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace").splitlines()
    errors = [line for line in said if "error" in line.lower() or line.startswith("E:")]
    errors.sort(key=lambda line: line.startswith("npm error code "))  # a word such as ETARGET; what it means comes next
    return printable((errors or said or ["no reason given"])[0].strip())[:300]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
