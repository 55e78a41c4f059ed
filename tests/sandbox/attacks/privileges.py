"""Privileges and devices: nobody becomes another, and no file of the kernel's opens for writing."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, say, syscall


@attack()
def opens_devices():
    """Memory, kernel log, disks, consoles, loop and KVM devices: at most the harmless ones can be opened."""
    import glob
    import os
    import stat

    harmless = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
    named = {
        f"/dev/{name}"
        for name in [
            "mem",
            "kmem",
            "port",
            "kmsg",
            "console",
            "tty",
            "tty0",
            "ttyS0",
            "loop0",
            "loop-control",
            "kvm",
            "fuse",
            "vda",
            "sda",
            "nvme0n1",
            "net/tun",
            "vhost-net",
            "vsock",
            "mapper/control",
        ]
    }
    for path in sorted(named | set(glob.glob("/dev/*")) - harmless):
        try:
            kind = stat.S_IFMT(os.stat(path).st_mode)
        except OSError:
            say(f"refused: {path}")
            continue
        if kind in (stat.S_IFCHR, stat.S_IFBLK) and path not in ("/dev/stdin", "/dev/stdout", "/dev/stderr"):
            for flags in (os.O_RDONLY | os.O_NONBLOCK, os.O_WRONLY | os.O_NONBLOCK):
                with forbidden(path):
                    os.close(os.open(path, flags))


@attack()
def makes_devices():
    """mknod of memory, disk and console, in scratch and in /dev; and links to them."""
    import os
    import stat

    for name, kind, major, minor in (
        ("mem", stat.S_IFCHR, 1, 1),
        ("kmsg", stat.S_IFCHR, 1, 11),
        ("disk", stat.S_IFBLK, 254, 0),
        ("null", stat.S_IFCHR, 1, 3),
    ):
        for folder in (".", "/dev", "/dev/shm", "/tmp"):
            with forbidden(f"{folder}/{name} made"):
                os.mknod(f"{folder}/bait-{name}", kind | 0o666, os.makedev(major, minor))


@attack()
def hides_from_the_memory_killer():
    """oom_score_adj cannot be lowered below what the run began with."""
    with open("/proc/self/oom_score_adj") as file:
        before = int(file.read())
    with forbidden("a lower oom_score_adj"), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(max(before - 500, -1000)))
        file.flush()


@attack()
def types_into_the_callers_terminal():
    """TIOCSTI would put characters before the caller's shell: its terminal is not there (see the bait), nor is the call."""
    import ctypes
    import fcntl
    import os

    letter = ctypes.addressof(ctypes.create_string_buffer(b"x"))
    for descriptor in (0, 1, 2):
        for request in (0x5412, 0x5412 | 1 << 32, 0x541C, 0x541C | 7 << 32):
            with forbidden(f"ioctl {request:#x}"):
                syscall("ioctl", descriptor, request, letter)
    for path in ("/dev/tty", "/dev/console"):
        with forbidden(path):
            fcntl.ioctl(os.open(path, os.O_RDWR), 0x5412, b"x")


@attack()
def becomes_another_user(caller_uid, closed_interpreter):
    """setuid programs gain nothing, capabilities are empty for good, and no uid can be put on."""
    import os

    facts = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    for name, wanted in (
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapEff", "0" * 16),
        ("CapPrm", "0" * 16),
        ("CapInh", "0" * 16),
        ("CapBnd", "0" * 16),
        ("CapAmb", "0" * 16),
    ):
        idle = name == "CapBnd" and caller_uid != 0  # an ordinary user cannot empty it; no_new_privs makes it idle
        # root's own interpreter in the Landlock tier: reading stays, and Landlock says what
        reads = closed_interpreter and name != "Seccomp" and facts[name] in ("0" * 15 + "2", "0" * 15 + "4")
        say(
            f"refused: {name} is {wanted}"
            if idle or reads or facts[name] == wanted
            else f"ESCAPED {name} is {facts[name]}"
        )
    for number in (0, 1, 1000, 65534):
        if number not in os.getresuid():
            with forbidden(f"uid {number}"):
                os.setresuid(number, number, number)
        if number not in os.getresgid():
            with forbidden(f"gid {number}"):
                os.setresgid(number, number, number)
    with forbidden("groups"):
        os.setgroups([0, 4, 6, 27])


