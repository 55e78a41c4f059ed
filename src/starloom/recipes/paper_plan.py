"""`starloom plan RECIPE --scale paper`, `starloom plan --all`: what the published runs take, beside what was published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from starloom import flags
from starloom.errors import ConfigError, suggestion
from starloom.flags import flag
from starloom.recipes.compared import duration, power, sentences, taken_s, variants
from starloom.recipes.published import PUBLISHED, Published
from starloom.train import devices
from starloom.train.devices import GIB
from starloom.train.formulas import FORMULAS
from starloom.train.memory import Recompute, Shard, dimensions
from starloom.train.plan import UTILIZATION, Plan, optimizer_name, short


@dataclass(frozen=True)
class PaperFlags:
    """Say what a published run takes: parameters, tokens, operations, memory a device, days, disk; beside what was published.

    Nothing is built. Without flags a run lies on its own devices, as far as they are known.

    Examples:
      starloom plan --all
      starloom plan santacoder --scale paper
      starloom plan starcoderbase-7b --hardware a100-80gb --devices 512 --utilization 0.45
      starloom plan starcoderbase-15b --hardware h100-sxm --devices 64 --tensor 8 --pipeline 1 --recompute full
      starloom plan starcoder2_instruct --hardware 'peak=100e12,memory=24e9' --devices 8 --shard full
      starloom plan santacoder --scale paper --hardware here
    """

    recipe: str = flag("", help="a published run", positional=True, metavar="[RECIPE]")
    all: bool = flag(False, help="a table of all published runs")
    scale: Literal["paper"] = flag("paper", help="the published values")
    hardware: str | None = flag(
        None, help="a device by name, 'peak=100e12,memory=24e9', or here: this machine, measured", metavar="NAME"
    )
    devices: int | None = flag(None, help="how many of them")
    utilization: float = flag(UTILIZATION, help="share of the peak that is reached")
    tensor: int | None = flag(None, help="devices that share each layer's matrices")
    pipeline: int | None = flag(None, help="groups of layers one after another")
    shard: Shard | None = flag(
        None, help="over data-parallel devices: nothing, the optimizer (ZeRO 1), all (ZeRO 3, FSDP)"
    )
    micro_batch: int | None = flag(None, help="sequences on a device at once")
    recompute: Recompute | None = flag(None, help="activations computed again in the backward pass")
    json: bool = flag(False, help="print one JSON object instead of text")


def wanted(argv: Sequence[str], runnable: Sequence[str]) -> bool:
    """Whether arguments of `starloom plan` ask for published runs rather than for the steps of a runnable recipe."""
    if "--all" in argv:
        return True
    if not argv or argv[0] not in PUBLISHED:
        return False
    if argv[0] not in runnable:
        return True
    own = {f"--{field.name.replace('_', '-')}" for field in fields(PaperFlags)} | {"-h", "--help"}
    if any(one.startswith("--") and one.partition("=")[0] not in own for one in argv):
        return False  # the recipe's own flags, such as --sources and --set, ask for its steps
    pairs = zip(argv, [*argv[1:], ""], strict=True)
    return any(one == "--scale=paper" or (one == "--scale" and after == "paper") for one, after in pairs)


def plan(argv: Sequence[str]) -> int:
    """Print the plan of one published run, or the table of all."""
    given = flags.parse(PaperFlags, argv, "starloom plan")
    if given.all:
        if given.recipe:
            raise ConfigError(f"--all lists every recipe, '{given.recipe}' too; leave out one of them")
        chosen = {name: on_devices(one, given) for name, one in PUBLISHED.items()}
        if given.json:
            print(json.dumps({name: _json(PUBLISHED[name], one) for name, one in chosen.items()}, indent=2))
        else:
            print(table(chosen))
        return 0
    if given.recipe not in PUBLISHED:
        raise ConfigError(f"no published run '{given.recipe}'; {suggestion(given.recipe, PUBLISHED)}")
    published = PUBLISHED[given.recipe]
    one = on_devices(published, given)
    print(json.dumps(_json(published, one), indent=2) if given.json else page(published, one))
    return 0


def on_devices(published: Published, given: PaperFlags) -> Plan:
    """The run on the devices that the flags say, where they say any."""
    as_it_was = published.plan
    hardware = as_it_was.hardware if given.hardware is None else devices.parse(given.hardware)
    layout = as_it_was.layout
    if given.hardware == devices.HERE:
        layout = replace(layout, devices=1, tensor=1, pipeline=1, shard="none", sequence=False)
    asked = {
        name: getattr(given, name)
        for name in ("devices", "tensor", "pipeline", "shard", "micro_batch", "recompute")
        if getattr(given, name) is not None
    }
    layout = replace(layout, **asked)
    return Plan(
        published.run, hardware, replace(layout, sequence=layout.sequence and layout.tensor > 1), given.utilization
    )


def _json(published: Published, one: Plan) -> dict[str, Any]:
    return {
        "recipe": published.name,
        "about": published.about,
        "start": published.start,
        **one.to_json(),
        "optimizer": {"name": optimizer_name(one.run.optimizer), **asdict(one.run.optimizer)},
        "schedule": asdict(one.run.schedule),
        "precision": one.run.precision,
        "published": [asdict(figure) for figure in published.figures],
        "differences": sentences(published),
        "unknown": list(published.unknown),
    }


def page(published: Published, one: Plan) -> str:
    """Everything that is computed of one run, in lines."""
    run, layout, sizes, used = one.run, one.layout, dimensions(one.run.model), one.memory
    window = getattr(run.model, "sliding_window", None)
    schedule = run.schedule
    warmup = f"{schedule.warmup_steps:,} steps" if schedule.warmup_steps else f"{schedule.warmup:.0%}"
    decay = f" (made for {run.decay_steps:,} steps)" if run.decay_steps else ""
    most = "at most " if run.padded is not None else ""
    held = [(name, value) for name, value in asdict(used).items() if value]
    cores = "" if one.hardware.bf16 or run.precision != "bf16" else "; it has no bfloat16, so fp16 with a loss scale"
    lines = [
        f"{published.name}: {published.about}" + (f"; goes on from {published.start}" if published.start else ""),
        f"  model       {short(run.model.parameter_count())} parameters ({run.model.parameter_count():,}): {sizes.layers} layers × "
        f"{sizes.width:,}, {sizes.heads} heads, {sizes.kv_heads} of keys and values, vocabulary {run.model.vocab_size:,}"
        + (f", window {window:,}" if window else ""),
        f"  training    {run.steps:,} steps × {run.batch:,} × {run.context:,}: {most}{short(run.tokens)} tokens; "
        f"{optimizer_name(run.optimizer)} {run.optimizer.lr:g}, {schedule.shape}{decay}, warm-up {warmup}, {run.precision}, "
        f"fim {run.fim.rate:g}",
    ]
    for index, name in enumerate(FORMULAS):
        terms = " + ".join(f"{term} {power(value)}" for term, value in run.flops(name).items())
        lines.append(f"  {'operations' if not index else '':<10}  {name:<9} {power(run.total(name)):>8}  {terms}")
    lines += [
        f"  devices     {layout.devices:,} × {one.hardware.name} ({one.peak / 1e12:.3g} TFLOP/s, "
        f"{one.hardware.memory / GIB:.0f} GiB{cores}): data {layout.data} × tensor {layout.tensor} × pipeline {layout.pipeline}, "
        f"sharded: {layout.shard}, micro-batch {layout.micro_batch} × {one.accumulate}, recomputed: {layout.recompute}"
        + (f", pipeline idle {one.bubble:.0%}" if one.bubble else ""),
        f"  memory      {used.total / GIB:.1f} GiB a device, {'fits' if one.fits else 'DOES NOT FIT'}: "
        + ", ".join(f"{name} {value / GIB:.1f}" for name, value in held)
        + ("" if one.fits else f"; {_remedy(max(held, key=lambda item: item[1])[0], one)}"),
        f"  time        {duration(one.seconds)} at {one.utilization:.0%} of the peak; {short(one.tokens_per_second)} tokens/s to load",
        f"  disk        checkpoint {_gb(one.checkpoint_bytes)}, weights {_gb(one.weights_bytes)}, packed tokens {_gb(one.packed_bytes)} "
        "if none is seen twice" + _kept(one),
        "",
        "beside what was published",
        *(f"  {said}" for said in sentences(published)),
        *(f"  not known: {said}" for said in published.unknown),
    ]
    if published.name == "santacoder":
        lines += ["", *_variants(one)]
    return "\n".join(lines)


def _remedy(most: str, one: Plan) -> str:
    """What makes the largest part smaller."""
    if most in ("activations", "logits"):
        if one.layout.micro_batch > 1:
            return "a smaller --micro-batch lowers the most"
        return "--tensor lowers the most" if one.layout.recompute == "full" else "--recompute full lowers the most"
    if one.layout.shard == "full":
        return "more --devices lower the most"
    return "--shard full lowers the most" if one.layout.data > 1 else "more --devices with --shard full lower the most"


def _kept(one: Plan) -> str:
    if one.run.save_every is None:
        return ""
    count = one.run.steps // one.run.save_every
    return f"; {count:,} checkpoints, their weights {_gb(count * one.weights_bytes)}"


def _gb(size: float) -> str:
    return f"{size / 1e12:.3g} TB" if size >= 1e12 else f"{size / 1e9:.3g} GB"


def _variants(final: Plan) -> list[str]:
    rows, total = ["the eight revisions on these devices"], 0.0
    for one in variants():
        own = replace(final, run=one.run)
        total += own.seconds
        name = one.name.removeprefix("santacoder-").replace("santacoder", "final")
        rows.append(
            f"  {name:<10} {one.run.steps:>9,} steps  {short(one.run.tokens):>5} tokens  {power(one.run.total('model'))} FLOPs  "
            f"{duration(own.seconds):>9}  {own.memory.total / GIB:.1f} GiB  {one.about}"
        )
    return [*rows, f"  together   {duration(total)}"]


COLUMNS = ("recipe", "parameters", "tokens", "6ND", "FLOPs", "devices", "GiB each", "time", "published")


def row(name: str, one: Plan) -> tuple[str, ...]:
    """One line of the table: FLOPs by formula `model`, time at the utilization that is assumed."""
    run, time = one.run, taken_s(PUBLISHED[name])
    return (
        name,
        short(run.model.parameter_count()),
        ("≤ " if run.padded is not None else "") + short(run.tokens),
        power(run.total("6ND")),
        power(run.total("model")),
        f"{one.layout.devices:,} × {one.hardware.name}",
        f"{one.memory.total / GIB:.1f}" + ("" if one.fits else " !"),
        duration(one.seconds),
        "–" if time is None else duration(time),
    )


def table(chosen: dict[str, Plan]) -> str:
    """All runs, and a sentence for each published figure that is not simply met."""
    rows = [COLUMNS, *(row(name, one) for name, one in chosen.items())]
    widths = [max(len(line[column]) for line in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(f"{cell:<{width}}" if not place else f"{cell:>{width}}" for place, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in rows
    ]  # fmt: skip
    first = next(iter(chosen.values()))
    lines += [
        "",
        f"FLOPs: matrix products, attention scores and head, without recomputation. Time: at {first.utilization:.0%} of the peak, "
        "with what is recomputed.",
        "published: days, device-hours or speed as published, turned into time on these devices; ! does not fit.",
        "",
        *(f"{name}: {said}" for name in chosen for said in differences(PUBLISHED[name])),
        "",
        "time of training not published: " + ", ".join(name for name in chosen if taken_s(PUBLISHED[name]) is None),
    ]
    return "\n".join(lines)


def differences(published: Published) -> list[str]:
    """The sentences of figures that are not simply met."""
    met = ("memory:", "steps:", "time: none")
    return [said for said in sentences(published) if "the same, rounded" not in said and not said.startswith(met)]
