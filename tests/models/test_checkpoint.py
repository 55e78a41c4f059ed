from __future__ import annotations

import json
import mmap
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from tiny_models import grouped, tiny

from starloom.errors import CheckpointError, DiskFullError
from starloom.models import checkpoint, safetensors_file
from starloom.models.causal_lm import load_model, new_model, save_model
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.models.safetensors_file import SafetensorsFile

CONFIG = tiny(0)
MODEL = GPTBigCode(CONFIG)
GROUPED = new_model(grouped(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(MODEL, tmp_path / "model")
    return tmp_path / "model"


def with_header(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


# --- what is written is what is read


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_model_survives_its_folder_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    for config in (*map(tiny, range(4)), *map(grouped, range(4))):
        saved = new_model(config, dtype=dtype)
        save_model(saved, tmp_path)
        loaded = load_model(tmp_path)
        assert loaded.config == saved.config
        assert not loaded.training
        for name, tensor in saved.state_dict().items():
            assert loaded.state_dict()[name].dtype == dtype
            assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_arrays_without_torch_are_the_same_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    for config in (CONFIG, GROUPED.config):
        save_model(new_model(config, dtype=dtype), tmp_path)
        arrays, tensors = checkpoint.load_arrays(tmp_path), checkpoint.load_tensors(tmp_path)
        assert list(arrays) == list(tensors) == list(config.shapes())
        for name, array in arrays.items():
            assert array.dtype == (np.float16 if dtype == torch.float16 else np.float32)
            assert np.array_equal(array, tensors[name].float().numpy())


def test_arrays_and_tensors_are_written_to_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for kind in (MODEL.state_dict(), {name: tensor.numpy() for name, tensor in MODEL.state_dict().items()}):
        paths = checkpoint.save(tmp_path / str(len(written)), CONFIG, kind)
        written.append({path.name: path.read_bytes() for path in paths})
    assert written[0] == written[1]


def test_weights_are_mapped_and_a_change_in_memory_leaves_the_file_alone(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    arrays = checkpoint.load_arrays(folder)
    base: Any = next(iter(arrays.values()))
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(getattr(base, "obj", base), mmap.mmap)
    with torch.no_grad():
        load_model(folder).transformer.wte.weight.zero_()
    assert (folder / "model.safetensors").read_bytes() == before


def test_loading_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from starloom.models import checkpoint, presets\n"
        "arrays = checkpoint.load_arrays(Path(sys.argv[1]))\n"
        "checkpoint.save(Path(sys.argv[2]), checkpoint.read_config(Path(sys.argv[1])), arrays)"
    )
    copy = folder.parent / "copy"
    subprocess.run([sys.executable, "-c", code, str(folder), str(copy)], check=True, timeout=60)
    assert (copy / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_loading_does_not_import_the_compiler_of_torch(folder: Path) -> None:
    """It would take longer than the loading, and every command that completes code would wait for it."""
    code = "import sys; from starloom.models.causal_lm import load_model; load_model(sys.argv[1])"
    code += "; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=60)


def test_smaller_save_leaves_no_stale_shards(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, CONFIG, MODEL.state_dict(), shard_bytes=1000)
    assert (tmp_path / checkpoint.INDEX).exists()
    (tmp_path / "tokenizer.json").write_text("{}")
    save_model(MODEL, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"}


def test_sharded_save_takes_the_place_of_a_single_file(tmp_path: Path) -> None:
    save_model(GPTBigCode(CONFIG, seed=9), tmp_path)
    checkpoint.save(tmp_path, CONFIG, MODEL.state_dict(), shard_bytes=1000)
    assert torch.equal(load_model(tmp_path).transformer.wte.weight, MODEL.transformer.wte.weight)


def test_save_that_fails_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors_file, "write", full)
    with pytest.raises(DiskFullError):
        save_model(GPTBigCode(CONFIG, seed=9), folder)
    assert torch.equal(load_model(folder).transformer.wte.weight, MODEL.transformer.wte.weight)
    assert not list(folder.glob(".*"))


def test_tensors_of_another_config_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="to be saved to"):
        checkpoint.save(tmp_path / "new", tiny(1), MODEL.state_dict())
    assert not (tmp_path / "new").exists()


# --- tensors that are not the config's


def rewrite(folder: Path, **changes: np.ndarray | None) -> None:
    path = folder / "model.safetensors"
    tensors = {**safetensors.numpy.load_file(path), **changes}
    safetensors.numpy.save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


def test_missing_extra_and_misshapen_tensors_are_named_in_one_error(folder: Path) -> None:
    changes: dict[str, Any] = {
        "transformer.h.0.ln_1.bias": None,
        "transformer.h.0.attn.masked_bias": np.zeros(1, np.float32),
        "transformer.wpe.weight": np.zeros((3, CONFIG.n_embd), np.float32),
    }
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    for words in (
        "1 missing: transformer.h.0.ln_1.bias",
        "1 extra: transformer.h.0.attn.masked_bias",
        f"transformer.wpe.weight is [3, {CONFIG.n_embd}], config.json says [{CONFIG.n_positions}, {CONFIG.n_embd}]",
    ):
        assert words in str(caught.value)


def test_missing_extra_and_misshapen_tensors_of_starcoder2_are_named_in_one_error(tmp_path: Path) -> None:
    save_model(GROUPED, tmp_path)
    changes: dict[str, Any] = {
        "model.layers.0.self_attn.k_proj.bias": None,
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(1, np.float32),
        "model.norm.weight": np.zeros(3, np.float32),
    }
    rewrite(tmp_path, **changes)
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    for words in (
        "1 missing: model.layers.0.self_attn.k_proj.bias",
        "1 extra: model.layers.0.self_attn.rotary_emb.inv_freq",
        f"model.norm.weight is [3], config.json says [{GROUPED.config.hidden_size}]",
    ):
        assert words in str(caught.value)


def test_tied_head_that_differs_from_the_embedding_is_refused(folder: Path) -> None:
    for model in (MODEL, GROUPED):
        assert model.config.tie_word_embeddings
        save_model(model, folder)
        embedding = model.head_VD.detach().numpy()
        rewrite(folder, **{"lm_head.weight": embedding})
        load_model(folder)
        for differing in (embedding + 1, embedding[:-1], embedding.astype(np.float16)):
            rewrite(folder, **{"lm_head.weight": differing})
            with pytest.raises(CheckpointError, match=r"tie_word_embeddings is true, but lm_head\.weight differs"):
                load_model(folder)


def test_head_that_differs_in_its_last_number_only_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_COMPARED_AT_ONCE", 1000)
    head = MODEL.head_VD.detach().numpy().copy()
    assert head.nbytes % 1000
    head[-1, -1] += 1
    rewrite(folder, **{"lm_head.weight": head})
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs"):
        load_model(folder)


def test_untied_config_without_a_head_is_refused(folder: Path) -> None:
    edit_config(folder, tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"1 missing: lm_head\.weight"):
        load_model(folder)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [{"n_layer": 10**6}, {"n_embd": 10**9}, {"vocab_size": -1}, {"n_head": 6}, {"layer_norm_epsilon": float("nan")},
     {"n_layer": 2}, {"n_layer": 4}, {"vocab_size": 34}, {"multi_query": False}, {"treshold": 1}],
)  # fmt: skip
def test_config_that_is_absurd_or_not_the_weights_is_refused_before_allocating(
    folder: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "__init__", None)
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=next(iter(changes)) + "|missing|extra|misshapen"):
        load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": 10**6}, {"hidden_size": 10**9}, {"vocab_size": 2**21}, {"num_attention_heads": 7},
     {"num_key_value_heads": 4}, {"sliding_window": -1}, {"num_hidden_layers": 2}, {"vocab_size": 34}, {"use_bias": False},
     {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, {"max_position_embeddings": 10**9}, {"treshold": 1}],
)  # fmt: skip
def test_config_of_starcoder2_that_is_absurd_or_not_the_weights_is_refused_before_allocating(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = grouped(0, num_hidden_layers=3, hidden_size=40, num_attention_heads=10, num_key_value_heads=5)
    save_model(new_model(config), tmp_path)
    monkeypatch.setattr(torch.nn.Module, "__init__", None)
    edit_config(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=next(iter(changes)) + "|missing|extra|misshapen"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"\xff\xfe", b"[" * 10**5, b'{"n_embd": ' + b"9" * 5000 + b"}"]
)
def test_config_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(folder)


