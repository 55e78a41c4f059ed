"""The languages whose programs can be run: one entry each, and what of their toolchains this machine has.

*What is covered.* Toolchains are found by PATH, resolved through links (rustup's stand-ins too), and named with their
version. A language whose toolchain is missing is said to be missing, with the Debian package that brings it; that is never
a failure of a program. What a toolchain needs in view besides the system's folders is listed in `Toolchain.roots`.

*What is not covered.* Toolchains are trusted: compilers run inside the sandbox because the texts that they read are not,
but a version is asked outside. Versions are not pinned: a result names the one it was made with.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starloom.errors import SandboxError, suggestion
from starloom.sandbox.programs import Limits

GB: Final = 1 << 30
# Our choice: four times what the slowest compiler here (scalac) takes on a busy core.
COMPILE = Limits(
    wall_s=60, cpu_s=60, memory_bytes=3 * GB, address_space=False, processes=256, file_bytes=128 << 20,
    scratch_bytes=512 << 20, output_bytes=4 << 20,
)  # fmt: skip
RUN = Limits(processes=4)  # threads count: a fork per call would let a program try every answer of a boolean test
MANAGED = Limits(address_space=False, memory_bytes=2 * GB, processes=128)  # V8, Go, the JVM, mono: threads of their own
JVM_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Xss64m")


@dataclass(frozen=True, slots=True)
class Language:
    """One language. In `compile`, `run` and `version`, `@name` is the path of the program `name`."""

    name: str  # linguist's
    file: str  # what a program's text is called in the scratch folder
    programs: Mapping[str, tuple[str, ...]]  # name → executables that do, the first that PATH has
    version: tuple[str, ...]
    run: tuple[str, ...]
    debian: tuple[str, ...]  # packages that bring all of it, with the libraries that the benchmarks' tests use
    compile: tuple[str, ...] = ()  # empty: nothing to compile
    keep: tuple[str, ...] = ()  # globs of what compiling leaves and running needs
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = RUN
    compile_limits: Limits = COMPILE
    also: tuple[str, ...] = ()  # globs of settings that the toolchain reads outside its own folder


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A language's programs as they are on this machine."""

    language: Language
    programs: Mapping[str, Path]  # name → real path

    @property
    def version(self) -> str:
        """What it says of itself, one line; asked once in a process."""
        return _version(tuple(self.argv(self.language.version)))

    @property
    def roots(self) -> tuple[Path, ...]:
        """What has to be in view besides the system's own folders."""
        found = {_installation(path) for path in self.programs.values()}
        found |= {match for glob in self.language.also for match in Path("/").glob(glob.lstrip("/"))}
        return tuple(sorted(path for path in found if path != Path("/usr")))

    def argv(self, template: Iterable[str]) -> tuple[str, ...]:
        """A command of the table with the paths of this machine."""
        return tuple(_filled(word, self.programs) for word in template)


def _one(*executables: str) -> dict[str, tuple[str, ...]]:
    return {executables[0]: executables}


_JAVA = {"javac": ("javac",), "java": ("java",)}
_JAVA_ETC = ("/etc/java-*", "/etc/alternatives")
_RUN_JAVA = ("@java", *JVM_FLAGS, "-Xmx1g", "-ea")
# A sandbox may refuse /etc/ssl, which Node takes as a fault; libraries lie where Debian and npm -g put them.
_NODE_ENV = {
    "OPENSSL_CONF": "/dev/null",
    "NODE_PATH": "/usr/share/nodejs:/usr/lib/node_modules:/usr/local/lib/node_modules",
}
_NODE = ("@node", "--stack-size=4096", "--max-old-space-size=1024")

