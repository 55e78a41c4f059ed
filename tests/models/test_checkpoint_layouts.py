from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import published_layouts as published
import pytest
import safetensors.torch
import torch
from tiny_models import grouped, tiny
from torch import Tensor

from starloom.errors import CheckpointError
from starloom.models import checkpoint, layout_heads, layout_megatron, layout_santacoder
from starloom.models.causal_lm import CausalLM, load_model, new_model, save_model
from starloom.models.config import GPTBigCodeConfig
from starloom.models.convert import convert

IDS = torch.tensor([5, 1, 30, 7, 0, 2, 19, 36, 4])


def logits(folder: Path, ids: Tensor = IDS) -> Tensor:
    model: CausalLM = load_model(folder, dtype=torch.float64)
    with torch.no_grad():
        return model(ids[None])[0]


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return set(one) == set(other) and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def write_santacoder(folder: Path, tensors: dict[str, Tensor], *, pickled: bool, **changes: Any) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**published.SANTACODER_CONFIG, **changes}))
    if pickled:
        torch.save({**tensors, "lm_head.weight": tensors["transformer.wte.weight"]}, folder / "pytorch_model.bin")
    else:
        safetensors.torch.save_file(tensors, folder / "model.safetensors")


# --- SantaCoder's own layout


@pytest.mark.parametrize(("heads", "pickled"), [("multiquery", True), ("multiquery", False), ("multihead", False)])
def test_santacoder_converted_computes_what_its_definition_says(heads: str, pickled: bool, tmp_path: Path) -> None:
    tensors = published.santacoder(heads == "multiquery")
    write_santacoder(tmp_path / "old", tensors, pickled=pickled, attention_head_type=heads)
    done = convert(tmp_path / "old", tmp_path / "new")
    assert done.layout == "santacoder"
    assert (logits(tmp_path / "new") - published.santacoder_logits(IDS, tensors)).abs().max() < 1e-10
    config = checkpoint.read_config(tmp_path / "new")
    assert (config.bos_token_id, config.activation_function) == (0, "gelu_fast")  # type: ignore[union-attr]


@pytest.mark.parametrize("number", range(6))
def test_gpt_bigcode_survives_santacoders_layout_bit_for_bit(number: int, tmp_path: Path) -> None:
    model = new_model(tiny(number), dtype=(torch.float32, torch.bfloat16)[number % 2])
    save_model(model, tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "santacoder", to="santacoder")
    convert(tmp_path / "santacoder", tmp_path / "back", layout="santacoder")
    assert checkpoint.read_config(tmp_path / "back") == model.config
    assert same(checkpoint.load_tensors(tmp_path / "back"), model.state_dict())


def test_what_is_written_for_santacoders_code_computes_the_same_by_its_definition(tmp_path: Path) -> None:
    tensors = published.santacoder(masks=False)
    config = layout_santacoder.read_config(published.SANTACODER_CONFIG, "x")
    back = layout_santacoder.from_gpt_bigcode(config, layout_santacoder.to_gpt_bigcode(config, tensors))
    assert same(back, tensors)
    written = layout_santacoder.config_json(config, "float32")
    code = written.pop("auto_map")
    original = {key: value for key, value in published.SANTACODER_CONFIG.items() if key in written}
    assert {key: written[key] for key in original} == original
    assert set(code) == {"AutoConfig", "AutoModelForCausalLM"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"attention_head_type": "grouped"}, "attention_head_type is 'grouped'"),
        ({"rotary": True}, "unknown key 'rotary'"),
        ({"n_layer": 3}, "missing: transformer.h.2"),
    ],
)
def test_santacoder_config_that_means_another_model_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_santacoder(tmp_path / "old", published.santacoder(), pickled=False, **change)
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_santacoder_without_its_keys_is_refused(tmp_path: Path) -> None:
    tensors = published.santacoder()
    del tensors["transformer.h.1.attn.kv_attn.weight"]
    write_santacoder(tmp_path / "old", tensors, pickled=False)
    with pytest.raises(CheckpointError, match=r"q_attn\.weight without transformer\.h\.1\.attn\.kv_attn\.weight"):
        convert(tmp_path / "old", tmp_path / "new")


# --- Megatron's layout


