"""JSON objects from files that nobody vouches for: refused in one line when damaged, endless, nested without end or ambiguous."""

from __future__ import annotations

import json

from starloom.errors import CheckpointError


def parse_object(data: bytes, where: str) -> dict[str, object]:
    """The JSON object that these bytes hold. Raises CheckpointError naming `where`; a key given twice is an error."""
    try:
        value = json.loads(data, object_pairs_hook=_without_duplicates)
    except _DuplicateKeyError as error:
        raise CheckpointError(f"{where}: the key {error} is given twice; keep one") from None
    except (ValueError, RecursionError) as error:  # bad UTF-8 and numbers of 4,300 digits are ValueErrors too
        raise CheckpointError(f"{where} is no readable JSON ({str(error)[:100]}); fetch the file again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} holds a JSON {type(value).__name__}, not an object; fetch the file again")
    return value


class _DuplicateKeyError(Exception):
    pass


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKeyError(repr(key)[:100])
        found[key] = value
    return found
