"""What a device could compute at most: what model FLOP/s utilization is a share of.

A CPU's is measured, by square matrix products of the training's precision in the process that trains. A GPU's is what its
maker publishes (`devices.py`); a device that is not in that table has none, and a run on it no utilization.
"""

from __future__ import annotations

import functools
import re
import time
from typing import Any

import torch

from starloom.train.devices import HARDWARE

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIZES = (256, 512, 1024, 2048)  # of the square matrices
TIMES, LONGEST_S = 4, 0.15  # of each size, while one takes no longer than that: our choice, half a second in all

# What torch calls a device → its name in `devices.py`
_NAMES = (
    (r"V100-SXM\d-(16|32)GB", "v100-32gb"),
    (r"V100-PCIE-(16|32)GB", "v100-pcie-32gb"),
    (r"A100.*40GB", "a100-40gb"),
    (r"A100.*80GB", "a100-80gb"),
    (r"H100 PCIe", "h100-pcie"),
    (r"H100 80GB HBM3", "h100-sxm"),
    (r"H200$", "h200"),
    (r"MI250X", "mi250x"),
    (r"MI300X", "mi300x"),
    (r"RTX 4090$", "rtx4090"),
)
_PART = re.compile(r"\bMIG\b")  # of a device, whose peak is another


def peak(device: str, precision: str) -> dict[str, Any]:
    """`flops_per_s` of one device, None where it is not known, and `how` that was found out."""
    if device.startswith("cuda"):
        exact_fp32 = torch.get_float32_matmul_precision() == "highest"
        return published(torch.cuda.get_device_name(device), precision, exact_fp32)
    threads = torch.get_num_threads()
    size, found = measured(precision, threads)
    return {"flops_per_s": found, "how": f"measured: {size}³ in {precision}, the fastest of a few, threads {threads}"}


def published(name: str, precision: str, exact_fp32: bool = True) -> dict[str, Any]:
    """The maker's figure for a device as torch names it: fp32 without TensorFloat-32, and none where that is allowed."""
    known = next((own for pattern, own in _NAMES if re.search(rf"\b{pattern}", name)), None)
    if known is None or _PART.search(name):
        return {"flops_per_s": None, "how": f"no published figure is known for {name}"}
    hardware = HARDWARE[known]
    if (precision == "bf16" and not hardware.bf16) or (precision == "fp32" and not exact_fp32):
        return {"flops_per_s": None, "how": f"no published figure is known for {precision} as it is set on {name}"}
    return {
        "flops_per_s": hardware.fp32 if precision == "fp32" else hardware.peak,
        "how": f"published: data sheet of {known}, dense",
    }


def measured_again(precision: str) -> float:
    """FLOP/s of the CPU at this moment, where what was measured before cannot be."""
    measured.cache_clear()
    return measured(precision, torch.get_num_threads())[1]


@functools.cache
def measured(precision: str, threads: int) -> tuple[int, float]:
    """Edge of the matrices whose product ran fastest, and its FLOP/s; once in a process."""
    best = (SIZES[0], 0.0)
    for size in SIZES:
        left, right = (torch.full((size, size), value, dtype=DTYPES[precision]) for value in (0.5, 0.25))
        product = torch.zeros_like(left)
        for _ in range(TIMES):
            began = time.perf_counter()
            torch.mm(left, right, out=product)
            seconds = time.perf_counter() - began
            best = max(best, (size, round(2 * size**3 / seconds)), key=lambda one: one[1])
            if seconds > LONGEST_S:
                return best
    return best
