"""GPTBigCode, the model of SantaCoder and StarCoder: learned positions, pre-LayerNorm, one key/value head for all queries
(or one for each), parameter names as in Hugging Face checkpoints.
"""

# B batch, T tokens, D width, N query heads, K key/value heads (1 in multi-query attention), H head size, V vocabulary,
# R rows: the new tokens of all sequences of a decoding step, one after another. "…" stands for BT in training, R in decoding

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starloom.models import initial
from starloom.models.attention import attention
from starloom.models.cache import Cache, Past
from starloom.models.gpt_bigcode_config import GPTBigCodeConfig
from starloom.models.language_model import LanguageModel
from starloom.models.linear import Linear, Matrix


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

    def forward(self, x: Tensor, past: Past | None = None, documents: Tensor | None = None) -> Tensor:
        q, k, v = self.heads(self.c_attn(x))
        if past is not None:
            y = past.attend(self.layer, q, k, v, self.scale)
        else:
            dropout = self.config.attn_pdrop if self.training else 0.0
            y = attention(q, k, v, self.scale, dropout=dropout, documents_BT=documents)
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

    def forward(self, x: Tensor, past: Past | None = None, documents: Tensor | None = None) -> Tensor:
        training = self.training and past is None
        x = x + F.dropout(self.attn(self.ln_1(x), past, documents), self.dropout, training)
        return x + F.dropout(self.mlp(self.ln_2(x)), self.dropout, training)


class Transformer(nn.Module):
    def __init__(self, config: GPTBigCodeConfig) -> None:
        super().__init__()
        self.dropout = config.embd_pdrop
        self.wte = initial.embedding(config.vocab_size, config.n_embd)
        self.wpe = initial.embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(
        self, ids: Tensor, positions: Tensor, past: Past | None = None, documents: Tensor | None = None
    ) -> Tensor:
        x = self.wte(ids) + self.wpe(positions)
        x = F.dropout(x, self.dropout, self.training and past is None)
        for block in self.h:
            x = block(x, past, documents)
        normed: Tensor = self.ln_f(x)
        return normed


class GPTBigCode(LanguageModel):
    """The language model. Weights are drawn from the seed; with `seed=None` they are left as memory has them, to be loaded."""

    config: GPTBigCodeConfig

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
        self.fill(seed, self._std, dtype, device)

    def _std(self, name: str) -> float:
        """initializer_range, divided by √(2·n_layer) where a branch joins the residual, as transformers does it."""
        std = self.config.initializer_range
        return std / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else std

    @property
    def body(self) -> nn.Module:
        return self.transformer

    @property
    def embedding_VD(self) -> Matrix:
        weight: Matrix = self.transformer.wte.weight
        return weight

    def new_cache(self) -> Cache:
        c, weight = self.config, self.embedding_VD
        return Cache(
            layers=c.n_layer, kv_heads=c.kv_heads, head_size=c.head_size, context=c.context,
            dtype=weight.dtype, device=weight.device,
        )  # fmt: skip
