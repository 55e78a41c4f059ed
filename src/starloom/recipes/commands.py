"""`starloom run | plan`: build what a recipe describes, or say what that would take."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from starloom import flags, stage
from starloom.cluster import Local
from starloom.crew import Launch, joined
from starloom.errors import ConfigError, DamagedError, suggestion
from starloom.flags import Assignment, flag
from starloom.journey import Journey
from starloom.models.revisions import Name, check_revision
from starloom.progress import Progress, for_terminal
from starloom.recipes import RECIPES
from starloom.recipes.made import HUB, link_models, publish_revisions
from starloom.stage import Identities, Runtime, Stage, build, code_revision
from starloom.store import MANIFEST, Built, Store
from starloom.train.trackers import chosen


@dataclass(frozen=True)
class GraphFlags:
    """What `run` and `plan` share."""

    set: tuple[str, ...] = flag(
        (), help="change a setting: STEP.KEY=VALUE, such as pack.context=1024 (repeatable)", metavar="STEP.KEY=VALUE"
    )
    until: str | None = flag(None, help="stop after this step", metavar="STEP")
    store: Path = flag(Path("starloom-store"), help="folder that holds what is built", metavar="DIR")
    json: bool = flag(False, help="print one JSON object instead of text")


@dataclass(frozen=True)
class RunFlags(GraphFlags):
    """How a recipe is executed; none of it changes the data that comes out."""

    workers: int | None = flag(None, help="worker processes for the corpus (default: all cores)")
    threads: int | None = flag(None, help="threads for training and generation (default: all cores)")
    device: str = flag("cpu", help="where the model computes: cpu, cuda")
    tensor_parallel: int = flag(
        1, help="under torchrun: processes that share each layer's matrices; the rest share batches"
    )
    save_every: float = flag(30.0, help="seconds between checkpoints")
    watch: str = flag(
        "",
        help="where else curves of training go: tensorboard (the default, if installed), wandb, trackio, none; with commas",
    )
    quiet: bool = flag(False, help="no progress, no lines per step")


@dataclass(frozen=True)
class PlanFlags(GraphFlags):
    """How a plan is shown."""

    settings: str | None = flag(None, help="print the settings of one step, each as --set takes it", metavar="STEP")


def _recipe_flags(argv: Sequence[str], cls: type, verb: str) -> tuple[str, dict[str, Any], Any]:
    """(recipe name, its arguments, the flags of `cls`) from `RECIPE --flags`."""
    names = ", ".join(RECIPES)
    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            print(
                f"Usage: starloom {verb} RECIPE [FLAGS]\n\nRecipes: {names} (your own: package.module:function)\n\n"
                f"starloom {verb} RECIPE --help lists a recipe's flags. Example: starloom {verb} quickstart --source ."
                + (f"\n\n{_AT_PAPER_SCALE}" if verb == "plan" else "")
            )
            raise SystemExit(0)
        raise ConfigError(f"starloom {verb} takes a recipe first: {names}, or package.module:function")
    recipe = cast(Callable[..., Journey], RECIPES.get(argv[0]))
    own = flags.from_signature(recipe)
    own_fields = dataclasses.fields(own)
    clash = {item.name for item in own_fields} & {item.name for item in dataclasses.fields(cls)}
    if clash:
        raise ConfigError(
            f"recipe '{argv[0]}' has a parameter '{min(clash)}', which is a flag of every recipe; rename it"
        )
    both = dataclasses.make_dataclass(
        cls.__name__,
        [
            (item.name, item.type, dataclasses.field(default=item.default, metadata=item.metadata))
            for item in (*own_fields, *dataclasses.fields(cls))
        ],
        frozen=True,
    )
    both.__doc__ = own.__doc__
    both.__annotations__ = {**own.__annotations__, **_hints(cls)}
    values = dataclasses.asdict(flags.parse(both, argv[1:], f"starloom {verb} {argv[0]}"))
    arguments = {item.name: values.pop(item.name) for item in own_fields}
    return argv[0], arguments, cls(**values)


def _hints(cls: type) -> dict[str, Any]:
    import typing

    return typing.get_type_hints(cls)


def journey_of(recipe: str, arguments: dict[str, Any], graph: GraphFlags) -> Journey:
    """The journey that a recipe and the flags describe."""
    journey = cast(Callable[..., Journey], RECIPES.get(recipe))(**arguments)
    if not isinstance(journey, Journey):
        raise ConfigError(f"recipe '{recipe}' returned {type(journey).__name__}, not a Journey")
    for one in journey.revisions:  # now, and not when everything is trained
        Name.parse(one.model)
        for revision in (one.revision, *one.also):
            check_revision(revision)
    journey = journey.with_settings(map(Assignment.parse, graph.set))
    return journey.until(graph.until) if graph.until else journey


def run(argv: Sequence[str]) -> int:
    """Build a recipe's journey, and print what each step has to say at the end."""
    recipe, arguments, run_flags = _recipe_flags(argv, RunFlags, "run")
    journey = journey_of(recipe, arguments, run_flags)
    watch = chosen(run_flags.watch)
    launch = Launch.of(os.environ)
    workers = _at_least_one(run_flags.workers, "--workers")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("starloom").setLevel(logging.WARNING if run_flags.quiet else logging.INFO)
    pool = Local(workers)
    silent = run_flags.quiet or run_flags.json or not launch.first
    store = Store(run_flags.store)
    if launch.first:
        store.prepare()
    built: dict[int, Built] = {}
    identities = Identities()
    try:
        with joined(launch, store.root / ".locks") as crew:
            runtime = Runtime(
                workers,
                _at_least_one(run_flags.threads, "--threads", share=launch.here),
                run_flags.device,
                run_flags.save_every,
                Progress() if silent else for_terminal(),
                pool,
                crew,
                _at_least_one(run_flags.tensor_parallel, "--tensor-parallel"),
                watch,
            )
            for goal in journey.goals:
                build(goal, store, runtime, identities, built)
    finally:
        pool.close()
    if not launch.first:
        return 0
    results = {name: built[id(one)] for name, one in journey.steps().items()}
    models = link_models(store, recipe, results)
    published = publish_revisions(store, journey, results, recipe.rpartition(":")[2])
    if run_flags.json:
        print(
            json.dumps(
                {
                    "recipe": recipe,
                    "models": {name: str(path) for name, path in models.items()},
                    "published": published,
                    "steps": {name: _brief(one) for name, one in results.items()},
                },
                indent=2,
            )
        )
        return 0
    for name, one in journey.steps().items():
        closing = one.closing(results[name])
        if closing:
            print(f"\n{closing}")
    for model, revisions in published.items():
        hub = store.root / HUB
        print(
            f"\n{model}: {', '.join(revisions)}\n  HF_HUB_CACHE={hub} HF_HUB_OFFLINE=1 makes them load by name in transformers"
        )
        print(f"  starloom complete {model}@{next(iter(revisions))} --hub {hub} --prompt 'def read_lines(path):'")
    for path in models.values() if not published else ():
        print(f"\nmodel: {path}\n  starloom complete {path} --prompt 'def read_lines(path):'")
    return 0


