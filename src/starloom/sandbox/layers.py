"""Which protections stand between an untrusted program and this host: found out by trying, never by guessing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Layers:
    """What is active in a sandbox, or what could be on this machine for this user."""

    tier: str  # namespaces | landlock
    namespaces: bool  # user, pid, mount, network, IPC and UTS namespaces, a root of its own
    seccomp: bool
    landlock: int  # the kernel's ABI where Landlock is used; 0: it is not
    rlimits: bool
    cgroup: bool
    user: int = 0  # who the programs are on the host
    notes: tuple[str, ...] = ()  # what is missing or weaker than it could be, and why: one sentence each

    def describe(self) -> str:
        """One line for a report."""
        on = [
            *(["namespaces (user, pid, mount, network, IPC)"] if self.namespaces else []),
            *([f"Landlock (ABI {self.landlock})"] if self.landlock else []),
            *(["seccomp"] if self.seccomp else []),
            *(["rlimits", "watchdog"] if self.rlimits else []),
            *(["cgroup"] if self.cgroup else []),
        ]
        return f"{self.tier} tier: {' + '.join(on)}; programs run as user {self.user}"

    def as_dict(self) -> dict[str, Any]:
        """For results.json and other reports."""
        return asdict(self) | {"notes": list(self.notes)}


# What a worker's first program looks at, from inside. It prints one JSON line.
LOOK = """
import json, os, socket
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def refused(act):
    try:
        act()
    except OSError:
        return True
    return False
print(json.dumps({
    "seccomp": status["Seccomp"] == "2" and status["NoNewPrivs"] == "1",
    "files": refused(lambda: open(%(file)r)),
    "network": refused(lambda: socket.socket(socket.AF_INET)),
    "alone": refused(lambda: os.kill(%(outside)d, 0)),
    "writes": refused(lambda: open(%(file)r, "a")) and refused(lambda: open(os.path.dirname(%(file)r) + "/new", "x")),
    "scratch": not refused(lambda: open("probe", "w")),
}))
"""
MEANING = {
    "seccomp": "system calls are not filtered",
    "files": "files outside can be read",
    "network": "network sockets can be made",
    "alone": "processes outside can be reached",
    "writes": "files outside can be written",
    "scratch": "the scratch folder cannot be written",
}


def unprotected(found: dict[str, bool]) -> str:
    """What a look from inside found wanting; empty: nothing."""
    return "; ".join(meaning for name, meaning in MEANING.items() if not found.get(name))
