from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny

from starloom.errors import GenerationError
from starloom.models import cache as cache_module
from starloom.models.cache import Cache
from starloom.models.gpt_bigcode import GPTBigCode

CONTEXT = 40
MODELS = {
    (multi_query, dropout): GPTBigCode(
        tiny(6 + (not multi_query), multi_query=multi_query, n_head=3, n_embd=24, n_layer=2, n_positions=CONTEXT,
             resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout),
        dtype=torch.float64,
    )
    for multi_query in (True, False)
    for dropout in (0.0, 0.5)
}  # fmt: skip


def recomputed(model: GPTBigCode, ids: list[int]) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return model(torch.tensor([ids]))[0]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() < 1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), multi_query=st.booleans(), first_tokens=st.sampled_from([1, 4, 128]))
def test_cached_decoding_equals_recomputing_through_any_operations(
    seed: int, multi_query: bool, first_tokens: int
) -> None:
    """Sequences of all lengths step together, join, leave, are cut back and share prefixes; buffers grow on the way."""
    chance, model = random.Random(seed), MODELS[multi_query, 0.0]
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


def test_model_in_training_decodes_without_dropout() -> None:
    model = MODELS[True, 0.5]
    ids = [5, 1, 9, 2]
    expected = recomputed(model, ids)
    assert close(model.train().step([(0, ids)], model.new_cache(), every=True)[0], expected)


def test_multi_query_cache_holds_one_head() -> None:
    sizes = []
    for multi_query in (True, False):
        model = MODELS[multi_query, 0.0]
        cache = model.new_cache()
        model.step([(0, [1])], cache)
        sizes.append(cache.size_bytes)
    assert sizes[0] * model.config.n_head == sizes[1]


def test_freed_slot_gives_its_memory_back() -> None:
    model = MODELS[True, 0.0]
    cache = model.new_cache()
    model.step([(3, [1, 2]), (4, [1])], cache)
    cache.free(3)
    cache.free(3)
    assert cache.slots() == [4]
    assert cache.length(3) == 0


def test_half_precision_model_decodes_to_float32_logits() -> None:
    model = GPTBigCode(tiny(0), dtype=torch.bfloat16).eval()
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
    model = MODELS[True, 0.0]
    cache = model.new_cache()
    model.step([(7, [1, 2, 3])], cache)
    with pytest.raises(GenerationError, match=message):
        model.step(batch, cache)
    assert {slot: cache.length(slot) for slot in cache.slots()} == {7: 3}
    assert close(model.step([(7, [4])], cache)[0], recomputed(model, [1, 2, 3, 4])[-1:])


def test_step_that_fails_half_way_leaves_the_cache_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[True, 0.0]
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
    model = MODELS[True, 0.0]
    cache: Cache = model.new_cache()
    model.step([(0, [1, 2, 3]), (1, [1] * 5)], cache)
    with pytest.raises(GenerationError, match=f"slot 0 holds 3 tokens, so it has no first {length}"):
        cache.truncate(0, length)
    with pytest.raises(GenerationError, match=f"slot 0 holds 3 tokens, so it has no first {length}"):
        cache.share(0, 1, length)
    assert cache.length(1) == 5
