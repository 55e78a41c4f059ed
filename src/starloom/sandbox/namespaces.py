"""The namespaces tier: a worker in user, mount, network, IPC and UTS namespaces of its own; a run in pid and mount ones."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from starloom.sandbox import kernel, root

INSIDE = 1000  # the user and group that a program sees itself as
NOBODY = 65534  # who it is on the host when the caller is root: owns nothing there

OWN = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP


def enter(read: list[str]) -> None:
    """Move this process, which has one thread, into its namespaces and its root. Raises OSError where the kernel refuses."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and _mounts_as_root():
        root.build(read)  # as root, who reaches every file; programs then reach those that others may read
        _user_namespace([f"0 0 1\n{INSIDE} {NOBODY} 1\n"] * 2, keep_groups=True)
        kernel.unshare(kernel.CLONE_NEWNS | OWN)
    else:
        _user_namespace([f"{INSIDE} {uid} 1\n", f"{INSIDE} {gid} 1\n"], keep_groups=False)
        kernel.unshare(kernel.CLONE_NEWNS | OWN)
        root.build(read)
    socket.sethostname("sandbox")


def _mounts_as_root() -> bool:
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
    except OSError:
        return False  # root in a container without CAP_SYS_ADMIN: goes the ordinary user's way
    return True


def _user_namespace(maps: list[str], *, keep_groups: bool) -> None:
    """unshare(CLONE_NEWUSER); the maps are written by a child outside where they need its privilege, else from inside."""
    if not keep_groups:
        kernel.unshare(kernel.CLONE_NEWUSER)
        _write_maps("self", maps, keep_groups)
        return
    ready_r, ready_w = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(ready_w)
            os.read(ready_r, 1)
            _write_maps(str(parent), maps, keep_groups)
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


def _write_maps(process: str, maps: list[str], keep_groups: bool) -> None:
    if not keep_groups:
        Path(f"/proc/{process}/setgroups").write_text("deny")
    Path(f"/proc/{process}/uid_map").write_text(maps[0])
    Path(f"/proc/{process}/gid_map").write_text(maps[1])
