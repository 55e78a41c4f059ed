"""Signals and other grips on processes: none reaches anyone outside the run, nor the process that watches it."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, say, syscall


@attack(bare=True)
def kills_the_caller(caller_pid, sentinel_pid):
    """The caller and its other processes can be neither seen nor signaled by number."""
    import os
    import signal

    for number in (caller_pid, sentinel_pid):
        with forbidden(f"signal to {number}"):
            os.kill(number, signal.SIGWINCH)
        with forbidden(f"signal to the group {number}"):
            os.killpg(number, signal.SIGWINCH)


@attack(bare=True)
def kills_by_other_calls(sentinel_pid):
    """tgkill, tkill, sigqueue and pidfd signals reach no further than kill."""
    import ctypes
    import os

    for name, values in (
        ("tgkill", (sentinel_pid, sentinel_pid, 28)),
        ("tkill", (sentinel_pid, 28)),
        ("rt_sigqueueinfo", (sentinel_pid, 28, ctypes.addressof(ctypes.create_string_buffer(128)))),
    ):
        with forbidden(f"{name} to the caller's process"):
            syscall(name, *values)
    with forbidden("a pidfd of the caller's process, and a signal through it"):
        syscall("pidfd_send_signal", os.pidfd_open(sentinel_pid), 28, 0, 0)


@attack(ends=("exited", "signaled", "lost"), says="refused:")
def kills_everyone():
    """kill(-1) reaches the run itself at most."""
    import os
    import signal
    import time

    signal.signal(signal.SIGWINCH, lambda *_: None)
    say("refused: see the sentinel")
    try:
        os.kill(-1, signal.SIGWINCH)
    except OSError as refusal:
        say(f"refused: {refusal}")
    time.sleep(0.05)


@attack(ends=("exited", "signaled", "lost"), says="refused:")
def kills_everyone_for_good(sentinel_pid):
    """kill(-1, SIGKILL) after a fork ends the run, never the worker or its neighbors."""
    import os
    import signal

    try:
        os.kill(sentinel_pid, 0)
        say("ESCAPED the caller's process is in reach")
    except ProcessLookupError:
        say("refused: nobody here")
        os.kill(-1, signal.SIGKILL)
    except PermissionError:
        say("refused: no permission")


@attack(ends=("exited", "signaled", "lost", "timed_out"), says="refused:", wall_s=2.0)
def kills_its_init():
    """The process that watches the run cannot be killed, stopped or confused by the run's signals."""
    import os
    import signal

    say("refused: nothing yet")
    for number in {os.getppid(), 1} - {os.getpid()}:
        for blow in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM, signal.SIGSTOP, signal.SIGKILL):
            try:
                os.kill(number, blow)
            except OSError as refusal:
                say(f"refused: {refusal}")


@attack(ends=("timed_out",), wall_s=1.0)
def stops_its_init_and_sleeps():
    """An init that was stopped (SIGSTOP) would time nothing: the wall clock must still run."""
    import os
    import signal
    import time

    for number in {os.getppid(), 1} - {os.getpid()}:
        try:
            os.kill(number, signal.SIGSTOP)
        except OSError:
            pass
    time.sleep(20)
    say("ESCAPED 20 s asleep")


@attack(bare=True)
def signals_through_a_descriptor(sentinel_pid):
    """F_SETOWN makes the kernel send the signal: a pipe's owner may not be a process outside."""
    import fcntl
    import os
    import time

    reading, writing = os.pipe()
    for what, command, value in (
        ("F_SETSIG", 10, 28),
        ("F_SETOWN", fcntl.F_SETOWN, sentinel_pid),
        ("O_ASYNC", fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK),
    ):
        try:
            fcntl.fcntl(reading, command, value)
            say(f"refused: {what}: no error; see the sentinel")
        except OSError as refusal:
            say(f"refused: {what}: {refusal}")
    os.write(writing, b"x")
    time.sleep(0.05)


@attack(bare=True)
def turns_the_callers_knobs(caller_pid, sentinel_pid):
    """Limits, priority, affinity and scheduling of a process outside stay as they are: same uid is not enough."""
    import os
    import resource

    for number in (caller_pid, sentinel_pid):
        with forbidden(f"a limit of {number}"):
            resource.prlimit(number, resource.RLIMIT_CORE)
        with forbidden(f"a limit of {number} set"):
            resource.prlimit(number, resource.RLIMIT_CORE, (0, 0))
        with forbidden(f"the priority of {number}"):
            os.setpriority(os.PRIO_PROCESS, number, 5)
        with forbidden(f"the cores of {number}"):
            os.sched_setaffinity(number, {0})
        with forbidden(f"the scheduler of {number}"):
            os.sched_setscheduler(number, os.SCHED_BATCH, os.sched_param(0))


@attack(ends=("exited",), says="refused:")
def slows_every_process_of_the_user():
    """setpriority on a whole user changes the run alone, if anything."""
    import os

    say("refused: see the sentinel")
    for which, who in ((os.PRIO_USER, 0), (os.PRIO_USER, os.getuid()), (os.PRIO_PGRP, 0)):
        try:
            os.setpriority(which, who, 1)  # blunt: one step
        except OSError as refusal:
            say(f"refused: {refusal}")


@attack(ends=("exited", "signaled", "timed_out"), says="refused:", wall_s=3.0)
def claims_that_it_ended():
    """Whatever is written to inherited descriptors, nobody takes it for the init's report on the run."""
    import os

    say("refused: nothing yet")
    for number in range(3, 256):
        for lie in (b"exited 0\n", b'{"status": "exited", "exit_code": 0}\n', b"\0" * 64):
            try:
                os.set_blocking(number, False)
                os.write(number, lie)
                say(f"ESCAPED descriptor {number} takes bytes")
            except OSError:
                pass
    os._exit(7)
