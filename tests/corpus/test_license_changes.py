"""A permissive license's text that was made stricter is none, and never permissive."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.planted import made, plant, rows
from corpus.test_license import BSD_3, BSD_HEAD, ISC, MIT
from starloom.corpus import License, Read
from starloom.corpus.license_changes import RESTRICTED, shown
from starloom.corpus.license_evidence import evidence_of, is_license_file
from starloom.corpus.license_expressions import license_type
from starloom.corpus.license_headers import notice
from starloom.corpus.license_metadata import statement
from starloom.corpus.license_texts import recognize

APACHE = (
    'Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance.'
)
TEXTS = [MIT, BSD_3, BSD_HEAD, ISC, APACHE, MIT + BSD_3, "Released under the MIT license."]
RESTRICTIONS = [
    "Not for commercial use.",
    "It may be used for non-commercial purposes only.",
    "The Software may not be sold.",
    "You may not sell copies of it.",
    "You may not redistribute modified versions.",
    "For academic and research purposes only.",
    "Commercial use is strictly prohibited.",
    "Commercial use requires another license.",
]


@pytest.mark.parametrize(
    "text",
    [
        MIT.replace("without restriction,", "for non-commercial purposes only,"),
        MIT.replace(", and/or sell", ""),
        MIT.replace("modify, ", ""),
        BSD_3.replace("are permitted", "are permitted for non-commercial use"),
        ISC.replace("any purpose", "any non-commercial purpose"),
    ],
)
def test_a_text_without_a_part_of_its_grant_is_restricted(text: str) -> None:
    assert shown(text) == (RESTRICTED,)
    assert license_type(RESTRICTED) == "non_permissive"


@pytest.mark.parametrize("text", TEXTS)
@given(restriction=st.sampled_from(RESTRICTIONS), before=st.booleans())
def test_a_restriction_beside_a_permissive_text_binds(text: str, restriction: str, before: bool) -> None:
    assert shown(f"{restriction}\n\n{text}" if before else f"{text}\n\n{restriction}") == (RESTRICTED,)


@pytest.mark.parametrize(
    "text", [*TEXTS, MIT + "Free for commercial or non-commercial use.", "All rights reserved.", ""]
)
def test_a_text_as_it_was_written_is_what_it_is(text: str) -> None:
    assert shown(text) == recognize(text)


def test_no_license_file_of_an_installed_package_is_taken_for_a_restricted_one() -> None:
    seen = 0
    for package in metadata.distributions():
        for path in package.files or []:
            place = Path(str(path.locate()))
            if ".dist-info" in str(path) and is_license_file(path.name) and place.is_file():
                seen += 1
                assert RESTRICTED not in shown(place.read_text("utf-8")), (package.name, path)
    assert seen >= 5


def test_a_restricted_text_binds_wherever_it_stands(tmp_path: Path) -> None:
    text = MIT.replace("without restriction", "for non-commercial purposes only")
    found = evidence_of("r", "LICENSE", text)
    assert found is not None and found.expressions == (RESTRICTED,)
    said = statement("PKG-INFO", "Name: x\nLicense: " + text.replace("\n", "\n        "))
    assert said is not None and said.expression == RESTRICTED
    assert notice(b"a.c", f"/* {text} */", permissive_too=True) == RESTRICTED
    files = {"package.json": b'{"license": "MIT"}', "LICENSE": text.encode(), "a.js": b"1\n"}
    built = made(License(Read(f"folder:{plant(tmp_path / 'code', files)}")), tmp_path / "store")
    assert {row["value"] for row in rows(built)} == {f"MIT AND {RESTRICTED}"}
