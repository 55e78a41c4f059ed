"""The columns of The Stack, v1 and v2, and what may stand in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from starloom.errors import suggestion


class Columns(NamedTuple):
    """What a schema calls the facts of a row."""

    content: str
    repository: str
    path: str
    stars: str
    forks: str
    licenses: str
    revision: str
    date: str


V1 = Columns(
    "content", "max_stars_repo_name", "max_stars_repo_path", "max_stars_count", "max_forks_count",
    "max_stars_repo_licenses", "max_stars_repo_head_hexsha", "max_stars_repo_stars_event_min_datetime",
)  # fmt: skip
V2 = Columns(
    "content", "repo_name", "path", "star_events_count", "fork_events_count", "detected_licenses", "revision_id",
    "revision_date",
)  # fmt: skip
_NEEDED = ("content", "repository", "path")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_OPTIONAL: Final[Mapping[str, Callable[[object], bool]]] = {
    "stars": _number,
    "forks": _number,
    "licenses": _words,
    "revision": lambda value: isinstance(value, str),
    "date": lambda value: isinstance(value, str),
}


TYPES = {
    "content": "string", "repository": "string", "path": "string", "stars": "a number", "forks": "a number",
    "licenses": "list<string>", "revision": "string", "date": "timestamp or string",
}  # fmt: skip


def fits(role: str, kind: pa.DataType) -> bool:
    """Whether a column of Parquet can be what it is called."""
    if pa.types.is_null(kind):
        return role != "repository" and role != "path"
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if role in ("stars", "forks"):
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
    if role == "licenses":
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return bool(lists and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)))
    if role == "date":
        return bool(text or pa.types.is_timestamp(kind))
    return bool(text or (role == "content" and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))))


def json_columns(value: Mapping[str, Any]) -> tuple[Columns, str | None]:
    """The schema of an object, and what is wrong with it. Null is no wrong type: Parquet has it in every column."""
    names, missing = columns_of(list(value))
    if missing is not None:
        return names, missing
    for role in _NEEDED:
        name = getattr(names, role)
        if value[name] is not None and not isinstance(value[name], str):
            return names, f"column '{name}' is a {type(value[name]).__name__}, not text"
    for role, sound in _OPTIONAL.items():
        found = value.get(getattr(names, role))
        if found is not None and not sound(found):
            return names, f"column '{getattr(names, role)}' is {_shown(found)}, not {TYPES[role]}"
    return names, None


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, int | float | bool) else f"a {type(value).__name__}"


def columns_of(names: Sequence[str]) -> tuple[Columns, str | None]:
    """The schema that has these columns, and what it lacks."""
    known = V1 if V1.repository in names or V1.path in names else V2
    for role in _NEEDED:
        name = getattr(known, role)
        if name not in names:
            hint = suggestion(name, names) if names else "it has none"
            if name == "content" and "blob_id" in names:
                hint = "The Stack v2 has ids there; fetch the contents first"
            return known, f"has no column '{name}' of The Stack {'v1' if known is V1 else 'v2'}; {hint}"
    return known, None
