"""Licenses: what texts show, what metadata states, and that where they differ everything must be obeyed."""

from __future__ import annotations

import json
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.planted import by_path, made, plant, rows
from starloom.corpus import License, Read, license_grams
from starloom.corpus.license import decide, file_license, gather, licenses_of
from starloom.corpus.license_evidence import (
    NO_LICENSE,
    Evidence,
    evidence_of,
    is_license_file,
    license_at,
    repository_license,
    spdx_header,
)
from starloom.corpus.license_expressions import (
    UNRECOGNIZED,
    allow_list_version,
    as_expression,
    combined,
    ids,
    joined,
    license_type,
    named,
    permissive_ids,
)
from starloom.corpus.license_metadata import debian_folders, statement
from starloom.corpus.license_texts import recognize
from starloom.corpus.schemas import Attribute
from starloom.store import Built

MIT = """MIT License

Copyright (c) 2020 Someone

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.
"""
BSD_HEAD = """Redistribution and use in source and binary forms, with or without modification, are permitted provided
that the following conditions are met: 1. Redistributions of source code must retain the above copyright notice.
2. Redistributions in binary form must reproduce the above copyright notice."""
BSD_3 = BSD_HEAD + " 3. Neither the name of X may be used to endorse or promote products derived from this software."
ISC = """Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby
granted, provided that the above copyright notice and this permission notice appear in all copies."""
GPL_3 = "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n\n either version 3 of the License, or (at your option) any later version."
NOTICE = """This program is free software: you can redistribute it under the terms of the GNU General Public License as
published by the Free Software Foundation, either version 2 of the License, or (at your option) any later version."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MIT, ("MIT",)),
        ("# " + MIT.replace("\n", "\n# "), ("MIT",)),
        (MIT.upper(), ("MIT",)),
        (MIT.partition("The above")[0], ("MIT-0",)),
        (
            "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated "
            "files, to permit persons to whom it is furnished to do so, provided that the above copyright notice appear.",
            (),
        ),
        (BSD_HEAD, ("BSD-2-Clause",)),
        (BSD_3, ("BSD-3-Clause",)),
        (
            BSD_3 + " All advertising materials mentioning features or use of this software must say so.",
            ("BSD-4-Clause",),
        ),
        (BSD_3 + BSD_HEAD, ("BSD-2-Clause", "BSD-3-Clause")),
        (ISC, ("ISC",)),
        (ISC.partition(", provided")[0] + ".", ("0BSD",)),
        ("Apache License Version 2.0, January 2004", ("Apache-2.0",)),
        ('Licensed under the Apache License, Version 2.0 (the "License");', ("Apache-2.0",)),
        ("Mozilla Public License Version 2.0", ("MPL-2.0",)),
        ("Common Public License Version 1.0", ("CPL-1.0",)),
        (GPL_3, ("GPL-3.0-only",)),
        (NOTICE, ("GPL-2.0-or-later",)),
        ("This is free and unencumbered software released into the public domain.", ("Unlicense",)),
        ("CC0 1.0 Universal", ("CC0-1.0",)),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", ("CC-BY-NC-SA-4.0",)),
        ("Creative Commons Attribution 4.0 International Public License", ("CC-BY-4.0",)),
        ("Boost Software License - Version 1.0 - August 17th, 2003", ("BSL-1.0",)),
        (MIT + GPL_3, ("GPL-3.0-only", "MIT")),
        (MIT + "The Software shall be used for Good, not Evil.", ("JSON", "MIT")),
        ("Released under the MIT license.", ("MIT",)),
        ("All rights reserved. Do not copy.", ()),
        ("", ()),
    ],
)
def test_a_text_is_recognized_by_what_it_alone_says(text: str, expected: tuple[str, ...]) -> None:
    assert recognize(text) == expected


# What legal prose and code are made of, without the proper names of licenses
PROSE = """permission is hereby granted free of charge redistribution and use in source binary forms with or without
modification are permitted license licence version 2 3 0 1 public general software the terms of under by this notice
copyright (c) 2020 all rights reserved liability warranty def return import x = { } ; # // clause condition"""


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=("L",)), max_size=300),
        st.lists(st.sampled_from(PROSE.split())).map(" ".join),
    )
)
def test_no_text_is_taken_for_a_license_by_chance(text: str) -> None:
    assert recognize(text) == ()


def test_the_license_of_python_itself_is_recognized() -> None:
    path = Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt"
    if not path.exists():
        pytest.skip("this Python carries no LICENSE.txt")
    found = recognize(path.read_text("utf-8"))
    assert "Python-2.0" in found and set(found) <= {"0BSD", "Python-2.0"}


