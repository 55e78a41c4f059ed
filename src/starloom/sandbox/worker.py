"""The caller's side of one worker: starts its process, sends programs, reads what came of them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from starloom.errors import SandboxError
from starloom.sandbox import scratch, wire
from starloom.sandbox.programs import Command, Outcome, Python, as_request

# The worker's interpreter knows this package by its folder alone: nothing else of starloom is imported, or stays visible.
BOOT = """import sys, types
for name, path in (("starloom", {package!r}), ("starloom.sandbox", {package!r} + "/sandbox")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from starloom.sandbox.zygote import main
main({descriptor})
"""
ENDS_WITHIN_S = 10.0  # our choice
NOTHING: Mapping[str, int] = MappingProxyType({})
PACKAGE = Path(__file__).resolve().parent.parent


class Worker:
    """One process that runs one program after the other."""

    def __init__(self, config: dict[str, Any], python: Path) -> None:
        self.config = config
        self.python = python
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: socket.socket | None = None
        self.folder: str | None = None

    def start(self) -> dict[str, Any]:
        """Start the process: what it says of itself. Raises SandboxError when it cannot make its tier."""
        config = self.config | {"temporary": tempfile.gettempdir(), "hidden": [str(PACKAGE / "problems")]}
        ours, theirs = socket.socketpair()
        with theirs:
            boot = BOOT.format(package=str(PACKAGE), descriptor=theirs.fileno())
            try:
                self.process = subprocess.Popen(
                    [str(self.python), "-s", "-P", "-B", "-X", "utf8", "-c", boot],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    env={"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}, cwd="/", pass_fds=(theirs.fileno(),), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise SandboxError(
                    f"{self.python} cannot be started: {error}; give python= another interpreter"
                ) from None
        self.connection = ours
        try:
            wire.send(ours, config, [], [])
            answer = wire.receive(ours)
        except BaseException:
            self.close()
            raise
        if answer is None or "problem" in answer[0]:
            said = self.close().strip().rpartition("\n")[2]
            raise SandboxError(
                f"{config['tier']} tier: {answer[0]['problem'] if answer else said or 'its worker ended'}"
            )
        self.folder = answer[0].get("folder")
        return answer[0]

    def close(self) -> str:
        """End the process and everything that it runs; what it said on standard error."""
        said = b""
        if self.connection is not None:
            self.connection.close()
        if self.process is not None:
            try:
                self.process.wait(ENDS_WITHIN_S)  # it kills its run, removes its folder and ends
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)  # it and the process that guards it
                self.process.wait()
            if self.process.stderr is not None:
                os.set_blocking(self.process.stderr.fileno(), False)
                said = self.process.stderr.read() or b""
                self.process.stderr.close()
        if self.folder is not None and os.path.lexists(self.folder):  # the process was killed before it could
            scratch.empty(self.folder)
            os.rmdir(self.folder)
        self.process = self.connection = self.folder = None
        return said.decode("utf-8", "replace")

    def begin(
        self, program: Python | Command, talk: socket.socket | None = None, lend: Mapping[str, int] = NOTHING
    ) -> None:
        """Send a program. A worker that died since is started again."""
        header, blobs = as_request(program)
        header["lent"] = list(lend)
        for last in (False, True):
            if self.connection is None:
                self.start()
            assert self.connection is not None
            try:
                wire.send(self.connection, header, blobs, [talk.fileno(), *lend.values()] if talk is not None else [])
                return
            except (BrokenPipeError, ConnectionResetError):
                self.close()
                if last:
                    raise SandboxError(
                        "a worker ended twice before it took a program; is something killing processes?"
                    ) from None

    def finish(self) -> Outcome:
        """Wait for what came of the program."""
        assert self.connection is not None
        try:
            answer = wire.receive(self.connection)
        except ConnectionResetError:
            answer = None
        if answer is None:
            self.close()
            return Outcome("lost", detail="the worker was killed; it is started again for the next program")
        header, (stdout, stderr, *kept), _ = answer
        return Outcome(
            header["status"], header.get("code"), header.get("signal"), stdout, stderr,
            dict(zip(header["kept"], kept, strict=True)), header.get("wall_s", 0.0), header.get("cpu_s", 0.0),
            header.get("peak", 0), header.get("detail", ""),
        )  # fmt: skip

    def end(self, *, soon: bool = False) -> None:
        """Ask for the end of the run that goes on; `soon`: only if it does not end by itself in a moment."""
        if self.connection is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.connection.send(b"s" if soon else b"e")


def interpreter_paths(python: Path) -> list[str]:
    """The folders of an interpreter that programs may read: libraries and binaries, not whatever else lies in its prefix."""
    if python == Path(sys.executable):
        prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    else:
        code = "import sys; print(sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, sep='\\n')"
        try:
            asked = subprocess.run([str(python), "-c", code], env={}, capture_output=True, text=True, check=False)
        except OSError as error:
            raise SandboxError(f"{python} cannot be started: {error.strerror}; give python= an interpreter") from None
        if asked.returncode:
            said = asked.stderr.strip()[-200:]
            raise SandboxError(f"{python} is no working interpreter: {said}; give python= another")
        prefixes = asked.stdout.splitlines()
    found = []
    for prefix in dict.fromkeys((*prefixes, *(str(Path(p).resolve()) for p in prefixes))):
        for name in ("bin", "lib", "lib64", "libexec", "share", "ssl", "pyvenv.cfg"):
            found.append(f"{prefix}/{name}")
    return found
