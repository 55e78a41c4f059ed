"""Benign programs: whatever keeps the hostile ones in must let these work, while the others rage beside them."""

from __future__ import annotations

from sandbox.attacks.hostile import attack

KEPT = {
    "wall_s": 60.0,
    "cpu_s": 30.0,
    "memory_bytes": 1 << 30,
    "processes": 32,
    "open_files": 256,
    "output_bytes": 1 << 20,
    "says": "kept",
}


@attack(**KEPT)
def runs_another_program():
    """subprocess: a shell, a pipe, an interpreter of the same kind."""
    import subprocess
    import sys

    assert (
        subprocess.run("echo one | tr a-z A-Z", shell=True, capture_output=True, text=True, check=True).stdout
        == "ONE\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True).stdout
        == "42\n"
    )
    print("kept")


@attack(**KEPT)
def uses_threads():
    """Eight threads and a pool."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda x: x * x, range(100))) == 328350
    print("kept")


@attack(**KEPT)
def uses_processes():
    """A process pool with a queue and a semaphore (POSIX shared memory)."""
    import multiprocessing

    if __name__ == "__main__":
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(abs, [-1, -2, 3]) == [1, 2, 3]
        print("kept")


@attack(**KEPT)
def uses_numpy():
    """A matrix product and a linear solution."""
    import numpy as np

    a_NN = np.arange(10000.0).reshape(100, 100) + 100 * np.eye(100)
    assert np.allclose(a_NN @ np.linalg.solve(a_NN, np.ones(100)), 1)
    print("kept")


@attack(**KEPT)
def writes_temporary_files():
    """tempfile, folders, renaming, permissions, copies and archives."""
    import os
    import pathlib
    import shutil
    import tempfile
    import zipfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.txt")
        path.write_text("x" * 100_000)
        shutil.copy(path, path.with_suffix(".b"))
        with zipfile.ZipFile(pathlib.Path(folder, "c.zip"), "w") as archive:
            archive.write(path)
        assert len(os.listdir(folder)) == 3
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("kept")
        file.seek(0)
        print(file.read())


@attack(**KEPT)
def prints_unicode():
    """UTF-8 whatever the caller's locale is."""
    print("kept: naïve ☃ 漢字 😀 \u202e")


@attack(**KEPT)
def prints_half_a_megabyte():
    """Output below the limit arrives whole."""
    for number in range(5000):
        print(f"{number:099d}")
    print("kept")


@attack(**KEPT)
def recurses_deeply():
    """Ten thousand frames of Python."""
    import sys

    sys.setrecursionlimit(20_000)

    def count(n):
        return 0 if n == 0 else 1 + count(n - 1)

    assert count(10_000) == 10_000
    print("kept")


@attack(**KEPT)
def uses_asyncio():
    """An event loop needs a socket pair of its own; a subprocess of it needs a child watcher."""
    import asyncio

    async def work():
        process = await asyncio.create_subprocess_exec("echo", "x", stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == b"x\n"
        return await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(50)))

    assert asyncio.run(work()) == list(range(50))
    print("kept")


@attack(**KEPT)
def computes_decimals():
    """A thousand digits, fractions, statistics."""
    from decimal import Decimal, getcontext
    from fractions import Fraction

    getcontext().prec = 1000
    assert str(Decimal(2).sqrt())[:6] == "1.4142" and sum(Fraction(1, n) for n in range(1, 50)) > 4
    print("kept")


@attack(**KEPT)
def sorts_much():
    """A hundred megabytes of objects, sorted."""
    import random

    values = [random.random() for _ in range(500_000)]
    assert sorted(values)[0] == min(values)
    print("kept")


@attack(**KEPT, stdin=b"3\n1 2 3\n")
def reads_standard_input():
    """input() and sys.stdin, as programs of contests do."""
    import sys

    assert int(input()) == 3 and sum(map(int, sys.stdin.readline().split())) == 6 and sys.stdin.read() == ""
    print("kept")


@attack(**KEPT)
def uses_a_database():
    """SQLite in scratch and in memory, with a transaction and its journal."""
    import sqlite3

    for name in ("data.db", ":memory:"):
        with sqlite3.connect(name) as connection:
            connection.execute("create table t(x)")
            connection.executemany("insert into t values (?)", [(n,) for n in range(1000)])
            assert connection.execute("select sum(x) from t").fetchone() == (499500,)
    print("kept")


@attack(**KEPT)
def handles_signals_and_time():
    """An alarm of its own, monotonic and wall clocks, time zones."""
    import datetime
    import signal
    import time
    import zoneinfo

    heard = []
    signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.1)
    assert heard and abs(time.time() - datetime.datetime.now(zoneinfo.ZoneInfo("UTC")).timestamp()) < 60
    print("kept")


@attack(**KEPT)
def talks_to_itself_over_a_socket_pair():
    """socketpair, select and a pipe."""
    import os
    import select
    import socket

    one, two = socket.socketpair()
    one.sendall(b"x" * 1000)
    assert select.select([two], [], [], 1)[0] and len(two.recv(2000)) == 1000
    reading, writing = os.pipe()
    os.write(writing, b"kept\n")
    print(os.read(reading, 10).decode())


@attack(**KEPT)
def imports_the_library():
    """Standard modules that look around in the system while they are imported or first used."""
    import ctypes
    import getpass
    import locale
    import platform
    import ssl
    import tempfile
    import uuid

    assert (
        ctypes.sizeof(ctypes.c_long)
        and platform.platform()
        and tempfile.gettempdir()
        and uuid.uuid4()
        and ssl.OPENSSL_VERSION
    )
    locale.getlocale()
    try:
        getpass.getuser()
    except (KeyError, OSError):
        pass
    print("kept")