def test_license_files_of_installed_packages_agree_with_their_metadata() -> None:
    """An oracle that is on every machine: packages that state one SPDX id, beside their own license file."""
    seen, differing = 0, []
    for package in metadata.distributions():
        stated = package.metadata["License-Expression"]
        if stated not in ("MIT", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "MPL-2.0", "ISC", "MIT-0", "MIT-CMU"):
            continue
        texts = [
            recognize(path.read_text("utf-8"))
            for path in package.files or []
            if ".dist-info" in str(path) and is_license_file(path.name) and path.locate().is_file()  # type: ignore[union-attr]
        ]
        if texts:
            seen += 1
            if not any(stated in found for found in texts):
                differing.append((package.name, stated, texts))
    assert seen >= 5
    assert not differing


METADATA = [
    ("pyproject.toml", '[project]\nlicense = "MIT or apache-2.0"\nlicense-files = ["docs/*.txt"]', "MIT OR Apache-2.0"),
    ("pyproject.toml", '[project]\nlicense = {text = "BSD License"}', "LicenseRef-BSD-unspecified"),
    ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: ISC License (ISCL)"]', "ISC"),
    ("pyproject.toml", '[tool.poetry]\nlicense = "Apache-2.0"', "Apache-2.0"),
    ("pyproject.toml", "[build-system]\n", None),
    ("pyproject.toml", "not toml [", None),
    ("pyproject.toml", "a = " + "[" * 5000, None),
    ("setup.cfg", "[metadata]\nlicense = MIT License\n", "MIT"),
    ("setup.cfg", "[metadata]\nlicense = %(bad\n", UNRECOGNIZED),
    ("package.json", '{"license": "(MIT OR GPL-2.0)"}', "MIT OR GPL-2.0-only"),
    ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]}', "MIT OR Apache-2.0"),
    ("package.json", '{"license": "UNLICENSED"}', "LicenseRef-proprietary"),
    ("package.json", '{"license": 7}', None),
    ("package.json", "[" * 100_000, None),
    ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"', "MIT OR Apache-2.0"),
    ("METADATA", "Name: x\nLicense-Expression: BSD-3-Clause\nLicense: MIT\n", "BSD-3-Clause"),
    (
        "METADATA",
        "Name: x\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n\nLicense: GPL",
        "MIT",
    ),
    ("PKG-INFO", "Name: x\nLicense: see our web page\n", UNRECOGNIZED),
    ("PKG-INFO", "Name: x\nLicense: " + MIT.replace("\n", "\n        "), "MIT"),
]


@pytest.mark.parametrize(("name", "text", "expected"), METADATA)
def test_metadata_states_an_expression_or_nothing(name: str, text: str, expected: str | None) -> None:
    said = statement(name, text)
    assert said is not None and said.expression == expected


@given(
    st.sampled_from(["pyproject.toml", "setup.cfg", "package.json", "Cargo.toml", "METADATA"]), st.text(max_size=200)
)
def test_no_metadata_however_broken_is_more_than_silent(name: str, text: str) -> None:
    said = statement(name, text)
    assert said is not None and (said.expression is None or isinstance(said.expression, str))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["license", "licenses", "type", "x"]), inner),
        max_leaves=12,
    )
)
def test_any_json_is_read_as_a_package(value: object) -> None:
    assert statement("package.json", json.dumps(value)) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mit", "MIT"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("apache-2.0 with llvm-exception", "Apache-2.0 WITH LLVM-exception"),
        ("LicenseRef-mine AND MIT", "LicenseRef-mine AND MIT"),
        ("no such license", None),
        ("MIT AND", None),
        ("(" * 10_000, None),
        ("", None),
    ],
)
def test_an_expression_has_one_spelling(text: str, expected: str | None) -> None:
    assert as_expression(text) == expected


SYMBOLS = ["MIT", "ISC", "GPL-3.0-only", "MIT OR GPL-3.0-only", "MIT AND ISC", "(MIT AND ISC) OR GPL-3.0-only"]


@given(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=5), st.sampled_from(["AND", "OR"]))
def test_what_is_joined_says_the_same_and_each_term_once(
    expressions: list[str], operator: Literal["AND", "OR"]
) -> None:
    value = joined(expressions, operator)
    assert value is not None
    for allowed in range(8):  # the truth table is the oracle
        true = {name: bool(allowed >> bit & 1) for bit, name in enumerate(("MIT", "ISC", "GPL-3.0-only"))}

        def holds(text: str, true: dict[str, bool] = true) -> bool:
            for name, truth in true.items():
                text = text.replace(name, str(truth))
            return bool(eval(text.lower().replace("true", "True").replace("false", "False")))

        expected = [holds(one) for one in expressions]
        assert holds(value) == (all(expected) if operator == "AND" else any(expected))
    terms = value.split(f" {operator} ")
    assert len(set(terms)) == len(terms) or "(" in value


