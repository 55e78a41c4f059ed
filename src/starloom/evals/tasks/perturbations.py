"""Small changes to a prompt that leave its meaning: ReCode's families (Wang et al. 2022, arXiv 2212.10264), made anew.

ReCode's own prompts come from NL-Augmenter, NatGen and models of language. Here each change is a pure function of the text
and of (seed, problem, change), so that a run can be repeated on any machine; `docs/decisions/0003-evaluation-tasks.md` says
what is left out. Each gives a program with a place in it, or None where there is nothing to change.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from starloom.problems.problem import docstring_of
from starloom.records import chances

# Shares of letters and words, NL-Augmenter's defaults for these changes
TYPO = 0.05
CASE = 0.1
BLANK = 0.1
KEYBOARD: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@dataclass(frozen=True, slots=True)
class Code:
    """What is shown, what goes on from there, and what the function is called."""

    shown: str
    rest: str
    name: str


Chance = Callable[..., float]
Change = Callable[[Code, Chance], Code | None]


def chance_of(seed: int, *item: str) -> Chance:
    """A function from a place to a number in [0, 1)."""
    return chances(seed, "recode", *item)


def neighbors(letter: str) -> str:
    """The keys beside a letter, in its row."""
    for row in KEYBOARD:
        if letter.lower() in row:
            place = row.index(letter.lower())
            found = row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
            return found.upper() if letter.isupper() else found
    return letter


def typos(text: str, chance: Chance) -> str:
    """Letters hit beside their key."""

    def typed(place: int, letter: str) -> str:
        if not letter.isascii() or not letter.isalpha() or chance("typo", place) >= TYPO:
            return letter
        keys = neighbors(letter)
        return keys[int(chance("key", place) * len(keys))]

    return "".join(typed(place, letter) for place, letter in enumerate(text))


def swaps(text: str, chance: Chance) -> str:
    """Neighboring letters exchanged."""
    letters, place = list(text), 0
    while place + 1 < len(letters):
        if letters[place].isalpha() and letters[place + 1].isalpha() and chance("swap", place) < TYPO:
            letters[place : place + 2] = letters[place + 1], letters[place]
            place += 1
        place += 1
    return "".join(letters)


def other_case(text: str, chance: Chance) -> str:
    """Letters in the other case."""
    return "".join(
        letter.swapcase() if letter.isalpha() and chance("case", place) < CASE else letter
        for place, letter in enumerate(text)
    )


def blanks(text: str, chance: Chance) -> str:
    """Blanks taken out between words, and put into them."""
    out = []
    for place, letter in enumerate(text):
        drawn = chance("blank", place) if letter == " " or letter.isalpha() else 1.0
        if letter == " " and drawn < BLANK and text[place - 1 : place] not in ("", " ", "\n"):
            continue
        out.append(letter)
        if letter.isalpha() and drawn < TYPO and text[place + 1 : place + 2].isalpha():
            out.append(" ")
    return "".join(out)


def in_docstring(change: Callable[[str, Chance], str]) -> Change:
    """A change of the description's words; examples, and the function's and its arguments' names, stay."""

    def changed(code: Code, chance: Chance) -> Code | None:
        told = docstring_of(code.shown)
        end = next(
            (found.start() for found in re.finditer(r"\n[ \t]*(?:>>>|[Ee]xample|[Ff]or example)", told)), len(told)
        )
        words, rest = told[:end], told[end:]
        kept = set(re.findall(r"\w+", code.shown.partition(told)[0]))
        pieces = re.split(r"(\w+)", words)
        if kept.isdisjoint(pieces):
            new = change(words, chance)
        else:  # names of the signature stay; what stands between them is changed piece by piece
            new = "".join(
                piece if piece in kept else change(piece, lambda *at, number=number: chance(*at, number))
                for number, piece in enumerate(pieces)
            )
        place = code.shown.rfind(told)
        return replace(code, shown=code.shown[:place] + new + rest + code.shown[place + len(told) :])

    return changed


def renamed(change: Callable[[str, Chance], str]) -> Change:
    """The function under another name, wherever it is named."""

    def changed(code: Code, chance: Chance) -> Code | None:
        name = change(code.name, chance)
        if not name.isidentifier() or keyword.iskeyword(name):
            return None
        pattern = rf"\b{re.escape(code.name)}\b"
        if re.search(rf"\b{re.escape(name)}\b", code.shown + code.rest):
            return None
        return Code(re.sub(pattern, name, code.shown), re.sub(pattern, name, code.rest), name)

    return changed


def camel_case(name: str, chance: Chance) -> str:
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def one_typo(name: str, chance: Chance) -> str:
    """One letter of a short text, where a share would often change none."""
    places = [place for place, letter in enumerate(name) if letter.isalpha()]
    place = places[int(chance("one") * len(places))]
    keys = neighbors(name[place])
    return name[:place] + keys[int(chance("key") * len(keys))] + name[place + 1 :]


def one_swap(name: str, chance: Chance) -> str:
    places = [place for place in range(len(name) - 1) if name[place : place + 2].isalpha()]
    if not places:
        return name
    place = places[int(chance("one") * len(places))]
    return name[:place] + name[place + 1] + name[place] + name[place + 2 :]


def tabs(code: Code, chance: Chance) -> Code | None:
    """Tabs for indentation, throughout."""

    def line(text: str) -> str:
        wide = len(text) - len(text.lstrip(" "))
        return "\t" * (wide // 4) + " " * (wide % 4) + text[wide:]

    shown, rest = ("\n".join(map(line, side.split("\n"))) for side in (code.shown, code.rest))
    made = Code(shown, rest, code.name)
    return made if parsed(made) else None  # some references mix widths


def as_comments(code: Code, chance: Chance) -> Code | None:
    """The docstring as lines of comments."""
    told = docstring_of(code.shown)
    for quotes in ('"""', "'''"):
        whole = f"{quotes}{told}{quotes}"
        place = code.shown.rfind(whole)
        if place >= 0:
            lines = [line.strip() for line in told.strip().split("\n")]
            indent = code.shown[code.shown.rfind("\n", 0, place) + 1 : place]
            comments = f"\n{indent}".join(f"# {line}".rstrip() for line in lines)
            return replace(code, shown=code.shown[:place] + comments + code.shown[place + len(whole) :])
    return None


def empty_lines(code: Code, chance: Chance) -> Code | None:
    """Blank lines here and there before the docstring, and one behind it."""
    told = docstring_of(code.shown)
    before, found, after = code.shown.rpartition(told)
    lines = before.split("\n")
    spread = [line + ("\n" if chance("line", place) < BLANK else "") for place, line in enumerate(lines[:-1])]
    return replace(code, shown="\n".join([*spread, lines[-1]]) + found + after.rstrip("\n") + "\n\n")


def split_line(code: Code, chance: Chance) -> Code | None:
    """The signature on two lines."""
    match = re.search(rf"def {re.escape(code.name)}\((?=\S)(?!\))", code.shown)
    if match is None:
        return None
    return replace(code, shown=f"{code.shown[: match.end()]}\n        {code.shown[match.end() :]}")


def parsed(code: Code) -> ast.Module | None:
    try:
        return ast.parse(code.shown + code.rest)
    except SyntaxError:
        return None


def unchanged(code: Code, chance: Chance) -> Code | None:
    return code
