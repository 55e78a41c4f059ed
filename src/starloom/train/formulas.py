"""Ways to count the operations of a training run, by name: published figures differ because they count different things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.train.memory import Recompute

Terms = dict[str, float]  # what computes → operations


@dataclass(frozen=True, slots=True)
class Formula:
    """A way to count the operations of a trained token, each term by itself."""

    name: str
    about: str
    terms: Callable[[ModelConfig, int], Terms]  # of a model on a context


def _parameters(model: ModelConfig, context: int) -> Terms:
    return {"parameters": 6.0 * model.parameter_count()}


def _model(model: ModelConfig, context: int) -> Terms:
    once = model.flops(context)
    names = {
        "attention projections": once.attention,
        "mlp": once.mlp,
        "attention scores": once.scores,
        "head": once.head,
    }
    return {name: 3.0 * flops for name, flops in names.items()}


def _causal(model: ModelConfig, context: int) -> Terms:
    terms = _model(model, context)
    window = min(context, getattr(model, "sliding_window", None) or context)
    attended = (
        window * (window + 1) / 2 + (context - window) * window
    ) / context  # tokens that one looks at, on average
    return {**terms, "attention scores": terms["attention scores"] * attended / window}


def _scores_again(model: ModelConfig, context: int) -> Terms:
    return {**_model(model, context), "scores recomputed": float(model.flops(context).scores)}


def _layers_again(model: ModelConfig, context: int) -> Terms:
    once = model.flops(context)
    return {**_model(model, context), "layers recomputed": float(once.attention + once.mlp + once.scores)}


def as_multi_head(model: ModelConfig) -> ModelConfig:
    """The same model with a key and value head for each query head."""
    if isinstance(model, GPTBigCodeConfig):
        return replace(model, multi_query=False)
    return replace(model, num_key_value_heads=model.num_attention_heads)


def _narayanan(model: ModelConfig, context: int) -> Terms:
    terms = _model(as_multi_head(model), context)
    return {**terms, "head": 0.75 * terms["head"]}


FORMULAS: Final[dict[str, Formula]] = {
    one.name: one
    for one in (
        Formula("6ND", "6 a parameter and token: no attention scores; embeddings and norms as if multiplied", _parameters),
        Formula("model", "Megatron's formula without recomputation: matrix products, scores over the whole context, head",
                _model),
        Formula("causal", "the same with those scores only that a causal (and windowed) kernel has to compute", _causal),
        Formula("selective", "with the attention scores computed again in the backward pass", _scores_again),
        Formula("full", "with all layers, not the head, computed again in the backward pass", _layers_again),
        Formula("mha", "as 'model', with keys and values counted as in multi-head attention",
                lambda model, context: _model(as_multi_head(model), context)),
        # 96·B·s·l·h²·(1 + s/6h + V/16lh), in which 96 = 24 × 4 passes with full recomputation, taken with 24 × 3 for three:
        # the last term, the head, then has 4.5·B·s·h·V, where three passes of it are 6. So the bigcode fork computed until
        # commit 042a0914 (March 2023), MQA or not
        Formula("narayanan", "eq. 3 of Narayanan et al. 2021 (arXiv 2104.04473) with 3 passes for its 4: multi-head, and "
                             "three quarters of the head", _narayanan),
    )
}  # fmt: skip
COMPUTED: Final[dict[Recompute, str]] = {"none": "model", "selective": "selective", "full": "full"}