def _at_least_one(number: int | None, flag_name: str, share: int = 1) -> int:
    """What was asked for; else all cores, divided among the processes that share the machine."""
    if number is not None and number < 1:
        raise ConfigError(f"{flag_name} is {number}; it must be at least 1")
    return number or max(1, stage.cores() // share)


def _brief(built: Built) -> dict[str, Any]:
    wanted = ("fingerprint", "summary", "counts", "resolved", "seconds", "peak_memory_bytes")
    return {"directory": str(built.directory), **{key: built.manifest[key] for key in wanted}}


_AT_PAPER_SCALE = """\
What the published runs take, beside what was published of them (parameters, tokens, FLOPs, memory, days, disk):
  starloom plan --all                                                 a table of all
  starloom plan santacoder --scale paper                              one, every term shown
  starloom plan starcoderbase-7b --hardware a100-80gb --devices 512   on other devices (--all --help: all flags)"""


def plan(argv: Sequence[str]) -> int:
    """List the steps of a recipe: where each lies, whether it is done, and what it cost or will cost.

    With --all, or of a published run at paper scale: what it takes (`recipes.paper_plan`).
    """
    from starloom.recipes import paper_plan
    from starloom.recipes.published import PUBLISHED

    if paper_plan.wanted(argv, list(RECIPES)):
        return paper_plan.plan(argv)
    if argv and not argv[0].startswith("-") and argv[0] not in RECIPES and ":" not in argv[0]:
        raise ConfigError(f"no recipe '{argv[0]}'; {suggestion(argv[0], {*RECIPES, *PUBLISHED})}")
    recipe, arguments, plan_flags = _recipe_flags(argv, PlanFlags, "plan")
    journey = journey_of(recipe, arguments, plan_flags)
    if plan_flags.settings:
        return _print_settings(journey.step(plan_flags.settings), plan_flags.json)
    store, identities = Store(plan_flags.store), Identities()
    before = _seconds_before(store)
    rows = []
    for name, one in journey.steps().items():
        directory = store.directory(name, identities.of(one).fingerprint)
        rows.append({"step": name, "directory": str(directory), **_state(directory, one, before)})
    if plan_flags.json:
        print(json.dumps({"recipe": recipe, "steps": rows}, indent=2))
        return 0
    width = max(len(row["step"]) for row in rows)
    for row in rows:
        print(f"{row['step']:<{width}}  {row['state']:<24} {row['cost']:<20} {row['directory']}")
    return 0


def _state(directory: Path, one: Stage, before: dict[str, float]) -> dict[str, str]:
    if (directory / MANIFEST).is_file():
        try:
            built = Built.open(directory)
        except DamagedError:
            return {"state": "damaged", "cost": "see starloom verify"}
        mine = built.manifest["code"] == code_revision()
        return {"state": "done" if mine else "done (by other code)", "cost": f"took {built.manifest['seconds']:.1f} s"}
    cost = one.cost()
    if not cost and one.step in before:
        cost = f"about {before[one.step]:.0f} s (last time)"
    return {"state": "unfinished" if directory.is_dir() else "to do", "cost": cost or "not known yet"}


def _seconds_before(store: Store) -> dict[str, float]:
    """Seconds that the newest build of each step took in this store."""
    seconds = {}
    for directory in store.directories():
        if (directory / MANIFEST).is_file():
            try:
                built = Built.open(directory)
            except DamagedError:
                continue
            seconds[built.name] = float(built.manifest["seconds"])
    return seconds


def _print_settings(one: Stage, as_json: bool) -> int:
    if as_json:
        print(json.dumps(one.settings(), indent=2))
        return 0

    def lines(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key != "type":
                    lines(f"{prefix}.{key}", item)
        elif isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
            for item in value:
                settings = item.get("settings", {})
                for key, setting in dict(settings).items():
                    lines(f"{prefix.rpartition('.')[0]}.{item['name']}.{key}", setting)
        else:
            print(f"--set {prefix}={','.join(map(str, value)) if isinstance(value, list) else value}")

    lines(one.step, one.settings())
    for name in one.external_fields():
        lines(f"{one.step}.{name}", getattr(one, name))
    return 0
