"""How a model's layers are computed in training: once more on the way back, to save memory; or compiled, to save time."""

from __future__ import annotations

import importlib.util
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from starloom.errors import ConfigError
from starloom.models.causal_lm import CausalLM
from starloom.models.gpt_bigcode import GPTBigCode


def layers(model: CausalLM) -> list[nn.Module]:
    """The model's layers."""
    return list(model.transformer.h if isinstance(model, GPTBigCode) else model.model.layers)


def recompute(model: CausalLM) -> None:
    """Keep only what goes into each layer, and compute the layer again when its gradients are wanted: activation
    checkpointing. What was dropped is dropped again, so that the gradients are the same bit for bit."""
    for layer in layers(model):
        layer.forward = _again(layer.forward)


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    def computed(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*given, **named)
        return checkpoint(forward, *given, use_reentrant=False, **named)

    return computed


def compile_layers(model: CausalLM, device: str) -> None:
    """Let torch compile the layers when the first is computed: they share one program. Raises ConfigError where torch
    could not."""
    if (lacking := compiler_lacks(device)) is not None:
        raise ConfigError(
            f"pretrain.compile is true, but {lacking}; install it, or go without: --set pretrain.compile=false"
        )
    for layer in layers(model):
        layer.compile()


def compiler_lacks(device: str) -> str | None:
    """What torch's compiler needs and this machine has not."""
    if device.startswith("cuda"):
        return None if importlib.util.find_spec("triton") else "there is no triton, which torch compiles for a GPU with"
    from torch._inductor import config

    wanted = [one for one in config.cpp.cxx if one]  # the compiler that CXX names, or the usual one
    if not any(shutil.which(one) for one in wanted):
        return f"there is no C++ compiler ({', '.join(wanted)}) on the PATH"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return None if header.is_file() else f"Python's headers are missing ({header}; python3-dev in Debian)"


@contextmanager
def eager(compiled: bool) -> Iterator[None]:
    """Compute a compiled model as it is written: looks and samples have shapes that are not worth compiling for."""
    if not compiled:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
