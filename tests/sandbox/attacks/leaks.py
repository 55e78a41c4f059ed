"""Reading and touching what is the caller's: files, home, environment, memory, descriptors.

The caller's secret (`bait.py`) must not stand in anything that comes back, whatever the program managed to open.
"""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, say, spill, syscall


@attack(bare=True)
def reads_the_callers_files(secret_file, home):
    """A file of the caller's by its full path, through `..`, /proc/self/root and the caller's home."""
    import os

    spill(secret_file)
    spill("../" * 40 + secret_file)
    spill("/proc/self/root" + secret_file)
    spill("/proc/self/cwd/" + "../" * 40 + secret_file)
    for name in (".ssh/id_ed25519", ".netrc", ".cache/token"):
        spill(os.path.join(home, name))


@attack(bare=True)
def lists_the_callers_folders(home, bait_folder):
    """Names are content too: the caller's folders cannot be listed."""
    import os

    for folder in (home, bait_folder):
        with forbidden(f"the names in {folder}"):
            say(" ".join(os.listdir(folder)))


@attack()
def reads_the_hosts_secrets():
    """Password hashes, keys of hosts and users, histories, and what init was started with."""
    import glob

    for pattern in (
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/ssh/*key",
        "/root/.*",
        "/root/.ssh/*",
        "/home/*/.ssh/*",
        "/var/run/secrets/*",
    ):
        for path in glob.glob(pattern) or [pattern]:
            with forbidden(path), open(path, "rb") as file:
                file.read(1)


@attack(bare=True)
def reads_the_callers_environment(caller_pid, sentinel_pid):
    """Own environment, that of the parent, of init and of every process in sight."""
    import os

    os.write(1, repr(dict(os.environ)).encode() + b"\n")
    numbers = {str(caller_pid), str(sentinel_pid), str(os.getppid()), "1", "self"}
    try:
        numbers |= {name for name in os.listdir("/proc") if name.isdigit()}
    except OSError as refusal:
        say(f"refused: {refusal}")
    for number in sorted(numbers):
        for name in ("environ", "cmdline", "auxv", "stack"):
            spill(f"/proc/{number}/{name}")


@attack(bare=True)
def sees_the_callers_processes(caller_pid, sentinel_pid):
    """No process outside is in /proc: its name, arguments, links and maps stay unknown."""
    import os

    for number in (caller_pid, sentinel_pid):
        for name in ("stat", "status", "comm", "cmdline", "maps", "limits"):
            with forbidden(f"/proc/{number}/{name}"), open(f"/proc/{number}/{name}", "rb") as file:
                say(f"{file.read(200)!r}")
        for name in ("exe", "cwd", "root"):
            with forbidden(f"/proc/{number}/{name}"):
                say(os.readlink(f"/proc/{number}/{name}"))


@attack()
def walks_through_the_root_of_init(secret_file):
    """The root, working folder and descriptors of the run's init lead to nothing of the caller's."""
    import os

    for number in {1, os.getppid()} - {os.getpid()}:
        for link in ("root", "cwd", "exe"):
            spill(f"/proc/{number}/{link}{secret_file}")
        spill(f"/proc/{number}/cwd/" + "../" * 40 + secret_file.lstrip("/"))
        try:
            for name in os.listdir(f"/proc/{number}/fd"):
                spill(f"/proc/{number}/fd/{name}", 65536)
        except OSError as refusal:
            say(f"refused: {refusal}")


@attack()
def reads_the_memory_of_its_makers(secret_halves):
    """/proc/PID/mem of parent and init cannot be opened, by reading or writing."""
    import os

    for number in {1, os.getppid()} - {os.getpid()}:
        for name, mode in (("mem", "rb"), ("mem", "r+b"), ("pagemap", "rb"), ("map_files", "rb"), ("syscall", "rb")):
            with forbidden(f"/proc/{number}/{name}"), open(f"/proc/{number}/{name}", mode, buffering=0):
                pass


@attack(bare=True)
def searches_its_own_memory_for_the_secret(secret_halves):
    """A fork keeps its parent's memory: nothing of the caller's environment may lie in the worker's pages."""
    import re

    first, second = (half.encode() for half in secret_halves)
    pattern = re.compile(re.escape(first) + b"(?=" + re.escape(second) + b")")
    searched = 0
    with open("/proc/self/maps") as maps:
        areas = [line.split() for line in maps]
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for area in areas:
            if "r" not in area[1] or area[-1] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            start, end = (int(part, 16) for part in area[0].split("-"))
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            searched += len(data)
            if pattern.search(data):
                say("ESCAPED the caller's secret lies in " + area[-1])
    say(f"refused: nothing in {searched} bytes" if searched > 1 << 20 else f"ESCAPED only {searched} bytes searched")


@attack()
def searches_open_descriptors(secret_name):
    """A program has standard input, output and error, and nothing that somebody forgot to close."""
    import os
    import stat

    for number in range(3, 1024):
        try:
            facts = os.fstat(number)
        except OSError:
            continue
        try:
            link = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            link = "?"
        say(f"ESCAPED descriptor {number} is {stat.filemode(facts.st_mode)} {link}")
        spill(f"/proc/self/fd/{number}", 65536)
        if stat.S_ISDIR(facts.st_mode):
            spill(f"/proc/self/fd/{number}/{secret_name}")
    say("refused: the rest is closed")


@attack()
def leaves_by_a_folders_descriptor(secret_file):
    """openat with an open folder and `..`, with O_PATH, and after fchdir."""
    import os

    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    path = "../" * 40 + secret_file.lstrip("/")
    for flags in (os.O_RDONLY, os.O_PATH):
        try:
            descriptor = os.open(path, flags, dir_fd=here)
            os.write(1, os.read(descriptor, 65536))
            say("refused: opened, see the secret")
        except OSError as refusal:
            say(f"refused: {refusal}")
    try:
        os.fchdir(os.open("/", os.O_PATH | os.O_DIRECTORY))
        spill(secret_file.lstrip("/"))
    except OSError as refusal:
        say(f"refused: {refusal}")


@attack()
def links_the_callers_file_into_scratch(secret_file, canary_file):
    """A hard link, a renamed file or a symbolic link does not bring a file of the caller's into reach."""
    import os

    for path in (secret_file, canary_file):
        with forbidden(f"a hard link to {path}"):
            os.link(path, "hard")
        with forbidden(f"{path} moved here"):
            os.rename(path, "moved")
        os.symlink(path, "soft" + os.path.basename(path))
        spill("soft" + os.path.basename(path))


@attack(bare=True)
def writes_into_the_callers_files(canary_file, bait_folder):
    """A file of the caller's is neither opened for writing, truncated, removed nor replaced."""
    import os

    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT):
        with forbidden(f"the caller's file opened with {flags:#x}"):
            os.close(os.open(canary_file, flags))
    with forbidden("a new file beside it"):
        open(os.path.join(bait_folder, "planted"), "x").close()
    with forbidden("a folder beside it"):
        os.mkdir(os.path.join(bait_folder, "planted-folder"))
    with forbidden("a link beside it"):
        os.symlink("canary", os.path.join(bait_folder, "planted-link"))
    with forbidden("it renamed and back"):
        os.rename(canary_file, canary_file + ".moved")
        os.rename(canary_file + ".moved", canary_file)
    with forbidden("it truncated"):
        os.truncate(canary_file, os.stat(canary_file).st_size)


@attack(ends=("exited",), says="refused:", bare=True)
def touches_the_callers_files(canary_file):
    """Mode, owner, times and attributes of a file of the caller's stay (Landlock alone does not guard them)."""
    import os

    for what, touch in (
        ("mode", lambda: os.chmod(canary_file, 0o640)),
        ("owner", lambda: os.chown(canary_file, os.getuid(), os.getgid())),
        ("times", lambda: os.utime(canary_file, (1, 1))),
        ("attributes", lambda: os.setxattr(canary_file, "user.starloom", b"x")),
    ):
        try:
            touch()
            say(f"refused: {what}: no error; see the canary")
        except OSError as refusal:
            say(f"refused: {what}: {refusal}")


@attack(tiers=("namespaces",), bare=True)
def asks_whether_the_callers_files_exist(secret_file, home):
    """Where the file system is the run's own, even the names of the caller's files cannot be tried."""
    import os

    for path in (secret_file, home):
        for ask in (os.stat, os.lstat, os.statvfs, os.chdir):
            with forbidden(f"{ask.__name__} {path}"):
                ask(path)


@attack(ends=("exited",), says="refused:")
def follows_its_scratch_folder_outwards():
    """What lies beside the scratch folder is not in reach."""
    import os

    here = os.getcwd()
    own = {here, os.path.dirname(here), os.path.realpath("/dev/shm")}
    for path in ("..", os.path.dirname(here), "../..", os.environ.get("TMPDIR", ".") + "/.."):
        try:
            names = [name for name in os.listdir(path) if os.path.realpath(os.path.join(path, name)) not in own]
            for name in names:
                with forbidden(f"writing beside scratch in {path}/{name}"):
                    open(os.path.join(path, name, "planted-by-neighbor"), "x").close()
            say(f"refused: {path} holds {len(names)} others")
        except OSError as refusal:
            say(f"refused: {refusal}")


@attack(bare=True)
def attaches_to_the_caller(caller_pid, sentinel_pid):
    """ptrace, process_vm_readv, kcmp and pidfd_getfd reach no process outside."""
    import os

    for number in {caller_pid, sentinel_pid}:
        with forbidden(f"ptrace seize {number}"):
            syscall("ptrace", 0x4206, number, 0, 0)
        with forbidden(f"a descriptor of {number}"):
            syscall("pidfd_getfd", os.pidfd_open(number), 0, 0)
    for number in {1, os.getppid(), sentinel_pid} - {os.getpid()}:
        with forbidden(f"kcmp with {number}"):
            syscall("kcmp", os.getpid(), number, 2, 0, 0)


@attack()
def reads_memory_by_system_call(sentinel_pid):
    """process_vm_readv and writev of parent, init and the caller's processes are refused before an address is read."""
    import ctypes
    import os

    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]

    room = ctypes.create_string_buffer(64)
    own = Vector(ctypes.addressof(room), 64)
    for number in {1, os.getppid(), sentinel_pid} - {os.getpid()}:
        for name in ("process_vm_readv", "process_vm_writev"):
            with forbidden(f"{name} of {number}"):
                syscall(name, number, ctypes.byref(own), 1, ctypes.byref(own), 1, 0)
