"""Rules: each reason is true as read, all that apply are kept, settings are typed and have no unknown keys."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.planted import by_path, made, plant, rows
from starloom.corpus import STACK_RULES, Language, License, Read, Rules, SourceFile, quickstart_rules, rule
from starloom.corpus.rules import (
    empty,
    few_alphanumeric,
    language_not_selected,
    license_not_permissive,
    long_lines,
    reasons_against,
)
from starloom.errors import ConfigError
from starloom.flags import Assignment
from starloom.journey import Journey
from starloom.stage import Identities


def a_file(text: str = "x = 1\n", language: str | None = "Python", license: str | None = "MIT") -> SourceFile:
    """A file with statistics counted in plain Python: the oracle of the native kernel."""
    lines = text.splitlines()
    return SourceFile(
        repository="r",
        path=b"a.py",
        text=text,
        language=language,
        license=license,
        lines=len(lines),
        longest_line=max(map(len, lines), default=0),
        line_characters=sum(map(len, lines)),
        characters=len(text),
        alphanumeric=sum(map(str.isalnum, text)),
    )


def test_a_line_of_exactly_the_limit_stays() -> None:
    assert long_lines(a_file("x" * 1000 + "\n" * 30)) is None
    assert long_lines(a_file("x" * 1001 + "\n" * 30)) == "line_too_long"
    assert long_lines(a_file("x" * 11 + "\n" * 30), longest=10) == "line_too_long"


def test_a_mean_line_of_exactly_the_limit_stays() -> None:
    assert long_lines(a_file(("x" * 100 + "\n") * 5)) is None
    assert long_lines(a_file(("x" * 101 + "\n") * 5)) == "lines_long_on_average"
    assert long_lines(a_file("")) is None


def test_a_quarter_of_letters_and_digits_is_enough() -> None:
    assert few_alphanumeric(a_file("ab------")) is None
    assert few_alphanumeric(a_file("a-------")) == "few_alphanumeric"
    assert few_alphanumeric(a_file("漢字------")) is None
    assert few_alphanumeric(a_file("")) is None


def test_white_space_alone_is_empty() -> None:
    assert empty(a_file("")) == empty(a_file(" \n\t\n")) == "empty"
    assert empty(a_file("#")) is None


def test_only_selected_languages_stay() -> None:
    assert language_not_selected(a_file(language="C"), languages=("Python", "C")) is None
    assert language_not_selected(a_file(language="C")) == "language_not_selected"
    assert language_not_selected(a_file(language=None)) == "language_not_selected"


def test_only_kept_types_of_license_stay_and_the_reason_names_the_type() -> None:
    assert license_not_permissive(a_file(license="MIT")) is None
    assert license_not_permissive(a_file(license="GPL-3.0-only")) == "license_not_permissive"
    assert license_not_permissive(a_file(license=None)) == "no_license"
    assert license_not_permissive(a_file(license=None), kept=("permissive", "no_license")) is None
    assert license_not_permissive(a_file(license="MIT"), kept=("non_permissive",)) == "license_permissive"


def test_every_reason_is_kept_in_recipe_order() -> None:
    bad = a_file("-" * 2000, language="C", license="GPL-2.0-only")
    order = quickstart_rules(("Python",), "permissive")
    expected = ["language_not_selected", "license_not_permissive", "line_too_long", "few_alphanumeric"]
    assert reasons_against(bad, order) == expected
    assert reasons_against(bad, order[::-1]) == expected[::-1]


@given(st.lists(st.text("ab1 -_é漢\u2028\x0c\r\n", max_size=40), min_size=1, max_size=8))
def test_verdicts_on_a_shard_are_the_rules_on_each_file(texts: list[str]) -> None:
    """The native statistics, through a column of text with a null in it, against plain Python."""
    from starloom.corpus.rules import verdicts_of
    from starloom.corpus.schemas import ATTRIBUTE, READ, table_of

    chosen = (rule(empty), rule(long_lines, longest=12, mean=6.0), rule(few_alphanumeric, least=0.5))
    every: list[str | None] = [*texts, None]
    ids = [bytes([number]) * 16 for number in range(len(every))]
    files = table_of(
        (
            {
                "id": one,
                "path": b"a.py",
                "repository": "r",
                "text": text,
                "unread": None if text is not None else "binary",
            }
            for one, text in zip(ids, every, strict=True)
        ),
        READ,
    )
    languages = table_of(({"id": one, "value": "Python"} for one in ids), ATTRIBUTE)
    found = verdicts_of(files, languages, None, chosen).to_pylist()
    expected = [reasons_against(a_file(text, license=None), chosen) for text in texts] + [["binary"]]
    assert [row["reasons"] for row in found] == expected
    assert [row["keep"] for row in found] == [not reasons for reasons in expected]


def test_a_rule_writes_out_its_defaults() -> None:
    assert dict(rule(long_lines).settings) == {"longest": 1000, "mean": 100}
    assert rule(long_lines, longest=1000) == rule(long_lines)
    assert dict(rule(long_lines, longest=7).settings) == {"longest": 7, "mean": 100}


def test_a_misspelt_or_mistyped_setting_of_a_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'longst' of rule long_lines; did you mean 'longest'"):
        rule(long_lines, longst=5)
    with pytest.raises(ConfigError, match=r"rules\.long_lines\.longest takes a whole number, not '5'"):
        rule(long_lines, longest="5")
    with pytest.raises(ConfigError, match="takes a whole number, not True"):
        rule(long_lines, longest=True)
    with pytest.raises(ConfigError, match="did you mean 'Python'"):
        rule(language_not_selected, languages=("python",))
    with pytest.raises(ConfigError, match="kept"):
        rule(license_not_permissive, kept=("permisive",))
    with pytest.raises(ConfigError, match="did you mean 'permissive'"):
        quickstart_rules(("Python",), "permisive")


def test_a_setting_from_the_command_line_reaches_its_rule_and_nothing_upstream() -> None:
    files = Read("folder:/nowhere")
    language = Language(files)
    journey = Journey(Rules(files, language, License(files), rules=quickstart_rules(("Python",), "permissive")))
    chosen = ["rules.long_lines.longest=500", "rules.license_not_permissive.kept=permissive,no_license"]
    changed = journey.with_settings(map(Assignment.parse, chosen)).goals[0]
    assert isinstance(changed, Rules)
    settings = {one.name: dict(one.settings) for one in changed.rules}
    assert settings["long_lines"] == {"longest": 500, "mean": 100}
    assert settings["license_not_permissive"] == {"kept": ("permissive", "no_license")}
    assert changed.files is files and changed.language is language
    for wrong, said in [
        ("rules.long_lines.longst=5", "did you mean 'longest'"),
        ("rules.long_lines.longest=five", "takes a whole number"),
        ("rules.longlines.longest=5", "did you mean 'long_lines'"),
        ("rules.license_not_permissive.kept=permisive", "did you mean 'permissive'"),
        ("rules.language_not_selected.languages=Pyton", "did you mean 'Python'"),
    ]:
        with pytest.raises(ConfigError, match=said):
            journey.with_settings([Assignment.parse(wrong)])


def test_a_changed_setting_is_a_new_fingerprint_of_the_rules_alone(tmp_path: Path) -> None:
    files = Read(f"folder:{plant(tmp_path / 'code', {'a.py': b'1'})}")
    one = Rules(files, Language(files))
    other = dataclasses.replace(
        one, rules=(*STACK_RULES[:1], STACK_RULES[1].with_setting("longest", "500"), STACK_RULES[2])
    )
    known = Identities()
    assert known.of(one).fingerprint != known.of(other).fingerprint
    assert known.of(one).inputs == known.of(other).inputs


def test_rules_that_cannot_be_are_refused() -> None:
    files = Read("x")
    with pytest.raises(ConfigError, match="'empty' twice"):
        Rules(files, Language(files), rules=(rule(empty), rule(empty)))
    with pytest.raises(ConfigError, match="needs licenses"):
        Rules(files, Language(files), rules=(rule(license_not_permissive),))


def test_verdicts_lie_beside_the_files_and_are_counted(tmp_path: Path) -> None:
    contents = {"a.py": b"x = 1\n", "b.py": b"-" * 3000, "c.c": b"int x;\n", "d.py": b"\xff", "e.py": b""}
    files = Read(f"folder:{plant(tmp_path / 'code', contents)}")
    built = made(Rules(files, Language(files), rules=quickstart_rules(("Python",), "any")), tmp_path / "store")
    read = by_path(made(files, tmp_path / "store"))
    verdict = {row["id"]: (row["keep"], row["reasons"], row["spans"]) for row in rows(built)}
    assert {path: verdict[row["id"]] for path, row in read.items()} == {
        b"a.py": (True, [], []),
        b"b.py": (False, ["line_too_long", "few_alphanumeric"], []),
        b"c.c": (False, ["language_not_selected"], []),
        b"d.py": (False, ["not_utf8"], []),
        b"e.py": (False, ["empty"], []),
    }
    assert built.counts["dropped"] == {"empty": 1, "language_not_selected": 1, "line_too_long": 1, "not_utf8": 1}
    assert built.counts["applied"]["few_alphanumeric"] == 1
    assert built.counts["rows_in"] == built.counts["rows_out"] + sum(built.counts["dropped"].values())
