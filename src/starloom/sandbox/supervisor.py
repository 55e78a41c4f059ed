"""The trusted process over one run: sets up, starts the program, watches it, kills all that is left, reports.

In the namespaces tier it is process 1 of the run's pid namespace: when it ends, the kernel kills everything in there. In
the Landlock tier it is a subreaper: orphans become its children, and none can leave the process group that it kills.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from typing import Any

from starloom.sandbox import kernel, payload, scratch, watch
from starloom.sandbox.tiers import Tier

FIRST_LOOK_S = 0.04  # short programs end before it and pay nothing
LOOK_EVERY_S = 0.03  # a program can fill some hundred megabytes between two looks: our choice
MOST_STRETCH = 10  # times wall_s: a run ends then, however busy the machine


@dataclass(slots=True)
class Job:
    """One run, as the supervisor gets it."""

    header: dict[str, Any]
    stdin: bytes
    files: dict[str, bytes]
    source: bytes
    tier: Tier
    streams: tuple[int, int, int]
    talk: int | None


def supervise(job: Job, commands: int, report: int) -> None:
    """Never returns. Writes one JSON line and the kept files into `report`, then ends; every other process is dead then."""
    code = 1
    try:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1):
            signal.signal(name, signal.SIG_IGN)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        facts, files = _run(job, commands)
        facts["files"] = [[name, len(content)] for name, content in files.items()]
        with open(report, "wb", buffering=0, closefd=False) as file:
            _write(file.fileno(), json.dumps(facts).encode() + b"\n")
            for content in files.values():
                _write(file.fileno(), content)
        code = 0
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(
                report,
                json.dumps({"status": "not_started", "detail": f"{type(error).__name__}: {error}"}).encode() + b"\n",
            )
    finally:
        os._exit(code)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _run(job: Job, commands: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    limits = job.header["limits"]
    job.tier.prepare(limits)
    started_r, started_w = os.pipe()
    program = os.fork()
    if program == 0:
        payload.begin(job, started_w)  # never returns
    os.close(started_w)
    for descriptor in (*job.streams, job.talk):
        if descriptor is not None:
            os.close(descriptor)
    problem = b""
    while part := os.read(started_r, 4096):  # until the program is executed, or about to be
        problem += part
    os.close(started_r)
    began = time.monotonic()
    if problem:
        ended: dict[str, Any] = {"status": "not_started", "detail": problem.decode("utf-8", "replace")[:2000]}
    else:
        ended = _until_end(job, program, commands, began)
    wall_s = time.monotonic() - began
    status, reaped = _kill_all(job, program)
    cpu_s = _waited_for()
    if "status" not in ended and status is not None:
        if os.WIFSIGNALED(status):
            ended |= {"status": "signaled", "signal": os.WTERMSIG(status)}
            if os.WTERMSIG(status) == signal.SIGXCPU or (
                os.WTERMSIG(status) == signal.SIGKILL and cpu_s >= limits["cpu_s"]
            ):
                ended["status"] = "out_of_cpu"
        else:
            ended |= {"status": "exited", "code": os.WEXITSTATUS(status)}
    peak = max(ended.pop("peak", 0), reaped)
    files = scratch.kept(job.tier.home, job.header["keep"], int(limits["scratch_bytes"]), int(limits["scratch_files"]))
    return {**ended, "wall_s": wall_s, "cpu_s": cpu_s, "peak": peak}, files


def _until_end(job: Job, program: int, commands: int, began: float) -> dict[str, Any]:
    """Watch until the program's first process ends (empty), or until a limit or the caller ends the run (what it was)."""
    limits = job.header["limits"]
    poll = select.poll()
    handle = os.pidfd_open(program)
    poll.register(handle, select.POLLIN)
    poll.register(commands, select.POLLIN)
    sight = watch.Watch(int(limits["memory_bytes"]))
    charged, last, peak = 0.0, began, 0
    pause = min(FIRST_LOOK_S, limits["wall_s"])
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(max(pause * 1000, 1))]
        now = time.monotonic()
        if handle in ready:
            os.close(handle)
            return {"peak": peak} if peak else {}
        if commands in ready:
            if not os.read(commands, 1):
                job.tier.kill(program)  # the worker is gone
                os._exit(1)
            return {"status": "signaled", "signal": signal.SIGKILL, "detail": "ended by the caller", "peak": peak}
        pids = job.tier.processes()
        charged += sight.charged(pids, min(now - last, 2 * pause + 0.01))  # longer: this process itself was held up
        last = now
        usage = sight.look(pids)
        peak = max(peak, usage.memory_bytes)
        over = detail = ""
        if usage.cpu_s + _waited_for() >= limits["cpu_s"]:
            over = "out_of_cpu"
        elif usage.memory_bytes > limits["memory_bytes"]:
            over = "out_of_memory"
        elif charged >= limits["wall_s"] or now - began >= MOST_STRETCH * limits["wall_s"]:
            over = "timed_out"
        elif detail := job.tier.exceeded(limits, usage.processes):
            over = "signaled"
        if over:
            killed = {"signal": signal.SIGKILL} if over == "signaled" else {}
            return {"status": over, "peak": peak, "detail": detail, **killed}
        _reap_orphans(program)
        pause = min(LOOK_EVERY_S, max(limits["wall_s"] - charged, 0.001))


def _waited_for() -> float:
    """CPU seconds of all processes that were waited for here, by them or by their parents."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap_orphans(program: int) -> None:
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == program:
            return
        os.waitpid(found.si_pid, 0)


def _kill_all(job: Job, program: int) -> tuple[int | None, int]:
    """Kill every process of the run and wait for each: the program's wait status, and the largest peak of one process."""
    status, peak = None, 0
    job.tier.kill(program)
    while True:
        try:
            pid, how, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return status, peak
        peak = max(peak, usage.ru_maxrss << 10)
        if pid == program:
            status = how
