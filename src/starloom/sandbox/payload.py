"""The process that becomes the program: lets go of everything it holds, takes on the limits, then runs what is untrusted."""

from __future__ import annotations

import gc
import math
import os
import resource
import signal
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from starloom.sandbox import kernel, scratch

if TYPE_CHECKING:
    from starloom.sandbox.runs import Job

TALK = 3  # the descriptor of a conversation
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def begin(job: Job, started: int) -> NoReturn:
    """Become the program. What goes wrong before it runs is written into `started`, which is closed when it does."""
    code = 127
    try:
        _let_go(job, started)
    except BaseException as error:
        os.write(started_at(), f"{type(error).__name__}: {error}".encode(errors="replace"))
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


def _let_go(job: Job, started: int) -> None:
    os.setsid()
    high = os.dup2(started, 200, inheritable=False)
    job.lent = {
        name: os.dup2(descriptor, 210 + n, inheritable=False) for n, (name, descriptor) in enumerate(job.lent.items())
    }
    descriptors = [*job.streams, job.talk if job.talk is not None else os.open("/dev/null", os.O_RDONLY)]
    moved = [os.dup2(descriptor, 201 + place, inheritable=False) for place, descriptor in enumerate(descriptors)]
    for place, descriptor in enumerate(moved):
        os.dup2(descriptor, place)
    os.dup2(high, TALK + 1, inheritable=False)
    for place, descriptor in enumerate(job.lent.values()):
        os.dup2(descriptor, started_at() + 1 + place)
    if job.talk is None:
        os.close(TALK)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1):
        signal.signal(name, signal.SIG_DFL)
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
    bounds = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_DATA: (memory, memory),
        resource.RLIMIT_FSIZE: (int(limits["file_bytes"]),) * 2,
        resource.RLIMIT_NOFILE: (int(limits["open_files"]),) * 2,
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (1 << 16, 1 << 16),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_STACK: (8 << 20, 64 << 20),
    }
    if more_processes is not None:
        bounds[resource.RLIMIT_NPROC] = (int(limits["processes"]) + more_processes,) * 2
    if limits["address_space"]:
        bounds[resource.RLIMIT_AS] = (memory, memory)
    for name, (soft, hard) in bounds.items():
        most = resource.getrlimit(name)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(name, (soft, hard))


def environment(job: Job) -> dict[str, str]:
    """What every program finds in its environment: nothing of the caller's."""
    base = {"PATH": PATH, "HOME": job.tier.home, "TMPDIR": job.tier.home, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    if job.talk is not None:
        base["STARLOOM_FD"] = str(TALK)
    base |= {name: str(started_at() + 1 + place) for place, name in enumerate(job.lent)}
    given: dict[str, str] = job.header.get("env", {})
    return base | given


def _command(job: Job) -> None:
    argv, found = job.header["argv"], environment(job)
    try:
        os.execvpe(argv[0], argv, found)
    except OSError as error:
        os.write(started_at(), f"{argv[0]} cannot be executed: {error.strerror}".encode())


def _python(job: Job) -> int:
    os.environ.clear()
    os.environ.update(environment(job))
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
    import linecache

    linecache.cache["main.py"] = (len(source), None, source.splitlines(True), "main.py")
    _reseed()
    gc.enable()
    os.close(started_at())
    return _as_main(source, module)


def _as_main(source: str, module: ModuleType) -> int:
    """Run the source as the interpreter runs a script, up to what it does at exit; the exit code."""
    import atexit
    import threading

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
