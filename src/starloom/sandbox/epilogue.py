"""A program, a benchmark's own tests and an ending that cannot be forged, in one process: weak verdicts.

*What is covered.* Each run has a fresh token. It reaches the process over a pipe that is read whole before the program's
first line (in C, C++ and D before its constructors, in Go and Rust before its init functions), so that it is in no
environment, argument or file; the texts of scripts are removed before they run; and it is said, its two halves exchanged,
only when the last line of the tests is done, in the process that took it. So leaving early (exit, _exit, halt, return,
__END__, traps, exceptions), printing "passed", printing what was given, guessing, and a forked child that prints never
pass. Where the language allows, program and tests are read apart, so that a program cannot swallow its tests; names that
tie them together are chosen after the program is known. The exit code must be 0 as well.

*What is not covered.* Program and tests share one memory. A program may find the token there (each file in `epilogues/`
says how), may patch what assertions are made of, and may read expected values off its caller. Such a verdict is weak, is
called weak in every row, and is never mixed with strong ones.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Final

from starloom.sandbox.languages import Toolchain, language
from starloom.sandbox.programs import Command, Limits, Outcome, Python

HALF: Final = 32  # hexadecimal digits of each half: 256 bits together


@dataclass(frozen=True, slots=True)
class Token:
    """What one run is given, and what it has to say."""

    first: str
    second: str

    @property
    def given(self) -> bytes:
        return (self.first + self.second).encode()

    def said(self, outcome: Outcome) -> Ending | None:
        """What the epilogue told; None where the end was not reached."""
        found = re.search(rb"\n%s%s (-|\d+)\n" % (self.second.encode(), self.first.encode()), outcome.stdout)
        return None if found is None else Ending(None if found[1] == b"-" else int(found[1]))


@dataclass(frozen=True, slots=True)
class Ending:
    """The end was reached; `checks` is how many assertions or tests ran, where the language lets them be counted."""

    checks: int | None


def fresh() -> Token:
    return Token(secrets.token_hex(HALF // 2), secrets.token_hex(HALF // 2))


@dataclass(frozen=True, slots=True)
class Woven:
    """How a program with its tests is built and run. `@name` in commands is a program of the toolchain."""

    files: Mapping[str, bytes]  # sources
    run: tuple[str, ...]
    compile: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    support: tuple[str, ...] = ()  # what has to be built once before: see epilogue_support.py
    beside: Mapping[str, bytes] = field(default_factory=dict)  # files that running needs and compiling does not


Weave = Callable[[Toolchain, str, str], Woven]


def resource(name: str) -> bytes:
    """A file of `epilogues/`."""
    return (resources.files("starloom.sandbox") / "epilogues" / name).read_bytes()


def compile_command(found: Toolchain, woven: Woven, built: Mapping[str, bytes]) -> Command | None:
    """The run that compiles; None where nothing is compiled."""
    if not woven.compile:
        return None
    entry = found.language
    return Command(
        found.argv(woven.compile), {**built, **woven.files}, env=entry.env, limits=entry.compile_limits, keep=woven.keep
    )


def run_command(
    found: Toolchain, woven: Woven, compiled: Mapping[str, bytes], token: Token, limits: Limits | None = None
) -> Command | Python:
    """The run of the program and its tests. Python runs in a warm interpreter."""
    entry = found.language
    limits = limits or entry.limits
    files = {**woven.beside, **compiled} if woven.compile else {**woven.beside, **woven.files}
    if entry.name == "Python":
        return Python(resource("epilogue.python").decode(), files, token.given, limits=limits)
    executable = tuple(name for name in woven.run[:1] if name in ("./main",))
    return Command(
        found.argv(woven.run), files, token.given, entry.env, limits, executable=tuple(e[2:] for e in executable)
    )


def weave(found: Toolchain, program: str, tests: str) -> Woven:
    """A program and its tests with the epilogue of their language."""
    return _WEAVES[found.language.name](found, program, tests)


def weavable(name: str) -> bool:
    """Whether this language has an epilogue, so that it can be judged weakly."""
    return name in _WEAVES


def fresh_name(kind: str) -> str:
    """An identifier that a program cannot know, because it is chosen when the program is."""
    return f"starloom_{kind}_{secrets.token_hex(12)}"


def _script(suffix: str) -> Weave:
    """Program and tests in files of their own, run one after the other by epilogue.SUFFIX."""

    def woven(found: Toolchain, program: str, tests: str) -> Woven:
        files = {f"program.{suffix}": program.encode(), f"tests.{suffix}": tests.encode()}
        launcher = f"epilogue.{suffix}" if suffix != "py" else "epilogue.python"
        beside = {launcher: resource(launcher), **(_stand_ins(program + tests) if suffix == "js" else {})}
        return Woven(files, (*found.language.run[:-1], launcher), beside=beside)

    return woven


def _lua(found: Toolchain, program: str, tests: str) -> Woven:
    number = secrets.token_hex(16)
    tests = tests.replace("os.exit(lu.LuaUnit.run())", "assert(lu.LuaUnit.run() == 0)")  # as MultiPL-E's tests end
    text = f'{program}\nlocal assert, error, ending = ...\n{tests}\nending("{number}")\n'
    launcher = "epilogue.lua"
    return Woven(
        {"main.lua": text.encode()}, (*found.language.run[:-1], launcher), beside={launcher: resource(launcher)}
    )


def _stand_ins(text: str) -> dict[str, bytes]:
    """js-md5, which Debian does not have: Node has MD5 itself."""
    if "js-md5" not in text:
        return {}
    return {
        "node_modules/js-md5.js": b"module.exports = (text) => require('crypto').createHash('md5').update(text).digest('hex')\n"
    }


def _typescript(found: Toolchain, program: str, tests: str) -> Woven:
    files = {"program.ts": program.encode(), "tests.ts": tests.encode(), "transpile.js": resource("transpile.js")}
    library = str(found.programs["tsc"].parent.parent / "lib" / "typescript.js")
    return Woven(
        files,
        (*found.language.run[:-1], "epilogue.js"),
        ("@node", "transpile.js", library, "program.ts", "tests.ts"),
        ("program.js", "tests.js"),
        beside={"epilogue.js": resource("epilogue.js")},
    )


def _jvm(name: str, main: str, class_path: str = "") -> Weave:
    """Kotlin, Scala and Java: the main method of a class is called by Epilogue, which comes first on the class path."""

    def woven(found: Toolchain, program: str, tests: str) -> Woven:
        entry = language(name)
        options = language("Java").run[:-3]
        path = ":".join(("epilogue", ".", *([class_path] if class_path else ())))
        return Woven(
            {entry.file: f"{program}\n{tests}".encode()},
            (*options, "-cp", path, "Epilogue", main or _main_class(program, tests)),
            entry.compile,
            entry.keep,
            ("Java",),
        )

    return woven


def _main_class(program: str, tests: str) -> str:
    """Java's and Scala's: Main, or the class that the program opens and the tests close (MultiPL-E's Problem)."""
    opened = re.search(r"(?m)^[ \t]*(?:public[ \t]+)?(?:class|object)[ \t]+(\w+)", program)
    within = re.search(r"\b(?:class|object)[ \t]+Main\b", tests) is None
    return opened[1] if within and opened is not None else "Main"


def _scala(found: Toolchain, program: str, tests: str) -> Woven:
    library = found.programs["scalac"].parent.parent / "lib" / "scala-library.jar"
    return _jvm("Scala", "", str(library))(found, program, tests)


def _csharp(found: Toolchain, program: str, tests: str) -> Woven:
    text = f"{program}\n{tests}"
    files = {"main.cs": text.encode()}
    if "KellermanSoftware" in text:
        files["CompareNetObjects.cs"] = resource("CompareNetObjects.cs")
    return Woven(files, ("@mono", "Epilogue.exe"), (*found.language.compile[:-1], *files), ("main.exe",), ("C#",))


def _linked(found: Toolchain, program: str, tests: str) -> Woven:
    """C, C++ and D: an object that is linked in wraps the main function."""
    entry = found.language
    text = f"{program}\n\n{undefined(program, tests) if entry.name != 'D' else ''}{tests}"
    command = (*entry.compile, "-Wl,--wrap=main", "epilogue.o")
    if "openssl/" in text:
        command = (*command, "-lcrypto")
    return Woven({entry.file: text.encode()}, entry.run, command, entry.keep, (entry.name,))


def undefined(program: str, tests: str) -> str:
    """What undoes a program's macros that the tests' words, or main, would run into; asserts are on whatever it says."""
    words = {*re.findall(r"\w+", tests), "main", "NDEBUG"}
    macros = re.findall(r"(?m)^[ \t]*(?:#|%:|\?\?=)[ \t]*define[ \t]+(\w+)", re.sub(r"\\\n", "", program))
    undone = "".join(f"#undef {name}\n" for name in dict.fromkeys(macros) if name in words)
    return f"{undone}#include <assert.h>\n" if re.search(r"\bassert\s*\(", tests) else undone


def _haskell(found: Toolchain, program: str, tests: str) -> Woven:
    pragmas = re.match(r"(?s)(?:\s*\{-#.*?#-\})*\s*", program)
    head = pragmas[0] if pragmas else ""
    body = re.sub(r"(?m)^module\s+Main\b.*?\bwhere\b", "", program[len(head) :])
    entry = found.language
    return Woven(
        {
            "Program.hs": f"{head}\nmodule Program where\n{body}\n{tests}".encode(),
            "Epilogue.hs": resource("Epilogue.hs"),
        },
        entry.run,
        (*entry.compile[:-1], "-main-is", "Epilogue.main", "Epilogue.hs"),
        entry.keep,
    )


def _swift(found: Toolchain, program: str, tests: str) -> Woven:
    """Not tried: no toolchain on the machines that this was written on. The token is a variable with a fresh name."""
    given, half = fresh_name("given"), HALF
    text = (
        f'let {given} = Array(readLine(strippingNewline: true) ?? "")\n{program}\n{tests}\n'
        f'print("\\n" + String({given}[{half}...]) + String({given}[..<{half}]) + " -")\n'
    )
    entry = found.language
    return Woven({entry.file: text.encode()}, entry.run, entry.compile, entry.keep)


def _go(found: Toolchain, program: str, tests: str) -> Woven:
    from starloom.sandbox.epilogue_go import woven

    return woven(found, program, tests)


def _rust(found: Toolchain, program: str, tests: str) -> Woven:
    from starloom.sandbox.epilogue_rust import woven

    return woven(found, program, tests)


_WEAVES: Final[Mapping[str, Weave]] = {
    "Python": _script("py"),
    "JavaScript": _script("js"),
    "TypeScript": _typescript,
    "Java": _jvm("Java", ""),
    "Kotlin": _jvm("Kotlin", "MainKt", "main.jar"),
    "Scala": _scala,
    "C": _linked,
    "C++": _linked,
    "D": _linked,
    "C#": _csharp,
    "Go": _go,
    "Rust": _rust,
    "Shell": _script("sh"),
    "PHP": _script("php"),
    "Ruby": _script("rb"),
    "Perl": _script("pl"),
    "Lua": _lua,
    "R": _script("R"),
    "Haskell": _haskell,
    "Swift": _swift,
}