LANGUAGES: Final[tuple[Language, ...]] = (
    Language(
        "Python", "main.py", _one("python3"), ("@python3", "--version"), ("@python3", "-I", "main.py"), ("python3",)
    ),
    Language(
        "JavaScript", "main.js", _one("node", "nodejs"), ("@node", "--version"), (*_NODE, "main.js"),
        ("nodejs", "node-lodash"), env=_NODE_ENV, limits=MANAGED,
    ),
    Language(
        "TypeScript", "main.ts", {"node": ("node", "nodejs"), "tsc": ("tsc",)}, ("@tsc", "--version"), (*_NODE, "main.js"),
        ("nodejs", "node-typescript", "node-lodash"),
        compile=("@tsc", "--target", "es2020", "--module", "commonjs", "main.ts"), keep=("main.js",),
        env=_NODE_ENV, limits=MANAGED,
    ),
    Language(
        "Java", "Main.java", _JAVA, ("@javac", "-version"), (*_RUN_JAVA, "-cp", ".", "Main"), ("default-jdk-headless",),
        compile=("@javac", *(f"-J{flag}" for flag in JVM_FLAGS), "-proc:none", "-nowarn", "-encoding", "UTF-8", "-d", ".",
                 "Main.java"),
        keep=("*.class", "*/*.class", "*/*/*.class"), limits=MANAGED, also=_JAVA_ETC,
    ),
    Language(
        "C", "main.c", _one("gcc", "cc"), ("@gcc", "--version"), ("./main",), ("gcc", "libc6-dev"),
        compile=("@gcc", "-std=gnu17", "-O1", "-w", "-o", "main", "main.c", "-lm"), keep=("main",),
    ),
    Language(
        "C++", "main.cpp", _one("g++", "c++"), ("@g++", "--version"), ("./main",), ("g++", "libssl-dev", "libboost-dev"),
        compile=("@g++", "-std=gnu++17", "-O0", "-w", "-o", "main", "main.cpp"), keep=("main",),
    ),
    Language(
        "Go", "main.go", _one("go"), ("@go", "version"), ("./main",), ("golang-go", "golang-github-stretchr-testify-dev"),
        compile=("@go", "build", "-o", "main", "main.go"), keep=("main",),
        env={"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "-mod=mod", "GOTELEMETRY": "off",
             "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
        limits=MANAGED,
    ),
    Language(
        "Rust", "main.rs", _one("rustc"), ("@rustc", "--version"), ("./main",),
        ("rustc", "librust-rand-dev", "librust-regex-dev", "librust-md5-dev"),
        compile=("@rustc", "--edition", "2021", "-A", "warnings", "-C", "debug-assertions=on",
                 "-C", "link-arg=-fuse-ld=bfd", "-o", "main", "main.rs"),
        keep=("main",),
    ),
    Language(
        "Shell", "main.sh", _one("bash"), ("@bash", "--version"), ("@bash", "--noprofile", "--norc", "main.sh"), ("bash",),
        limits=Limits(processes=64),  # a shell is nothing without processes
    ),
    Language(
        "PHP", "main.php", _one("php"), ("@php", "--version"),
        ("@php", "-d", "zend.assertions=1", "-d", "assert.exception=1", "-d", "display_errors=stderr", "-d", "log_errors=0",
         "main.php"),
        ("php-cli", "php-mbstring"), also=("/etc/php", "/etc/alternatives"),
    ),
    Language(
        "Ruby", "main.rb", _one("ruby"), ("@ruby", "--version"), ("@ruby", "-W0", "-rset", "main.rb"), ("ruby", "ruby-test-unit"),
        also=("/var/lib/gems",), limits=Limits(processes=4, address_space=False),
    ),
    Language(
        "Perl", "main.pl", _one("perl"), ("@perl", "-e", "print $^V"), ("@perl", "main.pl"), ("perl", "libdata-compare-perl", "libtest-deep-perl"),
        also=("/etc/perl",),
    ),
    Language(
        "Lua", "main.lua", {"lua": ("lua5.4", "lua5.3", "lua")}, ("@lua", "-v"), ("@lua", "main.lua"), ("lua5.4", "lua-unit"),
        also=("/etc/alternatives",),
    ),
    Language(
        "C#", "main.cs", {"mcs": ("mcs",), "mono": ("mono",)}, ("@mcs", "--version"), ("@mono", "main.exe"),
        ("mono-mcs", "mono-runtime", "libmono-system-numerics4.0-cil"),
        compile=("@mcs", "-nologo", "-warn:0", "-d:DEBUG", "-r:System.Numerics", "-out:main.exe", "main.cs"), keep=("main.exe",),
        limits=MANAGED, also=("/etc/mono",),
    ),
    Language(
        "Kotlin", "main.kt", {"kotlinc": ("kotlinc",), **_JAVA}, ("@kotlinc", "-version"),
        (*_RUN_JAVA, "-cp", "main.jar", "MainKt"), ("kotlin", "default-jdk-headless"),
        compile=("@kotlinc", "-nowarn", "-include-runtime", "-d", "main.jar", "main.kt"), keep=("main.jar",),
        limits=MANAGED, also=_JAVA_ETC,
    ),
    Language(
        "Scala", "main.scala", {"scalac": ("scalac",), "scala": ("scala",), **_JAVA}, ("@scalac", "-version"),
        ("@scala", "-nocompdaemon", "-cp", ".", "Main"), ("scala", "default-jdk-headless"),
        compile=("@scalac", "-nowarn", "-d", ".", "main.scala"), keep=("*.class", "*/*.class", "*/*/*.class"),
        limits=MANAGED, also=_JAVA_ETC,
    ),
    Language(  # no package of Debian 12: from swift.org, or Debian 13's swiftlang
        "Swift", "main.swift", _one("swiftc"), ("@swiftc", "--version"), ("./main",), ("swiftlang",),
        compile=("@swiftc", "-Onone", "-suppress-warnings", "-o", "main", "main.swift"), keep=("main",), limits=MANAGED,
    ),
    Language(
        "R", "main.R", _one("Rscript"), ("@Rscript", "--version"), ("@Rscript", "--vanilla", "main.R"), ("r-base-core",),
        also=("/etc/R",), limits=Limits(address_space=False),
    ),
    Language(
        "D", "main.d", {"gdc": ("gdc", "gdc-12", "gdc-13", "gdc-14")}, ("@gdc", "--version"), ("./main",), ("gdc",),
        compile=("@gdc", "-O0", "-w", "-funittest", "-o", "main", "main.d"), keep=("main",),
    ),
    Language(
        "Haskell", "main.hs", _one("ghc"), ("@ghc", "--version"), ("./main",), ("ghc",),
        compile=("@ghc", "-v0", "-w", "-O0", "-o", "main", "main.hs"), keep=("main",),
        also=("/var/lib/ghc",), limits=Limits(address_space=False),
    ),
)  # fmt: skip
_BY_NAME: Final = {language.name: language for language in LANGUAGES}


def language(name: str) -> Language:
    """The entry of a language, by linguist's name. Raises SandboxError."""
    if name not in _BY_NAME:
        raise SandboxError(f"no language '{name}' in the sandbox's table; {suggestion(name, _BY_NAME)}")
    return _BY_NAME[name]


@functools.cache
def toolchain(name: str) -> Toolchain | None:
    """A language's toolchain on this machine, or None where a program of it is missing. Raises SandboxError for an unknown name."""
    wanted = language(name).programs
    found = {program: _found(executables) for program, executables in wanted.items()}
    there = {program: path for program, path in found.items() if path is not None}
    return Toolchain(language(name), there) if len(there) == len(wanted) else None


def missing(name: str) -> str:
    """Why a language has no toolchain here, and what brings it: one line; empty where it has one."""
    entry = language(name)
    lacking = [executables[0] for executables in entry.programs.values() if _found(executables) is None]
    if not lacking:
        return ""
    return f"{name}: no {' and no '.join(lacking)} on PATH; apt-get install {' '.join(entry.debian)}"


def table(versions: bool = True) -> tuple[str, ...]:
    """One line a language: its version, or what is missing. For `starloom doctor sandbox`."""
    rows = []
    for entry in LANGUAGES:
        found = toolchain(entry.name)
        about = missing(entry.name).partition(": ")[2] if found is None else found.version if versions else "found"
        rows.append(f"{entry.name:<11} {about}")
    return tuple(rows)


def roots(names: Iterable[str]) -> tuple[Path, ...]:
    """What a sandbox has to show for programs in these languages; nothing for those that are missing."""
    found = [toolchain(name) for name in names]
    return tuple(sorted({root for one in found if one is not None for root in one.roots}))


def _found(executables: tuple[str, ...]) -> Path | None:
    for executable in executables:
        path = sys.executable if executable == "python3" else shutil.which(executable)
        if path:
            return _behind_rustup(Path(path))
    return None


def _behind_rustup(path: Path) -> Path:
    """rustup's `rustc` is a stand-in that looks for the real one below the home folder, which a sandbox does not show."""
    real = path.resolve()
    if real.name != "rustup":
        return real if real.name.startswith(path.name) else path.parent.resolve() / path.name
    said = _said((str(path), "--print", "sysroot"))
    return Path(said) / "bin" / path.name if said else path


def _installation(path: Path) -> Path:
    """The folder of a toolchain: /usr for the system's, the parent of `bin` for one that lies apart."""
    if path.is_relative_to("/usr") or path.parent in (Path("/bin"), Path("/sbin")):
        return Path("/usr")
    return path.parent.parent if path.parent.name == "bin" else path.parent


@functools.cache
def _version(argv: tuple[str, ...]) -> str:
    return _said(argv) or "found, but it does not say its version"


def _said(argv: tuple[str, ...]) -> str:
    """The first line that a trusted program prints; empty where it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).decode("utf-8", "replace").splitlines()
    lines = [line.strip() for line in lines if line.strip() and "warning:" not in line]
    return lines[0] if lines and done.returncode == 0 else ""


def _filled(word: str, programs: Mapping[str, Path]) -> str:
    return str(programs[word[1:]]) if word.startswith("@") and word[1:] in programs else word
