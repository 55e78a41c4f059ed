"""What the machine computes with: the precision that it is fast in, and the settings that make results repeat."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic

from starloom.stage import Runtime
from starloom.train.devices import cpu_has_bf16
from starloom.train.settings import Precision

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = (
    -1,
    -2,
    -3,
)  # malloc.h of glibc; 32 MiB is the largest it takes for the last


def has_bf16(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether matrix products in bfloat16 run on hardware of their own; elsewhere they are emulated and slower."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    return cpu_has_bf16(cpuinfo)


def choose_precision(wanted: Precision, device: str) -> Precision:
    """`auto` becomes bf16 where the hardware has it, else fp32: a function of the machine, never of a measurement."""
    if wanted != "auto":
        return wanted
    return "bf16" if has_bf16(device) else "fp32"


def describe() -> dict[str, Any]:
    """What, besides threads and precision, decides the bits of a result."""
    return {"torch": torch.__version__, "instruction_set": torch.backends.cpu.get_cpu_capability()}


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next tensor rather than to hand it back to the kernel and fault it in again,
    20,000 pages and a tenth of the time a step at the quickstart's size. For the whole process, for good."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries may lack it
    if mallopt is not None:
        for option, size in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20)):
            mallopt(option, size)


@contextmanager
def repeatable(threads: int, device: str) -> Iterator[None]:
    """Fixed threads, deterministic algorithms, and a random state of its own that the caller's is restored after."""
    if device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for before deterministic GEMMs
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    filling_before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        try:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.use_deterministic_algorithms(deterministic_before)
            torch.utils.deterministic.fill_uninitialized_memory = filling_before  # type: ignore[attr-defined]


def say_what_differs(resolved: Mapping[str, Any], runtime: Runtime) -> None:
    """Tell when a run goes on elsewhere than it began: what it keeps, and what may change its last bits."""
    if resolved["ranks"] != runtime.ranks:
        runtime.progress.line(
            f"this run began with {resolved['ranks']} processes and goes on with {runtime.ranks}: its loss stays the same "
            "but for rounding"
        )
    elif resolved["tensor_parallel"] != runtime.tensor_parallel:
        runtime.progress.line(
            f"this run began with tensor_parallel {resolved['tensor_parallel']} and goes on with {runtime.tensor_parallel}: its "
            "loss stays the same but for rounding"
        )
    for name in ("threads", "device"):
        if resolved["ranks"] == runtime.ranks and resolved[name] != getattr(runtime, name):
            runtime.progress.line(
                f"this run began with {name} {resolved[name]} and keeps it, not {getattr(runtime, name)}: "
                "its weights stay the same, bit for bit"
            )
    for name, value in describe().items():
        if resolved[name] != value:
            runtime.progress.line(
                f"this run began under {name} {resolved[name]} and goes on under {value}: its weights may differ in "
                "their last bits from those of a run that was never stopped"
            )
