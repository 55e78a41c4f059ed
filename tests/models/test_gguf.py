"""GGUF files against llama.cpp itself where llama-cpp-python is installed, and against the gguf package's reader."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import grouped, tiny

from starloom.errors import CheckpointError, ConfigError, MissingExtraError, TokenizerError
from starloom.models import gguf_file
from starloom.models.causal_lm import CausalLM, new_model, save_model
from starloom.models.config import ModelConfig
from starloom.models.convert import convert
from starloom.tokens import bpe
from starloom.tokens.bpe import Vocabulary

gguf = pytest.importorskip("gguf", reason="the gguf package is not installed: pip install 'starloom[gguf]'")
needs_llama = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="llama.cpp is not installed: pip install llama-cpp-python"
)

CODE = '''
def read_json(path: str, depth: int = 10) -> dict:
    """Read a file; 1234 objects at most."""
    with open(path, encoding="utf-8") as file:
        return {"name": file.read(), "größe": [1, 22, 333], "π": 3.14159}

for (int i = 0; i < 100; ++i) {\r\n\tprintf("%d\\n", i);\r\n}
'''
TEXTS = [
    CODE,
    "def add(one, other):\n    return one + other\n",
    "x = 12345678901234567890\ny=3.14e-10  # 007",
    "\n\n\n  \n\t\tif True:\n \n",
    "   leading and trailing   ",
    "naïve Ünïcode: 你好，世界 … ∑ Ελληνικά עברית 한국어 😀👩‍👩‍👧 e\u0301",
    "١٢٣ ४५६ ½ ² Ⅷ",
    "it's we'll I'M they've don't",
    "<fim_prefix>def f():<fim_suffix><|endoftext|><filename>x.py<fim-middle>",
    "a\u00a0b\u2003c\u3000d\x0b\x0c\x85e\u2028f",
    "\x00\x01\x7f",
    "#### ### ## #!/usr/bin/env python3",
]


@functools.cache
def vocabulary_of(family: str) -> Vocabulary:
    size = 400 if family == "santacoder" else 460
    return bpe.train([CODE, *TEXTS] * 3, vocab_size=size, family=family)


def shaped(family: str, **changes: Any) -> ModelConfig:
    rows = vocabulary_of(family).rows
    if family == "starcoder2":
        fixed: dict[str, Any] = {
            "vocab_size": rows, "hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2,
            "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 64, "sliding_window": None,
            "hidden_act": "gelu_pytorch_tanh", "rope_theta": 999999.4420358813, "initializer_range": 0.1, "eos_token_id": 0,
        }  # fmt: skip
        return grouped(0, **{**fixed, **changes})
    end = vocabulary_of(family).end_of_document
    fixed = {
        "vocab_size": rows, "n_embd": 48, "n_head": 6, "n_inner": 96, "n_layer": 2, "n_positions": 64,
        "activation_function": "gelu_pytorch_tanh", "scale_attn_weights": True, "multi_query": True,
        "initializer_range": 0.1, "bos_token_id": end, "eos_token_id": end,
    }  # fmt: skip
    return tiny(0, **{**fixed, **changes})


def learn(model: CausalLM, ids: list[int], steps: int = 40) -> None:
    """Until it knows the text: no parameter is what it was, and the likeliest token is far ahead of the next."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    windows = torch.tensor([ids[at : at + 49] for at in range(0, len(ids) - 49, 7)])
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(windows[:, :-1], windows[:, 1:]).backward()
        optimizer.step()


def exported(
    tmp_path: Path, family: str, dtype: Any = None, *, learned: bool = False, **changes: Any
) -> tuple[CausalLM, Path]:
    model = new_model(shaped(family, **changes), seed=3).eval()
    if learned:
        learn(model, vocabulary_of(family).encode(CODE))
    save_model(model, tmp_path / "model")
    vocabulary_of(family).save(tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "model.gguf", to="gguf", dtype=dtype)
    return model, tmp_path / "model.gguf"


def llama(path: Path, **settings: Any) -> Any:
    import llama_cpp

    return llama_cpp.Llama(
        str(path), n_ctx=64, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False, **settings
    )


def greedy(model: CausalLM, ids: list[int], tokens: int) -> list[int]:
    ids = list(ids)
    with torch.no_grad():
        for _ in range(tokens):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids


def their_greedy(theirs: Any, ids: list[int], tokens: int) -> list[int]:
    ids = list(ids)
    theirs.reset()
    theirs.eval(ids)
    for _ in range(tokens):
        ids.append(int(np.argmax(theirs.scores[len(ids) - 1])))
        theirs.eval(ids[-1:])
    return ids


MODELS: list[tuple[str, dict[str, Any]]] = [
    ("starcoder", {}),
    ("starcoder", {"multi_query": False}),
    ("starcoder", {"tie_word_embeddings": False}),
    ("santacoder", {"activation_function": "gelu_fast"}),
    ("starcoder2", {}),
    ("starcoder2", {"use_bias": False, "tie_word_embeddings": False}),
]


