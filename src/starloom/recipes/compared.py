"""A plan beside what was published of the run: one sentence for each figure, which says where a difference comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from starloom.recipes.published import GPTEACHER_BYTES, GPTEACHER_PAIRS, PUBLISHED, VARIANTS, Figure, Published
from starloom.train.devices import GIB, HARDWARE
from starloom.train.formulas import COMPUTED, FORMULAS
from starloom.train.memory import memory
from starloom.train.plan import DAY, short, utilization

HOUR: Final = 3600.0
HIGH: Final = 0.6  # of the peak; no run of this kind that we know of stayed above it: our choice
LABELS: Final = {
    "days": "time",
    "device_hours": "device-hours",
    "tokens_per_device_second": "tokens a second and device",
}


def variants() -> list[Published]:
    """SantaCoder's eight, in the order of its card."""
    return [PUBLISHED["santacoder" if name == "final" else f"santacoder-{name}"] for name in VARIANTS]


def rounds_to(value: float, figure: Figure) -> bool:
    """Whether a computed value is the printed one, at as many digits as were printed."""
    digits = len("".join(sign for sign in f"{figure.value:.12g}".partition("e")[0] if sign.isdigit()).rstrip("0")) or 1
    return float(f"{value:.{digits}g}") == figure.value


def taken_s(published: Published) -> float | None:
    """Seconds that a run is published to have taken on all its devices, by whichever figure says it."""
    for figure in published.figures:
        if figure.what == "days":
            return figure.value * DAY
        if figure.what == "device_hours":
            return figure.value * HOUR / published.layout.devices
        if figure.what == "tokens_per_device_second":
            return published.run.tokens / (figure.value * published.layout.devices)
    return None


def implied(published: Published, formula: str = "model") -> float | None:
    """Share of the devices' peak that the published time means, by a formula."""
    time, plan = taken_s(published), published.plan
    return None if time is None else utilization(published.run.total(formula), plan.layout.devices, plan.peak, time)


def sentences(published: Published) -> list[str]:
    """Each published figure beside the computed one, and why they differ."""
    said = [_sentence(published, figure) for figure in published.figures]
    if taken_s(published) is None:
        plan = published.plan
        said.append(
            f"time: none was published; {duration(plan.seconds)} on {plan.layout.devices:,} × {plan.hardware.name} "
            f"at {plan.utilization:.0%} of the peak, which is assumed"
        )
    said.append(f"memory: {_memory(published)}")
    return said


def _sentence(published: Published, figure: Figure) -> str:
    mark = "" if figure.verified else " [M]"
    head = f"{LABELS.get(figure.what, figure.what)}: published {figure.printed}{mark} ({figure.source})"
    run = published.run
    if figure.what == "parameters":
        count = run.model.parameter_count()
        why = "the same, rounded" if rounds_to(count, figure) else "the published figure is a name rather than a count"
        return f"{head}; counted {short(count)}: {why}"
    if figure.what == "steps":
        return f"{head}; {run.steps:,}"
    if figure.what == "tokens":
        product = f"{run.steps:,} steps × {run.batch:,} × {run.context:,} = {short(run.tokens)}"
        if rounds_to(run.tokens, figure):
            return f"{head}; {product}: the same, rounded"
        share = run.tokens / figure.value - 1
        return f"{head}; {product}: {abs(share):.1%} {'more' if share > 0 else 'less'} than the round figure"
    if figure.what == "flops":
        return f"{head}; {_operations(published, figure)}"
    return f"{head}; {_duration(published, figure)}"


