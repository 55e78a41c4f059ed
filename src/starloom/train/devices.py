"""What devices compute and hold, for plans: data sheets, and a measurement of this machine. No torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from starloom.errors import ConfigError, suggestion

Precision = Literal["fp32", "fp16", "bf16"]  # of matrix products
GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Hardware:
    """One device: dense matrix products a second, in 16 and in 32 bits, and its memory."""

    name: str
    peak: float  # FLOP/s in 16 bits with 32-bit sums, dense (data sheets double it for sparsity)
    fp32: float  # FLOP/s of matrix products that stay in 32 bits
    memory: float  # bytes
    bf16: bool = True  # whether its 16 bits may be bfloat16

    def peak_at(self, precision: Precision) -> float:
        """FLOP/s of matrix products at a precision."""
        return self.fp32 if precision == "fp32" else self.peak


# NVIDIA's and AMD's data sheets; memory as the devices report it, in binary gigabytes.
HARDWARE: Final[dict[str, Hardware]] = {
    one.name: one
    for one in (
        # Tesla V100 data sheet, January 2020: tensor performance 125 (SXM2) and 112 (PCIe), single precision 15.7 and 14
        Hardware("v100-16gb", 125e12, 15.7e12, 16 * GIB, bf16=False),
        Hardware("v100-32gb", 125e12, 15.7e12, 32 * GIB, bf16=False),
        Hardware("v100-pcie-16gb", 112e12, 14e12, 16 * GIB, bf16=False),
        Hardware("v100-pcie-32gb", 112e12, 14e12, 32 * GIB, bf16=False),
        # A100 data sheet, June 2021: bfloat16 tensor core 312, FP32 19.5
        Hardware("a100-40gb", 312e12, 19.5e12, 40 * GIB),
        Hardware("a100-80gb", 312e12, 19.5e12, 80 * GIB),
        # H100 data sheet, 2023: bfloat16 1,979 (SXM) and 1,513 (PCIe) with sparsity; FP32 67 and 51
        Hardware("h100-sxm", 989.5e12, 67e12, 80 * GIB),
        Hardware("h100-pcie", 756.5e12, 51e12, 80 * GIB),
        # H200 data sheet, 2024: as H100 SXM, 141 GB in decimal gigabytes
        Hardware("h200", 989.5e12, 67e12, 141e9),
        # Instinct MI250X data sheet: FP16 and bfloat16 matrix 383, FP32 matrix 95.7; both of its dies together
        Hardware("mi250x", 383e12, 95.7e12, 128 * GIB),
        # Instinct MI300X data sheet: bfloat16 1,307.4, FP32 matrix 163.4
        Hardware("mi300x", 1307.4e12, 163.4e12, 192 * GIB),
        # HGX B200 data sheet: an eighth of 36 PFLOP/s with sparsity; 180 GB in decimal gigabytes
        Hardware("b200", 2250e12, 75e12, 180e9),
        # T4 data sheet: FP16 tensor 65, FP32 8.1; L4: bfloat16 242 with sparsity, FP32 30.3; L40S: bfloat16 362.05, FP32 91.6
        Hardware("t4", 65e12, 8.1e12, 16 * GIB, bf16=False),
        Hardware("l4", 121e12, 30.3e12, 24 * GIB),
        Hardware("l40s", 362.05e12, 91.6e12, 48 * GIB),
        # GA102 white paper, GeForce RTX 3090: FP16 with FP32 sums 71, FP32 35.6
        Hardware("rtx3090", 71e12, 35.6e12, 24 * GIB),
        # Ada GPU architecture white paper, GeForce RTX 4090: FP16 with FP32 sums 165.2, FP32 82.6
        Hardware("rtx4090", 165.2e12, 82.6e12, 24 * GIB),
    )
}
HERE: Final = "here"
_FIELDS: Final = ("peak", "memory", "fp32")


def parse(text: str) -> Hardware:
    """A device of the table, `here` (this machine, measured), or one by its figures: `peak=100e12,memory=24e9`.

    `fp32=…` is FLOP/s in 32 bits, where it is not given the same. Raises ConfigError for anything else.
    """
    name = text.strip().lower()
    if name == HERE:
        return this_machine()
    if "=" not in name:
        if name not in HARDWARE:
            raise ConfigError(
                f"no hardware '{text}'; {suggestion(name, [*HARDWARE, HERE])} "
                "(any other by its figures: 'peak=100e12,memory=24e9')"
            )
        return HARDWARE[name]
    figures: dict[str, float] = {}
    for item in name.split(","):
        key, _, value = item.strip().partition("=")
        if key not in _FIELDS:
            raise ConfigError(f"hardware has {', '.join(_FIELDS)}, not '{key}'; such as 'peak=100e12,memory=24e9'")
        try:
            figures[key] = float(value)
        except ValueError:
            figures[key] = 0.0
        if not 0 < figures[key] < float("inf"):
            raise ConfigError(f"{key} of hardware is a positive number, not '{value}'; such as {key}=100e12")
    missing = [key for key in ("peak", "memory") if key not in figures]
    if missing:
        raise ConfigError(f"hardware '{text}' lacks {missing[0]}; such as 'peak=100e12,memory=24e9'")
    return Hardware(text, figures["peak"], figures.get("fp32", figures["peak"]), figures["memory"])


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine's processors multiply bfloat16 in hardware, as Linux says."""
    flags = cpuinfo.read_text(errors="replace").split() if cpuinfo.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def measured_gemm(size: int = 1024, repeats: int = 4, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOP/s of a product of two fp32 matrices on all cores of this machine, the fastest of a few; a tenth of a second."""
    import numpy as np

    a, b = (np.full((size, size), value, dtype=np.float32) for value in (0.5, 2.0))
    best = float("inf")
    for _ in range(repeats + 1):  # the first one starts the threads
        began = clock()
        a @ b
        best = min(best, clock() - began)
    return 2 * size**3 / best


def this_machine() -> Hardware:
    """The processors that this runs on as one device, its speed measured in fp32 now."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    speed = measured_gemm()
    return Hardware(f"{os.cpu_count()} cores here", speed, speed, memory)
