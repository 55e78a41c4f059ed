"""The library is built from its sources by whatever compiler there is, and the package installs without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from starloom import native
from starloom.native import build

ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler (cc, gcc, clang, ziglang)")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """build.py with a folder of its own, in a hurry."""
    for path in build.FOLDER.glob("*.[ch]"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS))
    monkeypatch.setattr(build, "LIBRARY", tmp_path / build.LIBRARY.name)
    return build


@needs_compiler
def test_this_checkout_computes_with_its_own_sources() -> None:
    assert native.status().library, native.status().describe()


@needs_compiler
def test_a_library_is_built_once_and_again_when_a_source_changes(copy: ModuleType) -> None:
    copy.build()
    first, inode = copy.LIBRARY.read_bytes(), copy.LIBRARY.stat().st_ino
    copy.build()
    assert copy.LIBRARY.stat().st_ino == inode
    with (copy.FOLDER / "pool.h").open("a") as header:
        header.write("// another line\n")
    copy.build()
    assert copy.LIBRARY.read_bytes() != first
    assert sorted(path.suffix for path in copy.FOLDER.iterdir() if path.suffix not in (".c", ".h")) == [".so"]


@needs_compiler
def test_a_source_that_does_not_compile_is_an_error_that_leaves_the_old_library(copy: ModuleType) -> None:
    copy.build()
    before = copy.LIBRARY.read_bytes()
    (copy.FOLDER / "lines.c").write_text("this is no C\n")
    with pytest.raises(copy.BuildError, match=r"exit code 1:\n.*lines\.c:1"):
        copy.build()
    assert copy.LIBRARY.read_bytes() == before


def test_a_compiler_that_does_not_work_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = build.find_compiler(str(broken))
    assert found is None or found.is_zig


@pytest.mark.parametrize("command", [("zig", "cc"), ("/opt/python3", "-m", "ziglang", "cc")])
def test_zig_aims_at_the_oldest_glibc(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    zig = build.Compiler(command)
    assert zig.describe() == "zig cc -target x86_64-linux-gnu.2.17"
    assert zig.platform_tag() == "manylinux_2_17_x86_64"


def wheel_of_a_copy(tmp_path: Path, **environment: str) -> zipfile.ZipFile:
    """The wheel that hatchling makes of this package's sources, in a folder of their own."""
    pytest.importorskip("hatchling")
    project = tmp_path / "project"
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "src" / "starloom" / "native", project / "src" / "starloom" / "native", ignore=ignore)
    for name in ("pyproject.toml", "hatch_build.py", "LICENSE", ".gitignore", "src/starloom/__init__.py"):
        shutil.copy(ROOT / name, project / name)
    (project / "README.md").touch()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"]
    subprocess.run(command, cwd=project, env={**os.environ, **environment}, check=True, capture_output=True)
    return zipfile.ZipFile(next((tmp_path / "dist").glob("*.whl")))


@needs_compiler
def test_the_wheel_holds_the_library_and_serves_every_python(tmp_path: Path) -> None:
    with wheel_of_a_copy(tmp_path) as wheel:
        assert "-py3-none-" in wheel.filename and "-any" not in wheel.filename
        assert f"starloom/native/{build.LIBRARY.name}" in wheel.namelist()
        assert {f"starloom/native/{path.name}" for path in build.sources()} <= set(wheel.namelist())


def test_without_a_compiler_the_wheel_is_pure_python(tmp_path: Path) -> None:
    if find_spec("ziglang"):
        pytest.skip("ziglang is installed, so there always is a compiler")
    with wheel_of_a_copy(tmp_path, PATH=str(tmp_path), CC="") as wheel:
        assert wheel.filename and wheel.filename.endswith("-py3-none-any.whl")
        assert f"starloom/native/{build.LIBRARY.name}" not in wheel.namelist()