def test_doubled_terms_are_said_once() -> None:
    assert joined(["GPL-3.0-only AND MIT", "GPL-3.0-only"], "AND") == "GPL-3.0-only AND MIT"
    assert joined(["MIT", "Apache-2.0 AND BSD-3-Clause AND MIT"], "AND") == "MIT AND Apache-2.0 AND BSD-3-Clause"


def test_names_of_the_classifiers_are_known() -> None:
    for name, expected in [
        ("MIT License", "MIT"),
        ("Apache Software License", "Apache-2.0"),
        ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("Python Software Foundation License", "PSF-2.0"),
        ("The Unlicense (Unlicense)", "Unlicense"),
        ("Public Domain", "LicenseRef-scancode-public-domain"),
        ("DFSG approved", None),
    ]:
        assert named(name) == expected


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        (None, "no_license"),
        ("MIT", "permissive"),
        ("MIT AND GPL-3.0-only", "non_permissive"),
        ("MIT OR GPL-3.0-only", "permissive"),
        ("(MIT OR GPL-3.0-only) AND BSD-3-Clause", "permissive"),
        ("(MIT AND GPL-3.0-only) OR AGPL-3.0-only", "non_permissive"),
        ("Apache-2.0 WITH LLVM-exception", "permissive"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "non_permissive"),
        ("MPL-2.0", "non_permissive"),
        (UNRECOGNIZED, "non_permissive"),
        ("((", "non_permissive"),
        ("LicenseRef-BSD-unspecified", "permissive"),
    ],
)
def test_the_type_of_an_expression_follows_its_logic(expression: str | None, kind: str) -> None:
    assert license_type(expression) == kind


def test_the_allow_list_is_versioned() -> None:
    assert allow_list_version() == 1, "a new list: raise Rules.version and Mix.version, then this number"
    assert {"MIT", "Apache-2.0", "BSD-3-Clause", "PSF-2.0", "CC0-1.0", "Unlicense", "0BSD"} <= permissive_ids()
    assert not any(
        name.startswith(("GPL", "LGPL", "AGPL", "MPL", "CC-BY-NC", "SSPL", "BUSL")) for name in permissive_ids()
    )


@given(
    st.lists(st.sampled_from(["MIT", "BSD-3-Clause", "GPL-3.0-only", "MIT OR Apache-2.0", UNRECOGNIZED]), max_size=4),
    st.lists(st.sampled_from(["MIT", "GPL-3.0-only", "Apache-2.0", "MPL-2.0"]), max_size=3),
)
def test_what_is_combined_is_permissive_only_if_everything_is(stated: list[str], found: list[str]) -> None:
    value = combined(stated, found)
    understood = [one for one in stated if one != UNRECOGNIZED]
    if not (understood or found):
        assert value == (UNRECOGNIZED if stated else None)
    else:
        everything = [license_type(one) for one in understood]
        everything += ["permissive"] * (len(found) - sum(license_type(one) != "permissive" for one in found))
        worst = any(license_type(one) != "permissive" for one in [*understood, *found])
        assert license_type(value) == ("non_permissive" if worst else "permissive")


def evidence(how: str, *expressions: str, path: str = "LICENSE", names: tuple[str, ...] = ()) -> Evidence:
    return Evidence("r", path, how, expressions, names)


@pytest.mark.parametrize(
    "name", ["COPYRIGHT", "LEGAL", "NOTICE", "README", "README.md", "EULA.txt", "debian/copyright"]
)
def test_a_file_that_mentions_a_license_is_asked_only_where_nothing_else_tells(name: str) -> None:
    table = a_shard(("file", f"top/{name}", NOTICE), ("file", "top/a.py", "x"))
    (_, row) = licenses_of(table, decide([gather(table)])).to_pylist()
    assert row["value"] == "GPL-2.0-or-later" and row["how"] == "mention" and row["confidence"] < 0.5
    table = a_shard(("file", f"top/{name}", NOTICE), ("file", "top/a.py", "x"), ("file", "top/LICENSE", MIT))
    assert licenses_of(table, decide([gather(table)]))["value"].to_pylist()[1] == "MIT"
    table = a_shard(("file", f"top/sub/{name}", NOTICE), ("file", "top/sub/a.py", "x"), ("file", "top/b.py", "x"))
    assert licenses_of(table, decide([gather(table)]))["value"].to_pylist()[1] is None or name == "debian/copyright"


