"""Descriptors that are lent to a program: of files alone, within the bounds of a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from starloom.errors import SandboxError
from starloom.sandbox import Command, Limits, Python, Sandbox

COPIES = (
    "import os\nsource, target = int(os.environ['FROM']), int(os.environ['TO'])\n"
    "while data := os.read(source, 1 << 16):\n    os.write(target, data)\n"
)


@pytest.mark.parametrize("kind", ["python", "command"])
def test_program_reads_and_writes_what_it_is_lent_where_no_file_is_shown(
    sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 4000)
    source.chmod(0o600)
    program = (
        Python(COPIES) if kind == "python" else Command(("python3", "-c", COPIES), limits=Limits(address_space=False))
    )
    with source.open("rb") as reading, target.open("xb") as writing:
        lend = {"FROM": reading.fileno(), "TO": writing.fileno()}
        with sandbox.talk(program, lend=lend) as conversation:
            assert conversation.receive() is None
            outcome = conversation.end()
    assert outcome.stderr == b""
    assert target.read_bytes() == source.read_bytes()


def test_folder_is_not_lent_because_it_leads_everywhere(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(SandboxError, match="a folder cannot be lent"):
            sandbox.talk(Python(""), lend={"FOLDER": folder})
    finally:
        os.close(folder)
    assert sandbox.run(Python("print(1)")).ok


def test_what_is_written_into_a_lent_descriptor_is_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    fills = "import os\nwhile True:\n    os.write(int(os.environ['TO']), bytes(1 << 16))\n"
    with (tmp_path / "target").open("xb") as writing:
        program = Python(fills, limits=Limits(file_bytes=1 << 20))
        with sandbox.talk(program, lend={"TO": writing.fileno()}) as conversation:
            conversation.receive()
    assert (tmp_path / "target").stat().st_size == 1 << 20


def test_too_many_descriptors_are_named(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="at most 8 descriptors"):
        sandbox.talk(Python(""), lend={f"N{number}": 0 for number in range(9)})


def test_outcome_of_a_conversation_says_how_the_program_ended_by_itself(sandbox: Sandbox) -> None:
    for source, code in (("raise SystemExit(7)", 7), ("import os\nos._exit(3)", 3)):
        with sandbox.talk(Python(source)) as conversation:
            assert conversation.receive() is None
            outcome = conversation.end()
        assert (outcome.status, outcome.exit_code) == ("exited", code)
    with sandbox.talk(Python("import os, time\nos.close(STARLOOM_FD)\ntime.sleep(100)")) as conversation:
        assert conversation.receive() is None
        assert conversation.end().status == "signaled"  # it closed its side and went on
