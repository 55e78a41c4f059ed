"""Tasks by name: those of the package, groups of them, the leaderboard's, and outside code as `package.module:name`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from starloom.errors import ConfigError, suggestion
from starloom.evals.tasks.task import Task
from starloom.registry import resolve

ALL: Final = "all"
_MODULES: Final = (
    "python_tasks", "infill_tasks", "multilingual_tasks", "pack_tasks", "ds1000_tasks", "reasoning_tasks", "contest_tasks",
    "code_to_text_tasks", "recode_tasks",
)  # fmt: skip
ALIASES: Final = {"humaneval-plus": "humaneval+", "mbpp-plus": "mbpp+"}


@functools.cache
def everything() -> dict[str, Task]:
    """Every task of the package by its name, in its order."""
    modules = (importlib.import_module(f"starloom.evals.tasks.{name}") for name in _MODULES)
    return {task.name: task for module in modules for task in module.TASKS}


def is_outside(name: str) -> bool:
    """Whether a name is of outside code; no task of the package has a dot before its colon."""
    module, colon, _ = name.partition(":")
    return bool(colon) and "." in module and "=" not in module


def task_named(name: str) -> Task:
    """The task of a name; `NAME=PATH` reads its problems from a file. Raises ConfigError for a name that no task has."""
    if not is_outside(name):
        known = everything()
        name, given, path = name.partition("=")
        name = ALIASES.get(name, name)
        if name in known and given:
            return replace(known[name].at(path), name=f"{name}={path}")
        if name not in known:
            raise ConfigError(f"no task '{name}'; {suggestion(name, [*known, ALL])}")
        return known[name]
    found = resolve(name, "task")
    if not isinstance(found, Task):
        raise ConfigError(f"'{name}' is a {type(found).__name__}, not a Task")
    return found


def chosen(given: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    """(tasks that are sampled and judged, tasks of the leaderboard) of what a command line names, each once.

    Raises ConfigError for an unknown name, and where none is given.
    """
    from starloom.evals.leaderboard.board import NAME, leaderboard_tasks

    names = [name.strip() for one in given for name in one.split(",") if name.strip()]
    if not names:
        raise ConfigError(
            "no task is named; --tasks humaneval, or several with commas: `starloom eval tasks` lists them"
        )
    found: dict[str, None] = {}
    board: dict[str, None] = {}
    for name in names:
        if name == NAME:
            board |= dict.fromkeys(leaderboard_tasks())
        elif name in leaderboard_tasks():
            board[name] = None
        elif is_outside(name):
            found[task_named(name).name] = None
        else:
            found |= dict.fromkeys(expanded(name))
    return list(found), tuple(board)


def task_names() -> list[str]:
    """Every task of the package, in its order."""
    return list(everything())


def expanded(name: str) -> list[str]:
    """The task of a name, or those of the group that it begins: `humaneval-x` is all its languages."""
    known = everything()
    group = [one for one in known if name == ALL or one.startswith(f"{name}:")]
    return group if group and name not in known else [task_named(name).name]
