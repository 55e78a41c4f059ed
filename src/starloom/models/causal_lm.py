"""A language model of either family: made, loaded and saved by what its config says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from starloom.errors import CheckpointError
from starloom.models import checkpoint
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.models.int8 import Int8Matrix
from starloom.models.linear import Embedding, Linear
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

    On the CPU and in the stored type the weights stay memory-mapped, copied page by page if they are changed. `torch.int8`
    makes an `int8_model`. Raises CheckpointError for whatever is missing, misshapen, unsafe, or another architecture.
    """
    folder = Path(folder)
    config = checkpoint.read_config(folder)
    tensors = checkpoint.load_tensors(folder, config)
    if dtype == torch.int8:
        return int8_model(config, tensors, where=str(folder), device=device)
    if dtype is None:
        dtypes = {tensor.dtype for tensor in tensors.values()}
        if len(dtypes) > 1:
            raise CheckpointError(f"{folder}: tensors of several types ({', '.join(sorted(map(str, dtypes)))}); "
                                  "say which to compute in, as dtype=torch.float32")  # fmt: skip
        dtype = dtypes.pop()
    model = new_model(config, seed=None, dtype=dtype, device="meta")
    model.load_state_dict({name: tensor.to(device, dtype) for name, tensor in tensors.items()}, assign=True)
    return model.eval()


def int8_model(
    config: ModelConfig, tensors: Mapping[str, torch.Tensor], *, where: str, device: torch.device | str = "cpu"
) -> CausalLM:
    """The model of these weights with every matrix in int8, embeddings too; norms and biases stay floats. For inference only.

    Activations, keys and values are float32 on a CPU, bfloat16 elsewhere. Raises CheckpointError, beginning with `where`,
    for weights that are not finite.
    """
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    model = new_model(config, seed=None, dtype=dtype, device="meta")
    floats = dict(tensors)
    for name, module in list(model.named_modules()):
        if isinstance(module, (Linear, Embedding)):
            weight = floats.pop(f"{name}.weight").to(device)
            try:
                matrix = Int8Matrix(weight, dtype)
            except ValueError as error:
                raise CheckpointError(f"{where}: {name}.weight: {error}; the training had diverged, or the file is "
                                      "damaged: use another checkpoint") from None  # fmt: skip
            del module.weight
            module.add_module("weight", matrix)
    model.load_state_dict(
        {name: tensor.to(device, dtype) for name, tensor in floats.items()}, strict=False, assign=True
    )
    assert not any(parameter.is_meta for parameter in model.parameters()), "a weight was left out"
    return model.eval()


def save_model(model: CausalLM, folder: Path | str) -> None:
    """Write the model as a folder that transformers' AutoModelForCausalLM loads; each file atomically."""
    checkpoint.save(Path(folder), model.config, dict(model.state_dict()))
