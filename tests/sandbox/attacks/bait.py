"""What an attack on the host would find: files, processes, sockets and keys of a caller, each of which tells when it was touched.

The secret stands in the caller's environment, in its files, in shared memory, in a keyring and on the command line of
another process of the same user. It must not stand in anything that a run hands back.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pty
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path

SECRET_NAME = "STARLOOM_BAIT_SECRET"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
CALLS = {"x86_64": (248, 250), "aarch64": (217, 219)}  # add_key, keyctl
# Writes the name of every signal that it gets to its standard output; its arguments hold the secret.
SENTINEL = """
import os, signal, sys
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}:
    signal.signal(number, lambda number, _: os.write(1, signal.Signals(number).name.encode() + b"\\n"))
os.write(1, b"ready\\n")
while True: signal.pause()
"""


def knobs(pid: int) -> dict[str, object]:
    """What another process of the same user can turn: priority, scheduler, cores, limits."""
    return {
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "scheduler": os.sched_getscheduler(pid),
        "cores": sorted(os.sched_getaffinity(pid)),
        "core limit": resource.prlimit(pid, resource.RLIMIT_CORE),
        "files limit": resource.prlimit(pid, resource.RLIMIT_NOFILE),
    }


def descendants(pid: int) -> dict[int, str]:
    """Every living process below one, with its state and name; zombies count."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                name, _, rest = Path(entry.path, "stat").read_text().rpartition(") ")
                children.setdefault(int(rest.split()[1]), []).append((int(entry.name), f"{rest[0]} {name}"))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child, name in children.get(waiting.pop(), []):
            found[child] = name
            waiting.append(child)
    return found


