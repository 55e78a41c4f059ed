"""The languages of the published models: how many, under which names, and that rules and sets agree about them."""

from __future__ import annotations

import pytest

from corpus.test_rules import a_file
from starloom.corpus import rule_set
from starloom.corpus.language import language_of, languages
from starloom.corpus.language_sets import (
    SANTACODER,
    STARCODER2_SMALL,
    language_set,
    starcoder,
    starcoder2,
    starcoder_with_dialects,
)
from starloom.corpus.rules_table import selected, table
from starloom.errors import ConfigError

SETS = ("santacoder", "starcoder", "starcoder2", "starcoder2-small")


def test_the_sets_have_the_published_sizes() -> None:
    assert len(SANTACODER) == 3 and len(STARCODER2_SMALL) == 17
    assert len(starcoder()) == len(set(starcoder())) == 86
    assert len(starcoder2()) == len(set(starcoder2())) == 605


@pytest.mark.parametrize("name", SETS)
def test_a_set_holds_only_languages_that_files_can_be_found_to_be_of(name: str) -> None:
    chosen = language_set(name)
    assert len(set(chosen)) == len(chosen) and set(chosen) <= set(languages())


def test_smaller_models_know_no_language_that_the_larger_do_not() -> None:
    assert set(SANTACODER) <= set(starcoder())
    assert set(starcoder()) - set(starcoder_with_dialects()) == {"Maple"}, "which linguist does not know"
    assert set(STARCODER2_SMALL) <= set(starcoder2())


def test_swift_is_in_starcoder2_alone() -> None:
    """It was left out of StarCoder by an oversight, and not of its successor."""
    assert "Swift" not in starcoder_with_dialects() and "Swift" in language_set("starcoder2")
    assert "Swift" in language_set("starcoder2-small")


def test_json_and_yaml_are_beside_the_86() -> None:
    assert {"JSON", "YAML"} <= set(starcoder_with_dialects()) - set(starcoder())


def test_the_table_of_extensions_selects_the_set() -> None:
    """Each included extension leads to a language of the set, but for the ones that linguist gives to others."""
    assert selected() <= set(starcoder_with_dialects())
    other = {
        extension
        for extension, row in table()["extensions"].items()
        if row["included"] and language_of(f"a.{extension}".encode()).value not in {None, *selected()}
    }
    assert other == {"1", "3", "mustache", "txt"}, "counted to Dockerfile and Makefile, by files such as `Dockerfile.1`"


@pytest.mark.parametrize("name", ["santacoder", "starcoder", "starcoder2"])
def test_the_first_rule_of_a_models_data_is_its_languages(name: str) -> None:
    (first, *_) = rule_set(name)
    for language in languages():
        kept = first(a_file(language=language)) is None
        assert kept == (language in language_set(name))


def test_an_unknown_set_is_refused_with_a_near_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'starcoder2'"):
        language_set("starcoder-2")
