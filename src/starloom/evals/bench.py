"""What every judge works on: sandboxes of one tier, opened when first asked for and closed together; limits; data.

    def judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
        sandbox = bench.opened(warm=("numpy",))
        limits = bench.limited(Limits(wall_s=3))        # the task's own, less what the user changed
        ...

A judge gives one verdict for each pair, in their order, as they become known; what it raises ends the whole run, so that
a broken program or toolchain is a verdict and a broken harness is an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from starloom.sandbox import Limits, Sandbox

Tier = Literal["auto", "namespaces", "landlock"]
STDERR_TAIL: Final = 4096  # bytes of a program's stderr that a verdict keeps, our choice
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Bench:
    """A context manager; leaving it closes every sandbox. One thread at a time."""

    def __init__(
        self,
        *,
        workers: int = 1,
        tier: Tier = "auto",
        data: str = "",
        limits: Mapping[str, Any] = _NOTHING,
        python: Path | None = None,
    ) -> None:
        """`limits` are fields of `Limits` that the user changed; `data` is the folder that `problems.load` takes; `python` is
        the interpreter of an environment whose libraries programs use (DS-1000), in place of our own."""
        self.workers = workers
        self.tier: Tier = tier
        self.data = data
        self.changed_limits = dict(limits)
        self.python = python
        self.toolchains: dict[str, str] = {}  # language → version that its programs ran with; judges write it
        self._open: dict[tuple[Any, ...], Sandbox] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        self._stack.close()

    @property
    def sandbox(self) -> Sandbox:
        """A sandbox with nothing but the interpreter and the system in view. Raises SandboxError."""
        return self.opened()

    def opened(self, *, warm: tuple[str, ...] = (), read: tuple[Path, ...] = (), python: Path | None = None) -> Sandbox:
        """The sandbox with these modules imported and these paths in view, opened once. Raises SandboxError."""
        if python is None and self.python is not None:
            python, read = self.python, (*read, _environment(self.python))
        key = (warm, read, python)
        if key not in self._open:
            from starloom.sandbox import Sandbox

            self._open[key] = self._stack.enter_context(
                Sandbox(workers=self.workers, warm=warm, read=read, tier=self.tier, python=python)
            )
        return self._open[key]

    def limited(self, own: Limits) -> Limits:
        """A task's own limits, with those that the user changed in their place."""
        return dataclasses.replace(own, **self.changed_limits) if self.changed_limits else own

    def layers(self) -> dict[str, Any] | None:
        """Tier and layers of what is open, for the rows; None while nothing was run."""
        return next((sandbox.active.as_dict() for sandbox in self._open.values()), None)


def _environment(python: Path) -> Path:
    """The folder of a virtual environment, or the interpreter's own."""
    folder = python.absolute().parent.parent
    return folder if (folder / "pyvenv.cfg").exists() else python.absolute().parent


def tail(data: bytes, most: int = STDERR_TAIL) -> str:
    """The last bytes of an output as text, with a mark where some were left out."""
    text = data[-most:].decode("utf-8", "backslashreplace")
    return text if len(data) <= most else f"… {text}"
