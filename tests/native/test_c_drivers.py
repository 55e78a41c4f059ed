"""The C kernels and their thread pool under sanitizers, across fork, and on an emulated ARM processor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from starloom.native import build

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
FOLDER = Path(__file__).parent


def program_of(driver: str, compiler: str, folder: Path, *flags: str) -> Path:
    """Compile a driver with the kernels; skips where the compiler, or what the flags need, is missing."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    tried = subprocess.run([compiler, *flags, probe, "-o", folder / "probe"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"{compiler} {' '.join(flags)} does not work here: {tried.stderr.strip()[:200]}")
    program = folder / Path(driver).stem
    options = ["-std=c11", "-pthread", f"-I{build.FOLDER}", '-DSTARLOOM_BUILT_FROM="fuzz"', *WARNINGS, *flags]
    subprocess.run([compiler, *options, FOLDER / driver, *build.sources(), "-o", program], check=True)
    return program


def said_by(*command: str | Path) -> str:
    done = subprocess.run([*command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kernels_read_no_byte_too_many_and_agree_under_the_address_sanitizer(tmp_path: Path) -> None:
    program = program_of(
        "fuzz_lines.c", "gcc", tmp_path, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
    )
    assert "agree on 5000 documents" in said_by(program, "5000")


@pytest.mark.slow
def test_the_thread_pool_has_no_races_under_the_thread_sanitizer(tmp_path: Path) -> None:
    program = program_of("fuzz_lines.c", "gcc", tmp_path, "-O1", "-g", "-fsanitize=thread")
    assert "agree on 20000 documents" in said_by(program, "20000")


@pytest.mark.slow
def test_neon_agrees_with_plain_c_and_with_this_machine(tmp_path: Path) -> None:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    (tmp_path / "arm").mkdir()
    arm = program_of("fuzz_lines.c", "aarch64-linux-gnu-gcc", tmp_path / "arm", "-O3", "-static")
    said = said_by("qemu-aarch64", arm, "100000")
    assert said.startswith("plain neon agree on 100000 documents")
    here = said_by(program_of("fuzz_lines.c", "gcc", tmp_path, "-O3"), "100000")
    assert here.split("digest")[1] == said.split("digest")[1]


def test_a_process_forked_while_another_thread_computes_has_threads_of_its_own(tmp_path: Path) -> None:
    program = program_of("fork_pool.c", "gcc", tmp_path, "-O1", "-g")
    assert said_by(program, "100") == "100 children computed, each with 4 threads\n"
