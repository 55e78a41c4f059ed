"""Which tier is taken where, and that nothing runs where none can be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import starloom
from starloom.errors import SandboxError
from starloom.sandbox import Limits, Python, Sandbox, kernel, layers
from starloom.sandbox.layers import MEANING, unprotected

HERE = Path(__file__).resolve().parent.parent
SOURCE = Path(starloom.__file__).resolve().parent.parent
SYSTEM_PYTHON = Path("/usr/bin/python3")  # one that every user may read, unlike one below /root
SHOW = """
from starloom.errors import SandboxError
from starloom.sandbox import Python, Sandbox
try:
    with Sandbox(tier={tier!r}) as sandbox:
        print(sandbox.active.tier, sandbox.run(Python("print(6 * 7)")).stdout.decode().strip())
except SandboxError as error:
    print("refused:", error)
"""
AS_NOBODY = (
    "import os\nos.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); os.chdir('/')\n"
)
LIKE_DOCKER = "from sandbox.attacks.docker_like import enter_docker_like\nenter_docker_like()\n"
WITHOUT_LANDLOCK = "from starloom.sandbox import kernel\nkernel.NUMBERS['landlock_create_ruleset'] = (9999, 9999)\n"


def seen_by(prelude: str, tier: str = "auto", python: str = sys.executable) -> str:
    code = f"import sys\nsys.path[:0] = [{str(HERE)!r}, {str(SOURCE)!r}]\n{prelude}{SHOW.format(tier=tier)}"
    ran = subprocess.run(
        [python, "-B", "-c", code], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def works(tier: str) -> bool:
    try:
        return layers(tier).tier == tier  # type: ignore[arg-type]
    except SandboxError:
        return False


def test_the_stronger_tier_is_taken_where_it_can_be_had() -> None:
    if not works("namespaces"):
        pytest.skip("no namespaces here")
    assert layers().tier == "namespaces" and layers().notes == ()
    assert "seccomp" in layers().describe() and layers("namespaces").as_dict()["namespaces"] is True


@pytest.mark.parametrize("user", ["the caller", "nobody"])
def test_where_namespaces_are_forbidden_landlock_is_taken_and_said(user: str) -> None:
    if not works("landlock"):
        pytest.skip("no Landlock here")
    prelude, python = LIKE_DOCKER, sys.executable
    if user == "nobody":
        prelude, python = as_nobody() + LIKE_DOCKER, str(SYSTEM_PYTHON)
    assert seen_by(prelude, python=python) == "landlock 42"
    refused = seen_by(prelude, "namespaces", python)
    assert (
        refused.startswith("refused: untrusted code cannot be run safely here (namespaces tier: ")
        and "allow user namespaces" in refused
    )


@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_an_ordinary_user_has_both_tiers(tier: str) -> None:
    if not works(tier):
        pytest.skip(f"no {tier} here")
    assert seen_by(as_nobody(), tier, str(SYSTEM_PYTHON)) == f"{tier} 42"


def as_nobody() -> str:
    if os.getuid() != 0:
        return ""
    found = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, check=False
    )
    if found.stdout.strip() != b"True":
        pytest.skip("no Python 3.11 that others than root may read")
    return AS_NOBODY


@pytest.mark.parametrize("tier", ["auto", "landlock"])
def test_where_no_tier_can_be_had_nothing_runs(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = LIKE_DOCKER + WITHOUT_LANDLOCK
    # the worker is a process of its own: it is told by its package that there is no such call
    said = seen_by(code + NO_LANDLOCK_IN_WORKERS, tier)
    assert (
        said.startswith("refused: untrusted code cannot be run safely here (")
        and "no Landlock" in said
        and "\n" not in said
    )


NO_LANDLOCK_IN_WORKERS = """
from starloom.sandbox import worker
worker.BOOT = worker.BOOT.replace("from starloom.sandbox.zygote", "from starloom.sandbox import kernel\\nkernel.NUMBERS['landlock_create_ruleset'] = (9999, 9999)\\nfrom starloom.sandbox.zygote")
"""


def test_another_system_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"on Linux .* only, and this is darwin"):
        Sandbox()
    monkeypatch.undo()
    monkeypatch.setattr(kernel, "MACHINE", "riscv64")
    with pytest.raises(SandboxError, match="riscv64"):
        layers()


@pytest.mark.parametrize("name", MEANING)
def test_a_protection_that_does_not_hold_is_named(name: str) -> None:
    found = dict.fromkeys(MEANING, True)
    assert unprotected(found) == ""
    assert unprotected(found | {name: False}) == MEANING[name] == unprotected({n: True for n in MEANING if n != name})


def test_a_protection_that_does_not_hold_refuses_the_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    from starloom.sandbox import sandbox

    monkeypatch.setattr(sandbox, "unprotected", lambda found: "files outside can be read")
    with pytest.raises(SandboxError, match=r"namespaces tier: files outside can be read; landlock tier: files outside"):
        layers()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for wrong, said in (
        ({"workers": 0}, "at least 1 worker"),
        ({"tier": "docker"}, "docker"),
        ({"read": (tmp_path / "missing",)}, "does not exist"),
        ({"warm": ("no_such_module",)}, "no_such_module"),
        ({"python": tmp_path}, "python="),
    ):
        with pytest.raises(SandboxError, match=said):
            Sandbox(**wrong)  # type: ignore[arg-type]


def test_what_is_named_in_read_is_readable_and_nothing_beside_it(tmp_path: Path) -> None:
    for name in ("shown/inner", "hidden/inner"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    look = f"""
import os
for name in ("shown", "hidden"):
    try:
        print(open({str(tmp_path)!r} + "/" + name + "/inner").read())
        open({str(tmp_path)!r} + "/" + name + "/new", "w")
    except OSError as error:
        print(type(error).__name__)
"""
    for tier in ("namespaces", "landlock"):
        if works(tier):
            with Sandbox(tier=tier, read=(tmp_path / "shown",)) as sandbox:  # type: ignore[arg-type]
                first, second, third = sandbox.run(Python(look)).stdout.decode().split("\n")[:3]
                assert first == "shown/inner" and second in ("OSError", "PermissionError")
                assert third in ("FileNotFoundError", "PermissionError")


@pytest.mark.skipif(os.getuid() != 0, reason="another user's own files are no matter")
def test_what_root_alone_may_read_is_named_or_read_by_the_other_tier(tmp_path: Path) -> None:
    secret = tmp_path / "checkpoint"
    secret.write_text("weights")
    secret.chmod(0o600)
    if works("namespaces"):
        with pytest.raises(SandboxError, match=r"only root reads .*checkpoint; chmod"):
            Sandbox(tier="namespaces", read=(secret,))
    if works("landlock"):
        with Sandbox(tier="landlock", read=(secret,)) as sandbox:
            assert sandbox.run(Python(f"print(open({str(secret)!r}).read())")).stdout == b"weights\n"


def test_time_that_others_take_does_not_count() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    work = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    try:
        with Sandbox() as sandbox:
            assert sandbox.run(Python(work, limits=Limits(wall_s=0.8))).ok
            assert sandbox.run(Python("import time; time.sleep(9)", limits=Limits(wall_s=0.2))).status == "timed_out"
    finally:
        for process in busy:
            process.kill()
            process.wait()
