"""Compiles the native kernels into the package when it is built or installed; without a compiler, the twin serves."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path(__file__).parent / "src" / "starloom" / "native"


class NativeBuildHook(BuildHookInterface):
    """One library serves every Python, so the wheel is py3-none-PLATFORM."""

    def dependencies(self) -> list[str]:
        """Zig, as a Python package of about 100 MB, only where no compiler is found or CC=ziglang asks for it."""
        cc = os.environ.get("CC")
        if os.name != "posix" or (cc != "ziglang" and _build_module().find_compiler(cc)):
            return []
        return ["ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tag the wheel; a failure is a warning, and the wheel is then py3-none-any."""
        build = _build_module()
        try:
            compiler = build.build(os.environ.get("CC"))
        except build.BuildError as error:
            self.app.display_warning(f"the native kernels were not built, NumPy twins serve instead: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{compiler.platform_tag()}"
        build_data["artifacts"].append(f"/{build.LIBRARY.relative_to(self.root).as_posix()}")


def _build_module() -> ModuleType:
    """starloom/native/build.py by its path: the package and what it needs are not installed yet."""
    spec = importlib.util.spec_from_file_location("starloom_native_build", NATIVE / "build.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module
