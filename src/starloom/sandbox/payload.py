"""The process that becomes the program: lets go of everything it holds, takes on the limits, then runs what is untrusted."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enums of `signal`, whose pages would all be copied
import atexit
import gc
import linecache
import math
import os
import resource
import signal
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from starloom.sandbox import kernel, scratch

if TYPE_CHECKING:
    from starloom.sandbox.runs import Job

TALK = 3  # the descriptor of a conversation
RESTORED = tuple(map(int, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)))  # what the worker ignores
BY_PYTHON = (int(signal.SIGPIPE), int(signal.SIGXFSZ))  # what interpreters ignore: errors say it
DEFAULT, IGNORE = int(signal.SIG_DFL), int(signal.SIG_IGN)
HIGH = 200  # where the pipe to the worker lies until all else is in place
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def begin(job: Job, started: int) -> NoReturn:
    """Become the program. What goes wrong before it runs is written into `started`, which is closed when it does."""
    code = 127
    os.dup2(started, HIGH, inheritable=False)
    try:
        _let_go(job)
    except BaseException as error:  # where the pipe is to go, the worker's connection may lie until the end of _let_go
        os.write(HIGH, f"{type(error).__name__}: {error}".encode(errors="replace"))
        os._exit(code)
    try:
        if job.header["kind"] == "python":
            code = _python(job)
        else:
            _command(job)
    finally:
        os._exit(code)


def started_at() -> int:
    """Where the pipe to the worker lies, once `_let_go` has moved it; what is lent follows."""
    return TALK + 1


def _let_go(job: Job) -> None:
    os.setsid()
    lent = [os.dup2(descriptor, 210 + place, inheritable=False) for place, descriptor in enumerate(job.lent.values())]
    descriptors = [*job.streams, job.talk if job.talk is not None else os.open("/dev/null", os.O_RDONLY)]
    moved = [os.dup2(descriptor, 201 + place, inheritable=False) for place, descriptor in enumerate(descriptors)]
    for place, descriptor in enumerate(moved):
        os.dup2(descriptor, place)
    os.dup2(HIGH, started_at(), inheritable=False)
    for place, descriptor in enumerate(lent):
        os.dup2(descriptor, started_at() + 1 + place)
    if job.talk is None:
        os.close(TALK)
    for number in BY_PYTHON:
        _signal.signal(number, IGNORE if job.header["kind"] == "python" else DEFAULT)
    for number in RESTORED:
        _signal.signal(number, DEFAULT)
    os.umask(0o022)
    job.tier.become()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    os.chdir(job.tier.home)
    scratch.fill(job.files, job.header.get("executable", []))
    job.tier.confine()
    os.closerange(started_at() + 1 + len(job.lent), 1 << 16)
    _limit(job.header["limits"], job.tier.more_processes)


def _limit(limits: dict[str, Any], more_processes: int | None) -> None:
    memory, cpu = int(limits["memory_bytes"]), math.ceil(limits["cpu_s"]) + 1
    bounds = [
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_DATA, memory, memory),
        (resource.RLIMIT_FSIZE, int(limits["file_bytes"]), None),
        (resource.RLIMIT_NOFILE, int(limits["open_files"]), None),
    ]
    if more_processes is not None:
        bounds.append((resource.RLIMIT_NPROC, int(limits["processes"]) + more_processes, None))
    if limits["address_space"]:
        bounds.append((resource.RLIMIT_AS, memory, None))
    for name, soft, hard in bounds:
        _bound(name, soft, soft if hard is None else hard)


def limit_worker() -> None:
    """The limits that are the same for all programs; set once in the worker, who needs no more."""
    for name, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 1 << 16, 1 << 16),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, 1024, 1024),  # POSIX timers and queued signals; our choice
        (resource.RLIMIT_STACK, 8 << 20, 64 << 20),
    ):
        _bound(name, soft, hard)


def _bound(name: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(name)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(name, (soft, hard))


def base_environment(home: str) -> dict[str, str]:
    """What every program finds in its environment: nothing of the caller's. The worker has it from the start."""
    return {"PATH": PATH, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}


def _own_environment(job: Job) -> dict[str, str]:
    """What is set for this program alone."""
    own: dict[str, str] = dict(job.header.get("env", {}))
    if job.talk is not None:
        own["STARLOOM_FD"] = str(TALK)
    return own | {name: str(started_at() + 1 + place) for place, name in enumerate(job.lent)}


def _command(job: Job) -> None:
    argv, found = job.header["argv"], base_environment(job.tier.home) | _own_environment(job)
    try:
        os.execvpe(argv[0], argv, found)
    except OSError as error:
        os.write(started_at(), f"{argv[0]} cannot be executed: {error.strerror}".encode())


def _python(job: Job) -> int:
    os.environ.update(_own_environment(job))
    source = job.source.decode("utf-8", "surrogatepass")
    argv = job.header["argv"]
    if job.talk is not None:
        os.set_inheritable(TALK, False)
    module = ModuleType("__main__")
    module.__dict__.update(__file__="main.py", __builtins__=__builtins__)
    if job.talk is not None:
        module.__dict__["STARLOOM_FD"] = TALK
    sys.modules["__main__"] = module
    sys.argv = ["main.py", *argv]
    sys.path.insert(0, job.tier.home)
    linecache.cache["main.py"] = (len(source), None, source.splitlines(True), "main.py")
    _reseed()
    gc.enable()
    os.close(started_at())
    return _as_main(source, module)


def _as_main(source: str, module: ModuleType) -> int:
    """Run the source as the interpreter runs a script, up to what it does at exit; the exit code."""
    code = 0
    try:
        exec(compile(source, "main.py", "exec", dont_inherit=True), module.__dict__)
    except SystemExit as left:
        code = _exit_code(left.code)
    except BaseException:
        code = 1
        error = sys.exc_info()[1]
        assert error is not None
        inner = error.__traceback__.tb_next if error.__traceback__ is not None else None  # without this frame
        sys.excepthook(type(error), error.with_traceback(inner), inner)
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
        atexit._run_exitfuncs()
    except SystemExit as left:
        code = _exit_code(left.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            code = code or 120  # as the interpreter does when its output cannot be written
    return code


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _reseed() -> None:
    """What a fresh interpreter would have drawn anew. The hash seed cannot be: it is the worker's, a fixed one."""
    # `random` seeds itself anew in every fork
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