def test_a_users_agreement_that_nobody_recognizes_binds() -> None:
    table = a_shard(("file", "top/EULA.txt", "You may look at it."), ("file", "top/a.py", "x"))
    assert set(licenses_of(table, decide([gather(table)]))["value"].to_pylist()) == {UNRECOGNIZED}


def test_the_folder_of_reuse_lists_what_is_used_somewhere() -> None:
    listed = ("file", "top/LICENSES/GPL-3.0-or-later.txt", GPL_3)
    header = ("file", "top/a.py", "# SPDX-License-Identifier: MIT\n")
    plain = ("file", "top/b.py", "x")
    table = a_shard(listed, header, plain)
    assert licenses_of(table, decide([gather(table)]))["value"].to_pylist()[1:] == ["MIT", "GPL-3.0-or-later"]
    table = a_shard(listed, header, plain, ("file", "top/LICENSE", MIT))
    assert licenses_of(table, decide([gather(table)]))["value"].to_pylist()[1:3] == ["MIT", "MIT"]


def test_metadata_and_texts_decide_together() -> None:
    assert repository_license([], "") == NO_LICENSE
    agree = [
        evidence("metadata", "MIT OR Apache-2.0", path="Cargo.toml"),
        evidence("license_file", "MIT", path="LICENSE-MIT"),
        evidence("license_file", "Apache-2.0", path="LICENSE-APACHE"),
    ]
    assert repository_license(agree, "").value == "MIT OR Apache-2.0"
    lying = [evidence("metadata", "MIT", path="package.json"), evidence("license_file", "GPL-3.0-only")]
    assert repository_license(lying, "").value == "MIT AND GPL-3.0-only"
    later = [evidence("metadata", "GPL-3.0-or-later", path="setup.cfg"), evidence("license_file", "GPL-3.0-only")]
    assert repository_license(later, "").value == "GPL-3.0-or-later"
    open_variant = [
        evidence("metadata", "LicenseRef-BSD-unspecified", path="PKG-INFO"),
        evidence("license_file", "BSD-2-Clause"),
    ]
    assert repository_license(open_variant, "").value == "BSD-2-Clause"
    assert repository_license([evidence("license_file")], "").value == UNRECOGNIZED


def test_only_the_root_and_what_metadata_names_speak_for_a_repository() -> None:
    below = evidence("license_file", "GPL-3.0-only", path="vendor/LICENSE")
    assert repository_license([below, evidence("license_file", "MIT")], "").value == "MIT"
    named_ = [evidence("metadata", path="pyproject.toml", names=("vendor/*",)), below]
    assert repository_license(named_, "").value == "GPL-3.0-only"
    assert repository_license([evidence("license_file", "MIT", path="top/LICENSE")], "top/").value == "MIT"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LICENSE", True),
        ("license.md", True),
        ("LICENCE.txt", True),
        ("COPYING.LESSER", True),
        ("UNLICENSE", True),
        ("LICENSE-MIT", True),
        ("MIT-LICENSE.txt", True),
        ("COPYING3", True),
        ("COPYINGv3", True),
        ("COPYLEFT", True),
        ("GPL-3.0.txt", True),
        ("gpl.txt", True),
        ("GPLv3", True),
        ("LGPL-3", True),
        ("MIT.txt", True),
        ("NOTICE", False),
        ("mit.py", False),
        ("gpl.c", False),
        ("mitigation.md", False),
        ("license.py", False),
        ("licensing.md", False),
    ],
)
def test_a_license_file_is_one_by_its_name(name: str, expected: bool) -> None:
    assert is_license_file(name) == expected


def test_an_spdx_header_is_read_from_any_comment() -> None:
    for line in (
        "# SPDX-License-Identifier: MIT",
        "/* SPDX-License-Identifier: MIT */",
        "<!-- SPDX-License-Identifier: MIT -->",
    ):
        assert spdx_header(f"first\n{line}\nrest") == "MIT"
    assert spdx_header("# SPDX-License-Identifier: GPL-2.0-only OR MIT\n") == "GPL-2.0-only OR MIT"
    assert spdx_header("pattern = 'SPDX-License-Identifier: (.*)'") is None
    assert spdx_header("x\n" * 5000 + "# SPDX-License-Identifier: MIT") is None


