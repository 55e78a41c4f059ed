"""The namespaces tier: a worker in user, mount, network, IPC and UTS namespaces of its own; and a pid one, whose process 1 it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Any

from starloom.sandbox import kernel, root, seccomp, watch

INSIDE = 1000  # the user and group that a program sees itself as
NOBODY = 65534  # who it is on the host when the caller is root: owns nothing there

OWN = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP


class Namespaces:
    """What one worker is in, and each of its runs."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Move this process, which has one thread, into its namespaces and its root. Raises OSError where refused."""
        self.home = root.HOME
        uid, gid = os.getuid(), os.getgid()
        self.root_user = uid == 0 and _mounts_as_root()
        if self.root_user:
            root.build(
                config["read"], config["hidden"]
            )  # as root, who reaches every folder; programs read what others may read
            _user_namespace([f"0 0 1\n{INSIDE} {NOBODY} 1\n"] * 2, privileged=True)
            kernel.unshare(kernel.CLONE_NEWNS | OWN)
        else:
            _user_namespace([f"{INSIDE} {uid} 1\n", f"{INSIDE} {gid} 1\n"], privileged=False)
            kernel.unshare(kernel.CLONE_NEWNS | OWN)
            root.build(config["read"], config["hidden"])
        self.more_processes: int | None = 0 if self.root_user else 2  # the worker and process 1, the same user then
        if self.root_user:
            _check_readable(config["read"])
        socket.sethostname("sandbox")
        self.facts = {"user": NOBODY if self.root_user else uid, "landlock": 0}
        self.filter = seccomp.Filter(seccomp.filter_for("namespaces", 0, None))

    def fork(self) -> int:
        """The worker proper, as process 1 of a new pid namespace: it dies with the process that guards it, and everything in
        there with it. Its runs follow each other; each begins when nothing else lives there."""
        kernel.unshare(kernel.CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            root.own_proc()
            kernel.drop_bounding()
        return child

    def prepare(self, limits: dict[str, Any]) -> None:
        """A scratch folder for one run."""
        root.fresh_scratch(INSIDE, INSIDE, limits)

    def become(self) -> None:
        """In the process that becomes the program: a user who owns nothing on the host, where the caller is root."""
        if self.root_user:
            os.setgroups([])
            os.setresgid(INSIDE, INSIDE, INSIDE)
            os.setresuid(INSIDE, INSIDE, INSIDE)

    def confine(self) -> None:
        """The last step before the program: no capability, no new ones, the filter."""
        kernel.set_capabilities(0)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        self.filter.load()

    def processes(self) -> list[int]:
        """All processes of the run."""
        return watch.inside()

    def exceeded(self, limits: dict[str, Any], processes: int) -> str:
        """The kernel itself holds the bounds of the scratch folder and of processes here."""
        return ""

    def kill(self, program: int) -> None:
        """Every process of the pid namespace but this one, at once: no fork that is under way escapes it (kill(2), -1)."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)

    def after(self) -> None:
        """All processes are dead."""
        root.drop_scratch()

    def end(self) -> None:
        """Nothing lies on the host."""


def _check_readable(paths: list[str]) -> None:
    """Whether the user that root's programs become reads them, as far as they exist. Raises PermissionError."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setresgid(INSIDE, INSIDE, INSIDE)
            os.setresuid(INSIDE, INSIDE, INSIDE)
            code = 0 if all(os.access(path, os.R_OK) or not os.path.lexists(path) for path in paths) else 1
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        closed = [path for path in paths if os.path.lexists(path) and not os.stat(path).st_mode & 0o004]
        raise PermissionError(f"only root reads {', '.join(closed)}; chmod o+rX lets programs read it")


def _mounts_as_root() -> bool:
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
    except OSError:
        return False  # root in a container without CAP_SYS_ADMIN: goes the ordinary user's way
    return True


def _user_namespace(maps: list[str], *, privileged: bool) -> None:
    """unshare(CLONE_NEWUSER); the maps are written by a child outside where they need its privilege, else from inside."""
    if not privileged:
        kernel.unshare(kernel.CLONE_NEWUSER)
        _write_maps("self", maps, privileged)
        return
    ready_r, ready_w = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(ready_w)
            os.read(ready_r, 1)
            _write_maps(str(parent), maps, privileged)
            code = 0
        finally:
            os._exit(code)
    os.close(ready_r)
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
    finally:
        os.close(ready_w)
        _, status = os.waitpid(child, 0)
    if status:
        raise OSError("the user namespace's identities could not be mapped")
    os.setgroups([])


def _write_maps(process: str, maps: list[str], privileged: bool) -> None:
    if not privileged:
        root.write(f"/proc/{process}/setgroups", "deny")
    root.write(f"/proc/{process}/uid_map", maps[0])
    root.write(f"/proc/{process}/gid_map", maps[1])