def test_megatron_converted_computes_what_its_definition_says(tmp_path: Path) -> None:
    tensors = published.megatron()
    folder = tmp_path / "checkpoints" / "iter_0000012" / "mp_rank_00"
    folder.mkdir(parents=True)
    torch.save(published.megatron_file(tensors), folder / "model_optim_rng.pt")
    (tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("12\n")
    done = convert(tmp_path / "checkpoints", tmp_path / "new")
    assert done.layout == "megatron"
    assert "iteration 12" in done.notes
    got = logits(tmp_path / "new")
    assert got.shape[-1] == 40
    assert (got[:, : published.V] - published.megatron_logits(IDS, tensors)).abs().max() < 1e-10


@pytest.mark.parametrize("multi_query", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_activation_and_heads_of_megatron_are_read_from_its_arguments(multi_query: bool, fused: bool) -> None:
    tensors = published.megatron(multi_query)
    model = from_megatron([[tensors]], bias_gelu_fusion=fused)
    with torch.no_grad():
        got = model(IDS[None])[0]
    assert (got - published.megatron_logits(IDS, tensors, fused=fused)).abs().max() < 1e-10


def from_megatron(ranks: list[list[dict[str, Tensor]]], rows: int = published.V, **arguments: Any) -> CausalLM:
    named = [[{f"model.language_model.{name}": t for name, t in one.items()} for one in stage] for stage in ranks]
    joined = layout_megatron.joined(named)
    values = vars(published.megatron_arguments(**arguments))
    facts = {f"args.{name}": value for name, value in values.items()} | {"checkpoint_version": 3.0}
    config = layout_megatron.read_arguments(facts, rows, joined)
    model = new_model(config, dtype=torch.float64)
    model.load_state_dict({n: t.double() for n, t in layout_megatron.to_gpt_bigcode(config, joined).items()})
    return model.eval()


@pytest.mark.parametrize("multi_query", [True, False])
def test_ranks_of_megatron_are_joined(multi_query: bool) -> None:
    """Three tensor ranks hold a head each, two pipeline ranks a layer each."""
    whole = published.megatron(multi_query, rows=42)
    by_rows = ("word_embeddings.weight", "query.weight", "query.bias", "query_key_value.weight", "query_key_value.bias")
    ranks: list[list[dict[str, Tensor]]] = [[{}, {}, {}], [{}, {}, {}]]
    cut = {**whole}
    for name in list(cut):  # an inner width of 40 has no thirds: 42 with zeros
        if "dense_h_to_4h" in name:
            cut[name] = torch.cat((cut[name], torch.zeros(2, *cut[name].shape[1:])))
        if name.endswith("dense_4h_to_h.weight"):
            cut[name] = torch.cat((cut[name], torch.zeros(published.D, 2)), 1)
    for name, tensor in cut.items():
        stage = 1 if ".layers.1." in name or "final" in name else 0
        local = name.replace(".layers.1.", ".layers.0.")
        if name.endswith(by_rows) or "dense_h_to_4h" in name:
            parts = tensor.chunk(3, 0)
        elif name.endswith(("self_attention.dense.weight", "dense_4h_to_h.weight")):
            parts = tensor.chunk(3, 1)
        else:
            parts = (tensor,) * 3
        for rank, part in enumerate(parts):
            ranks[stage][rank][local] = part
    for rank in range(3):  # the last pipeline rank has the embedding again, for the head
        ranks[1][rank]["word_embeddings_for_head.weight"] = ranks[0][rank]["embedding.word_embeddings.weight"]
    model = from_megatron(ranks, ffn_hidden_size=42)
    with torch.no_grad():
        got = model(IDS[None])[0]
    assert (got - published.megatron_logits(IDS, whole)).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"swiglu": True}, "swiglu = True"),
        ({"normalization": "RMSNorm"}, "normalization = RMSNorm"),
        ({"num_layers": 10**9}, "n_layer is 1000000000"),
        ({"num_attention_heads": 5}, "n_head is 5"),
        ({"hidden_size": "wide"}, "n_embd is 'wide'"),
    ],
)
def test_megatron_model_that_gpt_bigcode_is_not_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_megatron([[published.megatron()]], **arguments)


def test_megatron_model_without_learned_positions_is_refused() -> None:
    tensors = published.megatron()
    del tensors["embedding.position_embeddings.weight"]
    with pytest.raises(CheckpointError, match=r"rotary or ALiBi"):
        from_megatron([[tensors]])


def test_megatron_embedding_smaller_than_the_tokenizer_is_refused() -> None:
    with pytest.raises(CheckpointError, match="has 40 rows, fewer than the tokenizer's 50"):
        from_megatron([[published.megatron()]], rows=50)


def test_megatron_multi_head_attention_of_an_order_that_is_not_known_is_refused() -> None:
    joined = layout_megatron.joined([[{f"model.language_model.{n}": t for n, t in published.megatron(False).items()}]])
    facts = {f"args.{name}": value for name, value in vars(published.megatron_arguments()).items()}
    with pytest.raises(CheckpointError, match="checkpoint_version is 0; multi-head attention is read from version 2"):
        layout_megatron.read_arguments(facts, 40, joined)


# --- key/value heads


@pytest.mark.parametrize("number", range(0, 12, 2))
def test_expanded_heads_give_the_same_logits_and_merge_back_bit_for_bit(number: int, tmp_path: Path) -> None:
    model = new_model(tiny(number, vocab_size=40))
    save_model(model, tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "mha", to="mha")
    expanded = checkpoint.read_config(tmp_path / "mha")
    assert isinstance(expanded, GPTBigCodeConfig)
    assert not expanded.multi_query
    assert (logits(tmp_path / "mha") - logits(tmp_path / "model")).abs().max() < 1e-10
    convert(tmp_path / "mha", tmp_path / "mqa", to="mqa")
    assert same(checkpoint.load_tensors(tmp_path / "mqa"), model.state_dict())


def test_heads_that_differ_are_not_merged(tmp_path: Path) -> None:
    save_model(new_model(tiny(1, n_head=2, n_embd=16)), tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"c_attn\.weight: the key/value heads differ"):
        convert(tmp_path / "model", tmp_path / "mqa", to="mqa")


def test_orders_of_heads_are_each_others_inverse() -> None:
    rows = torch.arange(3 * 5 * 4 * 2).view(-1, 2)
    assert torch.equal(layout_heads.by_head(layout_heads.by_kind(rows, 5), 5), rows)
    assert layout_heads.by_kind(rows, 5)[:4, 0].tolist() == [0, 2, 4, 6]
    assert layout_heads.by_kind(rows, 5)[4, 0] == 2 * 12


def test_heads_of_starcoder2_are_left_alone(tmp_path: Path) -> None:
    save_model(new_model(grouped(0)), tmp_path / "model")
    with pytest.raises(CheckpointError, match="is a starcoder2"):
        convert(tmp_path / "model", tmp_path / "mha", to="mha")
