"""Single-line infilling by SantaCoder's recipe, from any code: which line is hidden, and when an answer counts.

The published task (bigcode/santacoder-fim-task, by MultiPL-E's `fill_in_the_middle`) hides each line that is not blank of
solutions to HumanEval in Python, Java and JavaScript, whole-line comments taken out before, closing braces not. The line
breaks on both sides of the line are hidden with it, and an answer counts when it is that line, blanks around it apart.
Its problems are not public here: these are made in the same way from held-out functions, and every result says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from starloom.errors import ConfigError, suggestion
from starloom.evals.held_out_files import HeldOutFile
from starloom.evals.places import functions
from starloom.records import uniform

LANGUAGES = ("Python", "Java", "JavaScript")  # of the published task
COMMENTS = {
    "Python": "#",
    "Java": "//",
    "JavaScript": "//",
    "TypeScript": "//",
}  # what a line of nothing else begins with


@dataclass(frozen=True, slots=True)
class LineGap:
    """A hidden line: its number in the body, what stands before and after it, and what it says."""

    number: int
    prefix: str
    truth: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A gap in a function of a held-out file."""

    file: HeldOutFile
    line: int  # in the file, counted from 1
    prefix: str
    truth: str
    suffix: str


def check_languages(languages: Sequence[str]) -> None:
    """Raises ConfigError for a language whose comments are not known."""
    for name in languages:
        if name not in COMMENTS:
            raise ConfigError(f"no infilling problems can be made of '{name}'; {suggestion(name, COMMENTS)}")


def line_gaps(given: str, body: Sequence[str], language: str) -> list[LineGap]:
    """Every gap of a function: what is given (its signature and description) is never hidden."""
    lines = [(number, line) for number, line in enumerate(body) if not line.lstrip().startswith(COMMENTS[language])]
    texts = [line for _, line in lines]
    return [
        LineGap(number, "\n".join([given, *texts[:place]]), line, "\n".join(texts[place + 1 :]))
        for place, (number, line) in enumerate(lines)
        if line.strip()
    ]


def problems_in(file: HeldOutFile) -> Iterator[Problem]:
    """The gaps of every function of a file that is of a size to ask for; a closing brace belongs to its function."""
    lines = file.text.split("\n")
    found: dict[int, Problem] = {}  # a line of a nested function belongs to the outer one too, which comes first
    for function in functions(file.text):
        first = function.line - 1 + len(function.head)
        end = first + len(function.body)
        brace = next((number for number in range(end, len(lines)) if lines[number].strip()), end)
        closing = lines[end : brace + 1] if "".join(lines[brace : brace + 1]).lstrip().startswith("}") else []
        for gap in line_gaps(function.given, [*function.body, *closing], file.language):
            line = first + gap.number + 1
            found.setdefault(line, Problem(file, line, gap.prefix, gap.truth, gap.suffix))
    yield from found.values()


def chosen_problems(files: Iterable[HeldOutFile], languages: Sequence[str], count: int, seed: int) -> list[Problem]:
    """Up to `count` problems of each language, a function of the seed and the files: one of each file, by chance, then a
    second of each, so that as many files have a say as there are."""
    found: list[Problem] = []
    ranked: dict[str, list[tuple[int, float, bytes, Problem]]] = {name: [] for name in languages}
    for file in files:
        if file.language in ranked:
            inside = sorted(problems_in(file), key=lambda one: (uniform(seed, "line", file.id, one.line), one.line))
            turn = uniform(seed, "file", file.id)
            ranked[file.language] += [(rank, turn, file.id, one) for rank, one in enumerate(inside[:count])]
    for name in languages:
        found += [one for *_, one in sorted(ranked[name], key=lambda item: item[:3])[:count]]
    return found


def is_exact(truth: str, text: str) -> bool:
    """The published rule: the whole answer is the line, blanks and line breaks around both apart."""
    return text.strip() == truth.strip()


def is_first_line(truth: str, text: str) -> bool:
    """Whether the first line of an answer that says anything is the line: the rule for a model that goes on from the prefix
    alone and cannot know where the gap ends (InCoder, Fried et al. 2022: "left-to-right single")."""
    return next((line.strip() for line in text.split("\n") if line.strip()), "") == truth.strip()
