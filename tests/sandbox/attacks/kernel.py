"""Ways out through the kernel: namespaces, mounts, tracing, and calls that sandboxes have died of."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, say, syscall, unreachable


@attack()
def unshares_namespaces():
    """A new user namespace would hand out every capability inside it; none of the eight can be made."""
    for flag in (0x10000000, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000, 0x80):
        with forbidden(f"unshare({flag:#x})"):
            syscall("unshare", flag)
        with forbidden(f"unshare({flag:#x}) with a user namespace"):
            syscall("unshare", flag | 0x10000000)


@attack()
def clones_into_namespaces():
    """The same by clone, by clone3, and with flags that a 32-bit comparison would miss."""
    import ctypes
    import os

    for flag in (0x10000000, 0x20000000, 0x00020000, 0x40000000):
        with forbidden(f"clone({flag:#x})"):
            if syscall("clone", flag | 17, 0, 0, 0, 0) == 0:
                os._exit(0)
        arguments = (ctypes.c_uint64 * 11)(flag, 0, 0, 0, 17)
        with forbidden(f"clone3({flag:#x})"):
            if syscall("clone3", ctypes.addressof(arguments), 88) == 0:
                os._exit(0)


@attack()
def enters_namespaces_of_others(caller_pid):
    """setns by the links of init, of the parent and of the caller, and by a pidfd."""
    import os

    for number in {1, os.getppid(), caller_pid, os.getpid()}:
        for name in ("user", "mnt", "net", "pid", "ipc", "uts"):
            with forbidden(f"setns {number}/{name}"):
                syscall("setns", os.open(f"/proc/{number}/ns/{name}", os.O_RDONLY), 0)
        with forbidden(f"setns by a pidfd of {number}"):
            syscall("setns", os.pidfd_open(number), 0x20000)


@attack()
def asks_a_namespace_for_its_parent():
    """The ioctl that opens the owning or parent namespace leads nowhere."""
    import fcntl
    import os

    for name, request in (("user", 0xB701), ("user", 0xB702), ("pid", 0xB702)):  # NS_GET_USERNS, NS_GET_PARENT
        with forbidden(f"the namespace above {name}"):
            fcntl.ioctl(os.open(f"/proc/self/ns/{name}", os.O_RDONLY), request)


@attack()
def mounts():
    """tmpfs, proc, bind, remount and unmount by the old calls."""
    for source, target, kind, flags in (
        (b"none", b".", b"tmpfs", 0),
        (b"proc", b".", b"proc", 0),
        (b"sysfs", b".", b"sysfs", 0),
        (b"/", b".", None, 4096),
        (None, b"/", None, 32 | 4096),
        (None, b"/", None, 1 << 18 | 16384),
    ):
        with forbidden(f"mount {source} {kind} {flags:#x}"):
            syscall("mount", source or 0, target, kind or 0, flags, 0)
    for target in (b"/proc", b"/tmp", b"/", b".", b"/dev"):
        with forbidden(f"umount {target}"):
            syscall("umount2", target, 2)


@attack()
def mounts_by_the_new_calls():
    """fsopen, open_tree, move_mount and mount_setattr, which filters written before 2019 let through."""
    unreachable("fsopen", b"tmpfs", 0)
    unreachable("open_tree", -100, b"/", 1)
    unreachable("move_mount", -100, b"/", -100, b".", 0)
    unreachable("mount_setattr", -100, b"/", 0, 0, 0)


@attack()
def escapes_from_chroot():
    """chroot into a folder and out again by an open descriptor, as root without further walls could."""
    import os

    os.mkdir("jail")
    with forbidden("chroot"):
        os.chroot("jail")
    with forbidden("pivot_root"):
        syscall("pivot_root", b".", b".")


@attack()
def uses_kernel_keyrings():
    """Keyrings keep what they are given beyond the run."""
    unreachable("keyctl", 0, -3, 1)
    unreachable("add_key", b"user", b"starloom-bait", b"left", 4, -4)
    unreachable("request_key", b"user", b"starloom-bait", 0, 0)


@attack()
def uses_the_big_doors():
    """bpf, io_uring, userfaultfd and perf: most kernel exploits of the last years came through these four."""
    import ctypes

    room = ctypes.addressof(ctypes.create_string_buffer(256))
    unreachable("bpf", 0, room, 128)
    unreachable("io_uring_setup", 8, room)
    unreachable("userfaultfd", 1)
    unreachable("perf_event_open", room, 0, -1, -1, 0)


@attack()
def administers_the_machine():
    """Modules, kexec, reboot, swap, accounting, quotas, clocks, host name: nothing of the administrator's answers."""
    import time

    unreachable("init_module", 0, 0, 0)
    unreachable("finit_module", -1, b"", 0)
    unreachable("delete_module", b"starloom_no_such_module", 0)
    unreachable("kexec_load", 0, 0, 0, 0)
    unreachable("reboot", 0, 0, 0, 0)
    unreachable("swapon", b"/starloom-no-such-file", 0)
    unreachable("acct", b"/starloom-no-such-file")
    unreachable("quotactl", 0, 0, 0, 0)
    unreachable("sethostname", 1, -1)
    unreachable("settimeofday", 1, 1)
    unreachable("syslog", 10, 0, 0)
    unreachable("vhangup")
    with forbidden("the clock set"):
        time.clock_settime(time.CLOCK_REALTIME, time.time())


