"""Bombs and daemons: a run is one tree that is bounded and dies as a whole."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import bounded, patience, say

STOPPED = ("timed_out", "out_of_cpu", "signaled")


@attack(ends=STOPPED, wall_s=0.8, cpu_s=0.2)
def fork_bomb():
    """A fork bomb stays within `processes` and dies as one."""
    import os

    while patience():
        try:
            os.fork()
        except OSError:
            pass


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def fork_bomb_that_outruns_the_reaper():
    """Every process forks and leaves at once: whoever kills by list always finds yesterday's."""
    import os

    while patience():
        try:
            if os.fork() != 0:
                os._exit(0)
        except OSError:
            pass


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def fork_bomb_behind_a_program_that_has_ended():
    """The bomb goes off after the program itself has exited with 0."""
    import os
    import time

    if os.fork() == 0:
        time.sleep(0.1)
        while patience():
            try:
                os.fork()
            except OSError:
                pass
    os._exit(0)


@attack(ends=STOPPED, wall_s=0.8, cpu_s=0.2)
def fork_bomb_in_new_sessions():
    """Each child leaves for a session and a process group of its own, so that no group kill would reach it."""
    import os

    while patience():
        try:
            if os.fork() == 0:
                for leave in (os.setsid, os.setpgrp):
                    try:
                        leave()
                    except OSError:
                        pass
        except OSError:
            pass


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def fork_bomb_of_programs():
    """A bomb of fresh programs (fork and exec), whose arguments and environment are their own."""
    import subprocess
    import sys

    again = "import subprocess, sys, time\nwhile time.monotonic() < float(sys.argv[2]):\n    try: subprocess.Popen([sys.executable, '-c', sys.argv[1], *sys.argv[1:]])\n    except OSError: pass"
    import time

    while patience():
        try:
            subprocess.Popen([sys.executable, "-c", again, again, str(time.monotonic() + 15)])
        except OSError:
            pass


@attack(ends=(*STOPPED, "exited", "out_of_memory"), wall_s=0.8, cpu_s=0.2)
def thread_bomb():
    """Threads are tasks and count as processes do."""
    import threading
    import time

    held = []
    try:
        while len(held) < 10_000:
            thread = threading.Thread(target=time.sleep, args=(20,), daemon=True)
            thread.start()
            held.append(thread)
    except (RuntimeError, MemoryError):
        bounded("threads", len(held), 18)
    else:
        say("ESCAPED 10,000 threads")


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def zombie_swarm():
    """Children that nobody waits for fill the process table of the run alone."""
    import os

    made = 0
    while patience() and made < 100_000:
        try:
            if os.fork() == 0:
                os._exit(0)
            made += 1
        except OSError:
            break
    bounded("zombies", made, 18)


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def daemon_by_two_forks():
    """The classic daemon (fork, setsid, fork, every descriptor closed) does not outlive its run."""
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            while patience():
                time.sleep(0.05)
        os._exit(0)
    os._exit(0)


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def daemon_with_its_own_reaper():
    """A subreaper gathers its orphans, so that the init of the run does not see them die."""
    import ctypes
    import os
    import signal
    import time

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG off
    for _ in range(6):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
            if os.fork() == 0:
                while patience():
                    time.sleep(0.05)
            os._exit(0)
    os._exit(0)


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def daemon_after_the_parents_death():
    """A child waits until its parent is dead and then starts its work."""
    import os
    import time

    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        while patience():
            time.sleep(0.05)
    os._exit(0)


@attack(ends=(*STOPPED, "exited"), wall_s=0.8, cpu_s=0.2)
def daemon_in_vfork():
    """A vfork parent sleeps uninterruptibly while its child lives: it must be killed with it."""
    import ctypes
    import time

    if ctypes.CDLL(None).vfork() == 0:
        time.sleep(20)


@attack(ends=(*STOPPED, "exited"), wall_s=2.0)
def thread_that_outlives_its_main_thread():
    """The main thread ends alone (SYS_exit); the process lives on in another thread, a zombie leader in front."""
    import ctypes
    import threading
    import time

    threading.Thread(target=time.sleep, args=(20,)).start()
    ctypes.CDLL(None).syscall(
        60 if ctypes.sizeof(ctypes.c_long) == 8 and __import__("platform").machine() == "x86_64" else 93, 0
    )
