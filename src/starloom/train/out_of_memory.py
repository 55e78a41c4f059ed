"""Running out of memory, in the words of the settings that decide how much is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from starloom.errors import TrainingError

# What torch's allocator for CPUs says, and C++ beneath it; everything else has an exception of its own.
_SAID = ("can't allocate memory", "not enough memory", "std::bad_alloc", "Cannot allocate memory")


@contextmanager
def explained(batch: int, accumulate: int, context: int, recompute: bool) -> Iterator[None]:
    """Raises TrainingError with the settings that lower the need, where memory runs out inside."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not ran_out(error):
            raise
        raise TrainingError(remedy(batch, accumulate, context, recompute)) from error


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there was no more memory, of the machine or of its accelerator."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(said in str(error) for said in _SAID)


def remedy(batch: int, accumulate: int, context: int, recompute: bool) -> str:
    """What to set, the cheapest first."""
    ways = []
    if batch > 1:
        parts = next(part for part in range(2, batch + 1) if batch % part == 0)
        ways.append(
            f"--set pretrain.batch={batch // parts} --set pretrain.accumulate={accumulate * parts} makes the same steps of "
            "smaller parts"
        )
    if not recompute:
        ways.append("--set pretrain.recompute=true keeps less of each layer for a third more time")
    ways.append(f"pack.context below {context:,} and pretrain.model smaller change the model")
    return (
        f"out of memory with {batch} sequences of {context:,} tokens at once: {'; '.join(ways)}. What was saved stays: "
        "where others took the memory, the same command goes on"
    )
