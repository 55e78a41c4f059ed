"""What is built once for all programs of a language: the epilogue's own object, class or archive, and libraries of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from starloom.sandbox import epilogue_go, epilogue_rust
from starloom.sandbox.epilogue import resource
from starloom.sandbox.languages import Toolchain, language
from starloom.sandbox.programs import Command

AT_RUN: Final = frozenset({"Java", "C#"})  # these are needed when a program runs, the others when it is compiled


def command(name: str, found: Toolchain) -> Command:
    """The run whose kept files are this support."""
    return _COMMANDS[name](found)


def _class(found: Toolchain) -> Command:
    java = language("Java")
    argv = found.argv((*java.compile[:-3], "-d", "epilogue", "Epilogue.java"))
    return Command(
        argv, {"Epilogue.java": resource("Epilogue.java")}, limits=java.compile_limits, keep=("epilogue/*.class",)
    )


def _assembly(found: Toolchain) -> Command:
    argv = found.argv(("@mcs", "-nologo", "-out:Epilogue.exe", "Epilogue.cs"))
    limits = found.language.compile_limits
    return Command(
        argv, {"Epilogue.cs": resource("Epilogue.cs")}, env=found.language.env, limits=limits, keep=("Epilogue.exe",)
    )


def _object(compiler: str, *options: str) -> Callable[[Toolchain], Command]:
    def made(found: Toolchain) -> Command:
        argv = (*found.argv((compiler,)), *options, "-O1", "-c", "-o", "epilogue.o", "epilogue.c")
        limits = found.language.compile_limits
        return Command(argv, {"epilogue.c": resource("epilogue.c")}, limits=limits, keep=("epilogue.o",))

    return made


_COMMANDS: Final[Mapping[str, Callable[[Toolchain], Command]]] = {
    "Java": _class,
    "C#": _assembly,
    "C": _object("@gcc"),
    "C++": _object("@g++", "-x", "c"),
    "D": _object("@gdc", "-x", "c"),
    "testify": epilogue_go.testify,
    "crates": epilogue_rust.crates,
}