def _operations(published: Published, figure: Figure) -> str:
    run = published.run
    totals = {name: run.total(name) for name in FORMULAS}
    nearest = min(totals, key=lambda name: abs(totals[name] / figure.value - 1))
    if rounds_to(totals[nearest], figure):
        others = [name for name in totals if name != nearest and rounds_to(totals[name], figure)]
        same = f"formula '{nearest}' gives {power(totals[nearest])}"
        same += f" and '{others[0]}' {power(totals[others[0]])}, which round to it" if others else ", the same, rounded"
    else:
        off = totals[nearest] / figure.value - 1
        same = f"the nearest formula, '{nearest}', gives {power(totals[nearest])}, {abs(off):.1%} {'more' if off > 0 else 'less'}"
        same += ": tokens or parameters were counted otherwise, which is not known"
    if nearest == "6ND":
        return same
    terms, recompute = run.flops("model"), published.layout.recompute
    said = (
        f"{same} ({FORMULAS[nearest].about}); 6ND gives {power(totals['6ND'])}, for it leaves out the attention scores "
        f"({power(terms['attention scores'])}), and 'model' {power(totals['model'])}, for it counts keys and values as they are"
    )
    if recompute == "none":
        return said
    return f"{said}; its settings recompute '{recompute}', so what the devices computed is {power(totals[COMPUTED[recompute]])}"


def _duration(published: Published, figure: Figure) -> str:
    plan, time = published.plan, taken_s(published)
    assert time is not None, "a figure of time"
    share = implied(published)
    assert share is not None
    said = f"{share:.1%} of the peak of {plan.layout.devices:,} × {plan.hardware.name} by formula 'model'"
    for other in published.figures:
        if other.what == "flops" and other.verified:
            counted = utilization(other.value, plan.layout.devices, plan.peak, time)
            said += f" ({counted:.1%} by the published FLOPs)"
    if figure.what == "tokens_per_device_second":
        said += f"; so {duration(time)} in all"
    if share > HIGH:
        said += "; that is more than such runs are known to sustain, so a peak or a round figure"
    if published.run.padded is not None:
        tokens = published.run.steps * published.run.batch * GPTEACHER_BYTES / GPTEACHER_PAIRS / 3
        least = share * tokens / published.run.tokens
        said += (
            f" were every pair padded to {published.run.context:,} tokens, {least:.1%} by what the pairs hold: the steps would "
            f"take {duration(plan.seconds)} at {plan.utilization:.0%}, so most of the time went elsewhere; sharded weights and "
            f"gradients are {plan.traffic_bytes / 1e12:.0f} TB a device at a micro-batch of {plan.layout.micro_batch}, and "
            f"over that time {plan.traffic_bytes / time / 1e9:.1f} GB/s, as of devices joined by PCIe (a guess)"
        )
        return said
    return f"{said}; at {plan.utilization:.0%} it would be {duration(plan.seconds)}"


def _memory(published: Published) -> str:
    plan = published.plan
    used = plan.memory.total
    said = f"{used / GIB:.1f} GiB a device"
    family = published.hardware.rpartition("-")[0]
    small = [
        one.name for one in HARDWARE.values()
        if one.name.rpartition("-")[0] == family and not replace(plan, hardware=one).fits
    ]  # fmt: skip
    if not plan.fits:
        said += f", more than nine tenths of {plan.hardware.name}: it was tight, or lay otherwise than is assumed here"
    elif small:
        said += f", so not on {small[0]}"
    if type(published.run.optimizer).__name__ == "Adafactor":
        run, layout = published.run, replace(published.layout, numbers="bf16")
        other = memory(run.model, run.context, "adamw", layout).total
        said += f"; AdamW with masters and moments in 32 bits would take {other / GIB:.0f} GiB, which is why it was not taken"
    return said


def power(number: float) -> str:
    """2.102e21 → `2.10e21`."""
    return f"{number:.2e}".replace("e+", "e").replace("e0", "e")


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds >= 1000 * DAY:
        return f"{seconds / DAY / 365.25:,.1f} years"
    if seconds >= 2 * DAY:
        return f"{seconds / DAY:,.1f} days"
    return f"{seconds / HOUR:.1f} hours" if seconds >= 2 * HOUR else f"{seconds / 60:.0f} minutes"
