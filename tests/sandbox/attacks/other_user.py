"""Becomes another user of the host, who can reach the interpreter and this checkout even below a closed home folder."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from sandbox.attacks.docker_like import LIBC, checked

BIND, RECURSIVE, PRIVATE = 4096, 16384, 1 << 18


def become(user: int, needed: list[str]) -> None:
    """Starts this program anew as `user`, in a mount namespace where closed folders above `needed` are open. Needs root."""
    checked(LIBC.unshare(0x00020000), "unshare")
    checked(LIBC.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None), "private mounts")
    paths = sorted({str(Path(one).resolve()) for one in (*needed, sys.prefix, sys.base_prefix)})
    paths = [path for path in paths if not any(path.startswith(other + "/") for other in paths)]
    closed: dict[str, list[tuple[str, int]]] = {}
    for path in paths:
        for above in reversed(Path(path).parents):
            if not above.stat().st_mode & 1:
                closed.setdefault(str(above), []).append((path, os.open(path, os.O_PATH)))
                break
    for above, inner in closed.items():
        checked(LIBC.mount(b"none", above.encode(), b"tmpfs", 0, b"mode=755"), above)
        for path, descriptor in inner:
            Path(path).mkdir(parents=True)
            checked(
                LIBC.mount(f"/proc/self/fd/{descriptor}".encode(), path.encode(), None, BIND | RECURSIVE, None), path
            )
            os.close(descriptor)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: exec sets it anyway
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
