"""Disk, descriptors and limits: each flood is stopped at its limit, and what it filled is free again for the next run."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import bounded, forbidden, say

FULL = ("exited", "out_of_memory", "signaled")  # refused by the file system, or ended by the watchdog


@attack(ends=FULL)
def scratch_filled():
    """The scratch folder ends at `scratch_bytes`, over however many files."""
    size = 0
    try:
        for number in range(64):
            with open(f"full-{number}", "wb", buffering=0) as file:
                size += file.write(b"f" * (1 << 20))
    except OSError as refusal:
        bounded(f"scratch: {refusal.strerror}", size, 40 << 20)
    else:
        say(f"ESCAPED {size} bytes")


@attack(ends=FULL)
def scratch_filled_by_files_without_a_name():
    """Files that were removed while they are open, or never had a name (O_TMPFILE), take space that no listing shows."""
    import os
    import time

    size, held = 0, []
    try:
        for number in range(40):
            try:
                held.append(os.open(".", os.O_TMPFILE | os.O_RDWR))
            except OSError:
                held.append(os.open(f"gone-{number}", os.O_CREAT | os.O_RDWR))
                os.unlink(f"gone-{number}")
            for _ in range(3):
                size += os.write(held[-1], b"g" * (1 << 20))
    except OSError as refusal:
        bounded(f"scratch: {refusal.strerror}", size, 40 << 20)
    else:
        time.sleep(2)
        say(f"ESCAPED {size} bytes without a name, held for 2 s")


@attack(ends=FULL)
def scratch_filled_by_mapped_files_without_a_name():
    """The same with the descriptor closed: only a map holds the file."""
    import mmap
    import os
    import time

    size, held = 0, []
    try:
        for number in range(40):
            descriptor = os.open(f"gone-{number}", os.O_CREAT | os.O_RDWR)
            os.unlink(f"gone-{number}")
            for _ in range(3):
                size += os.write(descriptor, b"g" * (1 << 20))
            held.append(mmap.mmap(descriptor, 3 << 20))
            os.close(descriptor)
    except (OSError, MemoryError) as refusal:
        bounded(f"scratch: {refusal}", size, 40 << 20)
    else:
        time.sleep(2)
        say(f"ESCAPED {size} bytes without a name, mapped for 2 s")


@attack(ends=FULL)
def scratch_filled_in_the_dark():
    """A folder that may be written but not listed, and one whose path is too long to be named, are counted too."""
    import os
    import time

    size = 0
    try:
        os.mkdir("dark", 0o300)
        os.mkdir("dark/deep")
        os.chdir("dark/deep")
        for _ in range(70):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
        for number in range(20):
            with open(f"full-{number}", "wb", buffering=0) as file:
                size += file.write(b"f" * (2 << 20))
        time.sleep(2)
    except OSError as refusal:
        bounded(f"scratch: {refusal.strerror}", size, 32 << 20)
    else:
        say(f"ESCAPED {size} bytes where nobody looks")


@attack(ends=FULL)
def scratch_full_of_empty_files():
    """Inodes run out at `scratch_files`, long before the disk notices."""
    made = 0
    try:
        for number in range(60_000):
            open(f"{number:05d}", "xb").close()
            made += 1
    except OSError as refusal:
        bounded(f"files: {refusal.strerror}", made, 4 * 512)
    else:
        say(f"ESCAPED {made} files")


@attack(ends=FULL)
def scratch_full_of_links():
    """Folders, symbolic and hard links count as files do."""
    import os

    made = 0
    try:
        for number in range(20_000):
            os.mkdir(f"d{number}")
            os.symlink("nowhere", f"d{number}/s")
            made += 2
    except OSError as refusal:
        bounded(f"folders: {refusal.strerror}", made, 4 * 512)
    else:
        say(f"ESCAPED {made} folders and links")


@attack(ends=("exited", "signaled"))
def one_huge_file():
    """RLIMIT_FSIZE holds for one file, with SIGXFSZ ignored too."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = 0
    try:
        with open("huge", "wb", buffering=0) as file:
            for _ in range(64):
                size += file.write(b"h" * (1 << 20))
    except OSError as refusal:
        bounded(f"one file: {refusal.strerror}", size, 4 << 20)
    else:
        say(f"ESCAPED {size} bytes in one file")


