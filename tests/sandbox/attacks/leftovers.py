"""From one run to the next in the same worker: `leaves_X` runs first, `then_X` looks for what it left.

A warm interpreter makes this an attack of its own: what the first program changed in memory must be gone with it.
"""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, say, syscall

ANY = ("exited", "signaled", "timed_out", "out_of_memory")


@attack(ends=ANY)
def leaves_files():
    """Files in every folder that might be writable."""
    import os

    folders = [
        ".",
        "..",
        "/",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/dev/mqueue",
        "/run",
        "/run/lock",
        os.path.expanduser("~"),
        os.environ.get("TMPDIR", "."),
        "/proc/self",
    ]
    for folder in folders:
        try:
            os.makedirs(f"{folder}/starloom-bait/deep")
            with open(f"{folder}/starloom-bait/deep/file", "w") as file:
                file.write("left")
            say(f"wrote to {folder}")
        except OSError:
            pass


@attack()
def then_files():
    """No file of an earlier run is found, in scratch or beside it."""
    import os

    for folder in (
        ".",
        "..",
        "/",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/dev/mqueue",
        "/run",
        "/run/lock",
        os.path.expanduser("~"),
        os.environ.get("TMPDIR", "."),
    ):
        with forbidden(f"{folder} of an earlier run"):
            os.stat(f"{folder}/starloom-bait")
    for folder in (".", "/dev/shm"):
        try:
            left = os.listdir(folder)
        except OSError:
            continue
        say(f"refused: {folder} is empty" if not left else f"ESCAPED {folder} holds {left}")


@attack(ends=ANY)
def leaves_shared_memory():
    """System V segment, semaphore and queue, POSIX queue and /dev/shm file."""
    import multiprocessing.shared_memory

    for name, values in (
        ("shmget", (0xBA17, 4096, 0o1666)),
        ("semget", (0xBA17, 1, 0o1666)),
        ("msgget", (0xBA17, 0o1666)),
        ("mq_open", (b"starloom-bait", 0o102, 0o666, 0)),
    ):
        try:
            say(f"{name} {syscall(name, *values)}")
        except OSError as refusal:
            say(f"{name} {refusal}")
    try:
        multiprocessing.shared_memory.SharedMemory("starloom-bait", create=True, size=4096)
    except OSError as refusal:
        say(f"{refusal}")
    import os

    os._exit(0)


@attack()
def then_shared_memory():
    """No segment, semaphore, queue or shared file of an earlier run is found."""
    import multiprocessing.shared_memory

    for name, values in (
        ("shmget", (0xBA17, 0, 0)),
        ("semget", (0xBA17, 0, 0)),
        ("msgget", (0xBA17, 0)),
        ("mq_open", (b"starloom-bait", 0, 0, 0)),
    ):
        with forbidden(f"{name} of an earlier run"):
            syscall(name, *values)
    with forbidden("the shared file of an earlier run"):
        multiprocessing.shared_memory.SharedMemory("starloom-bait")


@attack(ends=ANY)
def leaves_a_listener():
    """A daemon on an abstract socket and on one in scratch waits for the next program."""
    import os
    import socket
    import time

    if os.fork() == 0:
        try:
            os.setsid()
            listener = socket.socket(socket.AF_UNIX)
            listener.bind("\0starloom-bait-next")
            listener.listen()
        except OSError:
            pass
        time.sleep(20)
        os._exit(0)
    time.sleep(0.1)


@attack()
def then_a_listener():
    """Nobody of an earlier run listens, and none of its processes is there."""
    import os
    import socket

    with forbidden("a listener of an earlier run"):
        socket.socket(socket.AF_UNIX).connect("\0starloom-bait-next")
    try:
        others = {name for name in os.listdir("/proc") if name.isdigit()} - {"1", str(os.getpid()), str(os.getppid())}
    except OSError:
        others = set()
    say("refused: alone" if not others else f"ESCAPED processes {others} are here")


@attack(ends=ANY)
def leaves_a_filled_disk():
    """Scratch and every other writable place filled to the last byte and inode."""
    import os

    for folder in (".", "/tmp", "/dev/shm"):
        try:
            for number in range(3000):
                with open(f"{folder}/starloom-bait-{number}", "wb", buffering=0) as file:
                    file.write(b"f" * 65536)
        except OSError as refusal:
            say(f"{folder}: {refusal}")
    os._exit(0)


@attack()
def then_a_filled_disk():
    """The next program has its whole quota again."""
    import os

    for number in range(10):
        with open(f"mine-{number}", "wb") as file:
            file.write(b"m" * (1 << 20))
    left = [name for name in os.listdir(".") if "bait" in name]
    say("refused: the disk is mine" if not left else f"ESCAPED {left[:3]}")


@attack(ends=("exited", "signaled", "lost", "timed_out"), wall_s=2.0)
def leaves_a_killed_worker():
    """SIGKILL to everything in reach, threads and memory of the interpreter torn."""
    import ctypes
    import os

    for number in range(2, 64):
        if number not in (os.getpid(),):
            try:
                os.kill(number, 9)
            except OSError:
                pass
    ctypes.memset(id(type), 0, 64)


@attack()
def then_a_killed_worker():
    """The worker takes the next program as if nothing had been."""
    import os

    say(f"refused: alive as {os.getpid()}")
