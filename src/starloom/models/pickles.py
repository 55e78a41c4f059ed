"""Checkpoints of torch.save (.bin, .pt), which are pickles: read in the sandbox, handed over as safetensors.

What is covered: torch's weights-only unpickler knows tensors, plain containers and the few names that `unpickle.py` adds,
and refuses every other name before anything is called. Should that unpickler itself be at fault, what runs then is alone in
the sandbox (docs/sandbox.md): it sees the interpreter, torch and this one file, reaches no network and nothing of ours, has
one descriptor to write to, bounded by the size of the file, as its memory and time are, and ends with all its processes.
What it made is checked as any foreign file is. Without a tier of the sandbox no pickle is read.
What is not covered: a fault in the kernel; weights that were trained to do harm.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from starloom.errors import CheckpointError, MissingExtraError, SandboxError
from starloom.models.safetensors_file import SafetensorsFile
from starloom.sandbox import Command, Limits, Outcome, Sandbox

if TYPE_CHECKING:
    import torch

SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt")
_SCRIPT: Final = Path(__file__).with_name("unpickle.py")
_LONGEST_LINE: Final = 64 * 2**20  # bytes, our choice: the last one names every entry of the file
_SLOWEST: Final = 4 * 10**6  # bytes a second, our choice: a process that reads more slowly is ended
_LEAST_S: Final = 240  # our choice; loading torch from a cold disk takes most of it
_TORCH_BYTES: Final = (
    2**30
)  # resident memory of torch itself and of small things, our choice; 0.3 GiB for its CPU build


@dataclass(frozen=True, slots=True)
class Unpickled:
    """What a pickle held: tensors in a safetensors file, settings by dotted name, and names of what is neither."""

    file: SafetensorsFile
    aliases: dict[str, str]  # another name of the same tensor → its name
    facts: dict[str, Any]
    left_out: dict[str, str]  # name → what it was

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name → tensor, memory-mapped; the same tensor under each of its names."""
        found = {name: self.file.tensor(name) for name in self.file.tensors}
        return found | {name: found[same] for name, same in self.aliases.items()}


def unpickle(
    path: Path,
    output: Path,
    advance: Callable[[int], object] = lambda amount: None,
    *,
    tier: Literal["auto", "namespaces", "landlock"] = "auto",
) -> Unpickled:
    """Read a pickle into a new safetensors file; `advance` hears of bytes written. Raises CheckpointError saying why not."""
    torch_is = importlib.util.find_spec("torch")
    if torch_is is None or torch_is.origin is None:
        raise MissingExtraError("torch", "train")
    try:
        status = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); is the checkpoint complete?") from None
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is no regular file; put the weights themselves there")
    size = status.st_size
    home, real = Path(torch_is.origin).parents[1], path.resolve()
    libraries = os.environ.get("LD_LIBRARY_PATH", "")  # where some builds of torch find CUDA
    folders = [Path(one) for one in libraries.split(":") if one.startswith("/") and Path(one).is_dir()]
    program = Command(
        (sys.executable, "-I", _SCRIPT.name, str(home), str(real)),
        files={_SCRIPT.name: _SCRIPT.read_bytes()},
        env={"LD_LIBRARY_PATH": libraries} if folders else {},
        limits=Limits(
            wall_s=_LEAST_S + size / _SLOWEST, cpu_s=_LEAST_S + size / 10**7, memory_bytes=_TORCH_BYTES + 3 * size,
            address_space=False,  # torch maps gigabytes of libraries; `unpickle.py` bounds it when they are loaded
            file_bytes=size + 2**26, scratch_bytes=2**26, output_bytes=_LONGEST_LINE,
        ),
    )  # fmt: skip
    try:
        with Sandbox(read=(home, real, *folders), tier=tier) as sandbox:
            answer, outcome = _converse(sandbox, program, real, output, advance)
    except SandboxError as error:
        raise CheckpointError(f"{path} is a pickle, which may hold a program, and so is read in the sandbox or not at all: {error}. "
                              "Or get the model's safetensors, which need no sandbox") from None  # fmt: skip
    if "done" not in answer:
        output.unlink()
    if "refused" in answer:
        raise CheckpointError(f"{path} is not converted: {str(answer['refused'])[:1000]}")
    if "done" not in answer:
        raise CheckpointError(f"{path} is not converted: the process that read it ended ({_how(outcome)}); the file is "
                              "damaged, or made to do harm: fetch it again from a place that you trust")  # fmt: skip
    done = answer["done"]
    return Unpickled(SafetensorsFile.open(output), done["aliases"], done["facts"], done["left_out"])


def _converse(
    sandbox: Sandbox, program: Command, source: Path, output: Path, advance: Callable[[int], object]
) -> tuple[dict[str, Any], Outcome]:
    """Hear the program to its end: the last that it said, and how it ended. It gets both files as open descriptors."""
    answer: dict[str, Any] = {}
    with source.open("rb") as reading, output.open("xb") as writing:
        lend = {"STARLOOM_SOURCE": reading.fileno(), "STARLOOM_OUTPUT": writing.fileno()}
        with sandbox.talk(program, lend=lend) as conversation:
            while (frame := conversation.receive()) is not None:
                answer = json.loads(frame)
                if "wrote" in answer:
                    advance(int(answer["wrote"]))
            return answer, conversation.end()


def _how(outcome: Outcome) -> str:
    """How the process ended that said nothing."""
    if outcome.status == "exited":
        return f"with code {outcome.exit_code}"
    if outcome.status == "signaled" and outcome.signal is not None:
        return f"by signal {signal.Signals(outcome.signal).name}"
    words = {"timed_out": "it took longer than a file of its size may", "out_of_cpu": "it took longer than a file of its size may",
             "out_of_memory": "it took more memory than a file of its size may"}  # fmt: skip
    return words.get(outcome.status, f"{outcome.status}: {outcome.detail}" if outcome.detail else outcome.status)
