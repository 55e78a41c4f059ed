"""Tasks by name: those of the package, and outside code as `package.module:name`."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from starloom.errors import ConfigError
from starloom.evals.tasks.task import Task
from starloom.registry import resolve


def is_outside(name: str) -> bool:
    """Whether a name is of outside code; no task of the package has a dot before its colon."""
    module, colon, _ = name.partition(":")
    return bool(colon) and "." in module and "=" not in module


def task_named(name: str) -> Task:
    """Raises ConfigError for a name that no task has."""
    if not is_outside(name):
        return cast(Callable[[str], Task], resolve("starloom.evals.tasks.registry:task_named", "tasks"))(name)
    found = resolve(name, "task")
    if not isinstance(found, Task):
        raise ConfigError(f"'{name}' is a {type(found).__name__}, not a Task")
    return found
