from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import vocabulary

import starloom
from starloom.errors import CheckpointError, ConfigError, TokenizerError
from starloom.generate import commands, sampling
from starloom.generate.backends.torch import TorchBackend, open_backend
from starloom.generate.engine import Engine
from starloom.generate.protocol import Handle, Likelihood, Request
from starloom.generate.sampling import Sampling
from starloom.models.causal_lm import CausalLM, save_model
from starloom.models.config import GPTBigCodeConfig, Starcoder2Config
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.models.starcoder2 import Starcoder2

ROWS = vocabulary().rows


def config(**changes: Any) -> GPTBigCodeConfig:
    # a wide initial range makes the logits of a random model differ enough to say something
    tiny: dict[str, Any] = {"n_positions": 64, "n_embd": 24, "n_layer": 2, "n_head": 3, "initializer_range": 0.4}
    return GPTBigCodeConfig(**{"vocab_size": ROWS, "eos_token_id": 0, **tiny, **changes})


def model(seed: int = 0, **changes: Any) -> GPTBigCode:
    return GPTBigCode(config(**changes), seed=seed, dtype=torch.float64).eval()


GROUPED = Starcoder2Config(
    vocab_size=ROWS, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
    num_key_value_heads=2, max_position_embeddings=64, sliding_window=9, eos_token_id=0, initializer_range=0.4,
)  # fmt: skip

MODELS: dict[str, CausalLM] = {
    "multi-query": model(),
    "multi-head": model(multi_query=False, tie_word_embeddings=False),
    "grouped, with a window": Starcoder2(GROUPED, dtype=torch.float64).eval(),
}


def recompute(model: CausalLM, request: Request) -> list[int]:
    """The oracle: the whole sequence through the model, without a cache, for each id."""
    ids = list(request.prompt)
    forbidden = np.array(sorted(request.forbid), dtype=np.intp)
    while len(ids) < min(model.config.context, len(request.prompt) + request.max_tokens):
        with torch.inference_mode():
            logits = model(torch.tensor([ids]))[0, -1].float().numpy()
        ids.append(sampling.choose(logits, request.sampling, len(ids), forbidden, seen=ids))
        if ids[-1] in request.stop:
            ids.pop()
            break
    return ids[len(request.prompt) :]


def some_request(chance: random.Random, texts: list[tuple[int, ...]]) -> Request:
    text = chance.choice(texts)
    return Request(
        text[: chance.randint(1, len(text))] + tuple(chance.randrange(ROWS) for _ in range(chance.choice([0, 1, 8]))),
        chance.randint(1, 12),
        Sampling(
            chance.choice([0.0, 0.8, 1.5]),
            chance.choice([0, 20]),
            chance.choice([1.0, 0.9]),
            chance.randrange(99),
            repetition_penalty=chance.choice([1.0, 0.5]),
        ),
        stop=frozenset(chance.randrange(ROWS) for _ in range(chance.randint(0, 20))),
    )


def finish(engine: Engine, *handles: Handle) -> list[list[int]]:
    while not all(handle.done for handle in handles):
        engine.step()
    return [handle.tokens for handle in handles]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_in_float64_a_request_in_a_ragged_batch_that_joins_and_leaves_equals_the_request_alone(
    name: str, seed: int
) -> None:
    """With prefixes shared and next ids guessed: the promise of the float64 mode."""
    chance = random.Random(seed)
    texts = [tuple(chance.randrange(ROWS) for _ in range(30)) for _ in range(3)]
    engine = Engine(TorchBackend(MODELS[name]), slots=8, chunk=chance.choice([3, 16, 256]), speculation="auto")
    engine._slots.least = 2
    handles: list[Handle] = []
    cancelled: list[Handle] = []
    for turn in range(20):
        request = some_request(chance, texts)
        if turn % 4 == 0:  # some of the guesses are right
            request = replace(request, surroundings=(*request.prompt, *recompute(MODELS[name], request)))
        handles.append(engine.submit(request))
        for _ in range(chance.randint(0, 3)):
            engine.step()
        if chance.random() < 0.2:
            cancelled.append(handles.pop(chance.randrange(len(handles))))
            engine.cancel(cancelled[-1])
        if chance.random() < 0.3 and handles:
            handle = chance.choice(handles)
            engine.rollback(handle, chance.randint(len(handle.request.prompt), len(handle.ids)))
    assert finish(engine, *handles) == [recompute(MODELS[name], handle.request) for handle in handles]
    assert sum(handle.guessed_right for handle in handles)


