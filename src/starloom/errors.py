"""Everything that starloom raises on purpose.

StarloomError
├── ConfigError          a setting, flag or recipe that cannot be
├── SourceError          something to read that is missing, empty, damaged or unsafe
├── StoreError           what lies on disk between stages
│   ├── DamagedError     bytes that differ from what the manifest says
│   ├── AlignmentError   an attribute, verdict or group whose rows are not its documents'
│   ├── BusyError        another process builds the same directory
│   └── DiskFullError    no room; what was finished before stays
├── TokenizerError       a vocabulary that is damaged, unsafe, or lacks a control token
├── CheckpointError      a model folder that cannot be loaded as it is
├── HubError             a published model, revision or repository that is not there, or cannot be
├── TrainingError        a training run that cannot go on
├── SandboxError         a protection that is missing, a program that cannot be run as asked
├── GenerationError      a request that cannot be served; others go on
└── MissingExtraError    an optional dependency that is not installed, with the command that installs it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AlignmentError",
    "BusyError",
    "CheckpointError",
    "ConfigError",
    "DamagedError",
    "DiskFullError",
    "GenerationError",
    "HubError",
    "MissingExtraError",
    "SandboxError",
    "SourceError",
    "StarloomError",
    "StoreError",
    "TokenizerError",
    "TrainingError",
    "suggestion",
]


class StarloomError(Exception):
    """Base of every error that a user can act on; its text is one line: what, which value, what to do."""


class ConfigError(StarloomError):
    """A setting, flag or recipe that cannot be."""


class SourceError(StarloomError):
    """Something to read that is missing, empty, damaged or unsafe."""


class StoreError(StarloomError):
    """Something wrong with what lies on disk between stages."""


class DamagedError(StoreError):
    """Bytes on disk differ from what the manifest says."""


class AlignmentError(StoreError):
    """An attribute, verdict or group whose rows are not its documents' rows."""


class BusyError(StoreError):
    """Another process builds the same directory."""


class DiskFullError(StoreError):
    """No room on the disk; what was finished before stays."""


class TokenizerError(StarloomError):
    """A vocabulary that is damaged, unsafe, or lacks a control token."""


class CheckpointError(StarloomError):
    """A model folder that cannot be loaded as it is."""


class HubError(StarloomError):
    """A published model, revision or repository that is not there, or cannot be."""


class TrainingError(StarloomError):
    """A training run that cannot go on."""


class GenerationError(StarloomError):
    """A request that cannot be served; the engine goes on with the others."""


class SandboxError(StarloomError):
    """Untrusted code cannot be run as asked: a protection is missing, or the program is no program."""


class MissingExtraError(StarloomError):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'starloom[{extra}]'")
        self._made_from = (module, extra)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), self._made_from  # so that it survives the way from a worker process


def suggestion(name: str, known: Iterable[str]) -> str:
    """` did you mean 'x'?` for the nearest known name, else the list of known names, to append to an error."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(choices)}" if choices else "none are known"
