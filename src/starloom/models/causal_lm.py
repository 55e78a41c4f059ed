"""A language model of either family: made, loaded and saved by what its config says."""

from __future__ import annotations

from pathlib import Path

import torch

from starloom.errors import CheckpointError
from starloom.models import checkpoint
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.models.starcoder2 import Starcoder2

CausalLM = GPTBigCode | Starcoder2


def new_model(
    config: ModelConfig,
    *,
    seed: int | None = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> CausalLM:
    """The model of a config, its weights drawn from the seed; with `seed=None` left as memory has them, to be loaded."""
    if isinstance(config, GPTBigCodeConfig):
        return GPTBigCode(config, seed=seed, dtype=dtype, device=device)
    return Starcoder2(config, seed=seed, dtype=dtype, device=device)


def load_model(folder: Path | str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> CausalLM:
    """A model from a folder in the Hugging Face layout, in the type that it is stored in unless one is given, in eval mode.

    On the CPU and in the stored type the weights stay memory-mapped, copied page by page if they are changed. Raises
    CheckpointError for whatever is missing, misshapen, unsafe, or another architecture.
    """
    folder = Path(folder)
    config = checkpoint.read_config(folder)
    tensors = checkpoint.load_tensors(folder, config)
    if dtype is None:
        dtypes = {tensor.dtype for tensor in tensors.values()}
        if len(dtypes) > 1:
            raise CheckpointError(f"{folder}: tensors of several types ({', '.join(sorted(map(str, dtypes)))}); "
                                  "say which to compute in, as dtype=torch.float32")  # fmt: skip
        dtype = dtypes.pop()
    model = new_model(config, seed=None, dtype=dtype, device="meta")
    model.load_state_dict({name: tensor.to(device, dtype) for name, tensor in tensors.items()}, assign=True)
    return model.eval()


def save_model(model: CausalLM, folder: Path | str) -> None:
    """Write the model as a folder that transformers' AutoModelForCausalLM loads; each file atomically."""
    checkpoint.save(Path(folder), model.config, dict(model.state_dict()))
