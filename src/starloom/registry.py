"""Names that a user types, and the objects they stand for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from starloom.errors import ConfigError, suggestion


class Registry:
    """A lazy table of name → "module:attribute"; outside code is named `package.module:attribute` without registering."""

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def get(self, name: str) -> object:
        """The object behind a name. Raises ConfigError when there is none, with the nearest name."""
        target = self._table.get(name)
        if target is None:
            if ":" not in name:
                raise ConfigError(
                    f"no {self.kind} '{name}'; {suggestion(name, self._table)} (your own is named package.module:name)"
                )
            target = name
        return resolve(target, self.kind)


def resolve(target: str, kind: str = "object") -> object:
    """Import `package.module:attribute`. Raises ConfigError naming the half that does not exist."""
    module_name, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise ConfigError(f"'{target}' names no {kind}; your own is spelled package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        raise ConfigError(f"no module '{error.name}' for {kind} '{target}'; is it on PYTHONPATH?") from None
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [name for name in vars(module) if not name.startswith("_")]
        raise ConfigError(
            f"module '{module_name}' has no '{attribute}' for {kind} '{target}'; {suggestion(attribute, public)}"
        ) from None
