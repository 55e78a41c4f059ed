"""What `pickles.py` runs in the sandbox: one checkpoint of torch.save, read weights-only, written as one safetensors file.

Run as a script by a fresh interpreter (`python -I unpickle.py WHERE_TORCH_IS SOURCE`), so it imports the standard library and
torch only. Both files come as open descriptors (STARLOOM_SOURCE, STARLOOM_OUTPUT); SOURCE is the path of the first, by which
it can be mapped into memory, unless its mode forbids that here. It says what it does as JSON in frames of the conversation
(STARLOOM_FD); the last one is {"done": …} or {"refused": …}.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import sys
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
# Top-level entries of training checkpoints that are no weights, by the names that Megatron and Lightning give them.
NO_WEIGHTS = (
    *(
        "optimizer",
        "optimizer_states",
        "opt_param_scheduler",
        "lr_scheduler",
        "lr_schedulers",
        "rng_state",
        "rng_states",
    ),
    *("callbacks", "loops"),
)
# Enums among Megatron's arguments. Their classes are the trainer's own; here they are named and hold a number.
ENUMS = ("ModelType", "PositionEmbeddingType", "AttnMaskType", "AttnType", "LayerType", "LRSchedulerType")
ENUM_MODULES = ("megatron.model.enums", "megatron.core.enums", "megatron.core.transformer.enums", "megatron.enums")
NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since NumPy 2
MOST_NAMES = 200_000  # our choice
MOST_CHARACTERS = 1000  # of a name or a setting; our choice
DEEPEST = 20  # dictionaries in dictionaries; our choice


class RefusedError(Exception):
    """Why the file is not read, in words for its owner."""


class Inert:
    """What stands in a pickle for an enum or a NumPy array: takes whatever it is given and does nothing with it."""

    def __init__(self, *given: object) -> None:
        self.value = given[0] if len(given) == 1 and type(given[0]) in (int, str) else None

    def __setstate__(self, state: object) -> None:
        pass


def allow_inert() -> None:
    """Let the weights-only unpickler meet Megatron's arguments (an argparse.Namespace, with enums in it) and the NumPy
    arrays of random states. Nothing of Megatron's or NumPy's own runs: all but the namespace are stand-ins."""

    import torch

    def stand_in(module: str, name: str) -> type:
        return type(name, (Inert,), {"__module__": module, "__qualname__": name})

    arrays = [stand_in("numpy", name) for name in ("ndarray", "dtype")]
    array = arrays[0]

    def rebuilder(module: str, name: str) -> Any:
        def ignored(*given: object) -> Any:
            return array()

        ignored.__module__, ignored.__qualname__, ignored.__name__ = module, name, name
        return ignored

    rebuilt = [rebuilder(module, name) for module in NUMPY_MODULES for name in ("_reconstruct", "scalar")]
    enums = [stand_in(module, name) for module in ENUM_MODULES for name in ENUMS]
    torch.serialization.add_safe_globals([argparse.Namespace, *arrays, *rebuilt, *enums])


def limit(size: int) -> None:
    """Room to read a file of this size and no more: memory, time, file sizes; no processes."""
    pages = Path("/proc/self/statm")
    mapped = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    limits = {
        resource.RLIMIT_AS: mapped + 3 * size + 2**30 if mapped else None,
        resource.RLIMIT_CPU: 120 + size // 10**7,  # seconds
        resource.RLIMIT_FSIZE: size + 2**26,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, most in limits.items():
        if most is not None:
            hard = resource.getrlimit(kind)[1]
            value = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (value, value))


def check_archive(file: IO[bytes], size: int) -> bool:
    """Whether the file is a zip archive, as torch writes them since 1.6. Refuses one that is damaged or compressed."""
    start = file.read(4)
    file.seek(257)
    if file.read(5) == b"ustar":
        raise RefusedError(
            "it is a tar file, as torch 0.1 wrote them, which cannot be read without running what it says; "
            "open it with torch in a place that you trust, and save the model as safetensors"
        )
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > size or any(entry.compress_type for entry in entries):
                raise RefusedError(
                    "its entries are compressed or overlap, which torch.save never makes: do not trust it"
                )
            damaged = archive.testzip()
        if damaged is not None:
            raise RefusedError(f"its entry {damaged[:100]!r} is damaged (CRC-32): fetch the file again")
        return True
    if start == b"PK\x03\x04":
        raise RefusedError("it is an archive without its end, so it was cut off: fetch the file again")
    if not start:
        raise RefusedError("it is empty: fetch the file again")
    return False


def collect(
    value: Any, name: str, tensors: dict[str, torch.Tensor], facts: dict[str, Any], left: dict[str, str], depth: int = 0
) -> None:
    """Sort nested dictionaries into tensors, settings and what is neither, by dotted names."""
    import torch

    if len(name) > MOST_CHARACTERS or len(tensors) + len(facts) + len(left) > MOST_NAMES or depth > DEEPEST:
        raise RefusedError("its names are too many, too long or too deep for a model's: do not trust it")
    if name in tensors or name in facts or name in left:
        raise RefusedError(f"two of its entries are called {name[:100]!r}: do not trust it")
    if isinstance(value, torch.Tensor):
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if plain and dtype_name(value) in DTYPES:
            tensors[name] = value.detach()
        else:
            left[name] = f"a tensor of {dtype_name(value)}"
    elif isinstance(value, argparse.Namespace):
        collect(vars(value), name, tensors, facts, left, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if depth == 0 and key in NO_WEIGHTS:
                left[key] = "the trainer's own state"
            elif isinstance(key, str):
                collect(item, f"{name}.{key}" if name else key, tensors, facts, left, depth + 1)
            else:
                left[f"{name}[{key!r:.40}]"] = "an entry without a name"
    elif isinstance(value, Inert):
        facts[name] = value.value
    elif value is None or (type(value) in (bool, int, float, str) and len(repr(value)) <= MOST_CHARACTERS):
        facts[name] = value
    else:
        left[name] = f"a {type(value).__name__}"


def write(tensors: dict[str, torch.Tensor], file: IO[bytes]) -> dict[str, str]:
    """Write safetensors, one tensor in memory at a time; a tensor that is another one again is only named."""
    import torch

    seen: dict[tuple[Any, ...], str] = {}
    aliases: dict[str, str] = {}
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and key in seen:
            aliases[name] = seen[key]
            continue
        seen[key] = name
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[dtype_name(tensor)], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in header:
        data = tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy()
        for at in range(0, len(data), 2**26):
            part = data[at : at + 2**26]
            file.write(part.tobytes())
            say(wrote=len(part))
    return aliases


def dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def say(**facts: Any) -> None:
    frame = json.dumps(facts).encode()
    rest = memoryview(len(frame).to_bytes(4, "big") + frame)
    while rest:
        rest = rest[os.write(int(os.environ["STARLOOM_FD"]), rest) :]


def read(path: Path, source: IO[bytes], output: IO[bytes]) -> dict[str, Any]:
    """The whole work; what it found beside the tensors."""
    size = os.fstat(source.fileno()).st_size
    is_archive = check_archive(source, size)
    source.seek(0)
    import torch

    torch.set_num_threads(1)
    limit(size)
    allow_inert()
    mapped = is_archive and os.access(path, os.R_OK)
    found = torch.load(path if mapped else source, map_location="cpu", weights_only=True, mmap=mapped)
    tensors: dict[str, torch.Tensor] = {}
    facts: dict[str, Any] = {}
    left: dict[str, str] = {}
    collect(found, "", tensors, facts, left)
    if not tensors:
        raise RefusedError("it holds no tensors of a model's types (float64, float32, float16, bfloat16)")
    kept = {(tensor.data_ptr(), tuple(tensor.shape), tensor.stride()): tensor.nbytes for tensor in tensors.values()}
    if sum(kept.values()) > size:
        raise RefusedError(f"its tensors claim {sum(kept.values()):,} bytes, the file has {size:,}: do not trust it")
    say(total=sum(kept.values()))
    aliases = write(tensors, output)
    output.flush()
    return {"aliases": aliases, "facts": facts, "left_out": left}


def main(where_torch_is: str, path: str) -> None:
    sys.path.append(where_torch_is)
    try:
        with (
            os.fdopen(int(os.environ["STARLOOM_SOURCE"]), "rb") as source,
            os.fdopen(int(os.environ["STARLOOM_OUTPUT"]), "wb") as output,
        ):
            say(done=read(Path(path), source, output))
    except RefusedError as error:
        say(refused=str(error))
    except MemoryError:
        say(refused="reading it takes more memory than a file of its size may: do not trust it")
    except OSError as error:
        say(refused=f"{error.strerror or error}; is there room on the disk?")
    except pickle.UnpicklingError as error:
        say(refused=_forbidden(str(error)))
    except Exception as error:  # whatever hostile bytes make torch raise is the answer, and the end of this process
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        if "allocate" in words or "mmap" in words:
            say(refused="reading it takes more memory than a file of its size may: do not trust it")
        else:
            say(refused=f"torch cannot read it ({words[:200]}): fetch the file again")


def _forbidden(message: str) -> str:
    """torch's refusal, shortened to what was asked for."""
    found = message.partition("GLOBAL ")[2].split()
    reason = next(filter(None, (message.partition("WeightsUnpickler error:")[2] or message).strip().splitlines()), "")
    what = (
        f"it asks for {found[0][:100]}, which no tensors need"
        if found
        else f"it holds no tensors alone ({reason[:200]})"
    )
    return (f"{what}; nothing of it was run. If you know where it comes from, open it in a place that you trust, and save "
            "the model as safetensors")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
