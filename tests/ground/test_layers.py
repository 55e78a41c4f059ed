"""Imports point down only, and asking for help loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import starloom

PACKAGE = Path(starloom.__file__).parent
LAYERS = (
    ("errors", "records", "registry"),
    ("stage", "work", "store", "crew", "journey", "progress", "flags", "cluster", "native", "report"),
    ("corpus", "problems", "tokens", "sandbox", "attribution"),
    ("models",),
    ("train", "generate"),
    ("align", "evals", "hub", "serve", "lineage"),
    ("recipes", "cli", "doctor", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
SIDEWAYS = {
    ("train", "generate"),
    ("serve", "hub"),
    ("corpus", "problems"),
    ("tokens", "corpus"),
}  # allowed inside their level
SAME_FLOOR = {0, 1, 6}  # the parts of these floors know each other


def imports(path: Path) -> set[str]:
    """Parts of starloom that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("starloom.")}
    return found & set(LEVEL)


def test_every_part_has_a_level() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} <= set(LEVEL)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_down_only(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for other in imports(path) - {part}:
        down = LEVEL[other] < LEVEL[part]
        beside = LEVEL[other] == LEVEL[part] and (LEVEL[part] in SAME_FLOOR or (part, other) in SIDEWAYS)
        assert down or beside, f"{part} (level {LEVEL[part]}) imports {other} (level {LEVEL[other]})"


@pytest.mark.parametrize("part", LAYERS[0])
def test_the_lowest_floor_uses_the_standard_library_only(part: str) -> None:
    for node in ast.walk(ast.parse((PACKAGE / f"{part}.py").read_text())):
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names | {"starloom", "__future__"}


@pytest.mark.parametrize("command", ["import starloom", "from starloom.cli import dispatch; dispatch(['--help'])"])
def test_importing_and_asking_for_help_load_neither_torch_nor_pyarrow(command: str) -> None:
    code = f"{command}\nimport sys\nprint('LOADED', sorted({{'torch', 'pyarrow', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")
