"""Compiles the C library beside this file: for `python -m starloom.native` and the build hook of the package.

Any C compiler will do ($CC, cc, gcc, clang, zig, or zig as the Python package `ziglang`). Zig also brings an old glibc
to link against, so what it builds runs on every Linux since 2014. Nothing here imports anything but the standard library.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LIBRARY = FOLDER / "libstarloom.so"
OLDEST_GLIBC = (2, 17)  # manylinux2014, the oldest that PyPI's installers still meet
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-g0", "-s")
PROBE = "#include <pthread.h>\n#include <stdatomic.h>\nint starloom(void) { return 0; }\n"


class BuildError(Exception):
    """No library could be made; the text says why. The NumPy twin computes instead."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A command that compiles C, and what it takes for old systems."""

    command: tuple[str, ...]

    @property
    def is_zig(self) -> bool:
        """Zig brings its own C library and linker, and can aim at an old glibc."""
        return any(Path(word).name in ("zig", "ziglang") for word in self.command)

    @property
    def target(self) -> tuple[str, ...]:
        """Options that aim at the oldest glibc, where the compiler can."""
        if not (self.is_zig and platform.libc_ver()[0] == "glibc"):
            return ()
        return ("-target", f"{platform.machine()}-linux-gnu.{'.'.join(map(str, OLDEST_GLIBC))}")

    def describe(self) -> str:
        """Such as "gcc" or "zig cc -target x86_64-linux-gnu.2.17": without this machine's folders."""
        return " ".join([*(["zig", "cc"] if self.is_zig else [Path(self.command[0]).name]), *self.target])

    def platform_tag(self) -> str:
        """The platform that a wheel with this compiler's library is for."""
        if self.target:
            return "manylinux_{}_{}_{}".format(*OLDEST_GLIBC, platform.machine())
        import sysconfig

        return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def sources() -> list[Path]:
    """The C files, in a fixed order."""
    return sorted(FOLDER.glob("*.c"))


def sources_digest() -> str:
    """Changes when any C file or header, or the way that they are compiled, does."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted([*FOLDER.glob("*.c"), *FOLDER.glob("*.h")]):
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def find_compiler(cc: str | None = None) -> Compiler | None:
    """The first of $CC (given as `cc`), cc, gcc, clang, zig cc and the package ziglang that compiles a small file."""
    return next(filter(_compiles, _candidates(cc)), None)


def build(cc: str | None = None) -> Compiler:
    """Make the library unless it is there already, by the same compiler from the same sources; say who made it.

    The library appears whole or not at all. Raises BuildError.
    """
    if os.name != "posix":
        raise BuildError(f"the native kernels need POSIX threads, and this is {platform.system()}")
    compiler = find_compiler(cc)
    if compiler is None:
        raise BuildError("no C compiler that works (tried $CC, cc, gcc, clang, zig, ziglang); pip install ziglang")
    built_from = f"{sources_digest()} {compiler.describe()}"
    if not (LIBRARY.exists() and built_from.encode() + b"\0" in LIBRARY.read_bytes()):
        with tempfile.TemporaryDirectory(prefix=".build-", dir=FOLDER) as folder:
            made = Path(folder) / LIBRARY.name
            compile_sources(compiler, [*FLAGS, f'-DSTARLOOM_BUILT_FROM="{built_from}"'], sources(), made)
            made.replace(LIBRARY)
    return compiler


def compile_sources(compiler: Compiler, flags: Sequence[str], files: Sequence[Path], output: Path) -> None:
    """Run the compiler. Raises BuildError with the first lines of what it says."""
    command = [*compiler.command, *compiler.target, *flags, *map(str, files), "-o", str(output)]
    with tempfile.TemporaryDirectory() as cache:
        # Zig compiles the C library's own start files into a cache; nothing is left behind.
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
        except OSError as error:
            raise BuildError(f"{command[0]} does not start: {error}") from error
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[:10])
        raise BuildError(f"{compiler.describe()} gave up with exit code {done.returncode}:\n{said}")


def _candidates(cc: str | None) -> Iterator[Compiler]:
    for command in [shlex.split(cc or ""), ["cc"], ["gcc"], ["clang"], ["zig", "cc"], ["ziglang"]]:
        if command == ["ziglang"]:
            if importlib.util.find_spec("ziglang"):
                yield Compiler((sys.executable, "-m", "ziglang", "cc"))
        elif command and shutil.which(command[0]):
            yield Compiler(tuple(command))


def _compiles(compiler: Compiler) -> bool:
    """A compiler may be there without the C library's headers."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.c"
        probe.write_text(PROBE)
        try:
            compile_sources(compiler, ["-std=c11", "-fPIC", "-shared", "-pthread"], [probe], probe.with_suffix(".so"))
        except BuildError:
            return False
    return True