@attack()
def opens_files_by_handle():
    """open_by_handle_at walks around every path ("shocker", 2014)."""
    import ctypes

    handle = ctypes.create_string_buffer(b"\x08\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0", 136)
    unreachable("open_by_handle_at", -100, ctypes.addressof(handle), 0)
    unreachable("name_to_handle_at", -100, b"/", ctypes.addressof(handle), ctypes.addressof(handle) + 64, 0)
    unreachable("fanotify_init", 0, 0)


@attack()
def traces_processes():
    """ptrace is not there at all: not for a child of one's own (CVE-2019-13272), not for init or the parent."""
    import os

    for number in {1, os.getppid(), 0}:
        unreachable("ptrace", 16, number, 0, 0)
        unreachable("ptrace", 0x4206, number, 0, 0)
    unreachable("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0)
    unreachable("process_vm_writev", os.getpid(), 0, 0, 0, 0, 0)
    unreachable("pidfd_getfd", -1, 0, 0)
    unreachable("kcmp", os.getpid(), os.getpid(), 0, 0, 0)


@attack()
def moves_pages_of_others():
    """NUMA calls and madvise on another process."""
    import os

    unreachable("move_pages", os.getppid(), 0, 0, 0, 0, 0)
    unreachable("migrate_pages", os.getppid(), 0, 0, 0)
    unreachable("process_madvise", -1, 0, 0, 0, 0)


@attack()
def runs_a_program_from_memory():
    """A program in a memfd, in a pipe or in a deleted file needs no path that a rule could name."""
    import os

    with forbidden("a program in a memfd"):
        descriptor = syscall("memfd_create", b"hidden", 0)
        with open("/bin/true", "rb") as source:
            os.write(descriptor, source.read())
        os.execve(descriptor, ["true"], {})
    unreachable("memfd_secret", 0)


@attack(ends=("signaled", "exited"), says="")
def enters_the_kernel_by_the_old_door():
    """32-bit calls (int 0x80) and x32 numbers are other tables than the filter's."""
    import ctypes
    import mmap
    import platform
    import subprocess
    import sys

    if platform.machine() == "x86_64":
        for number in (39 | 0x40000000, 272 | 0x40000000):
            x32 = f"import ctypes; l = ctypes.CDLL(None, use_errno=True); print('ESCAPED x32' if l.syscall({number}, 0) != -1 or ctypes.get_errno() == 22 else 'refused: x32')"
            say(
                subprocess.run([sys.executable, "-c", x32], capture_output=True, text=True).stdout.strip()
                or "refused: x32 was killed"
            )
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(
            b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"
        )  # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
        answer = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        say(f"ESCAPED int 0x80 answers {answer}" if answer > 0 else f"refused: int 0x80 gives {answer}")


@attack()
def loads_a_filter_of_its_own():
    """A further filter may forbid more, never allow; a listener that decides for others is not handed out."""
    import ctypes
    import os

    class Program(ctypes.Structure):
        _fields_ = [("size", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    allow = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\xff\x7f")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(22, 2, ctypes.byref(Program(1, ctypes.addressof(allow))), 0, 0)
    with forbidden("a socket after an allowing filter"):
        syscall("socket", 2, 1, 0)
    with forbidden("unshare after an allowing filter"):
        syscall("unshare", 0x10000000)
    with forbidden("no_new_privs taken back"):
        if libc.prctl(38, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
