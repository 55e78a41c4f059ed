"""The Landlock tier, for where namespaces are forbidden: a process that may open only what it was given.

What is covered: opening, listing, executing, making, removing and truncating files anywhere but in the scratch folder and
the read-only list; signals and abstract sockets to processes outside (Linux 6.12; before, by `policy.py`); tracing.
What is not covered: that a path exists, its size, owner and times can be asked for (stat); the list of processes cannot
be read, but their numbers are the host's; modes and times cannot be changed at all, not even in the scratch folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import resource
import signal
import stat
import struct
import time
from typing import Any, NamedTuple

from starloom.sandbox import kernel, root, scratch, seccomp, watch

# linux/landlock.h
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = (
    1 << bit for bit in range(6, 16)
)
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR
SINCE = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # ABI → rights that came with it
TCP = 3  # bind and connect, ABI 4
SCOPES = 3  # abstract sockets and signals, ABI 6
HIGH = 256  # descriptors from here on are not in the way when a program's own are put in their places
PREFIX = "starloom-sandbox-"  # of the workers' folders
CREATE_VERSION, RULE_PATH = 1, 1

DEVICES = ("null", "zero", "full", "random", "urandom")
PROC = ("cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys/vm/overcommit_memory",
        "sys/vm/max_map_count", "sys/kernel/osrelease", "sys/kernel/pid_max")  # fmt: skip
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 47, 2
OWN_USERS = 1_500_000_000  # a worker of root's runs programs as this plus its process number: nobody else's user
SPARE = 128  # tasks that a user may start elsewhere meanwhile, runs beside this one included: our choice
COUNTED_S = 1.0  # how long a count of the user's tasks is good for: our choice
NOBODY = 65534  # where a container knows no such high numbers


def abi() -> int:
    """The kernel's Landlock version; 0 where it has none, or it is switched off."""
    try:
        return kernel.syscall("landlock_create_ruleset", 0, 0, CREATE_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def rights(version: int) -> int:
    """Every file right that this version can deny."""
    return sum(more for since, more in SINCE.items() if since <= version)


class Rules(NamedTuple):
    """What a program may open: descriptors of folders and files with their rights."""

    version: int
    allowed: tuple[tuple[int, int], ...]

    def restrict(self) -> None:
        """From here on this process is bound by them, and its own /proc folder; needs no_new_privs."""
        known = rights(self.version)
        attributes = struct.pack("<Q", known)
        if self.version >= 4:
            attributes += struct.pack("<Q", TCP)
        if self.version >= 6:
            attributes += struct.pack("<Q", SCOPES)
        ruleset = kernel.syscall("landlock_create_ruleset", attributes, len(attributes), 0)
        own = os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
        for descriptor, right in (*self.allowed, (own, READ)):
            rule = struct.pack("<Qi", right & known, descriptor)
            kernel.syscall("landlock_add_rule", ruleset, RULE_PATH, rule, 0)
        kernel.syscall("landlock_restrict_self", ruleset, 0)
        os.close(own)
        os.close(ruleset)


def around(path: str, hidden: list[str]) -> list[tuple[str, int]]:
    """The rules that let a path be read, but not the folders in `hidden`: there is no rule that forbids, so what lies
    beside them is allowed, one by one."""
    real = os.path.realpath(path)
    if real in hidden:
        return []
    if not any(folder.startswith(real.rstrip("/") + "/") for folder in hidden) or not os.path.isdir(real):
        return [(path, READ)]
    inner = [entry.path for entry in os.scandir(real) if not entry.is_symlink()]
    return [(real, READ_DIR), *(rule for one in inner for rule in around(one, hidden))]


def rules(read: list[str], hidden: list[str], home: str, version: int) -> Rules:
    """The rules of one worker. Paths that are missing are left out."""
    wanted = [rule for path in read for rule in around(path, hidden)]
    wanted += [(f"/proc/{name}", READ_FILE) for name in PROC]
    wanted += [(f"/dev/{name}", READ_FILE | WRITE_FILE) for name in DEVICES]
    wanted += [(home, rights(version) & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))]
    found = []
    for path, right in wanted:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                right &= OF_A_FILE
            found.append((fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH), right))
            os.close(descriptor)
    return Rules(version, tuple(found))


def become(user: int, reads_all: int | None) -> None:
    """Give up root for a user that owns nothing; with one capability where the interpreter is readable by root alone
    (`reads_all`): Landlock still says which files that is."""
    if reads_all is not None:
        kernel.prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if reads_all is not None:
        kernel.set_capabilities(1 << reads_all)
        kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, reads_all)


