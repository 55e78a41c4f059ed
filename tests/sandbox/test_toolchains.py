"""The table of languages: what is there is named with its version, what is missing with what brings it."""

from __future__ import annotations

from pathlib import Path

import pytest

from starloom.errors import SandboxError
from starloom.sandbox import epilogue, languages
from starloom.sandbox.epilogue_samples import SAMPLES


def test_each_language_has_one_entry_an_epilogue_and_a_right_program() -> None:
    names = [entry.name for entry in languages.LANGUAGES]
    assert len(names) == len(set(names)) >= 18
    assert set(names) == set(SAMPLES)
    assert all(epilogue.weavable(name) for name in names)


def test_every_program_that_a_command_names_is_looked_for_and_every_kept_file_is_relative() -> None:
    for entry in languages.LANGUAGES:
        named = {word[1:] for word in (*entry.compile, *entry.run, *entry.version) if word.startswith("@")}
        assert named <= set(entry.programs), entry.name
        assert all(not Path(glob).is_absolute() for glob in entry.keep)
        assert bool(entry.compile) == bool(entry.keep), entry.name


def test_a_missing_toolchain_is_named_with_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages.shutil, "which", lambda name: None)
    languages.toolchain.cache_clear()
    try:
        assert languages.toolchain("Ruby") is None
        assert languages.missing("Ruby").startswith("Ruby: no ruby on PATH; apt-get install ruby")
        rows = {row.split()[0]: row for row in languages.table(versions=False)}
        assert "apt-get install golang-go" in rows["Go"]
        assert languages.roots(["Ruby", "Go"]) == ()
    finally:
        languages.toolchain.cache_clear()


def test_a_toolchain_apart_from_the_system_is_shown_whole_and_the_systems_is_not_shown_twice(tmp_path: Path) -> None:
    entry = languages.language("Rust")
    apart = languages.Toolchain(entry, {"rustc": tmp_path / "rust" / "bin" / "rustc"})
    assert tmp_path / "rust" in apart.roots
    assert languages.Toolchain(entry, {"rustc": Path("/usr/bin/rustc")}).roots == ()


def test_an_unknown_language_is_an_error_that_suggests() -> None:
    with pytest.raises(SandboxError, match="JavaScript"):
        languages.language("Javascript")


def test_a_macro_over_the_tests_words_is_undone_and_others_are_not() -> None:
    program = "#define ll long long\n# define assert(x)\n%: define main other\n#define re\\\nturn 0\n"
    undone = epilogue.undefined(program, "int main() { assert(f(1)); return 0; }")
    assert undone == "#undef assert\n#undef main\n#undef return\n#include <assert.h>\n"


def test_a_token_is_said_only_with_its_halves_exchanged_and_is_never_given_twice() -> None:
    from starloom.sandbox import Outcome

    tokens = [epilogue.fresh() for _ in range(100)]
    assert len({token.given for token in tokens}) == 100
    token = tokens[0]
    assert token.said(Outcome("exited", 0, stdout=token.given)) is None
    assert token.said(Outcome("exited", 0, stdout=b"\n" + token.given + b" 1\n")) is None
    said = b"passed\n" + (token.second + token.first).encode() + b" 3\nmore"
    assert token.said(Outcome("exited", 0, stdout=said)) == epilogue.Ending(3)
    assert tokens[1].said(Outcome("exited", 0, stdout=said)) is None


def test_gos_imports_are_those_that_are_used() -> None:
    from starloom.sandbox.epilogue_go import imported

    text = 'package x\nimport (\n"math"\n"sort"\n)\nfunc f() float64 { return math.Abs(1) + strings.Count("", "") }\n'
    made = imported(text, "")
    assert made.startswith("package main\n")
    assert '"math"' in made and '"strings"' in made and '"sort"' not in made
