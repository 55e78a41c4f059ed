"""Memory in every form: the limit is the whole tree's, and what was taken is free again for the next run."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import bounded, forbidden, say, syscall

SPENT = ("out_of_memory", "signaled", "exited")  # a flood may get MemoryError and go on to its end


@attack(ends=SPENT)
def memory_one_list():
    """The heap of one process stays within `memory_bytes`."""
    held = []
    try:
        while len(held) < 1024:
            held.append(b"x" * (1 << 20))
    except MemoryError:
        count, held = len(held), None
        say(f"refused: {count} MB")
    else:
        say("ESCAPED a gigabyte in one list")


@attack(ends=SPENT)
def memory_shared_maps_of_children():
    """Pages shared by anonymous maps count once, but they count: many children with a map of their own each."""
    import mmap
    import os
    import time

    for _ in range(12):
        if os.fork() == 0:
            area = mmap.mmap(-1, 64 << 20)
            for page in range(0, 64 << 20, 4096):
                area[page] = 1
            time.sleep(20)
            say("ESCAPED 64 MB held for 20 s beside eleven others")
            os._exit(0)
    time.sleep(20)


@attack(ends=SPENT)
def memory_of_the_whole_tree():
    """Twelve children of 64 MB are one program of 768 MB: the limit is the tree's."""
    import os
    import time

    for _ in range(12):
        if os.fork() == 0:
            held = bytearray(os.urandom(1 << 20) * 64)
            time.sleep(20)
            say(f"ESCAPED {len(held)} bytes held for 20 s beside eleven others")
            os._exit(0)
    time.sleep(20)


@attack(ends=SPENT)
def memory_in_a_chain_of_forks():
    """Each process of a chain gives its memory up after it has forked, and its child takes as much anew: the sum is bounded."""
    import os
    import time

    for _ in range(14):
        if os.fork() != 0:
            held = bytearray(os.urandom(1 << 20) * 40)
            time.sleep(20)
            say(f"ESCAPED {len(held)} bytes for 20 s in a chain of fourteen")
            os._exit(0)
    time.sleep(20)


@attack(ends=SPENT)
def memory_in_memfd():
    """A memfd is memory that no address-space limit counts."""
    import os

    with forbidden("a memfd of a gigabyte"):
        descriptor = syscall("memfd_create", b"hidden", 0)
        for _ in range(1024):
            os.write(descriptor, b"m" * (1 << 20))


@attack(ends=(*SPENT, "too_much_output"))
def memory_in_posix_shared_memory():
    """/dev/shm is memory too: it cannot be filled beyond the scratch quota."""
    import os

    size = 0
    try:
        for number in range(256):
            with open(f"/dev/shm/starloom-bait-fill-{number}", "wb") as file:
                size += file.write(b"s" * (1 << 20))
    except OSError as refusal:
        bounded(f"/dev/shm: {refusal.strerror}", size, 64 << 20)
    else:
        bounded("/dev/shm", size, 64 << 20)
    os._exit(0)


@attack()
def memory_in_sysv_shared_memory():
    """System V segments outlive their maker and are charged to nobody."""
    unreached = 0
    for key in range(8):
        try:
            segment = syscall("shmget", 0x5EED00 + key, 64 << 20, 0o1600)
            address = syscall("shmat", segment, 0, 0)
            say(f"ESCAPED a segment of 64 MB at {address:#x}")
        except OSError as refusal:
            unreached += 1
            say(f"refused: {refusal}")


@attack(ends=SPENT)
def memory_locked():
    """Locked memory cannot be pushed out: mlockall is bounded by RLIMIT_MEMLOCK or refused."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.mlockall(3)
    try:
        held = [b"l" * (1 << 20) for _ in range(512)]
    except MemoryError:
        say(f"refused: {answer}")
    else:
        say(f"ESCAPED {len(held)} MB locked")


@attack(ends=SPENT)
def memory_in_pipes():
    """Pipes of a megabyte each, all full: descriptors bound them, and the buffers go with the run."""
    import fcntl
    import os

    held, size = [], 0
    try:
        while len(held) < 4096:
            ends = os.pipe()
            held.append(ends)
            os.set_blocking(ends[1], False)
            try:
                fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
            except OSError:
                pass
            size += os.write(ends[1], b"p" * (1 << 20))
    except OSError as refusal:
        bounded(f"pipes: {refusal.strerror}", len(held), 64)
    else:
        say(f"ESCAPED {size} bytes in {len(held)} pipes")


@attack(ends=SPENT)
def memory_in_socket_buffers():
    """Bytes queued in sockets, and descriptors sent through them in circles, are bounded by `open_files`."""
    import array
    import os
    import socket

    held = []
    try:
        while len(held) < 4096:
            one, two = socket.socketpair()
            one.setblocking(False)
            held.append((one, two))
            one.sendmsg(
                [b"x" * 65536], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno(), two.fileno()]))]
            )
    except OSError as refusal:
        bounded(f"socket pairs: {refusal.strerror}", len(held), 64)
    else:
        say("ESCAPED 4096 pairs")
    os._exit(0)


@attack(ends=SPENT)
def memory_as_one_exponent():
    """A number of a gigabyte, made in one operation."""
    try:
        big = 1 << (8 << 30)
    except (MemoryError, OverflowError):
        say("refused: no such number")
    else:
        say(f"ESCAPED a number of {big.bit_length()} bits")
