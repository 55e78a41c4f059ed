from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from starloom.errors import CheckpointError
from starloom.models.pickles import unpickle

W = torch.arange(35.0).view(5, 7)


class Running:
    """A pickle that runs a command when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


class Growing:
    """A pickle of a few bytes that takes four gigabytes."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return bytearray, (2**32,)


def saved(value: object, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **settings)
    return buffer.getvalue()


def rezipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry.filename))
    return buffer.getvalue()


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    damaged = bytearray(data)
    damaged[damaged.index(W.numpy().tobytes()) + 9] ^= 1
    return bytes(damaged)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_type_arrive_bit_for_bit(zipped: bool, tmp_path: Path) -> None:
    state = {
        "a": W,
        "again": W,
        "turned": W.half().t(),
        "deep": {"bf16": W.bfloat16(), "f64": torch.nn.Parameter(W.double())},
        "mask": torch.ones(2, dtype=torch.bool),
        "step": 7,
        "none": torch.zeros(0, 3),
    }
    (tmp_path / "x.bin").write_bytes(saved(state, _use_new_zipfile_serialization=zipped))
    heard: list[int] = []
    found = unpickle(tmp_path / "x.bin", tmp_path / "x.safetensors", heard.append)
    tensors = found.tensors()
    wanted = {"a": W, "again": W, "turned": W.half().t(), "deep.bf16": W.bfloat16(), "deep.f64": W.double()}
    assert set(tensors) == {*wanted, "none"}
    for name, tensor in wanted.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert found.aliases == {"again": "a"}
    assert found.facts == {"step": 7}
    assert found.left_out == {"mask": "a tensor of bool"}
    assert sum(heard) == 35 * (4 + 2 + 2 + 8)


@pytest.mark.parametrize("kind", ["zipped", "legacy", "bare"])
def test_pickle_that_would_run_code_is_refused_and_nothing_runs(kind: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "x.bin", tmp_path / "ran"
    data = {"a": W, "b": Running(marker)}
    bare = pickle.dumps(data["b"], 2)
    path.write_bytes(bare if kind == "bare" else saved(data, _use_new_zipfile_serialization=kind == "zipped"))
    with pytest.raises(CheckpointError, match=r"asks for posix\.system.*nothing of it was run.*safetensors"):
        unpickle(path, tmp_path / "out")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Running(marker)))  # where a pickle is opened, it does run
    assert marker.exists()


def test_pickle_that_grows_without_bounds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(saved({"a": W, "b": Growing()}))
    with pytest.raises(CheckpointError, match="more memory than a file of its size"):
        unpickle(tmp_path / "x.bin", tmp_path / "out")


def test_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(saved({"a": torch.zeros(1).expand(10**6, 10**6)}))
    with pytest.raises(CheckpointError, match="claim 4,000,000,000,000 bytes"):
        unpickle(tmp_path / "x.bin", tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-100], "cut off"),
        (lambda data: b"", "empty"),
        (rezipped, "compressed or overlap"),
        (tarred, "a tar file.*in a place that you trust.*safetensors"),
        (flipped, "damaged .CRC-32."),
    ],
)
def test_file_that_is_damaged_or_of_another_kind_is_refused(
    damage: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(damage(saved({"a": W})))
    with pytest.raises(CheckpointError, match=message):
        unpickle(tmp_path / "x.bin", tmp_path / "out")


def test_fifo_and_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        unpickle(tmp_path / "x.bin", tmp_path / "out")
    os.mkfifo(tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="no regular file"):
        unpickle(tmp_path / "x.bin", tmp_path / "out")
