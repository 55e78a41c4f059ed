"""The shapes of the two families, and which of them a config.json is. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starloom.errors import CheckpointError
from starloom.models.config_checks import ACTIVATIONS, Activation, shown
from starloom.models.gpt_bigcode_config import GPTBigCodeConfig
from starloom.models.starcoder2_config import Starcoder2Config

__all__ = ["ACTIVATIONS", "FAMILIES", "Activation", "GPTBigCodeConfig", "ModelConfig", "Starcoder2Config", "from_json"]

ModelConfig = GPTBigCodeConfig | Starcoder2Config
FAMILIES: Final[dict[str, type[GPTBigCodeConfig] | type[Starcoder2Config]]] = {
    family.model_type: family for family in (GPTBigCodeConfig, Starcoder2Config)
}


def from_json(data: Mapping[str, object], where: str = "config.json") -> ModelConfig:
    """The config that a parsed config.json describes, of whichever family its model_type names.

    Raises CheckpointError naming `where`, the key, its value, and what to do.
    """
    family = data.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise CheckpointError(f"{where}: model_type is {shown(family)}; starloom loads {' and '.join(FAMILIES)}, "
                              "so convert the checkpoint to one of them first")  # fmt: skip
    return FAMILIES[family].from_json(data, where)
