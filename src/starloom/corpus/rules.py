"""Rules: why a file does not belong in a training corpus. Each is a small pure function that gives a reason, or None.

A rule takes a `SourceFile` and keyword settings; `Rule` is a rule with its settings, addressed by name from the
command line: `--set rules.long_lines.longest=500`.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin

import pyarrow as pa

from starloom import native
from starloom.corpus.language import check_languages
from starloom.corpus.license_expressions import LicenseType, license_type
from starloom.corpus.origin import vendored
from starloom.corpus.schemas import VERDICT, table_of
from starloom.errors import ConfigError, suggestion
from starloom.flags import convert, describe
from starloom.stage import Facts, Stage, Work
from starloom.store import Built, aligned_part, write_table


@dataclass(frozen=True, slots=True)
class SourceFile:
    """What a rule sees of a file. Lines are those of `str.splitlines`, lengths in characters."""

    repository: str
    path: bytes
    text: str
    language: str | None
    license: str | None  # SPDX expression
    lines: int
    longest_line: int
    line_characters: int  # of all lines together, line ends left out
    characters: int
    alphanumeric: int  # characters for which `str.isalnum` holds
    stars: int | None = None  # of its repository
    vendored: bool | None = None  # whether its path is of code carried along; None where nobody has looked yet


def empty(file: SourceFile) -> str | None:
    """Nothing but white space teaches nothing; our choice."""
    return None if file.text.strip() else "empty"


def long_lines(file: SourceFile, *, longest: int = 1000, mean: float = 100) -> str | None:
    """Minified or generated code: one very long line, or long lines throughout (BigCode `filtering.py`, basic)."""
    if file.longest_line > longest:
        return "line_too_long"
    return "lines_long_on_average" if file.lines and file.line_characters / file.lines > mean else None


def few_alphanumeric(file: SourceFile, *, least: float = 0.25) -> str | None:
    """Tables, drawings, encoded data: less than this share is letters and digits (BigCode `filtering.py`, basic)."""
    return "few_alphanumeric" if file.characters and file.alphanumeric / file.characters < least else None


def language_not_selected(file: SourceFile, *, languages: tuple[str, ...] = ("Python",)) -> str | None:
    """A language that the corpus is not made of, or none that is known; names are linguist's."""
    return None if file.language in languages else "language_not_selected"


def license_not_permissive(file: SourceFile, *, kept: tuple[LicenseType, ...] = ("permissive",)) -> str | None:
    """A license of a type that is not kept: permissive, no_license, non_permissive (The Stack v2's types)."""
    kind = license_type(file.license)
    if kind in kept:
        return None
    return {"no_license": "no_license", "permissive": "license_permissive"}.get(kind, "license_not_permissive")


Function = Callable[..., str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and its settings, every one of them written out, so that a fingerprint covers the defaults too."""

    name: str
    function: Function
    settings: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        known = _settings(self.function)
        for key, value in self.settings:
            if key not in known:
                raise ConfigError(f"unknown setting '{key}' of rule {self.name}; {suggestion(key, known)}")
            if not _is(value, known[key][0]):
                raise ConfigError(f"rules.{self.name}.{key} takes {describe(known[key][0])}, not {value!r}")
        given = dict(self.settings)
        full = tuple((key, given.get(key, default)) for key, (_, default) in sorted(known.items()))
        object.__setattr__(self, "settings", full)
        if "languages" in given:
            check_languages(given["languages"])

    def with_setting(self, key: str, text: str) -> Rule:
        """The rule with one setting read from text. Raises ConfigError for an unknown setting or a wrong type."""
        known = _settings(self.function)
        if key not in known:
            raise ConfigError(f"unknown setting '{key}' of rule {self.name}; {suggestion(key, known)}")
        value = convert(text, known[key][0], f"rules.{self.name}.{key}")
        return dataclasses.replace(self, settings=tuple({**dict(self.settings), key: value}.items()))

    def __call__(self, file: SourceFile) -> str | None:
        return self.function(file, **dict(self.settings))


def rule(function: Function, **settings: Any) -> Rule:
    """A rule named after its function."""
    return Rule(function.__name__, function, tuple(settings.items()))


@cache
def _settings(function: Function) -> dict[str, tuple[Any, Any]]:
    """Name → (type, default) of a rule's settings: its keyword-only parameters, each with a default."""
    hints = typing.get_type_hints(function)
    return {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _is(value: object, annotation: Any) -> bool:
    """Whether a value is of a setting's type: a number, text, one of a Literal, or a tuple of these."""
    if get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is(item, get_args(annotation)[0]) for item in value)
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool))


STACK_RULES = (rule(empty), rule(long_lines), rule(few_alphanumeric))
_KEPT: dict[str, tuple[LicenseType, ...]] = {
    "permissive": ("permissive",),
    "permissive_or_none": ("permissive", "no_license"),  # StarCoder2's choice (facts of The Stack v2)
}


def quickstart_rules(languages: tuple[str, ...], licenses: str) -> tuple[Rule, ...]:
    """The Stack's basic rules behind a choice of languages and of license types: `permissive`, `permissive_or_none`
    or `any`."""
    if licenses not in (*_KEPT, "any"):
        raise ConfigError(f"no choice of licenses '{licenses}'; {suggestion(licenses, (*_KEPT, 'any'))}")
    chosen = [rule(language_not_selected, languages=tuple(languages))]
    if licenses in _KEPT:
        chosen.append(rule(license_not_permissive, kept=_KEPT[licenses]))
    return (*chosen, *STACK_RULES)


