"""Should torch's unpickler itself be at fault, what it runs is alone: here a hostile program stands in its place."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from starloom.errors import CheckpointError, SandboxError
from starloom.models import pickles
from starloom.sandbox import Sandbox
from starloom.sandbox.self_test import _descendants

Tier = Literal["namespaces", "landlock"]
SAY = """
import json, os
def say(**facts):
    frame = json.dumps(facts).encode()
    os.write(int(os.environ["STARLOOM_FD"]), len(frame).to_bytes(4, "big") + frame)
"""


@pytest.fixture(params=["namespaces", "landlock"])
def tier(request: pytest.FixtureRequest) -> Tier:
    try:
        Sandbox(tier=request.param).close()
    except SandboxError as error:
        pytest.skip(str(error))
    found: Tier = request.param
    return found


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "x.bin").write_bytes(b"a file")
    return tmp_path / "x.bin"


def instead(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    (folder / "hostile.py").write_text(SAY + program)
    monkeypatch.setattr(pickles, "_SCRIPT", folder / "hostile.py")


def said(checkpoint: Path, tier: Tier) -> Any:
    """What the hostile program reports, in the only way there is: as a refusal."""
    with pytest.raises(CheckpointError) as caught:
        pickles.unpickle(checkpoint, checkpoint.with_name("out"), tier=tier)
    return json.loads(str(caught.value).partition("is not converted: ")[2])


def test_it_sees_no_file_and_no_variable_of_the_callers(
    checkpoint: Path, tier: Tier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (tmp_path / "beside.txt").write_text("secret")
    (tmp_path / "beside.txt").chmod(0o644)
    instead(monkeypatch, tmp_path, """
import glob, sys
read = []
for path in [os.path.dirname(sys.argv[2]) + "/beside.txt", "/etc/shadow", "/etc/hostname", *glob.glob("/proc/*/environ")]:
    try:
        data = open(path).read()
        if "secret" in data or path.startswith("/etc"):
            read.append(path)
    except OSError:
        pass
try:
    os.listdir(os.path.dirname(sys.argv[2]))
    names = sorted(set(os.listdir(os.path.dirname(sys.argv[2]))) - {os.path.basename(sys.argv[2])})
except OSError:
    names = []
written = []
for path in (sys.argv[2], os.path.dirname(sys.argv[2]) + "/new", sys.argv[1] + "/new.pth"):
    try:
        open(path, "w").close()
        written.append(path)
    except OSError:
        pass
say(refused=json.dumps({"read": read, "beside": names, "written": written, "variables": sorted(set(os.environ) & {"HF_TOKEN", "USER", "SSH_AUTH_SOCK"})}))
""")  # fmt: skip
    assert said(checkpoint, tier) == {"read": [], "beside": [], "written": [], "variables": []}
    assert checkpoint.read_bytes() == b"a file"


def test_it_reaches_no_network(checkpoint: Path, tier: Tier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.1)
        instead(monkeypatch, tmp_path, f"""
import socket
reached = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
    try:
        made = socket.socket(socket.AF_INET, kind)
        made.connect(("127.0.0.1", {listening.getsockname()[1]}))
        reached.append(kind)
    except OSError:
        pass
say(refused=json.dumps(reached))
""")  # fmt: skip
        assert said(checkpoint, tier) == []
        with pytest.raises(TimeoutError):
            listening.accept()


def test_it_is_killed_with_all_its_processes_when_its_time_is_over(
    checkpoint: Path, tier: Tier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pickles, "_LEAST_S", 1)
    instead(monkeypatch, tmp_path, """
import signal, time
for number in (1, 2, 13, 15):
    signal.signal(number, signal.SIG_IGN)
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        break
time.sleep(1000)
""")  # fmt: skip
    before = _descendants()
    with pytest.raises(CheckpointError, match=r"took longer than a file of its size.*damaged, or\s+made to do harm"):
        pickles.unpickle(checkpoint, tmp_path / "out", tier=tier)
    assert _descendants() <= before


def test_it_writes_no_more_than_a_file_of_its_size_may(
    checkpoint: Path, tier: Tier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead(monkeypatch, tmp_path, """
try:
    while True:
        os.write(int(os.environ["STARLOOM_OUTPUT"]), bytes(1 << 22))
except OSError as error:
    say(refused=json.dumps(os.lseek(int(os.environ["STARLOOM_OUTPUT"]), 0, 1)))
""")  # fmt: skip
    try:
        assert said(checkpoint, tier) <= 2**26 + len(b"a file")
    finally:
        assert not (tmp_path / "out").exists()  # what is refused leaves no file


def test_without_a_tier_a_pickle_is_refused_in_one_line_that_says_what_to_do(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(**_: object) -> None:
        raise SandboxError("untrusted code cannot be run safely here (forbidden); allow user namespaces")

    monkeypatch.setattr(pickles, "Sandbox", none)
    with pytest.raises(CheckpointError) as caught:
        pickles.unpickle(checkpoint, checkpoint.with_name("out"))
    message = str(caught.value)
    assert "\n" not in message
    assert "allow user namespaces" in message
    assert "safetensors, which need no sandbox" in message


def test_interrupted_caller_leaves_no_process(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "x.bin")
    before = _descendants()

    def interrupt(amount: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pickles.unpickle(tmp_path / "x.bin", tmp_path / "out", interrupt)
    assert _descendants() <= before


CONVERTS = """
import json, sys
from pathlib import Path
{before}
import torch
from starloom.models.pickles import unpickle
folder = Path(sys.argv[1])
torch.save({{"a": torch.arange(6.0)}}, folder / "x.bin")
(folder / "x.bin").chmod(0o600)
print(json.dumps(unpickle(folder / "x.bin", folder / "out").tensors()["a"].tolist()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "nobody", "docker", "docker as nobody"])
def test_private_checkpoint_of_any_user_is_converted_in_any_surroundings(where: str, tmp_path: Path) -> None:
    if "nobody" in where and os.getuid() != 0:
        pytest.skip("only root becomes another user")
    steps = {
        "nobody": "import os\nif os.getuid() == 0:\n    from sandbox.attacks.other_user import become\n"
        "    become(65534, os.environ['PYTHONPATH'].split(':') + sys.argv[1:])\n",
        "docker": "from sandbox.attacks.docker_like import enter_docker_like\nenter_docker_like()\n",
    }
    before = "".join(steps[name] for name in ("nobody", "docker") if name in where)
    tests, source = Path(__file__).parents[1], Path(pickles.__file__).parents[2]
    tmp_path.chmod(0o777)
    script = tmp_path / "converts.py"
    script.write_text(CONVERTS.format(before=before))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{source}:{tests}", "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stderr == ""
    assert json.loads(done.stdout) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
