"""Checkpoints of torch.save (.bin, .pt), which are pickles: read by a limited process of their own, handed over as safetensors.

What is covered: torch's weights-only unpickler knows tensors, plain containers and the few names that `unpickle.py` adds,
and refuses every other name before anything is called; it works in a fresh interpreter without our environment or open
files, in an empty folder, under limits of memory, time and file size; what it made is checked as any foreign file is.
What is not covered: a fault in that unpickler itself. The process may read files and reach the network as its owner can.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starloom.errors import CheckpointError, MissingExtraError
from starloom.models.safetensors_file import SafetensorsFile

if TYPE_CHECKING:
    import torch

SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt")
_SCRIPT: Final = Path(__file__).with_name("unpickle.py")
_LONGEST_LINE: Final = 64 * 2**20  # bytes, our choice: the last one names every entry of the file
_SLOWEST: Final = 4 * 10**6  # bytes a second, our choice: a process that reads more slowly is ended
_LEAST_S: Final = 240  # our choice; loading torch from a cold disk takes most of it


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


def unpickle(path: Path, output: Path, advance: Callable[[int], object] = lambda amount: None) -> Unpickled:
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
    home = Path(torch_is.origin).parents[1]
    with tempfile.TemporaryDirectory() as empty:
        environment = {"HOME": empty, "TMPDIR": empty, "OMP_NUM_THREADS": "1"}
        if "LD_LIBRARY_PATH" in os.environ:  # where some builds of torch find CUDA
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        command = [sys.executable, "-I", str(_SCRIPT), str(home), str(path.resolve()), str(output.resolve())]
        with subprocess.Popen(
            command, cwd=empty, env=environment, close_fds=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as child:  # fmt: skip
            timer = threading.Timer(_LEAST_S + size / _SLOWEST, child.kill)
            timer.start()
            try:
                answer = _follow(child, advance)
                code = child.wait()
            except BaseException:
                child.kill()
                raise
            finally:
                timer.cancel()
    if "refused" in answer:
        raise CheckpointError(f"{path} is not converted: {str(answer['refused'])[:1000]}")
    if "done" not in answer:
        ended = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        raise CheckpointError(f"{path} is not converted: the process that read it ended {ended}; the file is damaged, or "
                              "made to do harm: fetch it again from a place that you trust")  # fmt: skip
    done = answer["done"]
    return Unpickled(SafetensorsFile.open(output), done["aliases"], done["facts"], done["left_out"])


def _follow(child: subprocess.Popen[str], advance: Callable[[int], object]) -> dict[str, Any]:
    """Read the child's lines to the last; that one."""
    assert child.stdout is not None
    answer: dict[str, Any] = {}
    while line := child.stdout.readline(_LONGEST_LINE):
        answer = json.loads(line) if line.endswith("\n") else {}
        if "wrote" in answer:
            advance(int(answer["wrote"]))
    return answer
