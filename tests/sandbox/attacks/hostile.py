"""Declares hostile programs: a function's name and docstring say which property it attacks, its body is the program.

The body is cut out as text and put after `weapons.py`; parameters of the function are facts about the host (`bait.py`)
that an attacker could know or guess, bound before the body runs. What a program may do is judged outside by `raid.py`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEAPONS = (Path(__file__).parent / "weapons.py").read_text()
REFUSED = ("exited",)
# Every attack's limits unless it says otherwise: small, so that the floods fill them at once.
LIMITS: dict[str, Any] = {
    "wall_s": 10.0,
    "cpu_s": 5.0,
    "memory_bytes": 128 << 20,
    "processes": 16,
    "file_bytes": 4 << 20,
    "scratch_bytes": 16 << 20,
    "scratch_files": 512,
    "open_files": 64,
    "output_bytes": 256 << 10,
}


@dataclass(frozen=True, slots=True)
class Attack:
    """A hostile (or benign) program, how its run may end, and what it must have said."""

    name: str
    family: str
    about: str
    body: str
    wants: tuple[str, ...]  # facts of the host that the program is told
    ends: tuple[str, ...]  # statuses that are no harm; "exited" alone: with 0, and something was refused
    limits: Mapping[str, Any]
    keep: tuple[str, ...] = ()
    stdin: bytes = b""
    says: str = ""  # must stand in its output
    tiers: tuple[str, ...] = ("namespaces", "landlock")
    bare: bool = False  # can be shown to work, harmlessly, where no sandbox is
    hands_back: tuple[str, ...] = field(default=())  # names of files that may come back through `keep`

    def program(self, facts: Mapping[str, object]) -> str:
        bound = "".join(f"{name} = {facts[name]!r}\n" for name in self.wants)
        return f"{WEAPONS}\n{bound}\n{self.body}"


def body_of(function: Callable[..., Any]) -> str:
    """The statements of a function after its docstring, as a program."""
    source = textwrap.dedent(inspect.getsource(function))
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    first = definition.body[1]
    return textwrap.dedent("\n".join(source.split("\n")[first.lineno - 1 :]))


def attack(
    *,
    ends: tuple[str, ...] = REFUSED,
    keep: tuple[str, ...] = (),
    stdin: bytes = b"",
    says: str = "",
    tiers: tuple[str, ...] = ("namespaces", "landlock"),
    bare: bool = False,
    hands_back: tuple[str, ...] = (),
    **limits: Any,
) -> Callable[[Callable[..., Any]], Attack]:
    """Makes a function's body a hostile program (see `Attack`); `limits` are those that differ from LIMITS."""

    def declare(function: Callable[..., Any]) -> Attack:
        about = inspect.getdoc(function)
        assert about, f"{function.__name__} does not say which property it attacks"
        return Attack(
            name=function.__name__,
            family=function.__module__.rpartition(".")[2],
            about=about,
            body=body_of(function),
            wants=tuple(inspect.signature(function).parameters),
            ends=ends,
            limits={**LIMITS, **limits},
            keep=keep,
            stdin=stdin,
            says=says or ("refused:" if ends == REFUSED else ""),
            tiers=tiers,
            bare=bare,
            hands_back=hands_back,
        )

    return declare


def declared(*modules: Any) -> list[Attack]:
    """The attacks of these modules, in the order of their text."""
    return [value for module in modules for value in vars(module).values() if isinstance(value, Attack)]
