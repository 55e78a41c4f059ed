"""The processes that train one model together, as the loop sees them; here the one that trains alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Number = TypeVar("Number", float, Tensor)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that share the batches. What it returns is the same on all of them."""

    index: int = 0  # which part of each batch this process computes
    count: int = 1  # in how many parts

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.index == 0

    def mean(self, value: Number) -> Number:
        """The mean over all processes."""
        return value

    def any(self, value: bool) -> bool:
        """Whether it is so in one of the processes."""
        return value

    def broadcast(self, value: Value) -> Value:
        """The value of the main process."""
        return value


def alone() -> Ranks:
    """One process, which computes whole batches."""
    return Ranks()
