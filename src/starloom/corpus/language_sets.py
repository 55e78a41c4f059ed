"""The languages that the published models were trained on, by linguist's names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources

from starloom.corpus.language import languages
from starloom.corpus.rules_table import table
from starloom.errors import ConfigError, suggestion

SANTACODER = ("Python", "Java", "JavaScript")  # arXiv 2301.03988

# StarCoder2 3B and 7B: 17 languages (arXiv 2402.19173, where the markup and data of the 15B are left out)
STARCODER2_SMALL = (
    "C", "C#", "C++", "Go", "Java", "JavaScript", "Kotlin", "Lua", "PHP", "Python", "R", "Ruby", "Rust", "SQL", "Shell",
    "Swift", "TypeScript",
)  # fmt: skip


@cache
def starcoder() -> tuple[str, ...]:
    """StarCoder's 86 languages, in the table's names, as linguist spells them.

    The list itself is not public here. It is derived: the languages of which BigCode's inspection includes an
    extension are 88; JSON and YAML were added to that table by hand, for their own size window, which leaves the 86
    that the paper counts. Swift is in neither: it was left out by an oversight (public summary of the paper). One of the
    86, Maple, is a language that linguist does not know, so no file is found to be of it.
    """
    every = sorted(table()["languages"].items())
    return tuple(names[0] if names else name.title() for name, names in every if name not in ("json", "yaml"))


@cache
def starcoder_with_dialects() -> tuple[str, ...]:
    """The 86, with linguist's dialects of them that BigCode's table did not tell apart (PL/SQL under SQL), JSON and
    YAML: what a rule about languages keeps."""
    return tuple(sorted({name for names in table()["languages"].values() for name in names}))


@cache
def starcoder2() -> tuple[str, ...]:
    """The 605 languages of The Stack v2 of which its label list includes an extension, in a newer linguist's names; 55 of
    them are languages that the linguist data here does not know yet."""
    file = resources.files("starloom.corpus") / "data" / "stack_v2_languages.txt"
    names = file.read_text(encoding="utf-8").splitlines()
    return tuple(name for name in names if name and not name.startswith("#"))


def language_set(name: str) -> tuple[str, ...]:
    """The languages behind a published name that files can be found to be of. Raises ConfigError for an unknown name."""
    sets: dict[str, Callable[[], tuple[str, ...]]] = {
        "santacoder": lambda: SANTACODER,
        "starcoder": starcoder_with_dialects,
        "starcoder2": starcoder2,
        "starcoder2-small": lambda: STARCODER2_SMALL,
    }
    if name not in sets:
        raise ConfigError(f"no set of languages '{name}'; {suggestion(name, sets)}")
    known = {one.lower(): one for one in languages()}  # `Vim Script` was `Vim script`
    return tuple(known[one.lower()] for one in sets[name]() if one.lower() in known)
