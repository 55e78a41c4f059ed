"""`starloom convert`: a checkpoint in one layout, written in another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starloom import flags, progress
from starloom.flags import flag


@dataclass(frozen=True, kw_only=True)
class ConvertFlags:
    """Convert a checkpoint: from pickles (.bin, .pt), SantaCoder's own layout or Megatron's to safetensors that starloom and
    transformers load; to a GGUF file for llama.cpp; to SantaCoder's own layout; to many key/value heads (mha) or one (mqa).

    A pickle is read in the sandbox, weights only: one that would run code is refused, and nothing runs. Where there is no
    sandbox (`starloom doctor sandbox`), pickles are refused and safetensors are converted as ever.
    SOURCE is a folder or a file of weights. TARGET appears whole or not at all.

    Examples:
      starloom convert old-model/ new-model/                        pytorch_model.bin to model.safetensors
      starloom convert santacoder/ model/ --from santacoder
      starloom convert checkpoints/ model/ --from megatron --tokenizer tokenizer/
      starloom convert model/ model.gguf --to gguf --dtype q8_0
      starloom convert model/ expanded/ --to mha
    """

    source: Path = flag(help="a folder, or a file of weights", positional=True, metavar="SOURCE")
    target: Path = flag(help="the folder to write, or NAME.gguf", positional=True, metavar="TARGET")
    from_: Literal["auto", "safetensors", "pytorch", "santacoder", "megatron"] = flag("auto", help="layout of SOURCE")
    to: Literal["safetensors", "gguf", "santacoder", "mha", "mqa"] = flag("safetensors", help="layout of TARGET")
    dtype: Literal["float32", "float16", "bfloat16", "q8_0"] | None = flag(
        None, help="type of the matrices (default: as stored); q8_0 for gguf only", metavar="TYPE"
    )
    tokenizer: Path | None = flag(None, help="folder of the tokenizer (default: that of SOURCE)", metavar="FOLDER")
    force: bool = flag(False, help="put the result in the place of a model that is there")
    json: bool = flag(False, help="print one JSON object")


def convert(argv: Sequence[str]) -> int:
    """The command."""
    given = flags.parse(ConvertFlags, argv, "starloom convert")
    from starloom.models import convert as conversion  # loads torch

    done = conversion.convert(
        given.source, given.target, layout=given.from_, to=given.to, dtype=given.dtype, tokenizer=given.tokenizer,
        force=given.force, progress=progress.for_terminal(),
    )  # fmt: skip
    if given.json:
        print(json.dumps(dataclasses.asdict(done), indent=2, ensure_ascii=False))
        return 0
    for note in done.notes:
        print(note)
    print(f"{done.target}  {done.layout} → {done.to}, {done.parameters:,} parameters, {done.bytes:,} bytes")
    return 0