def test_a_header_in_a_file_overrules_only_what_names_it() -> None:
    mit = Attribute("MIT", "license_file", 0.9)
    assert file_license(mit, None) == mit
    assert file_license(mit, "MIT").value == "MIT"
    assert file_license(Attribute("MIT AND GPL-3.0-only", "x", 1.0), "MIT").value == "MIT"
    assert file_license(mit, "GPL-3.0-only").value == "MIT AND GPL-3.0-only"
    assert file_license(NO_LICENSE, "Apache-2.0").value == "Apache-2.0"


def test_evidence_is_taken_from_the_files_that_tell() -> None:
    assert evidence_of("r", "src/code.py", MIT) is None
    found = evidence_of("r", "LICENSE", MIT)
    assert found is not None and found.expressions == ("MIT",)


def test_the_standard_library_is_under_pythons_license_also_without_the_file() -> None:
    assert decide([([], {"python:stdlib": ""})])["python:stdlib"] == {"": Attribute("PSF-2.0", "source", 1.0)}


def licenses(tmp_path: Path, files: dict[str, bytes], **settings: int) -> tuple[Built, Built]:
    read = Read(f"folder:{plant(tmp_path / 'code', files)}", **settings)
    return made(read, tmp_path / "store"), made(License(read), tmp_path / "store")


def test_a_repository_has_one_license_across_its_shards(tmp_path: Path) -> None:
    files = {f"src/f{n}.py": b"x = 1\n" * 100 for n in range(20)}
    read, built = licenses(tmp_path, {**files, "LICENSE": MIT.encode()}, shard_bytes=3000)
    assert len(built.parts()) > 3
    assert {row["value"] for row in rows(built)} == {"MIT"}
    assert built.parts() == read.parts()
    assert not [name for name in built.manifest["files"] if name.startswith("evidence")]


def test_a_gpl_file_in_a_permissive_tree_is_under_both(tmp_path: Path) -> None:
    files = {"LICENSE": MIT.encode(), "a.py": b"1\n", "b.py": b"# SPDX-License-Identifier: GPL-3.0-or-later\n"}
    read, built = licenses(tmp_path, files)
    value = {row["id"]: row["value"] for row in rows(built)}
    assert value[by_path(read)[b"a.py"]["id"]] == "MIT"
    assert value[by_path(read)[b"b.py"]["id"]] == "MIT AND GPL-3.0-or-later"
    assert built.counts["types"] == {"permissive": 2, "non_permissive": 1}


def test_an_archive_with_one_folder_around_everything_has_its_license_there(tmp_path: Path) -> None:
    _, built = licenses(tmp_path, {"thing-main/COPYING": GPL_3.encode(), "thing-main/src/a.py": b"1\n"})
    assert {row["value"] for row in rows(built)} == {"GPL-3.0-only"}


def test_a_path_that_is_not_utf8_does_not_hide_a_license(tmp_path: Path) -> None:
    _, built = licenses(tmp_path, {"LICENSE": MIT.encode(), "\udcff/LICENSE": GPL_3.encode(), "a.py": b"1\n"})
    assert {row["value"] for row in rows(built)} == {"MIT", "MIT AND GPL-3.0-only"}


def test_a_license_holds_for_everything_below_its_folder(tmp_path: Path) -> None:
    """As in The Stack v2: a GPL text in a subfolder of a permissive tree makes what lies below it GPL, and no more."""
    files = {
        "LICENSE": MIT.encode(),
        "src/a.py": b"1\n",
        "src/gpl/COPYING": GPL_3.encode(),
        "src/gpl/deep/b.py": b"2\n",
        "src/gplike.py": b"3\n",
        "packages/one/package.json": b'{"license": "ISC"}',
        "packages/one/c.js": b"4;\n",
        "header.py": b"# SPDX-License-Identifier: GPL-2.0-only\n5\n",
    }
    read, built = licenses(tmp_path, files)
    found = {row["path"]: license_ for row, license_ in zip(rows(read), rows(built), strict=True)}
    assert found[b"src/a.py"]["value"] == found[b"src/gplike.py"]["value"] == "MIT"
    assert found[b"src/gpl/deep/b.py"]["value"] == "MIT AND GPL-3.0-only"
    assert found[b"src/gpl/deep/b.py"]["how"] == "folder"
    assert found[b"packages/one/c.js"]["value"] == "MIT AND ISC"
    assert license_type(found[b"header.py"]["value"]) == license_type(found[b"src/gpl/deep/b.py"]["value"])
    assert license_type(found[b"header.py"]["value"]) == "non_permissive"