# Rules that are not about a file's name or lines. What people write in an issue is under no license of a repository,
# and StarCoder's issues were not chosen by one (bigcode-dataset, filtering_issues.py).
_ANY_TEXT = (empty,)
_OF_REPOSITORY = (*_ANY_TEXT, license_not_permissive)
_ASKED = {"issue": _ANY_TEXT, "pull_request": _ANY_TEXT}


def reasons_against(file: SourceFile, rules: Sequence[Rule]) -> list[str]:
    """Every reason that applies, in recipe order."""
    return [reason for reason in (one(file) for one in rules) if reason is not None]


def verdicts_of(
    files: pa.Table, languages: pa.Table, licenses: pa.Table | None, rules: Sequence[Rule], threads: int = 1
) -> pa.Table:
    """The verdict rows of a shard with columns id, repository, path, text, unread, and stars and kind where known.

    A document without text has its `unread` reason alone. Issues, commits, notebooks and pull requests have filters of
    their own (`KindRules`): of the rules only those about any text are asked.
    """
    kinds = files["kind"].to_pylist() if "kind" in files.column_names else ["file"] * len(files)
    rows = []
    for kind, (document, unread, file) in zip(kinds, _source_files(files, languages, licenses, threads), strict=True):
        asked = rules
        if kind not in ("file", None):
            asked = [one for one in rules if one.function in _ASKED.get(kind, _OF_REPOSITORY)]
        reasons = [unread] if file is None else reasons_against(file, asked)
        rows.append({"id": document, "keep": not reasons, "reasons": reasons, "spans": []})
    return table_of(rows, VERDICT)


def _source_files(
    files: pa.Table, languages: pa.Table, licenses: pa.Table | None, threads: int
) -> Iterator[tuple[bytes, str | None, SourceFile | None]]:
    counted = native.arrow_line_statistics(files["text"], threads)
    numbers = (
        counted.lines,
        counted.longest_line,
        counted.line_characters,
        counted.characters,
        counted.alphanumeric,
    )
    columns = zip(
        *(files[name].to_pylist() for name in ("id", "unread", "repository", "path", "text")),
        files["stars"].to_pylist() if "stars" in files.column_names else [None] * len(files),
        languages["value"].to_pylist(),
        [None] * len(files) if licenses is None else licenses["value"].to_pylist(),
        vendored([path.decode("utf-8", "backslashreplace") for path in files["path"].to_pylist()]),  # together: fast
        *(column.tolist() for column in numbers),
        strict=True,
    )
    for document, unread, repository, path, text, stars, language, license_, carried, *counts in columns:
        file = None
        if text is not None:
            lines, longest, line_characters, characters, alphanumeric = counts
            file = SourceFile(
                repository, path, text, language, license_, lines, longest, line_characters, characters, alphanumeric,
                stars, carried,
            )  # fmt: skip
        yield document, unread, file


def _judge_part(call: tuple[str, Built, Built, Built | None, tuple[Rule, ...]], folder: Path) -> Facts:
    part, files, language, license_, rules = call
    inputs = [files, language] if license_ is None else [files, language, license_]
    columns = [["repository", "path", "text", "unread", "stars", "kind"], ["value"], ["value"]][: len(inputs)]
    tables = aligned_part(part, inputs, columns)
    table = verdicts_of(tables[0], tables[1], tables[2] if license_ is not None else None, rules)
    write_table(folder / part, table)
    every = table["reasons"].to_pylist()
    first = Counter(reasons[0] for reasons in every if reasons)
    applied = Counter(reason for reasons in every for reason in reasons)
    return {"rows": len(table), "dropped": dict(sorted(first.items())), "applied": dict(sorted(applied.items()))}


@dataclass(frozen=True, slots=True)
class Rules(Stage):
    """A verdict on each file: kept, or every reason against it in the order of `rules`."""

    version: ClassVar[int] = 5
    files: Stage
    language: Stage
    license: Stage | None = None
    rules: tuple[Rule, ...] = STACK_RULES

    def __post_init__(self) -> None:
        names = [one.name for one in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"rules names '{name}' twice; each rule stands once")
        if self.license is None and any(one.function is license_not_permissive for one in self.rules):
            raise ConfigError(
                "the rule license_not_permissive needs licenses; write Rules(files, language, License(files))"
            )

    def produce(self, work: Work) -> None:
        files, language = work.input("files"), work.input("language")
        license_ = None if self.license is None else work.input("license")
        calls = {part.removesuffix(".parquet"): (part, files, language, license_, self.rules) for part in files.parts()}
        for _, facts in work.map(_judge_part, calls):
            kept = facts["rows"] - sum(facts["dropped"].values())
            work.count(rows_in=facts["rows"], rows_out=kept, dropped=facts["dropped"], applied=facts["applied"])
        dropped = Counter(work.counts.get("dropped", {}))
        said = ", ".join(f"{reason} {number:,}" for reason, number in dropped.most_common())
        work.summary = f"{work.counts.get('rows_in', 0):,} → {work.counts.get('rows_out', 0):,} files" + (
            f" ({said})" if said else ""
        )
