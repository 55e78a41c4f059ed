"""The system calls that Python 3.11 does not offer, through ctypes; x86_64 and aarch64."""

from __future__ import annotations

import ctypes
import os
import signal
import struct

MACHINE = os.uname().machine
libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL keeps the lock: a fork inside a call that let it go could lose it

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
AT_RECURSIVE = 0x8000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_SET_SECUREBITS = 36, 38, 28
SECCOMP_MODE_FILTER = 2

NUMBERS = {  # syscalls called by number: x86_64, aarch64 (linux/arch/*/entry/syscalls)
    "clone": (56, 220),
    "pivot_root": (155, 41),
    "capset": (126, 91),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
SUPPORTED = {"x86_64": 0, "aarch64": 1}


def number(name: str) -> int:
    return NUMBERS[name][SUPPORTED[MACHINE]]


def failed(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")


def syscall(name: str, *arguments: object) -> int:
    """A system call by its name. Raises OSError."""
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(libc.syscall(ctypes.c_long(number(name)), *passed))
    if result < 0:
        raise failed(name)
    return result


def unshare(flags: int) -> None:
    if libc.unshare(flags):
        raise failed("unshare")


def fork_into(flags: int) -> int:
    """fork() into new namespaces: 0 in the child, which is process 1 of a new pid namespace. One thread only."""
    zero = ctypes.c_long(0)
    pid = int(
        libc.syscall(ctypes.c_long(number("clone")), ctypes.c_long(flags | signal.SIGCHLD), zero, zero, zero, zero)
    )
    if pid < 0:
        raise failed("clone")
    return pid


def prctl(option: int, argument: int = 0, more: object = 0) -> int:
    passed = more if not isinstance(more, int) else ctypes.c_ulong(more)
    result = int(libc.prctl(option, ctypes.c_ulong(argument), passed, ctypes.c_ulong(0), ctypes.c_ulong(0)))
    if result < 0:
        raise failed(f"prctl {option}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    name = kind.encode() if kind is not None else None
    if libc.mount(os.fsencode(source), os.fsencode(target), name, ctypes.c_ulong(flags), options.encode() or None):
        raise failed(f"mount {target}")


def bind(source: str, target: str, flags: int) -> None:
    """Show `source` at `target`, with everything mounted below it, and set flags on all of it (Linux 5.12)."""
    mount(source, target, None, MS_BIND | MS_REC)
    set_flags(target, flags, recursive=True)


def set_flags(target: str, flags: int, *, recursive: bool) -> None:
    """Add mount flags; MS_RDONLY, NOSUID, NODEV and NOEXEC have the same bits as MOUNT_ATTR_*."""
    attributes = struct.pack("<QQQQ", flags, 0, 0, 0)
    at_fdcwd = -100
    syscall(
        "mount_setattr", at_fdcwd, os.fsencode(target), AT_RECURSIVE if recursive else 0, attributes, len(attributes)
    )


def unmount(target: str) -> None:
    if libc.umount2(os.fsencode(target), MNT_DETACH):
        raise failed(f"umount {target}")


def drop_bounding(kept: int | None = None) -> None:
    """No exec brings back a capability, but the one that is kept."""
    for capability in range(64):
        if capability != kept and libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0):
            break  # past the last one that this kernel knows, or not allowed to: then none is held


_OWN = struct.pack("<Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
_NONE = bytes(24)


def set_capabilities(held: int) -> None:
    """Hold these capabilities and no others; they can be passed on."""
    low, high = held & 0xFFFFFFFF, held >> 32
    if libc.capset(_OWN, struct.pack("<6I", low, low, low, high, high, high) if held else _NONE):
        raise failed("capset")