def test_endless_config_is_refused(folder: Path) -> None:
    (folder / "config.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(CheckpointError, match="larger than"):
        load_model(folder)


# --- files that cannot be trusted


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickle_is_refused_and_nothing_runs(folder: Path, name: str, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=f"{name}.*pickle can run code.*starloom convert"):
        load_model(folder)
    (folder / name).rename(folder / "model.safetensors")  # under a false name it is no safetensors file
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "shard",
    ["../outside.safetensors", "/etc/passwd", "sub/model.safetensors", "..", "", ".safetensors", "model.bin",
     "model.safetensors\n", 7, None],
)  # fmt: skip
def test_shard_outside_the_folder_is_refused(folder: Path, shard: object) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    weight_map = dict.fromkeys(CONFIG.shapes(), shard)
    (folder / checkpoint.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"a shard is a .safetensors file in the same folder"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_link_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / "outside")
    (folder / name).symlink_to("../outside")
    with pytest.raises(CheckpointError, match="link that leads out of the folder"):
        load_model(folder)


def test_links_of_the_hugging_face_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "0123abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        path.rename(blobs / f"digest-of-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/digest-of-{path.name}")
    load_model(snapshot)


def test_index_that_disagrees_with_a_shard_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, CONFIG, MODEL.state_dict(), shard_bytes=20_000)
    index = json.loads((tmp_path / checkpoint.INDEX).read_text())
    first, *_, last = sorted(set(index["weight_map"].values()))
    moved = next(name for name, shard in index["weight_map"].items() if shard == first)
    index["weight_map"][moved] = last
    (tmp_path / checkpoint.INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"disagree about {moved}"):
        load_model(tmp_path)
    (tmp_path / last).unlink()
    with pytest.raises(CheckpointError, match=f"has no {last}"):
        load_model(tmp_path)


