"""A process like one in a default Docker container: no new namespaces, no mounts, few capabilities, /sys read-only.

After moby's default seccomp profile and capability list (profiles/seccomp/default.json, daemon/pkg/oci/caps/defaults.go);
only the calls that a sandbox could want are listed. Landlock's calls are allowed there, as they are here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
from pathlib import Path

ARM = platform.machine() == "aarch64"
ARCHITECTURE = 0xC00000B7 if ARM else 0xC000003E  # AUDIT_ARCH_AARCH64, AUDIT_ARCH_X86_64
DENIED = {  # name: number on x86_64, on aarch64
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
}
CLONE, CLONE3 = (220, 435) if ARM else (56, 435)
NEW_NAMESPACES = 0x7E020000  # CLONE_NEW{CGROUP,UTS,IPC,USER,PID,NET,NS}: 2114060288 in the profile
LOAD, EQUAL, ANY_BIT, ANSWER = 0x20, 0x15, 0x45, 0x06
KEPT = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)  # chown … setfcap: capabilities of a default container
LIBC = ctypes.CDLL(None, use_errno=True)


def filter_program() -> bytes:
    """The filter as classic BPF: foreign architectures and the listed calls are refused, all else is allowed."""
    steps: list[tuple[int, int, int, int]] = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, ARCHITECTURE),
        (ANSWER, 0, 0, 0x50000 | errno.EPERM),
    ]
    steps.append((LOAD, 0, 0, 0))
    for number in (pair[ARM] for pair in DENIED.values()):
        steps += [(EQUAL, 0, 1, number), (ANSWER, 0, 0, 0x50000 | errno.EPERM)]
    steps += [(EQUAL, 0, 1, CLONE3), (ANSWER, 0, 0, 0x50000 | errno.ENOSYS)]
    steps += [
        (EQUAL, 0, 3, CLONE),
        (LOAD, 0, 0, 16),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        (ANSWER, 0, 0, 0x50000 | errno.EPERM),
    ]
    steps.append((ANSWER, 0, 0, 0x7FFF0000))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def checked(answer: int, what: str) -> None:
    if answer != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def enter_docker_like() -> None:
    """This process and its children become like a container's; root keeps its number and few of its rights."""
    if os.getuid() == 0:
        checked(LIBC.unshare(0x00020000), "unshare")
        checked(LIBC.mount(b"none", b"/", None, 1 << 18 | 16384, None), "private mounts")
        for line in Path("/proc/self/mounts").read_text().splitlines():
            target = line.split()[1]
            if target.startswith("/sys"):  # read-only, as Docker mounts it
                with contextlib.suppress(OSError):
                    checked(LIBC.mount(b"none", target.encode(), None, 32 | 4096 | 1, None), target)
        for number in range(64):
            if number not in KEPT:
                LIBC.prctl(24, number, 0, 0, 0)  # PR_CAPBSET_DROP
    program = ctypes.create_string_buffer(filter_program())

    class Program(ctypes.Structure):
        _fields_ = [("size", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    if os.getuid() != 0:
        checked(LIBC.prctl(38, 1, 0, 0, 0), "no_new_privs")
    checked(LIBC.prctl(22, 2, ctypes.byref(Program(len(program) // 8, ctypes.addressof(program))), 0, 0), "seccomp")
    if os.getuid() == 0:
        low = sum(1 << number for number in KEPT)
        header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)
        checked(LIBC.capset(header, sets), "capset")
