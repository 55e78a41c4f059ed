"""What hostile programs have in hand: this file's text stands before each of them (standard library only).

Weapons are blunt, so that a hole in the sandbox costs a failed test and not the machine: a signal is SIGWINCH, a write
goes to a canary, a flood stops by itself after `PATIENCE_S`, a dangerous call gets arguments that do nothing.
"""

import contextlib
import ctypes
import errno
import os
import platform
import time

PATIENCE_S = 20  # a flood that nobody stopped ends by itself: far beyond every limit of the suite
ARM = platform.machine() == "aarch64"
# name: number on x86_64, on aarch64 (Linux `unistd_64.h`, `asm-generic/unistd.h`); from 424 on all machines agree
CALLS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "execveat": (322, 281),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lsm_get_self_attr": (459, 459),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "semget": (64, 190),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "socket": (41, 198),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def say(text):
    """One line to standard output, past every buffer and every patched `print`."""
    os.write(1, (text + "\n").encode("utf-8", "replace"))


def syscall(name, *values):
    """A system call by number; what the kernel answered, or OSError."""
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in values]
    answer = LIBC.syscall(ctypes.c_long(CALLS[name][ARM]), *wide)
    if answer == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return answer


@contextlib.contextmanager
def forbidden(what):
    """The body must be refused by the system: coming to its end is an escape, any other error is a broken attack."""
    try:
        yield
    except OSError as refusal:
        say(f"refused: {what}: {errno.errorcode.get(refusal.errno or 0, refusal)}")
    else:
        say(f"ESCAPED {what}")


def unreachable(name, *values):
    """The call must end in the filter (EPERM, ENOSYS, EACCES): an answer about its arguments comes from the kernel behind it."""
    try:
        answer = syscall(name, *values)
    except OSError as refusal:
        if refusal.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            say(f"refused: {name}: {errno.errorcode[refusal.errno]}")
        else:
            say(f"ESCAPED {name} reaches the kernel: {errno.errorcode.get(refusal.errno or 0, refusal)}")
    else:
        say(f"ESCAPED {name} answers {answer}")


def bounded(what, count, most):
    """A flood that got no further than its limit was held."""
    say(f"refused: {what} after {count}" if count <= most else f"ESCAPED {what}: {count}, the limit is {most}")


def spill(path, size=1 << 20):
    """Prints what a file holds; the judge outside looks for the caller's secret in it."""
    try:
        with open(path, "rb") as file:
            data = file.read(size)
    except OSError as refusal:
        say(f"refused: {path}: {errno.errorcode.get(refusal.errno or 0, refusal)}")
    else:
        say(f"refused: {path} is another's, or empty: {len(data)} bytes")
        os.write(1, data + b"\n")


def patience():
    """True until the flood has lasted long enough; a sandbox ends it long before."""
    return time.monotonic() < BEGAN + PATIENCE_S


BEGAN = time.monotonic()
