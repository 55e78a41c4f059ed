"""The process behind one worker: an interpreter with its modules warm, which forks once for every run.

It is started with an empty environment, knows nothing of the caller but one socket, and ends when the caller ends. What was
started only guards the worker proper, a fork of it: when that has ended, it sees that nothing is left, and ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import traceback
from typing import Any, NoReturn

from starloom.sandbox import kernel, landlock, namespaces, payload, semaphores, wire
from starloom.sandbox.runs import CallerGone, Run
from starloom.sandbox.tiers import Tier

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1)


def main(descriptor: int) -> None:
    """Serve one caller over one socket until it is gone."""
    connection = socket.socket(fileno=descriptor)
    watcher = os.pidfd_open(os.getppid())
    started = wire.receive(connection)
    if started is None:
        return
    for name in IGNORED:
        signal.signal(name, signal.SIG_IGN)
    try:
        tier = _prepare(started[0])
        os.environ.clear()
        os.environ.update(payload.base_environment(tier.home))
        payload.limit_worker()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # not before: its own /proc files have to be written
        guard = os.pidfd_open(os.getpid())
        if inner := tier.fork():
            _guard(inner, tier, connection)
    except Exception as error:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(connection, {"problem": f"{type(error).__name__}: {error}"}, [], [])
        os._exit(1)
    gc.collect()
    gc.freeze()  # a collection in a run then leaves alone what was here before, and the pages it lies on
    gc.disable()  # programs have it enabled
    try:
        wire.send(connection, {"ready": os.getpid()} | tier.facts, [], [])
        _serve(tier, connection, (watcher, guard))
    except (CallerGone, BrokenPipeError, ConnectionResetError):
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _guard(inner: int, tier: Tier, connection: socket.socket) -> NoReturn:
    """Wait for the worker proper. In the namespaces tier all that it ran is dead by then; in the Landlock tier, should it
    have been killed, its orphans fall to this process, which ends them."""
    connection.close()
    try:
        while os.waitpid(-1, 0)[0] != inner:
            pass
        tier.end()
    finally:
        os._exit(0)


def _serve(tier: Tier, connection: socket.socket, watchers: tuple[int, int]) -> None:
    """One run after the other. The caller's end is seen by a handle of its process too: others may hold the socket."""
    idle = select.poll()
    for descriptor in (connection.fileno(), *watchers):
        idle.register(descriptor, select.POLLIN)
    while True:
        if any(descriptor in watchers for descriptor, _ in idle.poll()):
            raise CallerGone
        request = wire.receive(connection, descriptors=1 + wire.MOST_LENT)
        if request is None:
            raise CallerGone
        header, blobs, fds = request
        answer, out = Run(tier, connection, watchers).go(header, blobs, fds)
        wire.send(connection, answer, out, [])


def _prepare(config: dict[str, Any]) -> Tier:
    missing = []
    for name in ("linecache", "traceback", "threading", "atexit", *config["warm"]):
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name}: {error}")
    if missing:
        raise ImportError("; ".join(missing))
    compile("0", "main.py", "exec")  # the first call makes the classes of `ast`: 1 ms, here and not in every run
    if config["tier"] == "namespaces":
        return namespaces.Namespaces(config)
    semaphores.install()
    return landlock.Landlocked(config)
