"""A manifest in a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import hand_written
import pytest

from starloom.report.show import flattened, render_manifest, table
from starloom.stage import Runtime, Stage, Work, build, code_revision
from starloom.store import Built, Store


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return next(built for built in hand_written.built(tmp_path_factory.mktemp("store")) if built.name == "rules")


def test_every_entry_of_a_manifest_is_told(rules: Built) -> None:
    shown = render_manifest(rules)
    manifest = rules.manifest
    for value in (manifest["fingerprint"], manifest["stage"], manifest["code"], str(rules.directory)):
        assert value in shown
    for name, entry in manifest["files"].items():
        assert name in shown
        assert entry["sha256"] in shown
    assert "rows in   7" in shown
    assert "rows out  5  (71.4 % of them)" in shown
    assert "long_line    1  14.3 %" in shown
    assert f"Python {manifest['runtime']['python']}" in shown


def test_inputs_are_named_by_their_directories(rules: Built) -> None:
    files = next(rules.directory.parent.glob("read-*")).name
    assert f"after  {files}" in render_manifest(rules)


def test_an_input_that_is_gone_is_told_by_its_fingerprint(rules: Built, tmp_path: Path) -> None:
    moved = Built(tmp_path / rules.directory.name, rules.manifest)
    assert f"{rules.manifest['inputs']['after'][0]} (no longer in this store)" in render_manifest(moved)


def test_other_code_is_pointed_out(rules: Built) -> None:
    assert "other code" not in render_manifest(rules)
    other = Built(rules.directory, {**rules.manifest, "code": "0.0.1+abc"})
    assert f"0.0.1+abc (built by other code: this is {code_revision()})" in render_manifest(other)


@dataclass(frozen=True, slots=True)
class Hostile(Stage):
    text: str = "red\x1b[31m\u202e"

    def produce(self, work: Work) -> None:
        work.summary = self.text


def test_a_manifest_cannot_steer_the_terminal(tmp_path: Path) -> None:
    shown = render_manifest(build(Hostile(), Store(tmp_path), Runtime()))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "red^[[31m⟨U+202E⟩" in shown


def test_settings_are_named_as_they_are_set() -> None:
    rules = {"rules": [{"name": "long_lines", "settings": {"longest": 1000}}], "seed": None, "fim": {"rate": 0.5}}
    assert list(flattened(rules)) == [
        ("rules.long_lines.settings.longest", "1000"),
        ("seed", "none"),
        ("fim.rate", "0.5"),
    ]


def test_columns_are_aligned() -> None:
    assert list(table([("a", "1"), ("bcd", "22")], right=(1,))) == ["a     1", "bcd  22"]
