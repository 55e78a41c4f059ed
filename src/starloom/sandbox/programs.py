"""What is run, within which limits, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from starloom.errors import SandboxError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run: of its whole tree of processes, unless said otherwise. docs/sandbox.md says who enforces which."""

    wall_s: float = 10  # from the program's first instruction; waiting for a busy core does not count (docs/sandbox.md)
    cpu_s: float = 10
    memory_bytes: int = 1 << 30
    address_space: bool = True  # RLIMIT_AS too; False for the JVM, V8 and Go, which reserve gigabytes they never touch
    processes: int = 32  # threads count as well, as RLIMIT_NPROC counts them
    file_bytes: int = 16 << 20  # of each file
    scratch_bytes: int = 64 << 20
    scratch_files: int = 4096
    open_files: int = 256  # of each process
    output_bytes: int = 1 << 20  # stdout and stderr each, and each frame of a conversation

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if name == "address_space":
                if type(value) is not bool:
                    raise SandboxError(f"address_space of a run is True or False, not {value!r}")
            elif not (isinstance(value, int | float) and 0 < value < float("inf")):
                raise SandboxError(f"{name} of a run must be a finite number above 0, not {value!r}")


@dataclass(frozen=True, slots=True)
class Python:
    """A program for a warm interpreter, run as `__main__` with the scratch folder as its working directory."""

    source: str
    files: Mapping[str, bytes] = field(default_factory=dict)  # path relative to the scratch folder → content
    stdin: bytes = b""
    argv: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    keep: tuple[str, ...] = ()  # globs of scratch files to hand back afterwards

    def __post_init__(self) -> None:
        _check(self.files, self.argv, self.keep)


@dataclass(frozen=True, slots=True)
class Command:
    """A program to execute; its working directory is the scratch folder. `argv[0]` is found by PATH, or is a path."""

    argv: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)  # over HOME, TMPDIR, PATH and LANG, which are always set
    limits: Limits = field(default_factory=Limits)
    keep: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()  # names in `files` that get mode 0755

    def __post_init__(self) -> None:
        if not self.argv:
            raise SandboxError("a Command needs at least the name of a program in argv")
        _check(self.files, self.argv, self.keep)
        for name, value in self.env.items():
            if not name or "=" in name or "\0" in name or "\0" in value:
                raise SandboxError(f"{name!r} cannot be set in a program's environment")
        for name in self.executable:
            if name not in self.files:
                raise SandboxError(f"{name!r} is to be executable, but is not among the files of the Command")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `exited` says that the program ended by itself, and never that it did what it should."""

    status: str  # exited | signaled | timed_out | out_of_cpu | out_of_memory | too_much_output | not_started | lost
    exit_code: int | None = None
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    detail: str = ""  # why it was not started, was lost, or was ended: one line of ours, never the program's

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself with exit code 0."""
        return self.status == "exited" and self.exit_code == 0


STATUSES = (
    "exited", "signaled", "timed_out", "out_of_cpu", "out_of_memory", "too_much_output", "not_started", "lost",
)  # fmt: skip


def _check(files: Mapping[str, bytes], argv: tuple[str, ...], keep: tuple[str, ...]) -> None:
    for name in (*files, *keep):
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise SandboxError(f"{name!r} is no path inside the scratch folder; give it relative and without '..'")
    for name, content in files.items():
        if not isinstance(content, bytes):
            raise SandboxError(f"the content of {name!r} must be bytes, not {type(content).__name__}")
    for argument in (*argv, *files):
        if not isinstance(argument, str) or "\0" in argument:
            raise SandboxError(f"{argument!r} cannot be an argument or a name of a file")
        try:
            os.fsencode(argument)
        except UnicodeEncodeError:
            raise SandboxError(f"{argument!r} cannot be written as UTF-8") from None


def as_request(program: Python | Command) -> tuple[dict[str, Any], list[bytes]]:
    """The header and the blobs in which a program travels to a worker."""
    limits = program.limits
    header: dict[str, Any] = {
        "kind": "python" if isinstance(program, Python) else "command",
        "argv": list(program.argv),
        "files": list(program.files),
        "keep": list(program.keep),
        "limits": {name: getattr(limits, name) for name in limits.__slots__},
    }
    blobs = [program.stdin, *program.files.values()]
    if isinstance(program, Python):
        blobs.append(program.source.encode("utf-8", "surrogatepass"))
    else:
        header["env"] = dict(program.env)
        header["executable"] = list(program.executable)
    return header, blobs