@given(
    st.dictionaries(
        st.sampled_from(["", "a/", "a/b/", "ab/", "c/"]), st.sampled_from(["MIT", "ISC", "GPL-3.0-only"]), min_size=1
    ),
    st.sampled_from(["x.py", "a/x.py", "a/b/x.py", "ab/x.py", "a/bc/x.py", "c/d/x.py"]),
)
def test_a_path_is_under_the_licenses_of_exactly_the_folders_above_it(folders: dict[str, str], path: str) -> None:
    attributes = {folder: Attribute(value, "license_file", 0.9) for folder, value in folders.items()}
    above = {value for folder, value in folders.items() if path.startswith(folder)}
    value = license_at(path, attributes).value
    assert (set() if value is None else set(ids(value))) == above


def test_what_the_source_says_of_a_file_must_be_obeyed_too() -> None:
    columns = {
        "id": [b"0" * 16],
        "repository": ["r"],
        "path": [b"a.py"],
        "text": ["1"],
        "licenses": [["GPL-3.0", "mit"]],
    }
    files = pa.table({**columns, "id": pa.array(columns["id"], pa.binary(16))})
    (row,) = licenses_of(files, {"r": {"": NO_LICENSE}}).to_pylist()
    assert row["how"] == "source" and set(ids(row["value"])) == {"GPL-3.0-only", "MIT"}
    (row,) = licenses_of(files, {"r": {"": Attribute("ISC", "license_file", 0.9)}}).to_pylist()
    assert set(ids(row["value"])) == {"GPL-3.0-only", "MIT", "ISC"}


def a_shard(*documents: tuple[str, str, str]) -> pa.Table:
    """Rows of (kind, path, text) in one repository."""
    return pa.table(
        {
            "id": pa.array([number.to_bytes(16, "big") for number in range(len(documents))], pa.binary(16)),
            "kind": pa.array([kind for kind, _, _ in documents]),
            "repository": pa.array(["r"] * len(documents)),
            "path": pa.array([path.encode() for _, path, _ in documents], pa.binary()),
            "text": pa.array([text for _, _, text in documents]),
        }
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["issue", "commit", "pull_request", "notebook"]),
            st.sampled_from(["LICENSE", "top/LICENSE", "top/src/COPYING", "package.json", "issues/1"]),
            st.sampled_from([GPL_3, '{"license": "GPL-3.0-only"}']),
        ),
        max_size=5,
    )
)
def test_what_is_no_file_is_no_license_whatever_its_path(others: list[tuple[str, str, str]]) -> None:
    files = [("file", "top/LICENSE", MIT), ("file", "top/src/a.py", "x")]
    table = a_shard(*files, *others)
    found = licenses_of(table, decide([gather(table)])).to_pylist()
    assert {row["value"] for row in found[:2]} == {"MIT"} or any(kind == "notebook" for kind, _, _ in others)
    assert not any("GPL" in (row["value"] or "") for row in found)


def test_a_header_is_read_in_files_and_their_commits_and_not_in_what_people_say() -> None:
    header = "# SPDX-License-Identifier: GPL-3.0-only\n"
    table = a_shard(*((kind, "x.py", header) for kind in ("file", "commit", "issue", "pull_request")))
    values = licenses_of(table, decide([gather(table)]))["value"].to_pylist()
    assert values == ["GPL-3.0-only", "GPL-3.0-only", None, None]


DEBIAN = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: x

Files: *
Copyright: 2020 Someone
License: Expat

