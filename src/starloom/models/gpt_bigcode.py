"""GPTBigCode, the model of SantaCoder and StarCoder: learned positions, pre-LayerNorm, one key/value head for all queries
(or one for each), parameter names as in Hugging Face checkpoints.
"""

# B batch, T tokens, D width, N query heads, K key/value heads (1 in multi-query attention), H head size, V vocabulary,
# R rows: the new tokens of all sequences of a decoding step, one after another. "…" stands for BT in training, R in decoding

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starloom.errors import GenerationError
from starloom.models import decoding, initial
from starloom.models.attention import attention
from starloom.models.cache import Cache, Past
from starloom.models.cross_entropy import cross_entropy, token_losses
from starloom.models.decoding import Ids
from starloom.models.gpt_bigcode_config import GPTBigCodeConfig
from starloom.models.linear import Linear, Matrix, linear


class Attention(nn.Module):
    def __init__(self, config: GPTBigCodeConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.scale = config.head_size**-0.5 if config.scale_attn_weights else 1.0
        self.c_attn = Linear(config.n_embd, config.n_embd + 2 * config.kv_heads * config.head_size)
        self.c_proj = Linear(config.n_embd, config.n_embd)

    def heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[…, D + 2KH] → q […, N, H], k and v […, K, H]: all queries, then k, v; with a key for each query, by head."""
        heads, size = self.config.n_head, self.config.head_size
        if self.config.multi_query:
            q, k, v = torch.split(qkv, [heads * size, size, size], dim=-1)
            return q.view(*q.shape[:-1], heads, size), k.unsqueeze(-2), v.unsqueeze(-2)
        q, k, v = qkv.view(*qkv.shape[:-1], heads, 3, size).unbind(-2)
        return q, k, v

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        q, k, v = self.heads(self.c_attn(x))
        if past is not None:
            y = past.attend(self.layer, q, k, v, self.scale)
        else:
            y = attention(q, k, v, self.scale, dropout=self.config.attn_pdrop if self.training else 0.0)
        projected: Tensor = self.c_proj(y.flatten(-2))
        return projected


class MLP(nn.Module):
    def __init__(self, config: GPTBigCodeConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, config.inner)
        self.c_proj = Linear(config.inner, config.n_embd)
        # gelu_fast writes √(2/π) as 0.7978845608: the same function to 3e-12
        self.approximate = "none" if config.activation_function == "gelu" else "tanh"

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate=self.approximate))
        return projected


class Block(nn.Module):
    def __init__(self, config: GPTBigCodeConfig, layer: int) -> None:
        super().__init__()
        self.dropout = config.resid_pdrop
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        training = self.training and past is None
        x = x + F.dropout(self.attn(self.ln_1(x), past), self.dropout, training)
        return x + F.dropout(self.mlp(self.ln_2(x)), self.dropout, training)


class Transformer(nn.Module):
    def __init__(self, config: GPTBigCodeConfig) -> None:
        super().__init__()
        self.dropout = config.embd_pdrop
        self.wte = initial.embedding(config.vocab_size, config.n_embd)
        self.wpe = initial.embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(self, ids: Tensor, positions: Tensor, past: Past | None = None) -> Tensor:
        x = self.wte(ids) + self.wpe(positions)
        x = F.dropout(x, self.dropout, self.training and past is None)
        for block in self.h:
            x = block(x, past)
        normed: Tensor = self.ln_f(x)
        return normed


class GPTBigCode(nn.Module):
    """The language model. Weights are drawn from the seed; with `seed=None` they are left as memory has them, to be loaded."""

    def __init__(
        self,
        config: GPTBigCodeConfig,
        *,
        seed: int | None = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):  # nothing is drawn twice, and torch's own generator is left alone
            self.transformer = Transformer(config)
            if not config.tie_word_embeddings:
                self.lm_head = Linear(config.n_embd, config.vocab_size, bias=False)
        self.to(dtype)
        if torch.device(device).type != "meta":
            self.to_empty(device=device)
            if seed is not None:
                initial.draw(self, seed, self._std)

    def _std(self, name: str) -> float:
        """initializer_range, divided by √(2·n_layer) where a branch joins the residual, as transformers does it."""
        std = self.config.initializer_range
        return std / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else std

    @property
    def head_VD(self) -> Matrix:
        """The output matrix: the token embedding where they are tied."""
        return self.transformer.wte.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """What the head reads, [B, T, D]. Raises GenerationError when T exceeds the context."""
        tokens, most = ids_BT.shape[1], self.config.context
        if tokens > most:
            raise GenerationError(f"{tokens} tokens exceed the model's context of {most}; cut the sequence")
        hidden_BTD: Tensor = self.transformer(ids_BT, torch.arange(tokens, device=ids_BT.device))
        return hidden_BTD

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits of every position, [B, T, V]."""
        return linear(self.hidden(ids_BT), self.head_VD)

    def loss(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross-entropy in nats of the targets (already shifted by the caller; -100 is left out), for training."""
        return cross_entropy(self.hidden(ids_BT).flatten(0, 1), self.head_VD, targets_BT.flatten())

    @torch.no_grad()
    def token_losses(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Cross-entropy in nats of each target, [B, T], 0 where it is -100, for evaluation: no gradients."""
        return token_losses(self.hidden(ids_BT).flatten(0, 1), self.head_VD, targets_BT.flatten()).view_as(targets_BT)

    def new_cache(self) -> Cache:
        """An empty cache for decoding with this model, of its type and on its device."""
        c, weight = self.config, self.transformer.wte.weight
        return Cache(
            layers=c.n_layer, kv_heads=c.kv_heads, head_size=c.head_size, context=c.context,
            dtype=weight.dtype, device=weight.device,
        )  # fmt: skip

    def step(
        self, batch: Sequence[tuple[int, Ids]], cache: Cache, every: bool | Sequence[bool] = False
    ) -> list[Tensor]:
        """Append each sequence's new ids to its slot; logits after the last of them, or after each: see `decoding.step`."""
        return decoding.step(self.transformer, self.head_VD, batch, cache, every)