@pytest.mark.parametrize("name", MODELS)
def test_a_rollback_with_a_mask_equals_a_request_that_was_never_there(name: str) -> None:
    engine = Engine(TorchBackend(MODELS[name]), chunk=4)
    prompt = tuple(range(40, 51))
    for temperature in (0.0, 1.0):
        handle = engine.submit(Request(prompt, 20, Sampling(temperature)))
        [first] = finish(engine, handle)
        engine.rollback(handle, len(prompt) + 7, forbid={first[7]})
        [second] = finish(engine, handle)
        assert second[:7] == first[:7]
        assert second[7] != first[7]
        straight = engine.submit(Request((*prompt, *second[:8]), 12, Sampling(temperature)))
        assert finish(engine, straight) == [second[8:]]


@given(st.lists(st.integers(0, ROWS - 1), min_size=2, max_size=40), st.data())
@settings(max_examples=25, deadline=None)
def test_sharing_and_truncating_a_prefix_equal_feeding_it(ids: list[int], data: st.DataObject) -> None:
    backend = TorchBackend(MODELS["multi-query"])
    length = data.draw(st.integers(1, len(ids) - 1))
    backend.forward([(0, ids)])
    backend.share(0, 1, length)
    backend.truncate(0, length)
    for slot in (0, 1, 2):
        [logits] = backend.forward([(slot, ids[length:] if slot < 2 else ids)], every={slot})
        with torch.inference_mode():
            expected = MODELS["multi-query"](torch.tensor([ids]))[0].numpy()
        assert np.allclose(logits, expected[length if slot < 2 else 0 :], atol=1e-6)  # float32 after the decimal point
        backend.free(slot)


def test_a_multi_query_cache_takes_one_head_of_keys_and_values_for_each_id() -> None:
    """Two layers, keys and values of one head of size 8, in float64, in buffers that double from 128 ids."""
    for name, heads in (("multi-query", 1), ("multi-head", 3), ("grouped, with a window", 2)):
        backend = TorchBackend(MODELS[name])
        size = 4 if name.startswith("grouped") else 8
        backend.forward([(0, range(40)), (1, (5,))])
        assert backend._cache.size_bytes == 2 * 64 * (2 * 2 * heads * size * 8)  # the context of 64 is less than 128
        backend.free(1)
        assert backend._cache.size_bytes == 64 * (2 * 2 * heads * size * 8)


