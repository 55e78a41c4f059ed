"""Starcoder2: rotary positions, grouped key/value heads, a sliding window, pre-LayerNorm; parameter names as in Hugging Face
checkpoints.
"""

# B batch, T tokens, D width, N query heads, K key/value heads, H head size, V vocabulary, R rows: the new tokens of all
# sequences of a decoding step, one after another. "…" stands for BT in training, R in decoding

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starloom.models import initial
from starloom.models.attention import attention
from starloom.models.cache import Cache, Past
from starloom.models.language_model import LanguageModel
from starloom.models.linear import Linear, Matrix
from starloom.models.starcoder2_config import Starcoder2Config

Turn = tuple[Tensor, Tensor]  # cosine and sine of each position's angles, [T or R, 1, H/2]


def turn(positions: Tensor, head_size: int, theta: float, dtype: torch.dtype) -> Turn:
    """Position p turns pair i of a head by p·θ^(−2i/H); angles in float32, as the published models had them."""
    halves = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device)
    angles = positions[:, None].float() * (1.0 / theta ** (halves / head_size))
    return angles.cos().to(dtype)[:, None], angles.sin().to(dtype)[:, None]


def turned(x: Tensor, turn: Turn) -> Tensor:
    """Heads [T or R, …, H] with their pairs turned; a pair is an element of the first half and its twin in the second."""
    cos, sin = turn
    one, other = x.chunk(2, -1)
    return torch.cat((one * cos - other * sin, other * cos + one * sin), -1)


class Attention(nn.Module):
    def __init__(self, config: Starcoder2Config, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.scale = config.head_size**-0.5
        width, keys = config.hidden_size, config.kv_heads * config.head_size
        self.q_proj = Linear(width, width, bias=config.use_bias)
        self.k_proj = Linear(width, keys, bias=config.use_bias)
        self.v_proj = Linear(width, keys, bias=config.use_bias)
        self.o_proj = Linear(width, width, bias=config.use_bias)

    def forward(self, x: Tensor, turn: Turn, past: Past | None = None, documents: Tensor | None = None) -> Tensor:
        size = self.config.head_size
        q, k, v = (linear(x).unflatten(-1, (-1, size)) for linear in (self.q_proj, self.k_proj, self.v_proj))
        q, k = turned(q, turn), turned(k, turn)
        if past is not None:
            y = past.attend(self.layer, q, k, v, self.scale)
        else:
            dropout = self.config.attention_dropout if self.training else 0.0
            y = attention(q, k, v, self.scale, self.config.sliding_window, dropout, documents)
        projected: Tensor = self.o_proj(y.flatten(-2))
        return projected


class MLP(nn.Module):
    def __init__(self, config: Starcoder2Config) -> None:
        super().__init__()
        self.c_fc = Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.c_proj = Linear(config.intermediate_size, config.hidden_size, bias=config.use_bias)
        # gelu_fast writes √(2/π) as 0.7978845608: the same function to 3e-12
        self.approximate = "none" if config.hidden_act == "gelu" else "tanh"

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate=self.approximate))
        return projected


class Layer(nn.Module):
    def __init__(self, config: Starcoder2Config, layer: int) -> None:
        super().__init__()
        self.dropout = config.residual_dropout
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.norm_epsilon)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.norm_epsilon)

    def forward(self, x: Tensor, turn: Turn, past: Past | None = None, documents: Tensor | None = None) -> Tensor:
        training = self.training and past is None
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), turn, past, documents), self.dropout, training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), self.dropout, training)


class Decoder(nn.Module):
    def __init__(self, config: Starcoder2Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = initial.embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.norm_epsilon)

    def forward(
        self, ids: Tensor, positions: Tensor, past: Past | None = None, documents: Tensor | None = None
    ) -> Tensor:
        x = self.embed_tokens(ids)
        x = F.dropout(x, self.config.embedding_dropout, self.training and past is None)
        angles = turn(positions, self.config.head_size, self.config.rope_theta, x.dtype)
        for layer in self.layers:
            x = layer(x, angles, past, documents)
        normed: Tensor = self.norm(x)
        return normed


class Starcoder2(LanguageModel):
    """The language model. Weights are drawn from the seed; with `seed=None` they are left as memory has them, to be loaded."""

    config: Starcoder2Config

    def __init__(
        self,
        config: Starcoder2Config,
        *,
        seed: int | None = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):  # nothing is drawn twice, and torch's own generator is left alone
            self.model = Decoder(config)
            if not config.tie_word_embeddings:
                self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        self.fill(seed, lambda name: config.initializer_range, dtype, device)

    @property
    def body(self) -> nn.Module:
        return self.model

    @property
    def embedding_VD(self) -> Matrix:
        weight: Matrix = self.model.embed_tokens.weight
        return weight

    def new_cache(self) -> Cache:
        c, weight = self.config, self.embedding_VD
        return Cache(
            layers=c.num_hidden_layers, kv_heads=c.kv_heads, head_size=c.head_size, context=c.context,
            window=c.sliding_window, dtype=weight.dtype, device=weight.device,
        )  # fmt: skip
