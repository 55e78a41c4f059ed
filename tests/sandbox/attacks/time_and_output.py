"""CPU, wall clock and output: a run ends at its limit, whatever it ignores and whoever it leaves behind."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, patience, say

STOPPED = ("timed_out",)
BURNT = ("out_of_cpu", "signaled", "timed_out")


@attack(ends=("too_much_output",))
def output_without_end():
    """Standard output is read up to `output_bytes`; then the run ends."""
    while patience():
        print("y" * 65536, flush=True)


@attack(ends=("too_much_output",))
def errors_without_end():
    """Standard error has the same limit of its own."""
    import os

    while patience():
        os.write(2, b"e" * 65536)


@attack(ends=("exited", "too_much_output", "timed_out"), wall_s=2.0)
def output_by_children_after_the_end():
    """Children that go on writing after the program has ended neither flood nor delay the caller."""
    import os

    for _ in range(4):
        if os.fork() == 0:
            while patience():
                os.write(1, b"c" * 65536)
    os._exit(0)


@attack(ends=("exited", "timed_out"), wall_s=2.0)
def output_held_open_by_a_daemon():
    """A daemon that keeps standard output open does not keep the caller waiting beyond the wall clock."""
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
        say("ESCAPED a daemon that lived for 20 s")
        os._exit(0)
    say("refused: nothing yet")
    os._exit(0)


@attack(ends=BURNT, wall_s=8.0, cpu_s=0.2)
def cpu_spin():
    """A loop ends at `cpu_s`, whatever it does with SIGXCPU."""
    import signal

    for number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while patience():
        pass
    say("ESCAPED 20 s of CPU")


@attack(ends=BURNT, wall_s=8.0, cpu_s=0.2)
def cpu_spin_in_children():
    """Eight children share the CPU seconds of one program."""
    import os

    for _ in range(8):
        if os.fork() == 0:
            while patience():
                pass
            say("ESCAPED 20 s in a child")
            os._exit(0)
    while patience():
        pass


@attack(ends=BURNT, wall_s=8.0, cpu_s=0.2)
def cpu_spent_by_short_children():
    """Children that end before anyone looks: what they burnt is counted too."""
    import os

    while patience():
        if os.fork() == 0:
            sum(range(200_000))
            os._exit(0)
        os.wait()
    say("ESCAPED 20 s of short children")


@attack(ends=BURNT, wall_s=8.0, cpu_s=0.2)
def cpu_in_a_regular_expression():
    """Catastrophic backtracking runs in C and lets no signal handler in."""
    import re

    re.match(r"(a+)+$", "a" * 64 + "b")
    say("ESCAPED a match that takes years")


@attack(ends=BURNT, wall_s=8.0, cpu_s=0.2)
def cpu_in_a_big_number():
    """A power tower computes in C for minutes."""
    say(f"ESCAPED {(7**6_000_000 % (10**300 + 7)) ** 9_000_000 % 11}")


@attack(ends=STOPPED, wall_s=1.0)
def sleep_with_every_signal_ignored():
    """The wall clock ends what ignores SIGTERM, SIGINT, SIGHUP, SIGALRM and all others that can be ignored."""
    import signal
    import time

    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    time.sleep(20)
    say("ESCAPED 20 s asleep")


@attack(ends=STOPPED, wall_s=1.0)
def stopped_forever():
    """A program that stops itself (SIGSTOP) is not waited for."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSTOP)
    say("ESCAPED somebody woke it")


@attack(ends=STOPPED, wall_s=1.0)
def reads_what_nobody_writes():
    """A read of a fifo in scratch that nobody opens cannot be interrupted from inside."""
    import os

    os.mkfifo("quiet")
    with open("quiet", "rb") as file:
        say(f"ESCAPED read {file.read(1)!r}")


@attack(ends=("exited", "out_of_cpu", "signaled"), cpu_s=0.3)
def recursion_in_the_parser():
    """Deeply nested source and deep recursion end in an error or a crash of the program alone."""
    import sys

    sys.setrecursionlimit(10**9)
    try:
        eval("(" * 5000 + ")" * 5000)
    except (MemoryError, SyntaxError, RecursionError) as refusal:
        say(f"refused: {type(refusal).__name__}")

    def deeper(depth):
        return deeper(depth + 1)

    deeper(0)
    say("ESCAPED without bottom")


@attack(ends=("exited", "signaled"))
def priority_raised():
    """No run makes itself more important than its caller: nice, real-time and I/O classes."""
    import os

    with forbidden("nice -10"):
        os.nice(-10)
        if os.nice(0) >= 0:
            raise OSError("nice without effect")
    with forbidden("a real-time scheduler"):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        if os.sched_getscheduler(0) != os.SCHED_FIFO:
            raise OSError("without effect")
