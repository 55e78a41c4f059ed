"""A journey: the graph of stages behind what a recipe wants, and changes to it from the command line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from starloom.errors import ConfigError, suggestion
from starloom.flags import Assignment, convert
from starloom.stage import Stage


@runtime_checkable
class Named(Protocol):
    """An element of a tuple field that `--set` can address by name, such as a rule."""

    @property
    def name(self) -> str: ...

    def with_setting(self, key: str, text: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Revision:
    """A model of a journey as a revision of what is published: `step` trains it, `also` are names that follow it."""

    model: str
    revision: str
    about: str
    step: str
    system: str  # whose recipe it follows, such as SantaCoder
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Journey:
    """What a recipe returns: the stages that are wanted, and what is published of them. It walks upstream by itself."""

    goals: tuple[Stage, ...]
    revisions: tuple[Revision, ...] = ()

    def __init__(self, *goals: Stage, revisions: tuple[Revision, ...] = ()) -> None:
        object.__setattr__(self, "goals", goals)
        object.__setattr__(self, "revisions", revisions)

    def steps(self) -> dict[str, Stage]:
        """Step name → stage, upstream first. Raises ConfigError for two different stages of one name."""
        found: dict[str, Stage] = {}
        for stage in self._walk(set()):
            twin = found.setdefault(stage.step, stage)
            if twin is not stage and twin != stage:
                raise ConfigError(
                    f"two different steps are called '{stage.step}'; give one a label, such as "
                    f"{type(stage).__name__}(…, label='other')"
                )
        return found

    def _walk(self, seen: set[int]) -> Iterator[Stage]:
        def visit(stage: Stage) -> Iterator[Stage]:
            if id(stage) in seen:
                return
            seen.add(id(stage))
            for value in stage.inputs().values():
                for one in value if isinstance(value, tuple) else (value,):
                    yield from visit(one)
            yield stage

        for goal in self.goals:
            yield from visit(goal)

    def step(self, name: str) -> Stage:
        """The stage of a step name. Raises ConfigError with the nearest name."""
        steps = self.steps()
        if name not in steps:
            raise ConfigError(f"no step '{name}'; {suggestion(name, steps)}")
        return steps[name]

    def until(self, name: str) -> Journey:
        """The part of the journey that one step needs, and the step."""
        return Journey(self.step(name))

    def with_settings(self, assignments: typing.Iterable[Assignment]) -> Journey:
        """The journey with settings changed; what lies downstream of a change holds the changed stages."""
        journey = self
        for assignment in assignments:
            target = journey.step(assignment.step)
            changed = changed_field(target, assignment.keys, assignment.text, assignment.step)
            journey = journey._replacing(lambda stage, old=target, new=changed: new if stage == old else stage)  # type: ignore[misc]
        return journey

    def _replacing(self, change: Callable[[Stage], Stage]) -> Journey:
        done: dict[int, Stage] = {}

        def renewed(stage: Stage) -> Stage:
            if id(stage) not in done:
                fields: dict[str, Any] = {}
                for name, value in stage.inputs().items():
                    fields[name] = tuple(map(renewed, value)) if isinstance(value, tuple) else renewed(value)
                now = change(stage)
                moved = any(
                    fields[name] is not getattr(stage, name) for name in fields if not isinstance(fields[name], tuple)
                ) or any(
                    one is not other
                    for name, value in fields.items()
                    if isinstance(value, tuple)
                    for one, other in zip(value, getattr(stage, name), strict=True)
                )
                done[id(stage)] = dataclasses.replace(now, **fields) if moved else now
            return done[id(stage)]

        return Journey(*map(renewed, self.goals), revisions=self.revisions)


def changed_field(owner: Any, keys: tuple[str, ...], text: str, where: str) -> Any:
    """A copy of a frozen dataclass with the field that `keys` lead to set from text.

    A key is a field, or the name of an element in one of its tuple fields (`rules.long_lines.longest`).
    """
    key, rest = keys[0], keys[1:]
    fields = {item.name: item for item in dataclasses.fields(owner) if item.name != "label"}
    if key in fields:
        value = getattr(owner, key)
        if isinstance(value, Stage) or (isinstance(value, tuple) and value and isinstance(value[0], Stage)):
            raise ConfigError(f"{where}.{key} is an upstream step; set that step's own settings")
        if not rest:
            hints = typing.get_type_hints(type(owner))
            return dataclasses.replace(owner, **{key: convert(text, hints[key], f"{where}.{key}")})
        if not dataclasses.is_dataclass(value):
            raise ConfigError(f"{where}.{key} has no settings of its own, so no '{'.'.join(rest)}'")
        return dataclasses.replace(owner, **{key: changed_field(value, rest, text, f"{where}.{key}")})
    named = {}
    for name in fields:
        value = getattr(owner, name)
        if isinstance(value, tuple):
            named.update(
                {element.name: (name, position) for position, element in enumerate(value) if isinstance(element, Named)}
            )
    if key in named and len(rest) == 1:
        name, position = named[key]
        elements = list(getattr(owner, name))
        elements[position] = elements[position].with_setting(rest[0], text)
        return dataclasses.replace(owner, **{name: tuple(elements)})
    settable = [name for name in fields if not isinstance(getattr(owner, name), Stage)]
    raise ConfigError(f"unknown setting '{'.'.join(keys)}' of {where}; {suggestion(key, [*settable, *named])}")
