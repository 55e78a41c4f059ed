"""Which checkpoints of a run stay, beside the last two that a killed run goes on from. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from starloom.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Keep:
    """Checkpoints that stay with the finished model, as folders that `transformers` loads."""

    every: int = 0  # steps from one to the next; 0: none stays

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ConfigError(f"keep.every is {self.every} steps; use 0 to keep none")

    def at(self, step: int, steps: int) -> bool:
        """Whether the checkpoint after a step of a run of `steps` stays; the last is the finished model itself."""
        return self.every > 0 and step % self.every == 0 and step < steps
