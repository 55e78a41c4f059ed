"""Channels to others: sockets of every family, names, shared memory, queues and keyrings of the caller's."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, say, spill, syscall


@attack(bare=True)
def attaches_to_the_callers_shared_memory(shm_key, queue_key, shm_file):
    """System V segments, queues and /dev/shm files of the caller's are in another world."""
    import ctypes

    with forbidden("the caller's segment"):
        segment = syscall("shmget", shm_key, 64, 0)
        say(ctypes.string_at(syscall("shmat", segment, 0, 0o10000), 64).decode("latin-1"))
    with forbidden("the caller's queue"):
        syscall("msgget", queue_key, 0)
    spill(shm_file)
    with forbidden("the caller's segment in the list"), open("/proc/sysvipc/shm") as file:
        if str(shm_key) not in file.read():
            raise OSError("not listed")


@attack(bare=True)
def searches_the_callers_keyring(key_name):
    """Keys of the caller's session are inherited by fork: they cannot be found, read or listed."""
    import ctypes

    with forbidden("a key of the caller's"):
        key = syscall("request_key", b"user", key_name.encode(), 0, 0)
        room = ctypes.create_string_buffer(256)
        syscall("keyctl", 11, key, room, 256)
        say(room.value.decode("latin-1"))
    with forbidden("a key of its own"):
        syscall("add_key", b"user", b"starloom-bait", b"x", 1, -3)


@attack(bare=True)
def calls_the_callers_listeners(tcp_port, unix_path, abstract_name):
    """The caller's listeners on TCP, on a path and in the abstract namespace are not reached."""
    import socket

    for family, address in (
        (socket.AF_INET, ("127.0.0.1", tcp_port)),
        (socket.AF_INET6, ("::1", tcp_port)),
        (socket.AF_UNIX, unix_path),
        (socket.AF_UNIX, "\0" + abstract_name),
    ):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with forbidden(f"{family.name} {kind.name} {address}"), socket.socket(family, kind) as caller:
                caller.settimeout(2)
                caller.connect(address)
                caller.send(b"hello from inside")


@attack(bare=True)
def sends_datagrams(udp_port, unix_datagram_path):
    """UDP needs no connection, and a datagram to a path none either."""
    import socket

    with forbidden("a UDP datagram"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello from inside", ("127.0.0.1", udp_port))
    with forbidden("a datagram to a path"), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello from inside", unix_datagram_path)


@attack()
def opens_sockets_of_every_family():
    """Only AF_UNIX may answer: inet, netlink, packet, vsock, crypto, bluetooth and the forty others do not exist."""
    import socket

    for family in range(2, 46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                syscall("socket", family, kind, 0)
                say(f"ESCAPED a socket of family {family}, kind {int(kind)}")
            except OSError:
                pass
    say("refused: the rest")


@attack(ends=("exited",), says="refused:")
def asks_for_a_name():
    """DNS: no resolver is asked, by the C library or by hand."""
    import socket

    for name in ("example.com", "localhost.localdomain.example", "169.254.169.254"):
        with forbidden(f"a name resolved: {name}"):
            answer = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
            if name[0].isdigit():
                with socket.create_connection(answer[0][4], timeout=1):
                    pass


@attack(ends=("exited",), says="refused:")
def listens_for_visitors():
    """No port is opened that somebody on the host or outside could call."""
    import socket

    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET, ("0.0.0.0", 0)),
        (socket.AF_INET6, ("::", 0)),
    ):
        with forbidden(f"a listener on {address}"), socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.bind(address)
            listener.listen()