def descriptors() -> dict[int, str]:
    """Open descriptors of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {number: link for number, link in found.items() if not link.startswith(f"/proc/{os.getpid()}/fd")}


class Bait:
    """The caller's belongings under `folder`; `facts` is what the attacks are told, `harm()` what has happened to them."""

    def __init__(self, folder: Path, secret: str):
        self.secret = secret.encode()
        self.name = f"caller-{random.getrandbits(48):x}"
        bait, home = folder / "bait", folder / "home"
        for path in (bait, home, home / ".ssh", home / ".cache"):
            path.mkdir()
        self.secret_file, self.canary = bait / "secret.txt", bait / "canary.txt"
        files = (self.secret_file, home / ".ssh" / "id_ed25519", home / ".netrc", home / ".cache" / "token")
        for path in files:
            path.write_text(f"secret: {secret}\n")
        self.canary.write_text("canary\n")
        self.canary.chmod(0o600)
        self.watched = (bait, home)
        self.sentinel = subprocess.Popen([sys.executable, "-I", "-S", "-c", SENTINEL, secret], stdout=subprocess.PIPE)
        assert self.sentinel.stdout and self.sentinel.stdout.readline() == b"ready\n"
        self.inheritable = (os.open(self.secret_file, os.O_RDONLY), os.open(bait, os.O_RDONLY | os.O_DIRECTORY))
        for descriptor in self.inheritable:
            os.set_inheritable(descriptor, True)
        self.listeners = self._listen(folder)
        self.keys = (random.getrandbits(30), random.getrandbits(30))
        self.segment = LIBC.shmget(self.keys[0], 4096, 0o3600)
        assert self.segment >= 0, os.strerror(ctypes.get_errno())
        address = LIBC.shmat(self.segment, None, 0)
        ctypes.memmove(address, self.secret, len(self.secret))
        self.queue = LIBC.msgget(self.keys[1], 0o1600)
        self.shm_file = Path(f"/dev/shm/{self.name}")
        self.shm_file.write_text(secret)
        self.key = LIBC.syscall(
            CALLS[os.uname().machine][0], b"user", f"{self.name}".encode(), self.secret, len(secret), -3
        )
        self.facts: dict[str, object] = {
            "secret_file": str(self.secret_file),
            "secret_name": self.secret_file.name,
            "secret_halves": (secret[: len(secret) // 2], secret[len(secret) // 2 :]),
            "canary_file": str(self.canary),
            "bait_folder": str(bait),
            "home": str(home),
            "caller_pid": os.getpid(),
            "caller_nice": os.nice(0),
            "caller_uid": os.getuid(),
            "closed_interpreter": any(not above.stat().st_mode & 1 for above in Path(sys.executable).resolve().parents),
            "sentinel_pid": self.sentinel.pid,
            "tcp_port": self.listeners[0].getsockname()[1],
            "udp_port": self.listeners[1].getsockname()[1],
            "unix_path": str(folder / "stream"),
            "unix_datagram_path": str(folder / "datagram"),
            "abstract_name": f"{self.name}",
            "shm_key": self.keys[0],
            "queue_key": self.keys[1],
            "shm_file": str(self.shm_file),
            "key_name": f"{self.name}",
        }
        self.heard: list[str] = []
        self.terminal = self._terminal()
        signal.signal(signal.SIGWINCH, lambda *_: self.heard.append("SIGWINCH"))
        signal.signal(signal.SIGTERM, lambda *_: self.heard.append("SIGTERM"))
        self.begin()

    def begin(self) -> None:
        """From here on, what differs is harm."""
        self.heard.clear()
        for listener in self.listeners:
            while select.select([listener], [], [], 0)[0]:
                listener.accept()[0].close() if listener.type == socket.SOCK_STREAM else listener.recv(4096)
        self.before = self._state()

    def _listen(self, folder: Path) -> list[socket.socket]:
        found = []
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "stream")),
            (socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "datagram")),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.name}"),
        ):
            one = socket.socket(family, kind)
            one.bind(address)
            if kind == socket.SOCK_STREAM:
                one.listen()
            found.append(one)
        return found

    def _terminal(self) -> int:
        """A controlling terminal of the caller's: whatever is typed into it can be read here."""
        with contextlib.suppress(PermissionError):  # already the leader of a session
            os.setsid()
        self.master, terminal = pty.openpty()
        tty.setraw(terminal)
        with contextlib.suppress(PermissionError):
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        return terminal

    def _state(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for folder in self.watched:
            for path in sorted((folder, *folder.rglob("*"))):
                facts = path.lstat()
                text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path)] = (
                    oct(facts.st_mode),
                    facts.st_uid,
                    facts.st_gid,
                    facts.st_mtime_ns,
                    facts.st_nlink,
                    text,
                    os.listxattr(path, follow_symlinks=False),
                )
        for who, pid in (("caller", os.getpid()), ("sentinel", self.sentinel.pid)):
            found.update({f"{who}'s {name}": value for name, value in knobs(pid).items()})
        found["umask"] = os.umask(0o022)
        found["working folder"] = str(Path.cwd())
        found["caller's environment"] = dict(os.environ)
        found["shared memory"] = self.shm_file.read_bytes()
        return found

    def harm(self) -> list[str]:
        """Every sign that a run reached something of the caller's; empty is unharmed."""
        found = [f"the caller got {name}" for name in self.heard]
        if self.sentinel.poll() is not None:
            return [*found, f"the caller's other process ended with {self.sentinel.returncode}"]
        assert self.sentinel.stdout
        while select.select([self.sentinel.stdout], [], [], 0)[0]:
            found.append(f"the caller's other process got {os.read(self.sentinel.stdout.fileno(), 4096).decode()!r}")
        for listener in self.listeners:
            if select.select([listener], [], [], 0)[0]:
                found.append(f"somebody called {listener.getsockname()!r}")
        if select.select([self.terminal, self.master], [], [], 0)[0]:
            found.append("somebody typed into the caller's terminal, or wrote to it")
        after = self._state()
        for name in sorted(self.before.keys() | after.keys()):
            if self.before.get(name) != after.get(name):
                found.append(f"{name} was {self.before.get(name)!r} and is {after.get(name)!r}")
        return found

    def close(self) -> None:
        """Gives back what outlives a process: shared memory, queue, /dev/shm file, the sentinel."""
        LIBC.shmctl(self.segment, 0, None)
        LIBC.msgctl(self.queue, 0, None)
        self.shm_file.unlink()
        self.sentinel.kill()
        self.sentinel.wait()


def litter() -> set[str]:
    """What attacks leave where they may: files, segments and queues with the suite's name, on the whole host."""
    found = set()
    for folder in ("/", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run", "/run/lock", "/dev", str(Path.home())):
        with contextlib.suppress(OSError):
            found |= {
                f"{folder}/{name}"
                for name in os.listdir(folder)
                if "starloom-bait" in name or "starloom_bait" in name or "bait-" in name
            }
    for folder in {*sys.path, str(Path(os.__file__).parent), str(Path(sys.executable).parent)}:
        with contextlib.suppress(OSError):
            found |= {
                f"{folder}/{name}"
                for name in os.listdir(folder)
                if "bait" in name or name in ("sitecustomize.py", "usercustomize.py")
            }
    for name in ("shm", "msg", "sem"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(f"/proc/sysvipc/{name}").read_text().splitlines()[1:]]
            found |= {
                f"System V {name} {row[0]}"
                for row in rows
                if int(row[0]) == 0xBA17 or int(row[0]) & 0xFFFF00 == 0x5EED00
            }
    return found


def waits_until_gone(pids: set[int], seconds: float = 5) -> dict[int, str]:
    """Those below this process that are not in `pids`, once they have had time to be collected; empty is good."""
    until = time.monotonic() + seconds
    while (
        left := {pid: name for pid, name in descendants(os.getpid()).items() if pid not in pids}
    ) and time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            while (gone := os.waitpid(-1, os.WNOHANG)[0]) and gone in left:
                pass
        time.sleep(0.02)
    return left
