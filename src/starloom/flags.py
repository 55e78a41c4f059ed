"""Command-line flags from the fields of a frozen dataclass, or from the parameters of a recipe; thin, over click.

Also the one place that turns the text of `--set step.key=value` into the type that a field declares.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click

from starloom.errors import ConfigError, suggestion

Flags = TypeVar("Flags")
_NONE = type(None)


def flag(default: Any = dataclasses.MISSING, *, help: str, positional: bool = False, metavar: str | None = None) -> Any:
    """A dataclass field that is a flag (`--the-name`), or a positional argument."""
    return dataclasses.field(default=default, metadata={"help": help, "positional": positional, "metavar": metavar})


def optional(annotation: Any) -> tuple[Any, bool]:
    """`T | None` → (T, True); anything else → (itself, False)."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [item for item in get_args(annotation) if item is not _NONE]
        if len(rest) == 1 and len(rest) < len(get_args(annotation)):
            return rest[0], True
    return annotation, False


def convert(text: str, annotation: Any, where: str) -> Any:
    """The value that a text means for a field of this type. Raises ConfigError naming the field and the text."""
    kind, may_be_none = optional(annotation)
    if may_be_none and text.lower() in ("none", "null"):
        return None
    try:
        return _convert(text, kind, where)
    except ValueError:
        raise ConfigError(f"{where} takes {describe(annotation)}, not '{text}'") from None


def _convert(text: str, kind: Any, where: str) -> Any:
    if kind is bool:
        known = {
            "true": True,
            "yes": True,
            "1": True,
            "on": True,
            "false": False,
            "no": False,
            "0": False,
            "off": False,
        }
        if text.lower() not in known:
            raise ValueError
        return known[text.lower()]
    if kind is int:
        return int(text.replace("_", ""))
    if kind is float:
        value = float(text)
        if value != value or abs(value) == float("inf"):
            raise ValueError
        return value
    if kind is str:
        return text
    if kind is Path:
        return Path(text)
    origin = get_origin(kind)
    if origin is Literal:
        for choice in get_args(kind):
            if text == str(choice):
                return choice
        raise ConfigError(
            f"{where} is one of {', '.join(map(str, get_args(kind)))}, not '{text}'; "
            f"{suggestion(text, map(str, get_args(kind)))}"
        )
    if origin is tuple and len(get_args(kind)) == 2 and get_args(kind)[1] is ...:
        return tuple(_convert(item.strip(), get_args(kind)[0], where) for item in text.split(",") if item.strip())
    parse = getattr(kind, "parse", None) or next(
        (item.parse for item in get_args(kind) if hasattr(item, "parse")), None
    )  # a union of classes with one spelling
    if parse is not None:
        return parse(text)
    raise ConfigError(f"{where} cannot be set from the command line; write a recipe of your own")


def describe(annotation: Any) -> str:
    """A type in words, for help and errors."""
    kind, may_be_none = optional(annotation)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    if get_origin(kind) is Literal:
        word = "one of " + ", ".join(map(str, get_args(kind)))
    elif get_origin(kind) is tuple:
        word = "a list with commas"
    else:
        word = words.get(kind, getattr(kind, "__name__", str(kind)))
    return f"{word}, or none" if may_be_none else word


class _Typed(click.ParamType[Any]):
    """A click type that is our `convert`."""

    def __init__(self, annotation: Any, where: str) -> None:
        self.annotation, self.where = annotation, where
        self.name = {int: "integer", float: "number", Path: "path", str: "text"}.get(optional(annotation)[0], "value")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return convert(value, self.annotation, self.where) if isinstance(value, str) else value


def _parameter(item: dataclasses.Field[Any], annotation: Any) -> click.Parameter:
    required = item.default is dataclasses.MISSING
    metavar, text = item.metadata.get("metavar"), item.metadata.get("help", "")
    kind, _ = optional(annotation)
    many = get_origin(kind) is tuple
    name = "--" + item.name.rstrip("_").replace("_", "-")
    settings: dict[str, Any] = {"type": _Typed(get_args(kind)[0] if many else annotation, name), "metavar": metavar}
    settings |= {"required": True} if required else {"default": item.default}
    if item.metadata.get("positional"):
        settings["type"].where = settings["metavar"] = metavar or item.name.upper()
        return click.Argument([item.name], nargs=-1 if many else 1, **settings)
    if kind is bool:
        spelled = f"{name}/--no-{name[2:]}" if item.default else name
        return click.Option([spelled, item.name], is_flag=True, default=bool(item.default), help=text)
    if get_origin(kind) is Literal:
        settings["type"] = click.Choice(list(get_args(kind)))
    shown = not required and item.default not in (None, (), "")
    return click.Option([name, item.name], multiple=many, help=text, show_default=shown, **settings)


def command(cls: type, prog: str) -> click.Command:
    """The click command whose parameters are a dataclass's fields and whose help is its docstring."""
    hints = typing.get_type_hints(cls)
    parameters = [_parameter(item, hints[item.name]) for item in dataclasses.fields(cls)]
    about = inspect.cleandoc(cls.__doc__ or "")
    about = about.replace("Examples:", "\b\nExamples:")  # click keeps the lines of such a paragraph as they are
    return click.Command(
        prog,
        params=parameters,
        callback=lambda **values: values,
        help=about,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def parse(cls: type[Flags], argv: Sequence[str], prog: str) -> Flags:
    """Read arguments into a dataclass. Raises ConfigError for what it does not know, with the nearest name.

    `--help` prints and raises SystemExit(0).
    """
    try:
        values = command(cls, prog).main(list(argv), prog_name=prog, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        raise ConfigError(error.format_message()) from None
    except click.ClickException as error:
        raise ConfigError(f"{error.format_message().replace(chr(10), ' ')} (see {prog} --help)") from None
    if isinstance(values, int):
        raise SystemExit(values)
    return cls(**values)


def from_signature(function: Callable[..., Any]) -> type:
    """A frozen dataclass with one flag for each parameter of a function, its docstring as the help.

    A parameter's line in the docstring, `name: what it is`, becomes its flag's help.
    """
    about = inspect.cleandoc(function.__doc__ or "")
    hints = typing.get_type_hints(function)
    fields = []
    for name, parameter in inspect.signature(function).parameters.items():
        default = dataclasses.MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        line = next((line for line in about.splitlines() if line.strip().startswith(f"{name}: ")), "")
        fields.append((name, hints[name], flag(default, help=line.partition(": ")[2])))
        about = "\n".join(other for other in about.splitlines() if other != line or not line)
    made = dataclasses.make_dataclass(function.__name__, fields, frozen=True)
    made.__doc__ = about.strip()
    return made


@dataclass(frozen=True, slots=True)
class Assignment:
    """One `--set step.key=value`."""

    step: str
    keys: tuple[str, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Assignment:
        left, equals, value = text.partition("=")
        step, *keys = left.strip().split(".")
        if not equals or not keys or not all([step, *keys]):
            raise ConfigError(f"--set takes STEP.KEY=VALUE, such as pack.context=1024, not '{text}'")
        return cls(step, tuple(keys), value.strip())