def test_a_ragged_batch_computes_a_row_for_each_id_and_none_for_padding() -> None:
    backend, rows = TorchBackend(MODELS["multi-query"]), []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: rows.append(output.numel() // output.shape[-1]))
        for module in backend.model.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    backend.forward([(0, range(40)), (1, (5,)), (2, range(7))], every={2})
    for hook in hooks:
        hook.remove()
    assert rows == [48] * 8


def test_the_memory_of_the_cache_is_bounded_by_slots_and_what_is_kept() -> None:
    chance = random.Random(1)
    backend = TorchBackend(MODELS["multi-query"])
    engine = Engine(backend, slots=3, kept_tokens=128)
    engine._slots.least = 8
    for _ in range(60):
        engine.submit(Request(tuple(chance.randrange(ROWS) for _ in range(chance.randint(1, 30))), 6))
        engine.step()
        assert len(backend._cache.slots()) <= 3 + 128 // 8
    while engine.busy:
        engine.step()
    assert sum(backend._cache.length(slot) for slot in backend._cache.slots()) <= 128


def test_a_likelihood_in_pieces_is_that_of_the_whole() -> None:
    words = list(range(30, 80))
    engine = Engine(TorchBackend(MODELS["multi-head"]), chunk=7)
    [likelihood] = engine.loglikelihood([(words[:20], words[20:])])
    assert isinstance(likelihood, Likelihood)
    with torch.inference_mode():
        logits = MODELS["multi-head"](torch.tensor([words[:-1]]))[0, 19:]
    expected = logits.log_softmax(-1)[range(30), words[20:]].tolist()
    assert likelihood.logprobs == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in the Hugging Face layout, in float32."""
    folder = tmp_path_factory.mktemp("model")
    save_model(GPTBigCode(config(), seed=3).eval(), folder)
    vocabulary().save(folder)
    return folder


def test_greedy_tokens_are_those_of_transformers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    session = starloom.load(str(folder), dtype="float64", threads=1)
    for prompt in ("def hello(world):\n", "print(", "# größe 日本語\nif value", "x" * 40):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        theirs = peer.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=0
        )
        ours = session.engine.submit(Request(tuple(session.vocabulary.encode(prompt)), 20, stop=frozenset({0})))
        finish(session.engine, ours)
        assert ours.ids == [token for token in theirs[0].tolist() if token != 0]
        assert tokenizer.decode(ours.tokens).startswith(session.complete(prompt, max_tokens=20).text)


def test_a_folder_completes_and_infills_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = starloom.load(str(folder))
    flags = ["--max-tokens", "12", "--temperature", "1.5", "--seed", "4"]
    assert commands.complete([str(folder), "--prompt", "def", *flags]) == 0
    options: Any = {"max_tokens": 12, "temperature": 1.5, "seed": 4}
    assert capsys.readouterr().out == session.complete("def", **options).text
    file = folder / "code.py"
    file.write_text("def hello():\n    \n    return 1\n")
    assert commands.infill([str(folder), "--file", str(file), "--at", "2:5", *flags]) == 0
    assert capsys.readouterr().out == session.infill("def hello():\n    ", "\n    return 1\n", **options).text


def test_a_pickle_and_a_tokenizer_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="a pickle can run code"):
        starloom.load(str(tmp_path))
    vocabulary("santacoder").save(tmp_path)
    with pytest.raises(
        TokenizerError, match=r"ends a document with id 0, the tokenizer with .* do not belong together"
    ):
        starloom.load(str(tmp_path))
    save_model(GPTBigCode(config(vocab_size=ROWS - 5)), tmp_path)
    vocabulary().save(tmp_path)
    with pytest.raises(TokenizerError, match=f"has {ROWS} tokens and its embedding {ROWS - 5} rows"):
        starloom.load(str(tmp_path))


def test_ids_that_a_checkpoint_itself_stops_at_end_a_completion(folder: Path, tmp_path: Path) -> None:
    save_model(GPTBigCode(config(), seed=3), tmp_path)
    vocabulary().save(tmp_path)
    plain = starloom.load(str(folder)).complete("def", max_tokens=10)
    stop = plain.tokens[4]
    (tmp_path / "generation_config.json").write_text(f'{{"eos_token_id": [0, {stop}]}}')
    completion = starloom.load(str(tmp_path)).complete("def", max_tokens=10)
    assert completion.tokens == plain.tokens[: plain.tokens.index(stop)]
    assert (completion.finish_reason, completion.stopped_by) == ("stop", vocabulary().decode([stop]))


@pytest.mark.parametrize("options", [{"device": "gpu"}, {"dtype": "int3"}, {"threads": 0}])
def test_a_way_to_compute_that_is_not_there_is_named(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))}.*{next(iter(options.values()))}"):
        open_backend(folder, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_device_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="finds no CUDA device here; use cpu"):
        starloom.load(str(folder), device="cuda")