@attack(ends=("exited", "signaled"), keep=("sparse",))
def sparse_file():
    """A hole of a terabyte costs no disk, but whoever copies it pays: it cannot be made."""
    import os
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("sparse", "wb") as file:
        with forbidden("a hole of a terabyte"):
            os.ftruncate(file.fileno(), 1 << 40)
        with forbidden("a byte behind a terabyte"):
            os.pwrite(file.fileno(), b"x", 1 << 40)


@attack(ends=("exited", "signaled"))
def file_allocated_at_once():
    """posix_fallocate takes blocks without a write."""
    import os
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("blocks", "wb") as file, forbidden("a gigabyte allocated"):
        os.posix_fallocate(file.fileno(), 0, 1 << 30)


@attack()
def open_files():
    """Descriptors end at `open_files`."""
    import os

    held = []
    try:
        while len(held) < 100_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as refusal:
        for descriptor in held:
            os.close(descriptor)
        bounded(f"descriptors: {refusal.strerror}", len(held), 64)
    else:
        say("ESCAPED 100,000 descriptors")


@attack()
def kernel_watchers():
    """epoll, eventfd, timerfd and inotify objects are descriptors, and bounded so."""
    import os
    import select

    held = []
    try:
        while len(held) < 4096:
            held.append(select.epoll())
            held.append(os.eventfd(0))
    except OSError as refusal:
        count = len(held)
        held = None
        bounded(f"watchers: {refusal}", count, 64)
    else:
        say("ESCAPED 4096 watchers")


@attack(ends=("exited",), says="refused:")
def standard_input_is_not_the_callers():
    """Standard input ends where the program's own input ends; a terminal or pipe of the caller's is not there."""
    import sys

    text = sys.stdin.read()
    say(f"refused: {text!r}" if text == "" else f"ESCAPED {text!r}")


@attack(ends=("exited", "signaled"))
def limits_raised():
    """Hard limits cannot be raised again, nor soft ones beyond them, nor those of any other process."""
    import os
    import resource

    for name in (
        "RLIMIT_AS",
        "RLIMIT_DATA",
        "RLIMIT_CPU",
        "RLIMIT_FSIZE",
        "RLIMIT_NOFILE",
        "RLIMIT_NPROC",
        "RLIMIT_CORE",
    ):
        limit = getattr(resource, name)
        _, hard = resource.getrlimit(limit)
        if hard != resource.RLIM_INFINITY:
            with forbidden(f"{name} raised"):
                try:
                    resource.setrlimit(limit, (hard + 1, hard + 1))
                except ValueError as refusal:
                    raise OSError(str(refusal)) from None
    for process in (os.getppid(), 1):
        if process not in (0, os.getpid()):
            with forbidden(f"a limit of process {process} set"):
                resource.prlimit(process, resource.RLIMIT_NOFILE, (1024, 1024))


@attack(ends=("signaled", "exited"))
def dumps_core():
    """A crash leaves no core file: neither in scratch nor through the host's core pattern."""
    import ctypes
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    say("refused: core" if hard == 0 else f"ESCAPED core files of {soft}, {hard} bytes")
    ctypes.string_at(8)


@attack(ends=(*FULL, "out_of_cpu"), keep=("**/*",), cpu_s=0.3)
def folders_without_bottom():
    """Ten thousand folders inside each other are cleaned away all the same: no recursion, no path limit."""
    import os

    depth = 0
    try:
        for _ in range(10_000):
            os.mkdir("d" * 60)
            os.chdir("d" * 60)
            depth += 1
    except OSError as refusal:
        bounded(f"depth: {refusal.strerror}", depth, 4 * 512)
    else:
        say("refused: none, but this is only awkward")


@attack(keep=("*",))
def folders_that_refuse_cleaning():
    """Folders without permissions and files with awkward names go with the run."""
    import os

    os.makedirs("locked/inner")
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b"\x1b[2J", "ü".encode()):
        with open(b"locked/inner/" + name, "wb") as file:
            file.write(b"x")
    os.chmod("locked/inner", 0)
    os.chmod("locked", 0)
    os.chmod(".", 0)
    say("refused: nothing; the cleaning is the test")