def user_for(paths: list[str]) -> tuple[int, int | None]:
    """Which user programs of root's run as, and the capability that they need to read the paths, if any. Tried out in
    children. Raises OSError where no way works."""
    tried = [(user, capability) for capability in (None, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)
             for user in (OWN_USERS + os.getpid(), NOBODY)]  # fmt: skip
    for user, capability in tried:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                become(user, capability)
                code = 0 if all(_readable(path) for path in paths) else 1
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1] == 0:
            return user, capability
    raise PermissionError(f"no user but root can read {', '.join(paths)}, and root may not become another")


def _readable(path: str) -> bool:
    try:
        wanted = os.R_OK | (os.X_OK if stat.S_ISDIR(os.stat(path).st_mode) else 0)
    except (FileNotFoundError, NotADirectoryError):
        return True
    return os.access(path, wanted, effective_ids=True)


class Scratch:
    """The folder of one worker, on the host."""

    def __init__(self, temporary: str, user: int | None) -> None:
        self.folder = f"{temporary}/{PREFIX}{os.urandom(8).hex()}"
        os.mkdir(self.folder, 0o700)  # fails where something has that name
        self.home = f"{self.folder}/home"
        os.chmod(self.folder, 0o711)
        os.mkdir(self.home, 0o700)
        self.device = os.stat(self.home).st_dev
        if user is not None:
            os.chown(self.home, user, user)

    def empty(self) -> None:
        """Between two runs."""
        scratch.empty(self.home)

    def remove(self) -> None:
        """At the end."""
        scratch.empty(self.folder)
        os.rmdir(self.folder)


class Landlocked:
    """What one worker is in, and each of its runs: no namespaces, so processes are held together by their group."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Raises OSError where the kernel refuses."""
        self.version = abi()
        if not self.version:
            raise OSError(errno.ENOSYS, "this kernel has no Landlock")
        read = [*root.SYSTEM, *(f"/etc/{name}" for name in root.ETC), *config["read"]]
        self.user: int | None = None
        self.capability: int | None = None
        if os.getuid() == 0:
            self.user, self.capability = user_for([*config["read"], config["temporary"]])
        self.shared_user = self.user is None or self.user == NOBODY  # whom RLIMIT_NPROC counts elsewhere too
        self.more_processes: int | None = 0
        self.counted = -math.inf
        self.scratch = Scratch(config["temporary"], self.user)
        self.home = self.scratch.home
        self.facts: dict[str, Any] = {"user": os.getuid() if self.user is None else self.user, "landlock": self.version}
        self.facts["folder"] = self.scratch.folder
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each rule holds a descriptor
        self.rules = rules(read, config["hidden"], self.home, self.version)
        ordinary_before_6 = self.version < 6 and self.user is None
        self.filter = None if ordinary_before_6 else seccomp.Filter(seccomp.filter_for("landlock", self.version, None))

    def fork(self) -> int:
        """The worker proper. Orphans of a run become its children; should it be killed, they fall to the process that guards
        it. It does not die with that one, but sees it gone and kills its run."""
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        child = os.fork()
        if child == 0:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        return child

    def prepare(self, limits: dict[str, Any]) -> None:
        """The scratch folder is empty. A bomb of a user who has other processes may grow by SPARE beyond its own limit before
        the next look ends it, not by thousands that would starve who looks."""
        if self.shared_user and time.monotonic() > self.counted + COUNTED_S:
            user = os.getuid() if self.user is None else self.user
            self.more_processes, self.counted = watch.tasks_of(user) + SPARE, time.monotonic()

    def become(self) -> None:
        """In the process that becomes the program: a user of the worker's own, where the caller is root."""
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.user is not None:
            kernel.drop_bounding(self.capability)
            become(self.user, self.capability)

    def confine(self) -> None:
        """The last step before the program: no capability but the one to read, no new ones, Landlock, the filter."""
        if self.capability is None:
            kernel.set_capabilities(0)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        self.rules.restrict()
        (self.filter or seccomp.Filter(seccomp.filter_for("landlock", self.version, os.getpid()))).load()

    def processes(self) -> list[int]:
        """All processes of the run."""
        return watch.below(os.getpid())

    def exceeded(self, limits: dict[str, Any], processes: int) -> str:
        """Which bound the run is over that the kernel does not hold here."""
        most_bytes, most_files, most_processes = (
            int(limits[n]) for n in ("scratch_bytes", "scratch_files", "processes")
        )
        size, count = scratch.size(self.home, most_files)
        size += watch.nameless(self.processes(), self.scratch.device)
        if size > most_bytes or count > most_files:
            return f"more than {most_bytes} bytes or {most_files} files in the scratch folder"
        return f"more than {most_processes} processes" if processes > most_processes else ""

    def kill(self, program: int) -> None:
        """The whole process group at once: no process of the run could leave it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program, signal.SIGKILL)

    def after(self) -> None:
        """What lives on though it should not, and the scratch folder."""
        while left := watch.below(os.getpid()):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, 0):
                    pass
        self.scratch.empty()

    def end(self) -> None:
        """The worker ends: its folder goes."""
        self.after()
        self.scratch.remove()
