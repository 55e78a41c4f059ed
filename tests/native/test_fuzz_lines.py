"""The C kernels under sanitizers, and on an emulated ARM processor: fuzz_lines.c compares them with a naive reference in C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from starloom.native import build

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
DRIVER = Path(__file__).parent / "fuzz_lines.c"


def fuzz_program(compiler: str, folder: Path, *flags: str) -> Path:
    """Compile the driver with the kernels; skips where the compiler, or what the flags need, is missing."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    tried = subprocess.run([compiler, *flags, probe, "-o", folder / "probe"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"{compiler} {' '.join(flags)} does not work here: {tried.stderr.strip()[:200]}")
    program = folder / "fuzz_lines"
    options = ["-std=c11", "-pthread", f"-I{build.FOLDER}", '-DSTARLOOM_BUILT_FROM="fuzz"', *WARNINGS, *flags]
    subprocess.run([compiler, *options, DRIVER, *build.sources(), "-o", program], check=True)
    return program


def fuzzed(*command: str | Path) -> str:
    done = subprocess.run([*command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kernels_read_no_byte_too_many_and_agree_under_the_address_sanitizer(tmp_path: Path) -> None:
    program = fuzz_program("gcc", tmp_path, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert "agree on 5000 documents" in fuzzed(program, "5000")


@pytest.mark.slow
def test_the_thread_pool_has_no_races_under_the_thread_sanitizer(tmp_path: Path) -> None:
    program = fuzz_program("gcc", tmp_path, "-O1", "-g", "-fsanitize=thread")
    assert "agree on 20000 documents" in fuzzed(program, "20000")


@pytest.mark.slow
def test_neon_agrees_with_plain_c_and_with_this_machine(tmp_path: Path) -> None:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    (tmp_path / "arm").mkdir()
    arm = fuzz_program("aarch64-linux-gnu-gcc", tmp_path / "arm", "-O3", "-static")
    said = fuzzed("qemu-aarch64", arm, "100000")
    assert said.startswith("plain neon agree on 100000 documents")
    here = fuzzed(fuzz_program("gcc", tmp_path, "-O3"), "100000")
    assert here.split("digest")[1] == said.split("digest")[1]