@needs_llama
@pytest.mark.parametrize(("family", "changes"), MODELS)
def test_llama_cpp_gives_the_same_greedy_tokens(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model, path = exported(tmp_path, family, learned=True, **changes)
    theirs = llama(path)
    known = vocabulary_of(family).encode(CODE)
    for ids in (known[:4], known[30:50], vocabulary_of(family).encode(TEXTS[1])[:24]):
        theirs.reset()
        theirs.eval(ids)
        with torch.no_grad():
            ours = model(torch.tensor([ids]))[0].numpy()
        # llama.cpp looks the activation up in a table of float16
        assert np.abs(ours - theirs.scores[: len(ids)]).max() < 2e-2
        made = greedy(model, ids, 30)
        assert their_greedy(theirs, ids, 30) == made
        assert len(set(made[len(ids) :])) > 8


@needs_llama
@pytest.mark.parametrize("family", ["starcoder", "santacoder", "starcoder2"])
def test_llama_cpp_cuts_text_into_the_same_tokens(family: str, tmp_path: Path) -> None:
    _, path = exported(tmp_path, family)
    theirs = llama(path, vocab_only=True)
    vocabulary = vocabulary_of(family)
    for text in TEXTS:
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == vocabulary.encode(text), repr(text)
    special = vocabulary.spelling(vocabulary.control("fim_prefix")) + "x"
    parsed = theirs.tokenize(special.encode(), add_bos=False, special=True)
    assert parsed == [vocabulary.control("fim_prefix"), *vocabulary.encode("x")]
    assert theirs.token_eos() == theirs.token_bos() == vocabulary.end_of_document
    assert theirs.tokenize(b"x", add_bos=True, special=False) == vocabulary.encode("x")


@needs_llama
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "q8_0"])
def test_llama_cpp_computes_nearly_the_same_in_smaller_types(dtype: str, tmp_path: Path) -> None:
    model, path = exported(tmp_path, "starcoder", dtype, learned=True, n_embd=64, n_head=4)
    ids = vocabulary_of("starcoder").encode(TEXTS[1])[:24]
    theirs = llama(path)
    theirs.eval(ids)
    with torch.no_grad():
        ours = model(torch.tensor([ids]))[0].numpy()
    error = np.abs(ours - theirs.scores[: len(ids)]).max() / np.abs(ours).max()
    assert error < {"float16": 0.01, "bfloat16": 0.05, "q8_0": 0.05}[dtype]


# --- without llama.cpp


@pytest.mark.parametrize(("family", "changes"), MODELS)
def test_every_number_is_in_the_file(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model, path = exported(tmp_path, family, **changes)
    read = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor.data for tensor in read.tensors}
    assert sum(tensor.size for tensor in tensors.values()) == model.config.parameter_count() + (
        2 * (48 + 48 + 96) if changes.get("use_bias") is False else 0
    )
    embedding = model.state_dict()[model.config.embedding].numpy()
    assert np.array_equal(tensors["token_embd.weight"], embedding)
    assert len(read.fields["tokenizer.ggml.tokens"].data) == len(read.fields["tokenizer.ggml.token_type"].data)
    assert len(read.fields["tokenizer.ggml.tokens"].data) == model.config.vocab_size


def test_controls_are_marked_and_rows_without_a_token_unused(tmp_path: Path) -> None:
    _, path = exported(tmp_path, "santacoder")
    vocabulary = vocabulary_of("santacoder")
    read = gguf.GGUFReader(path)
    kinds = read.fields["tokenizer.ggml.token_type"].contents()
    controls = [number for number, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL]
    assert [number for number in range(vocabulary.size) if vocabulary.is_control(number)] == controls
    assert kinds.count(gguf.TokenType.UNUSED) == vocabulary.rows - vocabulary.size > 0
    assert read.fields["tokenizer.ggml.fim_pre_token_id"].contents() == vocabulary.control("fim_prefix")
    assert read.fields["tokenizer.ggml.fim_mid_token_id"].contents() == vocabulary.control("fim_middle")
    assert "tokenizer.ggml.fim_sep_token_id" not in read.fields


def test_what_llama_cpp_computes_otherwise_is_said(tmp_path: Path) -> None:
    save_model(new_model(shaped("starcoder2", hidden_act="gelu", sliding_window=16)), tmp_path / "model")
    vocabulary_of("starcoder2").save(tmp_path / "model")
    notes = convert(tmp_path / "model", tmp_path / "model.gguf", to="gguf").notes
    assert "gelu in its tanh form" in notes[0]
    assert "past 16 tokens" in notes[1]


def test_model_that_llama_cpp_cannot_compute_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="scale_attn_weights is false"):
        exported(tmp_path, "starcoder", scale_attn_weights=False)
    assert not (tmp_path / "model.gguf").exists()


def test_what_is_missing_for_a_gguf_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(new_model(shaped("starcoder")), tmp_path / "model")
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json, which a GGUF file includes; give --tokenizer"):
        convert(tmp_path / "model", tmp_path / "model.gguf", to="gguf")
    with pytest.raises(ConfigError, match=r"a file NAME\.gguf"):
        convert(tmp_path / "model", tmp_path / "new", to="gguf")
    with pytest.raises(ConfigError, match="q8_0 is a type of GGUF files"):
        convert(tmp_path / "model", tmp_path / "new", dtype="q8_0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"starloom\[gguf\]"):
        gguf_file.require()


def test_rows_that_no_block_of_q8_0_fits_are_float16(tmp_path: Path) -> None:
    _, path = exported(tmp_path, "starcoder", "q8_0")  # rows of 48 in c_attn, of 96 in c_proj
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    assert kinds["blk.0.attn_qkv.weight"] == "F16"
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"
    assert kinds["position_embd.weight"] == kinds["blk.0.attn_qkv.bias"] == "F32"