Files: debian/*
Copyright: 2021 Packager
License: GPL-2+

Files: vendor/jpeg/*
       vendor/zip/*
       one.c
Copyright: 2019 Others
License: GPL-3+ with OpenSSL exception
 Some words.

Files: both/*
Copyright: 2019 Others
License: GPL-1+ or Artistic

Files: odd/*
Copyright: 2019 Others
License: my-own-words
"""


def test_debian_copyright_tells_of_folders() -> None:
    assert debian_folders(DEBIAN) == {
        "": "MIT",
        "vendor/jpeg/": "GPL-3.0-or-later",
        "vendor/zip/": "GPL-3.0-or-later",
        "both/": "GPL-1.0-or-later OR Artistic-1.0-Perl",
        "odd/": UNRECOGNIZED,
    }
    assert debian_folders("This package was debianized by hand.\nLicense: GPL\n") == {}
    paths = ["p/a.c", "p/vendor/jpeg/b.c", "p/both/c.pl", "p/debian/rules"]
    table = a_shard(("file", "p/debian/copyright", DEBIAN), *(("file", path, "x") for path in paths))
    values = licenses_of(table, decide([gather(table)]))["value"].to_pylist()
    assert values == [
        "MIT",
        "MIT",
        "MIT AND GPL-3.0-or-later",
        "MIT AND (GPL-1.0-or-later OR Artistic-1.0-Perl)",
        "MIT",
    ]


@given(st.text(max_size=200), st.text("Files: *Lcens\n/", max_size=200))
def test_no_debian_copyright_however_broken_is_more_than_silent(text: str, fields: str) -> None:
    for one in (text, "Format: x\n\n" + fields):
        assert all(isinstance(expression, str) for expression in debian_folders(one).values())


QHULL = (
    "Qhull may be used freely. Permission to use, copy, and distribute it is granted, provided that copies are whole and "
    "that those who changed it say so, with the date of the change and the name of who made it. It comes as it is."
)


def test_a_text_is_known_by_its_runs_of_words_whatever_its_layout() -> None:
    known = license_grams.known_texts()
    assert len(known) > 600 and {"MIT", "GPL-3.0-only", "Qhull", "Python-2.0"} <= known
    assert license_grams.matching_texts(QHULL) == {}  # the name of a license is not its text
    once = license_grams.grams("a b c d e f g h")
    assert list(once) == list(license_grams.grams("# A  b,\n# c -- d 'e' f\tg h"))
    assert list(license_grams.sampled(once)) == [gram for gram in once.tolist() if gram % 8 == 0]


@pytest.mark.parametrize("text", [MIT, BSD_3, ISC, NOTICE, MIT + BSD_HEAD])
@pytest.mark.parametrize("mark", ["# ", "%%Copyright: ", " * ", "// ", "-- ", "dnl: "])
def test_a_mark_before_every_line_changes_nothing(text: str, mark: str) -> None:
    marked = "".join(f"{mark}{line}\n" for line in text.splitlines())
    assert recognize(marked) == recognize(text)


def test_escapes_of_json_and_tags_of_html_are_no_words() -> None:
    assert recognize(json.dumps({"license": MIT})) == ("MIT",)
    assert recognize("<!DOCTYPE html><html><p>" + BSD_3.replace("1.", "</p><p>1.") + "</p></html>") == ("BSD-3-Clause",)


def test_a_file_that_only_names_a_license_has_it() -> None:
    assert recognize("Apache 2.0") == ("Apache-2.0",) and recognize("MIT\n") == ("MIT",)
    assert recognize("MIT and other stories of a great university, in two parts") == ()


OTHER = "These words are about something else entirely and nobody is granted anything by them at all. "


@given(st.integers(0, 3), st.integers(0, 3))
def test_the_words_of_a_license_are_its_own_and_none_beside_it(before: int, behind: int) -> None:
    text = OTHER * before + MIT.partition("Permission")[2] + OTHER * behind
    words = license_grams.words_of(text)
    mine = license_grams.covered(words, license_grams.grams(text), ["MIT"])
    length = len(license_grams.words_of(OTHER))
    assert not mine[: before * length].any() and not mine[len(words) - behind * length :].any()
    assert mine[before * length : len(words) - behind * length].mean() > 0.9


def test_known_wordings_are_found_word_for_word_but_not_inside_of_a_license() -> None:
    text = """Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
    compliance with the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0"""
    words, runs = license_grams.words_of(OTHER + text), license_grams.grams(OTHER + text)
    nothing = license_grams.covered(words, runs, [])
    assert license_grams.noticed(words, runs, nothing) == {"Apache-2.0"}
    assert license_grams.noticed(words, runs, ~nothing) == set()
    changed = text.replace("may not use", "must not use")
    words, runs = license_grams.words_of(changed), license_grams.grams(changed)
    assert license_grams.noticed(words[:20], runs[:15], license_grams.covered(words, runs, [])[:20]) == set()


X11 = MIT + " IN THE SOFTWARE. Except as contained in this notice, the name of {} shall not be used in advertising."
VIEWS = """ The views and conclusions contained in the software and documentation are those of the authors and should not
be interpreted as representing official policies."""

ONE_CLAUSE = """Redistribution and use in source and binary forms, with or without modification, are permitted provided
that the following conditions are met: 1. Redistributions of source code must retain the above copyright notice, this
list of conditions and the following disclaimer. THIS SOFTWARE IS PROVIDED AS IS. """
OPENSSL = """ 3. All advertising materials mentioning features or use of this software must display the following acknowledgment:
"This product includes software developed by the OpenSSL Project for use in the OpenSSL Toolkit. (http://www.openssl.org/)"
4. The names "OpenSSL Toolkit" and "OpenSSL Project" must not be used to endorse or promote products derived from this. """
SSLEAY = """ 3. All advertising materials mentioning features or use of this software must display the following acknowledgement:
"This product includes cryptographic software written by Eric Young". """
HPND = """Permission to use, copy, modify and distribute this software and its documentation for any purpose and without
fee is hereby granted, provided that the name of {} not be used in advertising. """


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X11.format("the X Consortium"), ("X11",)),
        (X11.format("The Open Group"), ("MIT-open-group",)),
        (X11.format("the XFree86 Project"), ("LicenseRef-scancode-xfree86-1.0",)),
        (X11.format("The Open Group") + MIT, ("MIT", "MIT-open-group")),
        (BSD_HEAD + VIEWS, ("BSD-2-Clause-Views",)),
        (BSD_HEAD + VIEWS + BSD_HEAD, ("BSD-2-Clause", "BSD-2-Clause-Views")),
        (BSD_3 + VIEWS, ("BSD-3-Clause",)),
        (ONE_CLAUSE, ("BSD-1-Clause",)),
        (ONE_CLAUSE + BSD_HEAD, ("BSD-1-Clause", "BSD-2-Clause")),
        (BSD_HEAD + OPENSSL, ("OpenSSL-standalone",)),
        (BSD_HEAD + OPENSSL + BSD_HEAD + SSLEAY, ("OpenSSL",)),
        (BSD_HEAD + OPENSSL + BSD_3, ("BSD-3-Clause", "OpenSSL-standalone")),
        (HPND.format("IBM"), ("HPND",)),
        (HPND.format("CMU and The Regents of the University of California"), ("MIT-CMU",)),
        (HPND.format("M.I.T.") + HPND.format("IBM"), ("HPND", "NTP")),
    ],
)
def test_a_clause_or_whose_name_it_protects_makes_another_variant(text: str, expected: tuple[str, ...]) -> None:
    assert recognize(text) == expected


@pytest.mark.parametrize(
    "line",
    ["License: MPL-2.0", "license_expression: mpl-2.0", '"licenseId": "MPL-2.0",', '  "license": "MPL-2.0"'],
)
def test_a_line_in_a_list_of_software_names_a_license(line: str) -> None:
    assert recognize(f"Some software\n{line}\nand more of it") == ("MPL-2.0",)
    assert recognize(f"Some software\n{line.replace('MPL-2.0', 'ours').replace('mpl-2.0', 'ours')}\nand more") == ()


def test_a_short_wording_names_a_license_only_where_no_other_license_says_it() -> None:
    """The text of MPL-2.0 names three GNU licenses, and is under none of them."""
    secondary = (
        "means either the GNU General Public License, Version 2.0, the GNU Lesser General Public License, Version 2.1"
    )
    assert recognize(f"Secondary License {secondary}, the GNU Affero General Public License, Version 3.0") == ()
    assert recognize("The following components are provided under the SIL Open Font License 1.1.") == ("OFL-1.1",)


def test_what_a_license_says_of_the_public_domain_is_no_dedication() -> None:
    assert recognize("The checksum code is in the public domain.") == ("LicenseRef-scancode-public-domain",)
    for text, name in ((MIT, "MIT"), ("CC0 1.0 Universal. ", "CC0-1.0")):
        assert set(recognize(text + "The checksum code is in the public domain.")) == {
            "LicenseRef-scancode-public-domain",
            name,
        }


@given(st.text(max_size=300))
def test_no_text_has_runs_of_a_license_by_chance(text: str) -> None:
    assert license_grams.matching_texts(text) == {}


def test_license_files_of_installed_packages_hold_the_text_that_phrases_find_in_them() -> None:
    """Two recognizers that share nothing but the file: phrases, and runs of words."""
    seen, differing = 0, []
    for package in metadata.distributions():
        for path in package.files or []:
            if ".dist-info" not in str(path) or not is_license_file(path.name) or not path.locate().is_file():  # type: ignore[union-attr]
                continue
            text = path.read_text("utf-8")
            if not 900 < len(text) < 20_000:
                continue
            whole, phrases = license_grams.matching_texts(text), set(recognize(text))
            if phrases in ({"MIT"}, {"Apache-2.0"}, {"MPL-2.0"}, {"ISC"}):
                seen += 1
                if phrases != set(whole):
                    differing.append((package.name, path.name, whole))
    assert seen >= 5
    assert len(differing) <= seen // 10, differing
