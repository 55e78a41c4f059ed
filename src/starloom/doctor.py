"""`starloom doctor`: what this installation has, what it lacks, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from starloom import __version__, flags, native, stage
from starloom.flags import flag
from starloom.sandbox import doctor as sandbox

EXTRAS = {
    "torch": "train",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "gguf": "gguf",
    "huggingface-hub": "hub",
}  # distribution → the extra that installs it
CORE = ("numpy", "pyarrow", "tokenizers", "safetensors", "dulwich", "click", "rich", "jinja2", "license-expression")


@dataclass(frozen=True)
class DoctorFlags:
    """Say what this installation has and lacks. Exit code 1 when something that is needed is missing.

    `starloom doctor sandbox` looks at the sandbox closely, and attacks it.

    Examples:
      starloom doctor
      starloom doctor --json
      starloom doctor sandbox
    """

    json: bool = flag(False, help="print one JSON object")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `state` is ok, note (works, with less) or missing."""

    what: str
    state: str
    detail: str


def findings() -> list[Finding]:
    """Everything that decides what works here."""
    found = [
        Finding(
            "starloom",
            "ok",
            f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        ),
        Finding("cores", "ok", f"{stage.cores()} that this process may use"),
        Finding("memory", "ok", _memory()),
    ]
    for name in CORE:
        version = _version(name)
        found.append(Finding(name, "ok" if version else "missing", version or f"run: pip install '{name}'"))
    for name, extra in EXTRAS.items():
        version = _version(name)
        found.append(
            Finding(
                name, "ok" if version else "note", version or f"not installed; run: pip install 'starloom[{extra}]'"
            )
        )
    status = native.status()
    found.append(Finding("native kernels", "ok" if status.library else "note", status.describe()))
    contained, about = sandbox.line()
    found.append(Finding("sandbox", "ok" if contained else "note", about))
    if _version("torch"):
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; the CPU computes"
        found.append(Finding("GPU", "ok", gpu))
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> str:
    """Total memory as the kernel tells it."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return "unknown"
    total = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal"))
    return f"{int(total.split()[1]) / 2**20:.1f} GiB"


def doctor(argv: Sequence[str]) -> int:
    """Print the findings."""
    if argv and argv[0] == "sandbox":
        return sandbox.command(argv[1:])
    doctor_flags = flags.parse(DoctorFlags, argv, "starloom doctor")
    found = findings()
    if doctor_flags.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in found:
            print(f"{one.state:<8} {one.what:<20} {one.detail}")
    if any(one.state == "missing" for one in found):
        print("something that starloom needs is missing; see the lines that say so", file=sys.stderr)
        return 1
    return 0
