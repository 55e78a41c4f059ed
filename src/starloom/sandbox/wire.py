"""Messages between the caller and a worker: a length, a JSON header, and blobs whose lengths stand in the header."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LENGTH = struct.Struct(">I")
MOST_LENT = 8  # descriptors besides a conversation's; our choice
MOST_HEADER = 64 << 20  # bytes; names of files and arguments: our choice


def send(connection: socket.socket, header: dict[str, Any], blobs: list[bytes], descriptors: list[int]) -> None:
    """One message; descriptors travel with its first byte."""
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    start = LENGTH.pack(len(text))
    if descriptors:
        socket.send_fds(connection, [start], descriptors)
    else:
        connection.sendall(start)
    connection.sendall(text)
    for blob in blobs:
        connection.sendall(blob)


def receive(connection: socket.socket, descriptors: int = 0) -> tuple[dict[str, Any], list[bytes], list[int]] | None:
    """The next message; None where the other side is gone."""
    fds: list[int] = []
    if descriptors:
        start, fds, _, _ = socket.recv_fds(connection, LENGTH.size, descriptors)
    else:
        start = connection.recv(LENGTH.size)
    while 0 < len(start) < LENGTH.size:
        more = connection.recv(LENGTH.size - len(start))
        if not more:
            return None
        start += more
    if not start:
        return None
    (length,) = LENGTH.unpack(start)
    if length > MOST_HEADER:
        raise ConnectionResetError(f"a header of {length} bytes: the other side is broken")
    text = exactly(connection, length)
    if text is None:
        return None
    header = json.loads(text)
    blobs = []
    for size in header.pop("blobs"):
        blob = exactly(connection, size)
        if blob is None:
            return None
        blobs.append(blob)
    return header, blobs, fds


def exactly(connection: socket.socket, size: int) -> bytes | None:
    """That many bytes; None where the other side is gone before."""
    data = bytearray(size)
    view, have = memoryview(data), 0
    while have < size:
        count = connection.recv_into(view[have:])
        if not count:
            return None
        have += count
    return bytes(data)
