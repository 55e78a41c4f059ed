"""The one formula for the floating-point operations of a model: what a plan multiplies, and what a run divides by its time."""

from __future__ import annotations

from dataclasses import dataclass

FORWARD, BACKWARD = 1, 2  # passes of matrix products; the backward pass has two for each of the forward pass


@dataclass(frozen=True, slots=True)
class FlopsPerToken:
    """Operations a token in one forward pass, by what computes them; a multiplication and its addition are two.

    Embedding look-ups, norms, activations and biases are left out, as is usual: below a hundredth of these.
    """

    attention: int  # queries, keys, values and the projection of what they give
    mlp: int
    scores: int  # of each token with every token of the context, and the sum that they weight; no saving for causality
    head: int  # logits over the vocabulary

    @property
    def forward(self) -> int:
        return self.attention + self.mlp + self.scores + self.head

    def training(self, *, recomputed: bool = False) -> int:
        """Of one training step. What a utilisation counts is without recomputation; where activations are `recomputed`,
        hardware does the forward pass of the layers, not of the head, once more (Megatron-LM counts it: Narayanan et al.
        2021, arXiv 2104.04473, section 5.1).
        """
        return (FORWARD + BACKWARD) * self.forward + recomputed * (self.forward - self.head)


def flops_per_token(*, width: int, layers: int, keys: int, inner: int, vocabulary: int, tokens: int) -> FlopsPerToken:
    """For `layers` of attention with keys of `keys` in all its heads and an MLP of `inner`, on a context of `tokens`."""
    return FlopsPerToken(
        attention=2 * layers * width * (2 * width + 2 * keys),
        mlp=2 * layers * width * 2 * inner,
        scores=4 * layers * width * tokens,
        head=2 * width * vocabulary,
    )