def test_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_model(tmp_path)


def test_fifo_in_place_of_weights_does_not_block(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="no regular file"):
        load_model(folder)


# --- headers


@pytest.mark.parametrize("cut", [0, 5, 8, 100, 1000, -1])
def test_truncated_file_is_refused(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*fetch it again"):
        load_model(folder)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**32, 10**6])
def test_header_longer_than_the_file_is_refused_before_it_is_read(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match=f"claims {length:,} bytes"):
        load_model(folder)


def test_header_of_hundreds_of_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((2**29).to_bytes(8, "little"))
        file.truncate(2**30)  # sparse: takes no room
    with pytest.raises(CheckpointError, match="a header of 536,870,912 bytes"):
        SafetensorsFile.open(path)


FLOAT = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": {**FLOAT, "shape": [10**9, 10**9]}}, "takes 4,000,000,000,000,000,000"),
        ({"a": {**FLOAT, "shape": [-2], "data_offsets": [8, 0]}}, "damaged header entry"),
        ({"a": {**FLOAT, "shape": [2.0]}}, "damaged header entry"),
        ({"a": {**FLOAT, "shape": [True, 2]}}, "damaged header entry"),
        ({"a": {**FLOAT, "shape": [10**4000]}}, "damaged header entry"),
        ({"a": {**FLOAT, "shape": [1] * 70 + [2]}}, "damaged header entry"),
        ({"a": {**FLOAT, "data_offsets": [0, 16]}}, "has 16 bytes, but F32 of shape .2. takes 8"),
        ({"a": {**FLOAT, "data_offsets": [8, 16]}}, "leaves a gap"),
        ({"a": FLOAT, "b": FLOAT}, "overlaps another"),
        ({"a": FLOAT}, "tensors end at"),
        ({"a": {**FLOAT, "dtype": "I8"}}, "of type I8"),
        ({"a": {**FLOAT, "dtype": ["F32"]}}, "of type"),
        ({"a": {"dtype": "F32"}}, "damaged header entry"),
        ({"a": 3}, "damaged header entry"),
        ([], "not an object"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (b"{", "no readable JSON"),
    ],
)
def test_header_that_lies_is_refused(header: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(with_header(header, bytes(16)))
    with pytest.raises(CheckpointError, match=message) as caught:
        SafetensorsFile.open(path)
    assert len(str(caught.value)) < 500


def test_tensor_at_an_odd_offset_is_read_all_the_same(tmp_path: Path) -> None:
    numbers = np.arange(2, dtype="<f4")
    header = json.dumps({"a": FLOAT}).encode()
    header += b" " * (1 + -len(header) % 4)
    path = tmp_path / "x.safetensors"
    path.write_bytes(with_header(header, numbers.tobytes()))
    file = SafetensorsFile.open(path)
    assert file.tensors["a"].start % 4 == 1
    assert np.array_equal(file.array("a"), numbers)
    assert file.array("a").flags.aligned


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_header_is_refused_or_harmless(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What we accept, the safetensors package accepts, with the same names, shapes and numbers."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16), "c": np.zeros((0, 2))}
    raw = bytearray(safetensors.numpy.save(arrays))
    header_end = 8 + int.from_bytes(raw[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, header_end - 1))
        match data.draw(st.sampled_from(["flip", "digit", "drop", "insert"])):
            case "flip":
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "digit":
                raw[at] = ord(data.draw(st.sampled_from('0123456789-,[]{}"')))
            case "drop":
                del raw[at]
            case "insert":
                raw.insert(at, ord(data.draw(st.sampled_from("0123456789 "))))
    path.write_bytes(raw)
    try:
        file = SafetensorsFile.open(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
        return
    try:
        with safe_open(path, framework="np") as theirs:
            assert set(theirs.keys()) == set(file.tensors)
            for name in file.tensors:
                if file.tensors[name].dtype != "BF16":  # which the package does not give to NumPy
                    assert np.array_equal(file.array(name), theirs.get_tensor(name), equal_nan=True)
    except SafetensorError as error:
        pytest.fail(f"we accept what the package refuses: {error}")
