"""Notices in source files: what a file says of itself binds it, a mention does not."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.corpus.license import licenses_of, noticed_license
from starloom.corpus.license_evidence import NO_LICENSE
from starloom.corpus.license_expressions import ids, license_type
from starloom.corpus.license_headers import HEAD, notice
from starloom.corpus.schemas import Attribute

GPL = """This program is free software: you can redistribute it and/or modify it under the terms of the
GNU General Public License as published by the Free Software Foundation, either version 3 of the License, or
(at your option) any later version. You should have received a copy of the GNU General Public License."""
EXACT = GPL.replace("either version 3 of the License, or\n(at your option) any later version", "version 3")
MPL = """This Source Code Form is subject to the terms of the Mozilla Public
License, v. 2.0. If a copy of the MPL was not distributed with this file, you can obtain one elsewhere."""
NOTICES = [
    (GPL, "GPL-3.0-or-later"),
    (EXACT, "GPL-3.0-only"),
    ("You may redistribute it under the terms of version 2 of the GNU General Public License.", "GPL-2.0-only"),
    ("Licensed under the GNU Lesser General Public License v2.1", "LGPL-2.1-only"),
    ("This file is under the terms of the GNU Library General Public License, version 2 or later.", "LGPL-2.0-or-later"),
    ("License: GPL-2.0+", "GPL-2.0-or-later"),
    ("Released under the LGPLv3", "LGPL-3.0-only"),
    ("Distributed under the GNU Affero General Public License, version 3.", "AGPL-3.0-only"),
    ("License: GPL", "GPL-1.0-or-later"),
    (MPL, "MPL-2.0"),
    ("The contents are subject to the Mozilla Public License Version 1.1 (the License).", "MPL-1.1"),
    ("made available under the terms of the Eclipse Public License v1.0, see legal/epl-v10.html", "EPL-1.0"),
    ("subject to the terms of the Common Development and Distribution License (the License)", "CDDL-1.0"),
    ("Licensed under CC BY-NC-SA 4.0", "CC-BY-NC-SA-4.0"),
    ("Licensed under a Creative Commons Attribution-ShareAlike 3.0 Unported License", "CC-BY-SA-3.0"),
    ("Unauthorized copying is prohibited. Proprietary and confidential.", "LicenseRef-proprietary"),
    ("Dual licensed under the MIT or GPL Version 2 licenses.", "MIT OR GPL-2.0-only"),
]  # fmt: skip
NOTICES.append(
    ("Dual licensed under the MIT (MIT-LICENSE.txt)\nor GPL (GPL-LICENSE.txt) licenses.", "MIT OR GPL-1.0-or-later")
)
MENTIONS = [
    "This is compatible with the GPL.",
    "This license is approved by the FSF as GPL-compatible.",
    "This file is not under the GPL.",
    "This code is not licensed under the GNU General Public License.",
    "It wraps readline, which is licensed under the GPL.",
    "The rest of Valgrind is licensed under the terms of the GNU General Public License, version 2.",
    "Originally released under LGPL, now under our own license.",
    "Unlike the GPL, we allow everything.",
    "Uses boost::mpl::if_ for the license tables.",
    "Renders an EPL template from the licensed pages.",
    "Parses the names of licenses: GPL, LGPL and MPL are known.",
]


def commented(mark: str, text: str) -> str:
    return "".join(f"{mark} {line}\n" for line in text.splitlines())


@pytest.mark.parametrize(("text", "expected"), NOTICES)
@pytest.mark.parametrize(
    ("path", "mark"),
    [(b"a.py", "#"), (b"a.go", "//"), (b"a.el", ";;"), (b"a.sql", "--"), (b"a.tex", "%"), (b"a.vim", '"')],
)
def test_a_notice_is_read_whatever_the_comment_mark(text: str, expected: str, path: bytes, mark: str) -> None:
    assert notice(path, commented(mark, text) + "x\n") == expected


@pytest.mark.parametrize(("text", "expected"), NOTICES)
def test_a_notice_is_read_from_block_comments_and_docstrings(text: str, expected: str) -> None:
    for path, whole in (
        (b"a.c", "/*\n" + commented(" *", text) + " */\nint x;\n"),
        (b"a.html", f"<!-- {text} -->\n<p>x</p>"),
        (b"a.ml", f"(* {text} *)\nlet x = 1"),
        (b"a.hs", f"{{- {text} -}}\nx = 1"),
        (b"a.py", f'#!/usr/bin/python\n"""A tool.\n\n{text}\n"""\n'),
    ):
        assert notice(path, whole) == expected


@pytest.mark.parametrize("text", MENTIONS)
def test_a_mention_is_no_notice(text: str) -> None:
    assert notice(b"a.py", commented("#", text)) is None
    assert notice(b"a.c", f"/* {text} */") is None


@pytest.mark.parametrize(("text", "_"), NOTICES)
def test_a_text_that_a_program_writes_or_that_is_prose_is_no_notice(text: str, _: str) -> None:
    line = " ".join(text.split())
    assert notice(b"a.py", f"x = '{line}'\nTEXT = '''\n{line}\n'''\n") is None
    assert notice(b"a.md", f"# {line}\n") is None
    assert notice(b"a.py", "x = 1\n" * HEAD + commented("#", line)) is None


def test_a_program_may_name_its_license() -> None:
    assert notice(b"a.py", "__license__ = 'GPL v3'\n") == "GPL-3.0-only"
    assert notice(b"a.py", "__license__ = 'MIT'\n") is None
    assert notice(b"a.py", "__license__ = 'MIT'\n# GPL\n", permissive_too=True) == "MIT"


@given(st.text(max_size=400), st.sampled_from([b"a.py", b"a.c", b"a.vim", b"a.html", b"a"]))
def test_no_text_is_a_notice_by_chance(text: str, path: bytes) -> None:
    assert notice(path, "# gpl " + text) is None


TREES = ["MIT", "Apache-2.0", "MIT OR GPL-3.0-only", "GPL-3.0-only", "MIT AND GPL-2.0-only", None]
SAID = ["GPL-3.0-or-later", "MPL-2.0", "MIT OR GPL-2.0-only", "MIT", None]


@given(st.sampled_from(TREES), st.sampled_from(SAID))
def test_a_file_is_permissive_only_if_its_tree_and_its_notice_are(tree: str | None, said: str | None) -> None:
    known = NO_LICENSE if tree is None else Attribute(tree, "license_file", 0.9)
    found = noticed_license(known, said)
    if said is None:
        assert found == known
    else:
        worst = "non_permissive" in (license_type(tree), license_type(said))
        assert license_type(found.value) == ("non_permissive" if worst else "permissive")
        assert found.value is not None
        bound = ids(said) if " OR " not in said else set()
        assert {one.partition("-")[0] for one in bound} <= {one.partition("-")[0] for one in ids(found.value)}


def file_values(text: str, tree: Attribute, kind: str = "file") -> str | None:
    table = pa.table(
        {
            "id": pa.array([b"0" * 16], pa.binary(16)),
            "kind": [kind],
            "repository": ["r"],
            "path": pa.array([b"a.py"], pa.binary()),
            "text": [text],
        }
    )
    (row,) = licenses_of(table, {"r": {"": tree}}).to_pylist()
    value: str | None = row["value"]
    return value


def test_a_notice_in_a_permissive_tree_makes_the_file_not_permissive() -> None:
    mit = Attribute("MIT", "license_file", 0.9)
    text = commented("#", GPL)
    assert file_values(text, mit) == "MIT AND GPL-3.0-or-later"
    assert file_values(text, mit, "issue") == "MIT"
    assert file_values(text, Attribute("GPL-3.0-only", "license_file", 0.9)) == "GPL-3.0-or-later"
    assert file_values(text, NO_LICENSE) == "GPL-3.0-or-later"
    assert file_values("# Licensed under the MIT license.\n", NO_LICENSE) == "MIT"
    header = "# SPDX-License-Identifier: MIT OR GPL-3.0-or-later\n"
    assert file_values(header + text, mit) == "MIT"
    assert file_values(header + text, NO_LICENSE) == "MIT OR GPL-3.0-or-later"
