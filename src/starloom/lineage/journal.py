"""What a store holds, read from its manifests: which directories were built from which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starloom.errors import DamagedError, StoreError
from starloom.store import MANIFEST, Built, Store


@dataclass(frozen=True)
class Journal:
    """Every finished directory of a store, newest first."""

    store: Store
    built: tuple[Built, ...]

    @classmethod
    def open(cls, store: Store) -> Journal:
        """Raises StoreError when the store holds nothing finished."""
        found = []
        for directory in reversed(store.directories()):
            if (directory / MANIFEST).is_file():
                try:
                    found.append(Built.open(directory))
                except DamagedError:
                    continue  # `starloom verify` names it; what is sound is still worth following
        if not found:
            raise StoreError(f"{store.root} holds no finished step; run a recipe first: starloom run quickstart")
        return cls(store, tuple(found))

    def of(self, fingerprint: str) -> Built:
        """The directory of a fingerprint. Raises StoreError when it is gone."""
        for built in self.built:
            if built.fingerprint == fingerprint:
                return built
        raise StoreError(
            f"{self.store.root} no longer holds the step with fingerprint {fingerprint}; run the recipe again"
        )

    def kind(self, name: str) -> Iterator[Built]:
        """Directories that stages of one class built."""
        return (built for built in self.built if built.manifest["stage"].rpartition(":")[2] == name)

    def after(self, built: Built, kind: str | None = None) -> list[Built]:
        """Directories that were built directly from this one, of one class of stage or of any."""
        found = []
        for other in self.built:
            inputs = other.manifest["inputs"].values()
            flat = [one for value in inputs for one in (value if isinstance(value, list) else [value])]
            if built.fingerprint in flat and kind in (None, other.manifest["stage"].rpartition(":")[2]):
                found.append(other)
        return found

    def before(self, built: Built, name: str) -> Built:
        """The directory behind one input field."""
        value = built.manifest["inputs"].get(name)
        if not isinstance(value, str):
            raise StoreError(
                f"{built.directory} has no single input '{name}'; it was built by {built.manifest['stage']}"
            )
        return self.of(value)


def store_of(directory: Path) -> Store:
    """The store that a stage's directory, or a link to it, lies in."""
    return Store(directory.resolve().parent)