@attack()
def asks_setuid_programs():
    """su, sudo, mount, passwd, ping, newuidmap: none runs with another's rights."""
    import os
    import subprocess

    for name in (
        "su",
        "sudo",
        "mount",
        "umount",
        "passwd",
        "chsh",
        "newgrp",
        "newuidmap",
        "pkexec",
        "unshare",
        "nsenter",
    ):
        for folder in ("/bin", "/usr/bin", "/sbin", "/usr/sbin"):
            if not os.path.exists(f"{folder}/{name}"):
                continue
            arguments = {
                "mount": ["-t", "tmpfs", "none", "."],
                "unshare": ["-Ur", "id"],
                "nsenter": ["-t", "1", "-m", "id"],
            }.get(name, ["-c", "id"])
            answer = subprocess.run(
                [f"{folder}/{name}", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=5
            )
            say(
                f"refused: {name}: {answer.returncode}"
                if answer.returncode or b"uid=0" not in answer.stdout
                else f"ESCAPED {name}: {answer.stdout!r}"
            )
    say("refused: the rest is not there")


@attack()
def leaves_a_setuid_program():
    """A file with the setuid bit in scratch would be a door for others on the host while the run lasts."""
    import os
    import stat

    with open("door", "wb") as file:
        file.write(b"#!/bin/sh\n")
    with forbidden("the setuid bit on a file that others could run"):
        os.chmod("door", 0o6777)
        facts, quiet = os.stat("door"), os.statvfs(".").f_flag & os.ST_NOSUID
        if quiet or not facts.st_mode & (stat.S_ISUID | stat.S_ISGID):
            raise OSError("without effect")


@attack()
def overwrites_the_interpreters_binary():
    """Writing through /proc/self/exe, that of init and of the parent (runc, CVE-2019-5736)."""
    import os

    for number in {"self", "1", str(os.getppid())}:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
            with forbidden(f"/proc/{number}/exe opened with {flags:#x}"):
                os.close(os.open(f"/proc/{number}/exe", flags))


@attack()
def reads_the_kernels_memory():
    """kcore, kallsyms with addresses, kmsg, debugfs and tracefs."""
    import os

    for path in (
        "/proc/kcore",
        "/proc/kmsg",
        "/dev/kmsg",
        "/proc/vmallocinfo",
        "/proc/slabinfo",
        "/proc/timer_list",
        "/sys/kernel/debug/sched",
        "/sys/kernel/tracing/trace",
        "/sys/firmware/dmi/entries",
    ):
        with forbidden(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os.read(descriptor, 1)
    with forbidden("addresses of the kernel"), open("/proc/kallsyms") as file:
        if int(file.readline().split()[0], 16) == 0:
            raise OSError("zeros")


@attack()
def writes_kernel_settings():
    """core_pattern, modprobe, sysrq, swappiness: no file under /proc/sys or beside it opens for writing."""
    import os

    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/swappiness",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/irq/0/smp_affinity",
        "/proc/kcore",
        "/proc/1/oom_score_adj",
        "/proc/1/uid_map",
    ):
        for flags in (os.O_WRONLY, os.O_RDWR):
            with forbidden(f"{path} opened with {flags}"):
                os.close(os.open(path, flags))


@attack()
def writes_below_sys():
    """/sys and the cgroup tree: release agents, uevent helpers, and leaving one's own group."""
    import glob
    import os

    targets = ["/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled"]
    for pattern in ("release_agent", "*/release_agent", "cgroup.procs", "*/cgroup.procs", "*/tasks", "*/*/tasks"):
        targets += glob.glob("/sys/fs/cgroup/" + pattern)
    for path in targets:
        with forbidden(f"{path} opened"):
            os.close(os.open(path, os.O_WRONLY))
    with forbidden("a cgroup of its own"):
        os.mkdir(next(iter(glob.glob("/sys/fs/cgroup/*/")), "/sys/fs/cgroup/") + "starloom-bait")


@attack()
def maps_its_users():
    """uid_map, gid_map and setgroups of its own process: no second mapping is written."""
    for name, line in (("setgroups", "allow"), ("uid_map", "0 0 4294967295"), ("gid_map", "0 0 4294967295")):
        with forbidden(f"{name} written"), open(f"/proc/self/{name}", "w") as file:
            file.write(line)
