"""The warm interpreter poisoned: what one program changed in memory, in its process or beside its modules is gone for the next."""

from __future__ import annotations

from sandbox.attacks.hostile import attack
from sandbox.attacks.weapons import forbidden, say

ANY = ("exited", "signaled", "timed_out", "out_of_memory")


@attack(ends=ANY)
def leaves_poisoned_builtins():
    """Builtins, types, small numbers and standard modules changed in memory, past every check of Python's."""
    import builtins
    import collections
    import ctypes
    import gc
    import json
    import math
    import os
    import random
    import sys

    for name in ("len", "sorted", "isinstance", "sum", "abs"):
        setattr(builtins, name, lambda *values, **named: "poisoned")
    json.loads = json.dumps = math.sqrt = random.random = lambda *values: "poisoned"
    collections.OrderedDict = os.getpid = "poisoned"
    sys.modules["starloom_bait"] = sys
    sys.path.insert(0, "/poisoned")
    sys.meta_path.insert(0, None)
    (fields,) = (one for one in gc.get_referents(str.__dict__) if isinstance(one, dict))
    fields["poisoned"] = lambda text: "poisoned"
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(str))
    ctypes.memset(id(7) + 24, 8, 1)  # the digit of the small integer 7
    os.environ["STARLOOM_BAIT_POISON"] = "poisoned"


@attack()
def then_poisoned_builtins():
    """The next program sees a clean interpreter."""
    import builtins
    import collections
    import json
    import math
    import os
    import sys

    found = [
        what
        for what, changed in (
            ("len", len((1, 2)) != 2 or builtins.len is not len),
            ("sorted", sorted((2, 1)) != [1, 2]),
            ("json", json.loads("[1]") != [1]),
            ("math", math.sqrt(9) != 3),
            ("collections", not isinstance(collections.OrderedDict, type)),
            ("os", not isinstance(os.getpid(), int)),
            ("sys.modules", "starloom_bait" in sys.modules),
            ("sys.path", "/poisoned" in sys.path),
            ("sys.meta_path", None in sys.meta_path),
            ("str", hasattr("", "poisoned")),
            ("7", int("6") + 1 != 3 + 4 or str(3 + 4) != "7"),
            ("environment", "STARLOOM_BAIT_POISON" in os.environ),
        )
        if changed
    ]
    say("refused: clean" if not found else f"ESCAPED poisoned: {found}")


@attack(ends=ANY)
def leaves_changed_process_state():
    """umask, working folder, handlers, limits, priority, recursion, tracing, locale and standard streams."""
    import gc
    import os
    import resource
    import signal
    import sys
    import threading

    os.umask(0o777)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    gc.disable()
    sys.setrecursionlimit(100)
    sys.settrace(lambda *values: None)
    threading.settrace(lambda *values: None)
    sys.addaudithook(lambda *values: None)
    sys.stdout.close()
    os.nice(1)
    os.chdir("/")


@attack()
def then_changed_process_state(caller_nice):
    """The next program starts as the first one did: state of the process is not inherited."""
    import gc
    import os
    import resource
    import signal
    import sys
    import time

    mask = os.umask(0o022)
    found = [
        what
        for what, changed in (
            (f"umask {mask:o}", mask == 0o777),
            ("SIGTERM", signal.getsignal(signal.SIGTERM) is signal.SIG_IGN),
            ("blocked signals", bool(signal.pthread_sigmask(signal.SIG_BLOCK, []))),
            ("open files", resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 16),
            ("gc", not gc.isenabled()),
            ("recursion", sys.getrecursionlimit() == 100),
            ("trace", sys.gettrace() is not None),
            ("stdout", sys.stdout.closed),
            ("nice", os.nice(0) > caller_nice),
            ("folder", os.getcwd() == "/"),
        )
        if changed
    ]
    time.sleep(0.01)
    say("refused: clean" if not found else f"ESCAPED changed: {found}")


@attack(ends=ANY)
def leaves_code_for_the_interpreter():
    """sitecustomize, .pth files, byte code and startup files where the next interpreter might look."""
    import glob
    import os
    import site
    import sys
    import sysconfig

    targets = [sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib", "scripts")]
    targets += [
        os.path.dirname(os.path.abspath(sys.executable)),
        site.getusersitepackages(),
        os.path.expanduser("~"),
        ".",
    ]
    targets += [folder for folder in sys.path if folder]
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None):
            targets.append(os.path.dirname(module.__file__))
            targets += glob.glob(os.path.dirname(module.__file__) + "/__pycache__")
    for folder in dict.fromkeys(targets):
        for name in (
            "sitecustomize.py",
            "usercustomize.py",
            "starloom_bait.pth",
            "starloom_bait.py",
            ".pythonrc",
            "conftest.py",
            "pyvenv.cfg.bait",
        ):
            try:
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, name), "x") as file:
                    file.write("import os; os.write(1, b'ESCAPED code of an earlier run\\n')\n")
                say(f"planted {folder}/{name}")
            except OSError:
                pass


@attack()
def then_code_for_the_interpreter():
    """The interpreter's folders are as they were, and a fresh interpreter starts without a stranger's code."""
    import subprocess
    import sys
    import sysconfig

    for name in ("stdlib", "purelib", "platlib", "scripts"):
        with forbidden(f"a file beside {name}"):
            open(sysconfig.get_paths()[name] + "/starloom_bait_again.py", "x").close()
    with forbidden("the standard library changed"):
        open(subprocess.__file__, "r+b").close()
    with forbidden("the interpreter changed"):
        open(sys.executable, "r+b").close()
    try:
        import starloom_bait

        say(f"ESCAPED {starloom_bait}")
    except ImportError:
        pass
    answer = subprocess.run(
        [sys.executable, "-c", "print('refused: fresh')"], capture_output=True, text=True, timeout=8
    )
    say(answer.stdout + answer.stderr[-300:])


@attack(ends=ANY)
def leaves_random_state():
    """A fixed seed, and the random bytes that this run saw."""
    import random

    random.seed(1)
    say("seeded")


@attack()
def then_random_state():
    """Random numbers of two runs differ: a forked interpreter is seeded anew."""
    import random

    drawn = random.random()
    random.seed(1)
    say("refused: fresh" if drawn != random.random() else "ESCAPED the seed of an earlier run")
    say(f"drawn {drawn}")
