from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import grouped, tiny

from starloom.errors import GenerationError
from starloom.models import cache as cache_module
from starloom.models.cache import Cache
from starloom.models.causal_lm import CausalLM, new_model
from starloom.models.config import ModelConfig

CONTEXT = 40
SHAPE = {"n_head": 3, "n_embd": 24, "n_layer": 2, "n_positions": CONTEXT}
GROUPED = {"num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 24, "num_hidden_layers": 2}
CONFIGS = {
    "multi-query": tiny(6, multi_query=True, **SHAPE),
    "multi-head": tiny(7, multi_query=False, **SHAPE),
    "grouped": grouped(0, sliding_window=None, max_position_embeddings=CONTEXT, **GROUPED),
    "window": grouped(1, sliding_window=7, max_position_embeddings=CONTEXT, **GROUPED),
}
MODELS = {name: new_model(config, dtype=torch.float64) for name, config in CONFIGS.items()}


def recomputed(model: CausalLM, ids: list[int]) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return model(torch.tensor([ids]))[0]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() < 1e-10)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(MODELS)), first_tokens=st.sampled_from([1, 4, 128]))
def test_cached_decoding_equals_recomputing_through_any_operations(seed: int, name: str, first_tokens: int) -> None:
    """Sequences of all lengths step together, join, leave, are cut back and share prefixes; buffers grow on the way."""
    chance, model = random.Random(seed), MODELS[name]
    held: dict[int, list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_FIRST_TOKENS", first_tokens)
        cache = model.new_cache()
        for _ in range(12):
            match chance.choice(("step", "step", "step", "truncate", "share", "free")):
                case "step":
                    slots = [slot for slot in range(5) if chance.random() < 0.6]
                    chance.shuffle(slots)
                    vocabulary = range(model.config.vocab_size)
                    new = {slot: chance.choices(vocabulary, k=chance.choice((1, 1, 1, 2, 5))) for slot in slots}
                    new = {slot: ids for slot, ids in new.items() if len(held.get(slot, [])) + len(ids) <= CONTEXT}
                    every = [chance.random() < 0.5 for _ in new]
                    logits = model.step(list(new.items()), cache, every)
                    for (slot, ids), whole, ours in zip(new.items(), every, logits, strict=True):
                        held[slot] = held.get(slot, []) + ids
                        assert close(ours, recomputed(model, held[slot])[-len(ids) if whole else -1 :])
                case "truncate" if held:
                    slot = chance.choice(list(held))
                    held[slot] = held[slot][: chance.randint(0, len(held[slot]))]
                    cache.truncate(slot, len(held[slot]))
                case "share" if held:
                    source, slot = chance.choice(list(held)), chance.randrange(5)
                    length = chance.randint(0, len(held[source]))
                    held[slot] = held[source][:length]
                    cache.share(source, slot, length)
                case "free" if held:
                    slot = chance.choice(list(held))
                    del held[slot]
                    cache.free(slot)
            assert all(cache.length(slot) == len(held.get(slot, [])) for slot in range(5))


@pytest.mark.parametrize(
    "config",
    [tiny(6, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5),
     grouped(6, residual_dropout=0.5, embedding_dropout=0.5, attention_dropout=0.5)],
    ids=["gpt_bigcode", "starcoder2"],
)  # fmt: skip
def test_model_in_training_decodes_without_dropout(config: ModelConfig) -> None:
    model = new_model(config, dtype=torch.float64)
    ids = [5, 1, 9, 2]
    expected = recomputed(model, ids)
    assert close(model.train().step([(0, ids)], model.new_cache(), every=True)[0], expected)


def test_cache_holds_as_many_heads_as_the_model_has_keys() -> None:
    sizes = {}
    for name, model in MODELS.items():
        cache = model.new_cache()
        model.step([(0, [1])], cache)
        sizes[name] = cache.size_bytes / model.config.head_size
    assert sizes["multi-query"] * 3 == sizes["multi-head"]
    assert sizes["multi-query"] * 2 == sizes["grouped"] == sizes["window"]


def test_freed_slot_gives_its_memory_back() -> None:
    model = MODELS["multi-query"]
    cache = model.new_cache()
    model.step([(3, [1, 2]), (4, [1])], cache)
    cache.free(3)
    cache.free(3)
    assert cache.slots() == [4]
    assert cache.length(3) == 0


@pytest.mark.parametrize("config", [tiny(0), grouped(0)], ids=["gpt_bigcode", "starcoder2"])
def test_half_precision_model_decodes_to_float32_logits(config: ModelConfig) -> None:
    model = new_model(config, dtype=torch.bfloat16).eval()
    (logits,) = model.step([(0, [1, 2, 3])], model.new_cache(), every=True)
    assert logits.dtype == torch.float32
    with torch.inference_mode():
        assert (logits - model(torch.tensor([[1, 2, 3]]))[0]).abs().max() < 0.2  # 8 bits of logits of a few units


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([(0, [1]), (1, [])], "no new tokens for slot 1"),
        ([(0, [1]), (2, [1]), (0, [2])], r"stands twice in \[0, 2, 0\]"),
        ([(0, [1]), (1, [-1])], "token id -1 is outside"),
        ([(0, [1]), (1, [3, 10**6])], "token id 1000000 is outside"),
        ([(0, [1]), (1, [1] * CONTEXT + [1])], "0 tokens and 41 more exceed the model's context of 40"),
        ([(7, [1] * 38)], "3 tokens and 38 more exceed"),
        ([(0, [[1, 2]])], "flat list"),
    ],
)
def test_refused_step_leaves_the_cache_as_it_was(batch: list[tuple[int, list[int]]], message: str) -> None:
    model = MODELS["multi-query"]
    cache = model.new_cache()
    model.step([(7, [1, 2, 3])], cache)
    with pytest.raises(GenerationError, match=message):
        model.step(batch, cache)
    assert {slot: cache.length(slot) for slot in cache.slots()} == {7: 3}
    assert close(model.step([(7, [4])], cache)[0], recomputed(model, [1, 2, 3, 4])[-1:])


def test_step_that_fails_half_way_leaves_the_cache_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["multi-query"]
    cache = model.new_cache()
    model.step([(0, [1, 2, 3])], cache)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model.transformer.h[1], "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.step([(0, [8, 8, 8]), (1, [5])], cache)
    assert (cache.length(0), cache.length(1)) == (3, 0)
    assert close(model.step([(0, [4])], cache)[0], recomputed(model, [1, 2, 3, 4])[-1:])


@pytest.mark.parametrize("length", [-1, 4])
def test_prefix_that_a_slot_does_not_hold_is_refused(length: int) -> None:
    model = MODELS["multi-query"]
    cache: Cache = model.new_cache()
    model.step([(0, [1, 2, 3]), (1, [1] * 5)], cache)
    with pytest.raises(GenerationError, match=f"slot 0 holds 3 tokens, so it has no first {length}"):
        cache.truncate(0, length)
    with pytest.raises(GenerationError, match=f"slot 0 holds 3 tokens, so it has no first {length}"):
        cache.share(0, 1, length)
    assert cache.length(1) == 5
