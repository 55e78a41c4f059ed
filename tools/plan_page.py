"""Write docs/plan.md from the published runs and the formulas; `--check` fails where the page is out of date."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from starloom.recipes.compared import sentences, variants
from starloom.recipes.paper_plan import COLUMNS, page, row
from starloom.recipes.published import PUBLISHED
from starloom.train.devices import GIB, HARDWARE
from starloom.train.formulas import FORMULAS
from starloom.train.plan import UTILIZATION

PAGE = Path(__file__).parent.parent / "docs" / "plan.md"

HEAD = """\
# What the published runs take

Made by `make docs` from `recipes/published.py`; `starloom plan --all` prints the same table, with flags for other devices
(`starloom plan --all --help`), and `starloom plan santacoder --scale paper` one run with every term. Nothing here is typed
in that can be computed: settings come from launch scripts, papers and cards (each with its source in that file), the rest
follows from them.
"""
NOTES = f"""\
FLOPs by formula `model`: matrix products, attention scores over the whole context, and the head, forward and backward, no
recomputation. GiB: of the fullest device. Time: at {UTILIZATION:.0%} of the peak, which is assumed, with what the run recomputed.
The last column: days, device-hours or speed as published, as time on these devices. `!`: more than nine tenths of the device.
[M]: not seen in its source by us.
"""
FLOPS = """\
## Operations, by named formulas

6·N·D and a published figure do not contradict each other: they count different things. A plan prints each of these with its
terms. Utilization (MFU) is by `model`.
"""
MEMORY = """\
## Memory of a device

* Weights, gradients and the optimizer's state: 20, 18 and 16 bytes a parameter with AdamW in fp16, bf16 and fp32, as
  Megatron-LM keeps them (its docs/distrib_optimizer.md); with sharding of the optimizer 4 + 16/d, 6 + 12/d and 8 + 8/d over d
  copies of the model, with that of everything all of it over d. Adafactor keeps a number for each row and column of a matrix,
  Muon one moment of the hidden matrices.
* Activations of a layer: Korthikanti et al. 2022 (arXiv 2205.05198), B·T·D·(34 + 5·N·T/D) bytes in 16 bits with dropout and
  multi-head attention, divided as there among tensor-parallel devices; keys and values as narrow as they are, no scores where
  a kernel does not store them; with full recomputation each layer's input and one layer more. Logits: 4 bytes each.
* Not counted: the library's own share, work space, fragmentation. A run that takes more than nine tenths of a device does
  not fit.

`train/memory.py` has the formulas, `tests/train/test_plan.py` holds them against torch's counts and real optimizer state.
"""


def table(rows: Iterable[Sequence[str]], left: int = 0) -> list[str]:
    """Markdown; the first row is the head, and all columns are flush right but the first and the column `left`."""
    head, *body = rows
    rule = [":--" if column in (0, left) else "--:" for column in range(len(head))]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *body)]


def whole_page() -> str:
    """The page."""
    plans = {name: one.plan for name, one in PUBLISHED.items()}
    lines = [HEAD, *table([COLUMNS, *(row(name, one) for name, one in plans.items())]), "", NOTES, FLOPS]
    formulas = [(f"`{name}`", f"{PUBLISHED['santacoder'].run.total(name):.2e}".replace("e+", "e"), one.about)
                for name, one in FORMULAS.items()]  # fmt: skip
    lines += [
        *table([("formula", "SantaCoder", "what it counts"), *formulas]),
        "",
        MEMORY,
        "## Beside what was published",
        "",
    ]
    experiments = {one.name for one in variants()} - {"santacoder", "santacoder-mha"}
    for name, one in PUBLISHED.items():
        if name in experiments - {"santacoder-fim"}:
            continue  # the same run on other data
        title = f"{name} ({one.about})" + (f", from {one.start}" if one.start else "")
        lines += [f"**{title}**", ""]
        lines += [f"* {said}" for said in (*sentences(one), *(f"not known: {each}" for each in one.unknown)) if said]
        lines += [""]
    devices = [(f"`{name}`", f"{one.peak / 1e12:g}", f"{one.fp32 / 1e12:g}", f"{one.memory / GIB:.0f}",
                "yes" if one.bf16 else "no") for name, one in HARDWARE.items()]  # fmt: skip
    lines += ["## Hardware", "", *table([("name", "TFLOP/s in 16 bits", "in 32", "GiB", "bfloat16"), *devices]), ""]
    lines += ["Any other: `--hardware 'peak=100e12,memory=24e9'`; `--hardware here` measures this machine.", ""]
    lines += ["## One run", "", "```", "$ starloom plan santacoder --scale paper"]
    lines += [page(PUBLISHED["santacoder"], plans["santacoder"]), "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != whole_page():
            sys.exit(f"{PAGE.name} is out of date; run: make docs")
    else:
        PAGE.write_text(whole_page())
