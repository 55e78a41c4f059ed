"""Attention that stays within a document, in both families, against documents that are computed alone and transformers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import small_job as small
import torch

from starloom.models import attention as attention_module
from starloom.models.attention import attention
from starloom.models.causal_lm import new_model
from starloom.models.presets import STARCODER2_3B
from starloom.train import step
from starloom.train.ranks import alone

END = 5
BIGCODE = replace(small.CONFIG, n_positions=48, n_layer=2)
STARCODER2 = replace(
    STARCODER2_3B, vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
    max_position_embeddings=48, sliding_window=9, attention_dropout=0.0, residual_dropout=0.0, embedding_dropout=0.0,
)  # fmt: skip
FAMILIES = pytest.mark.parametrize(
    "config",
    [BIGCODE, replace(BIGCODE, multi_query=False), STARCODER2],
    ids=["multi-query", "multi-head", "starcoder2"],
)


def text(seed=0, lines=3, tokens=40):
    """Ids with documents of all lengths, some of nothing but their end."""
    ids = torch.randint(0, 64, (lines, tokens), generator=torch.Generator().manual_seed(seed))
    ids[0, :2] = ids[0, 10:13] = ids[1, -1] = END
    return ids


def alone_in_place(model, ids):
    """Each document computed by itself, at the positions that it has in its line: the oracle."""
    hidden = []
    for line in ids:
        ends = [0, *(line == END).nonzero().flatten().add(1).tolist(), len(line)]
        spans = [(start, end) for start, end in pairwise(ends) if end > start]
        hidden.append(torch.cat([model.body(line[None, a:b], torch.arange(a, b))[0] for a, b in spans]))
    return torch.stack(hidden)


@FAMILIES
@pytest.mark.parametrize("grad", [True, False], ids=["training", "evaluation"])
def test_each_document_is_computed_as_if_it_were_alone_in_its_place(config, grad):
    model, ids = new_model(config, seed=1, dtype=torch.float64), text()
    with torch.set_grad_enabled(grad):
        assert torch.allclose(model.hidden(ids, END), alone_in_place(model, ids), atol=1e-12)
        assert not torch.allclose(model.hidden(ids), alone_in_place(model, ids), atol=1e-3)


@FAMILIES
def test_gradients_are_those_of_documents_alone(config):
    ids = text(2)
    models = [new_model(config, seed=1, dtype=torch.float64) for _ in range(2)]
    width = models[0].embedding_VD.shape[1]
    weights = torch.randn(*ids.shape, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (models[0].hidden(ids, END) * weights).sum().backward()
    (alone_in_place(models[1], ids) * weights).sum().backward()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad, other.grad, atol=1e-10)


@FAMILIES
def test_nothing_before_an_end_of_document_changes_what_comes_after_it(config):
    model, ids = new_model(config, seed=1, dtype=torch.float64), text()
    ids[:, 17] = END
    other = ids.clone()
    other[:, :17] = text(9)[:, :17]
    with torch.no_grad():
        assert torch.equal(model.hidden(ids, END)[:, 18:], model.hidden(other, END)[:, 18:])


@pytest.mark.parametrize("tokens", [9, 33])
@pytest.mark.parametrize("window", [None, 4, 8])
def test_blocks_of_a_window_hide_other_documents_too(monkeypatch, tokens, window):
    monkeypatch.setattr(attention_module, "BLOCK", 8)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, tokens, heads, 4, generator=generator, dtype=torch.float64) for heads in (6, 2, 2))
    documents = torch.randint(0, 2, (2, tokens), generator=generator).cumsum(1)
    query, key = torch.arange(tokens)[:, None], torch.arange(tokens)[None]
    seen = (key <= query) & (key > query - (window or tokens)) & (documents[:, :, None] == documents[:, None])
    scores = torch.einsum("btnh,bsnh->bnts", q, k.repeat_interleave(3, 2)) * 0.5
    p = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
    expected = torch.einsum("bnts,bsnh->btnh", p, v.repeat_interleave(3, 2))
    for grad in (False, True):
        found = attention(q.requires_grad_(grad), k, v, 0.5, window, documents_BT=documents)
        assert torch.allclose(found, expected, atol=1e-12)


def test_a_dense_mask_in_transformers_gives_the_same_logits():
    transformers = pytest.importorskip("transformers")
    config = {k: v for k, v in BIGCODE.to_json().items() if k != "architectures"}
    theirs = transformers.GPTBigCodeForCausalLM(transformers.GPTBigCodeConfig(**config)).double().eval()
    ours, ids = new_model(BIGCODE, seed=3, dtype=torch.float64), text(4)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.tie_weights()
    ends = (ids == END).int()
    documents = ends.cumsum(1) - ends
    seen = (documents[:, :, None] == documents[:, None]) & torch.ones(40, 40, dtype=torch.bool).tril()
    with torch.no_grad():
        mask = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -1e300)[:, None]
        logits = theirs(ids, attention_mask=mask).logits
        assert torch.allclose(logits, ours.hidden(ids, END) @ ours.head_VD.t(), atol=1e-9)


def test_a_step_masks_when_it_is_told_to(tmp_path):
    config = replace(small.CONFIG, eos_token_id=END)
    batch = small.batch(0)
    batch[:, 8] = END
    losses = []
    for mask in (False, True):
        model = new_model(config, seed=0)
        losses.append(step.gradients(model, batch, small.job(config=config, document_mask=mask), alone())[0])
    ids = torch.from_numpy(batch)
    expected = model.loss(ids[:, :-1], ids[:, 1:], END).item()
    assert losses[1] == expected and losses[0] != expected
