"""The PyTorch backend: a model of either family and its key/value cache behind the engine's seam.

What it promises about batches: a request's arithmetic is its own, but the sums of a matrix product may be ordered by how
many rows it has. So in float32 and below the last bits of the logits depend on what else is in the batch, on how much of a
prompt another request had computed before, and on whether a guess was verified beside a row; tokens then agree except at
near-ties (`benchmarks/generate_agreement.py` reports how often). In float64 the difference is too small to reach a token:
tests hold that a request alone equals the same request in a ragged batch with prefixes shared and next ids guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from starloom.errors import ConfigError, suggestion
from starloom.generate.sampling import Logits
from starloom.models import gpt_bigcode, starcoder2
from starloom.models.causal_lm import CausalLM, load_model

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
    "int8": torch.int8,  # the weights alone
}
# of one row more, in one-row forwards: on a CPU, 31M parameters in float32, 0.09 each for five and for nine rows
# (benchmarks/generate_speed.py); on a GPU a forward of few rows reads the weights and little else (our estimate)
ROW_COST = {False: 0.1, True: 0.02}


class TorchBackend:
    """A `Backend` over a model in eval mode; it computes wherever and in whatever type the model's weights are."""

    def __init__(self, model: CausalLM) -> None:
        self.model = model
        self._cache = model.new_cache()

    @property
    def vocabulary_size(self) -> int:
        return self.model.config.vocab_size

    @property
    def context(self) -> int:
        return self.model.config.context

    @property
    def row_cost(self) -> float:
        return ROW_COST[self._cache.device.type == "cuda"]

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], every: Collection[int] = ()) -> list[Logits]:
        logits = self.model.step(batch, self._cache, [slot in every for slot, _ in batch])
        arrays = [rows.float().cpu().numpy() for rows in logits]
        return [rows if slot in every else rows[-1] for (slot, _), rows in zip(batch, arrays, strict=True)]

    def truncate(self, slot: int, length: int) -> None:
        self._cache.truncate(slot, length)

    def share(self, source: int, slot: int, length: int) -> None:
        self._cache.share(source, slot, length)

    def free(self, slot: int) -> None:
        self._cache.free(slot)


def open_backend(
    folder: Path, *, device: str = "cpu", dtype: str = "float32", threads: int | None = None, compile: bool = False
) -> TorchBackend:
    """The model of a folder, ready to decode. `threads`, for all of this process, is torch's own choice where None.

    `compile` has torch's compiler make kernels of the MLPs, which know of no sequences. Raises CheckpointError for weights
    that cannot be used, ConfigError for a device or type that is not there.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"no dtype '{dtype}'; {suggestion(dtype, DTYPES)}")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"no device '{device}'; use cpu, cuda or cuda:1") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is '{device}', but torch {torch.__version__} finds no CUDA device here; use cpu")
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"threads is {threads}; it must be at least 1")
        torch.set_num_threads(threads)
    if compile and dtype == "int8" and place.type == "cpu":
        raise ConfigError("compile is set and dtype is 'int8': compiled, a CPU's logits came out wrong in torch 2.13; "
                          "choose one of them")  # fmt: skip
    model = load_model(folder, dtype=DTYPES[dtype], device=place)
    if compile:
        for module in model.modules():
            if isinstance(module, (gpt_bigcode.MLP, starcoder2.MLP)):
                module.compile(dynamic=True)  # of any number of rows
    return TorchBackend(model)
