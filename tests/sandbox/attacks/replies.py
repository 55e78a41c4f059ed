"""Hostile answers in a conversation: the caller's `receive` stays bounded in bytes and in time, whatever comes."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import patience

ENDED = ("exited", "signaled", "timed_out", "too_much_output")


@attack(ends=ENDED, wall_s=0.6)
def reply_of_four_gigabytes():
    """A length of 2³²−1 announces more than anybody may hold."""
    import os
    import time

    os.write(globals()["STARLOOM_FD"], b"\xff\xff\xff\xff" + b"x" * 1000)
    time.sleep(20)


@attack(ends=ENDED, wall_s=0.6)
def reply_that_never_comes():
    """Silence ends with the wall clock."""
    import time

    time.sleep(20)


@attack(ends=ENDED, wall_s=0.6)
def reply_that_stops_in_its_header():
    """Two bytes of a length, then nothing."""
    import os
    import time

    os.write(globals()["STARLOOM_FD"], b"\0\0")
    time.sleep(20)


@attack(ends=ENDED, wall_s=0.6)
def reply_cut_short():
    """Half a frame, then the end of the program: no frame is made of it."""
    import os

    os.write(globals()["STARLOOM_FD"], b"\0\0\0\x10half")
    os._exit(0)


@attack(ends=ENDED, wall_s=0.6)
def replies_without_end():
    """Frames as fast as they can be written, though nobody asked."""
    import os

    while patience():
        os.write(globals()["STARLOOM_FD"], b"\0\0\x10\0" + b"r" * 4096)


@attack(ends=ENDED, wall_s=0.6)
def empty_replies_without_end():
    """Frames of length 0 are frames: a million of them are a flood, no answer."""
    import os

    while patience():
        os.write(globals()["STARLOOM_FD"], b"\0" * 65536)


@attack(ends=ENDED, wall_s=0.6)
def reply_byte_by_byte():
    """A frame that dribbles in, one byte at a time, may not stretch the caller's patience."""
    import os
    import time

    os.write(globals()["STARLOOM_FD"], b"\0\0\x10\0")
    while patience():
        os.write(globals()["STARLOOM_FD"], b"d")
        time.sleep(0.05)


@attack(ends=ENDED, wall_s=0.6)
def reply_held_open_by_a_daemon():
    """The program ends, a daemon keeps the socket: the conversation ends all the same."""
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
    os._exit(0)


@attack(ends=ENDED, wall_s=0.6)
def questions_never_read():
    """A program that does not read cannot hold up the caller that sends."""
    import time

    time.sleep(20)


@attack(ends=ENDED, wall_s=0.6)
def socket_closed_at_once():
    """Both sides of the socket shut, the program lives on."""
    import os
    import time

    os.close(globals()["STARLOOM_FD"])
    time.sleep(20)


@attack(ends=ENDED, wall_s=0.6)
def descriptors_sent_to_the_caller():
    """Descriptors that come along with a frame (SCM_RIGHTS) never become the caller's."""
    import array
    import socket
    import time

    talk = socket.socket(fileno=globals()["STARLOOM_FD"])
    for _ in range(50):
        with open("/dev/null") as file:
            talk.sendmsg(
                [b"\0\0\0\x01x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()] * 20))]
            )
    time.sleep(0.2)


@attack(ends=ENDED, wall_s=0.6)
def replies_on_standard_output_and_output_on_the_socket():
    """The two channels are not mixed up: text on the socket is a length of a gigabyte."""
    import os
    import time

    os.write(1, b"\0\0\0\x02ok")
    os.write(globals()["STARLOOM_FD"], b"Hello, here is my answer\n" * 100)
    time.sleep(20)
