"""The root that programs see in the namespaces tier: empty, read-only, with the system's and the interpreter's files in it.

Built once for a worker; each run then gets a fresh scratch folder in it.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from starloom.sandbox import kernel

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (  # what programs need to find their libraries and their language's settings; nothing that names users or hosts
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "ssl/openssl.cnf"),
    *("java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "java-25-openjdk", "mono", "perl", "php", "R", "ghc"),
)
DEVICES = ("null", "zero", "full", "random", "urandom")
BOX, HOME, SHARED = "/box", "/box/home", "/box/shm"
WRITTEN = {
    "/etc/passwd": "root:x:0:0::/root:/bin/false\nuser:x:1000:1000::/box/home:/bin/sh\n",
    "/etc/group": "root:x:0:\nuser:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
LINKS = {
    "/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2", "/dev/shm": SHARED, "/tmp": HOME, "/var/tmp": HOME,
}  # fmt: skip
FIXED = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
OLD = "/.old"


def build(read: list[str], hidden: list[str]) -> None:
    """Make the new root out of the old one and enter it. The process has its own mount namespace and may mount in it.
    Folders in `hidden` (problems with their solutions come with starloom) are empty, wherever they would be seen."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("starloom", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=16m,nr_inodes=16384")
    os.chdir("/tmp")
    os.mkdir("new")
    os.mkdir("old")
    kernel.syscall("pivot_root", b".\0", b"old\0")
    os.chdir("/")
    old, new = "/old", "/new"
    kernel.mount(new, new, None, kernel.MS_BIND)
    shown: list[str] = []
    for path in (*SYSTEM, *(f"/etc/{name}" for name in ETC), *read):
        show(path, old, new, shown, hidden)
    for name in DEVICES:
        target = f"{new}/dev/{name}"
        os.makedirs(f"{new}/dev", exist_ok=True)
        write(target, "")
        kernel.mount(f"{old}/dev/{name}", target, None, kernel.MS_BIND)
        kernel.set_flags(target, kernel.MS_NOSUID | kernel.MS_NOEXEC, recursive=False)
    for path, text in WRITTEN.items():
        os.makedirs(os.path.dirname(new + path), exist_ok=True)
        write(new + path, text)
    for folder in ("/proc", BOX, "/var"):
        os.makedirs(new + folder, exist_ok=True)
    for path, target in LINKS.items():
        if not os.path.lexists(new + path):
            os.symlink(target, new + path)
    kernel.mount(
        f"{old}/proc", f"{new}/proc", None, kernel.MS_BIND | kernel.MS_REC
    )  # without it no fresh one may be made
    os.chdir(new)
    kernel.syscall("pivot_root", b".\0", b".\0")
    kernel.unmount(".")  # what lies under is the old root with everything in it
    os.chdir("/")
    kernel.set_flags("/", FIXED, recursive=False)


def show(path: str, old: str, new: str, shown: list[str], hidden: list[str]) -> None:
    """One file or folder of the host at its own path; a link of the system's stays a link. Missing ones are left out."""
    path = os.path.normpath(path)
    if any(path == have or path.startswith(have + "/") for have in shown):
        return
    try:
        mode = os.lstat(old + path).st_mode
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    target = new + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if stat.S_ISLNK(mode) and path in SYSTEM:
        os.symlink(os.readlink(old + path), target)
        return
    source = resolve(path, old)
    if source is None:
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        write(target, "")
    kernel.bind(source, target, FIXED)
    shown.append(path)
    for folder in hidden:
        if (old + folder + "/").startswith(source + "/") and os.path.isdir(old + folder):
            inside = target + (old + folder)[len(source) :]
            kernel.mount("hidden", inside, "tmpfs", FIXED, "mode=755,size=4k,nr_inodes=1")


def resolve(path: str, old: str) -> str | None:
    """Where a path of the old root leads, seen from the new one: its links are followed inside the old root."""
    done = ""
    rest = [part for part in path.split("/") if part]
    for _ in range(4096):
        if not rest:
            return old + done
        part = rest.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = os.path.dirname(done).rstrip("/")
            continue
        try:
            target = os.readlink(f"{old}{done}/{part}")
        except FileNotFoundError:
            return None
        except OSError:
            done = f"{done}/{part}"
            continue
        if target.startswith("/"):
            done = ""
        rest = [*target.split("/"), *rest]
    return None


def write(path: str, text: str) -> None:
    """Write a file that is there or is not. (pathlib would bring modules along that every fork then has to copy.)"""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def own_proc() -> None:
    """A fresh /proc for the worker's pid namespace, by its process 1."""
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC | kernel.MS_RDONLY
    kernel.mount("proc", "/proc", "proc", flags)


def fresh_scratch(uid: int, gid: int, limits: dict[str, Any]) -> None:
    """A new, empty scratch folder for one run; `drop_scratch` takes it away with everything in it."""
    room, inodes = int(limits["scratch_bytes"]), int(limits["scratch_files"]) + 3  # /box, home and shm
    options = f"mode=755,size={room},nr_inodes={inodes}"
    kernel.mount("scratch", BOX, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    for folder in (HOME, SHARED):
        os.mkdir(folder, 0o700)
        os.chown(folder, uid, gid)


def drop_scratch() -> None:
    """When no process is left that could hold a file of it open."""
    kernel.unmount(BOX)
