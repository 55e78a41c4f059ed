"""What both families have in common around their bodies: the head, losses, filling with weights, one step of decoding."""

# B batch, T tokens, D width, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from starloom.errors import GenerationError
from starloom.models import decoding, initial
from starloom.models.cache import Cache
from starloom.models.config import ModelConfig
from starloom.models.cross_entropy import cross_entropy, token_losses
from starloom.models.decoding import Ids
from starloom.models.linear import Linear, Matrix, linear


class LanguageModel(nn.Module):
    """A family's model. It says where its body and its token embedding are, under the names of its checkpoints."""

    config: ModelConfig
    lm_head: Linear  # where the head is not tied to the embedding

    @property
    def body(self) -> nn.Module:
        """What makes hidden states of ids and positions, [.., D]; while decoding, with what they attend to."""
        raise NotImplementedError

    @property
    def embedding_VD(self) -> Matrix:
        """The token embedding."""
        raise NotImplementedError

    def new_cache(self) -> Cache:
        """An empty cache for decoding with this model, of its type and on its device."""
        raise NotImplementedError

    def fill(
        self, seed: int | None, std: Callable[[str], float], dtype: torch.dtype, device: torch.device | str
    ) -> None:
        """Give a model that was made on the meta device its type and memory; weights are drawn unless the seed is None."""
        self.to(dtype)
        if torch.device(device).type != "meta":
            self.to_empty(device=device)
            if seed is not None:
                initial.draw(self, seed, std)

    @property
    def head_VD(self) -> Matrix:
        """The output matrix: the token embedding where they are tied."""
        return self.embedding_VD if self.config.tie_word_embeddings else self.lm_head.weight

    def hidden(self, ids_BT: Tensor, end_of_document: int | None = None) -> Tensor:
        """What the head reads, [B, T, D]. With an end of document no token sees what lies behind one that came before it;
        positions are those in the sequence all the same. Raises GenerationError when T exceeds the context."""
        tokens, most = ids_BT.shape[1], self.config.context
        if tokens > most:
            raise GenerationError(f"{tokens} tokens exceed the model's context of {most}; cut the sequence")
        positions_T = torch.arange(tokens, device=ids_BT.device)
        if end_of_document is None:
            hidden_BTD: Tensor = self.body(ids_BT, positions_T)
        else:
            ends_BT = (ids_BT == end_of_document).int()
            hidden_BTD = self.body(ids_BT, positions_T, documents=ends_BT.cumsum(1) - ends_BT)
        return hidden_BTD

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits of every position, [B, T, V]."""
        return linear(self.hidden(ids_BT), self.head_VD)

    def loss(self, ids_BT: Tensor, targets_BT: Tensor, end_of_document: int | None = None) -> Tensor:
        """Mean cross-entropy in nats of the targets (already shifted by the caller; -100 is left out), for training."""
        return cross_entropy(self.hidden(ids_BT, end_of_document).flatten(0, 1), self.head_VD, targets_BT.flatten())

    @torch.no_grad()
    def token_losses(self, ids_BT: Tensor, targets_BT: Tensor, end_of_document: int | None = None) -> Tensor:
        """Cross-entropy in nats of each target, [B, T], 0 where it is -100, for evaluation: no gradients."""
        hidden_MD = self.hidden(ids_BT, end_of_document).flatten(0, 1)
        return token_losses(hidden_MD, self.head_VD, targets_BT.flatten()).view_as(targets_BT)

    def step(
        self, batch: Sequence[tuple[int, Ids]], cache: Cache, every: bool | Sequence[bool] = False
    ) -> list[Tensor]:
        """Append each sequence's new ids to its slot; logits after the last of them, or after each: see `decoding.step`."""
        return decoding.step(self.body, self.head_VD, batch, cache, every)
