"""Finds the C library, and says what computes: an instruction set of it, or the NumPy twin."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

from starloom.errors import ConfigError, suggestion
from starloom.native import build

INSTRUCTION_SETS = ("plain", "neon", "avx2", "avx512")  # by number in native.h, best last
TWIN = "twin"


@dataclass(frozen=True, slots=True)
class Status:
    """What computes here."""

    library: Path | None  # None where the twin stands in
    instruction_set: str  # of the library, or "twin"
    built_by: str  # the compiler; empty for the twin
    reason: str  # why the twin stands in; empty for the library

    def describe(self) -> str:
        """One line for `starloom doctor`."""
        if self.library is None:
            return f"the NumPy twin stands in, slower: {self.reason}"
        return f"{self.instruction_set}, {self.library.name} built by {self.built_by}"


@dataclass(frozen=True, slots=True)
class Library:
    """The loaded library, the compiler that built it, and the instruction sets that this machine has, best last."""

    functions: ctypes.CDLL
    built_by: str
    instruction_sets: tuple[str, ...]


class _Choice:
    name = "auto"


def use(name: str) -> None:
    """Choose what computes in this process: "auto" (the best there is), "twin", or an instruction set by name.

    Raises ConfigError for a name that is unknown or not to be had here.
    """
    if name not in ("auto", *choices()):
        raise ConfigError(f"native kernels cannot use '{name}' here; {suggestion(name, ('auto', *choices()))}")
    _Choice.name = name


def choices() -> tuple[str, ...]:
    """What `use` accepts here beside "auto": the twin, then the instruction sets, best last."""
    library = load()
    return (TWIN, *library.instruction_sets) if isinstance(library, Library) else (TWIN,)


def status() -> Status:
    """Which library and instruction set computes, or why the twin stands in."""
    library = load()
    if isinstance(library, str):
        return Status(None, TWIN, "", library)
    if _Choice.name == TWIN:
        return Status(None, TWIN, "", "this process chose it")
    name = library.instruction_sets[-1] if _Choice.name == "auto" else _Choice.name
    return Status(build.LIBRARY, name, library.built_by, "")


def chosen() -> tuple[ctypes.CDLL, int] | None:
    """The library and the number of the instruction set to use, or None for the twin."""
    library = load()
    if isinstance(library, str) or _Choice.name == TWIN:
        return None
    name = library.instruction_sets[-1] if _Choice.name == "auto" else _Choice.name
    return library.functions, INSTRUCTION_SETS.index(name)


@functools.cache
def load() -> Library | str:
    """The library, or why there is none. One that was built from other sources than those beside it is not used."""
    remedy = "run: python -m starloom.native"
    if not build.LIBRARY.exists():
        return f"{build.LIBRARY.name} has not been built; {remedy}"
    try:
        functions = ctypes.CDLL(str(build.LIBRARY))
        functions.starloom_built_from.restype = ctypes.c_char_p
        digest, built_by = functions.starloom_built_from().decode().split(" ", 1)
    except (OSError, AttributeError, ValueError) as error:
        return f"{build.LIBRARY.name} cannot be loaded ({error}); {remedy}"
    if digest != build.sources_digest():
        return f"{build.LIBRARY.name} was built from other sources; {remedy}"
    functions.starloom_instruction_sets.restype = ctypes.c_uint32
    number, address, count = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
    functions.starloom_line_statistics.argtypes = [
        *(number, address, address, count),  # instruction set, data, offsets, documents
        *(address, address, number, address),  # index, blocks, threads, result
    ]
    bits = functions.starloom_instruction_sets()
    here = tuple(name for number, name in enumerate(INSTRUCTION_SETS) if bits >> number & 1)
    return Library(functions, built_by, here)
