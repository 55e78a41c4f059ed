"""GPTBigCode, the model of SantaCoder and StarCoder: learned positions, pre-LayerNorm, one key/value head for all queries
(or one for each), parameter names as in Hugging Face checkpoints.
"""

# B batch, T tokens, D width, N query heads, K key/value heads (1 in multi-query attention), H head size, V vocabulary,
# R rows: the new tokens of all sequences of a decoding step, one after another. "…" stands for BT in training, R in decoding

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starloom.errors import CheckpointError, GenerationError
from starloom.models import checkpoint, initial
from starloom.models.cache import Cache, Past
from starloom.models.causal_attention import LONGEST, causal_attention
from starloom.models.config import GPTBigCodeConfig
from starloom.models.cross_entropy import cross_entropy, token_losses

Ids = Sequence[int] | np.ndarray


class Attention(nn.Module):
    def __init__(self, config: GPTBigCodeConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.scale = config.head_size**-0.5 if config.scale_attn_weights else 1.0
        self.c_attn = nn.Linear(config.n_embd, config.n_embd + 2 * config.kv_heads * config.head_size)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

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
        dropout = self.config.attn_pdrop if self.training else 0.0
        if past is not None:
            y = past.attend(self.layer, q, k, v, self.scale)
        elif q.requires_grad and q.device.type == "cpu" and not dropout and q.shape[1] <= LONGEST:
            y = causal_attention(q, k, v, self.scale)  # twice as fast as torch's on a CPU, gradients included
        else:
            y = F.scaled_dot_product_attention(
                q.transpose(1, 2),
                k.transpose(1, 2),
                v.transpose(1, 2),
                dropout_p=dropout,
                is_causal=True,
                scale=self.scale,
                enable_gqa=self.config.multi_query,
            ).transpose(1, 2)
        projected: Tensor = self.c_proj(y.flatten(-2))
        return projected


class MLP(nn.Module):
    def __init__(self, config: GPTBigCodeConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.inner)
        self.c_proj = nn.Linear(config.inner, config.n_embd)
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
        self.wte = _embedding(config.vocab_size, config.n_embd)
        self.wpe = _embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(self, ids: Tensor, positions: Tensor, past: Past | None = None) -> Tensor:
        x = self.wte(ids) + self.wpe(positions)
        x = F.dropout(x, self.dropout, self.training and past is None)
        for block in self.h:
            x = block(x, past)
        normed: Tensor = self.ln_f(x)
        return normed


def _embedding(rows: int, width: int) -> nn.Embedding:
    """Not drawn from anything: on the meta device nn.Embedding's own draw imports torch's compiler, which takes seconds."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


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
                self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.to(dtype)
        if torch.device(device).type != "meta":
            self.to_empty(device=device)
            if seed is not None:
                self.initialize(seed)

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """N(0, initializer_range²), divided by √(2·n_layer) where a branch joins the residual; biases 0, norms 1.

        As transformers does it; each parameter is a function of the seed and its own name.
        """
        std = self.config.initializer_range
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            else:
                scaled = std / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else std
                parameter.copy_(torch.from_numpy(initial.normal(seed, name, tuple(parameter.shape), scaled)))

    @property
    def head_VD(self) -> Tensor:
        """The output matrix: the token embedding where they are tied."""
        return self.transformer.wte.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """What the head reads, [B, T, D]. Raises GenerationError when T exceeds the context."""
        if ids_BT.shape[1] > self.config.n_positions:
            raise GenerationError(f"{ids_BT.shape[1]} tokens exceed the model's context of {self.config.n_positions}; "
                                  "cut the sequence")  # fmt: skip
        hidden_BTD: Tensor = self.transformer(ids_BT, torch.arange(ids_BT.shape[1], device=ids_BT.device))
        return hidden_BTD

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits of every position, [B, T, V]."""
        return F.linear(self.hidden(ids_BT), self.head_VD)

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
            layers=c.n_layer, kv_heads=c.kv_heads, head_size=c.head_size, context=c.n_positions,
            dtype=weight.dtype, device=weight.device,
        )  # fmt: skip

    @torch.inference_mode()
    def step(
        self, batch: Sequence[tuple[int, Ids]], cache: Cache, every: bool | Sequence[bool] = False
    ) -> list[Tensor]:
        """Append each sequence's new ids to its slot. For each: logits [1, V] after its last id, or [ids, V] where `every`.

        A prompt, one more token and the check of a draft are the same call, mixed as one likes; lengths may differ, and no
        sequence sees another. Logits are at least float32. Raises GenerationError, with the cache as it was, for an id
        outside the vocabulary, a slot named twice, no ids, or a sequence beyond the context.
        """
        if not batch:
            return []
        rows = [_checked(ids, self.config.vocab_size) for _, ids in batch]
        past = cache.extend((slot, len(ids)) for (slot, _), ids in zip(batch, rows, strict=True))
        ids_R = torch.from_numpy(np.concatenate(rows)).to(cache.device)
        x_RD = self.transformer(ids_R, past.positions_R, past)
        wanted = [every] * len(batch) if isinstance(every, bool) else list(every)
        counts = [len(ids) if all_ids else 1 for ids, all_ids in zip(rows, wanted, strict=True)]
        ends = np.cumsum([len(ids) for ids in rows]).tolist()
        x_RD = torch.cat([x_RD[end - count : end] for end, count in zip(ends, counts, strict=True)])
        logits_RV = F.linear(x_RD, self.head_VD)
        past.finish()
        return list(torch.split(logits_RV if logits_RV.dtype == torch.float64 else logits_RV.float(), counts))


def load_model(
    folder: Path | str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> GPTBigCode:
    """A model from a folder in the Hugging Face layout, in the type that it is stored in unless one is given, in eval mode.

    On the CPU and in the stored type the weights stay memory-mapped, copied page by page if they are changed. Raises
    CheckpointError for whatever is missing, misshapen, unsafe, or another architecture.
    """
    folder = Path(folder)
    config = checkpoint.read_config(folder)
    tensors = checkpoint.load_tensors(folder, config)
    if dtype is None:
        dtypes = {tensor.dtype for tensor in tensors.values()}
        if len(dtypes) > 1:
            raise CheckpointError(f"{folder}: tensors of several types ({', '.join(sorted(map(str, dtypes)))}); "
                                  "say which to compute in, as dtype=torch.float32")  # fmt: skip
        dtype = dtypes.pop()
    model = GPTBigCode(config, seed=None, dtype=dtype, device="meta")
    model.load_state_dict({name: tensor.to(device, dtype) for name, tensor in tensors.items()}, assign=True)
    return model.eval()


def save_model(model: GPTBigCode, folder: Path | str) -> None:
    """Write the model as a folder that transformers' AutoModelForCausalLM loads; each file atomically."""
    checkpoint.save(Path(folder), model.config, dict(model.state_dict()))


def _checked(ids: Ids, vocab_size: int) -> np.ndarray:
    """Ids as int64, all of them in the vocabulary (outside it a GPU would stop the whole process)."""
    array = np.asarray(ids, dtype=np.int64)
    if array.ndim != 1:
        raise GenerationError(f"ids of shape {array.shape}; a step takes a flat list of ids for each slot")
    if len(array) and (array.min() < 0 or array.max() >= vocab_size):
        bad = int(array[(array < 0) | (array >= vocab_size)][0])
        raise GenerationError(f"token id {bad} is outside the model's vocabulary of {vocab_size}; "
                              "is it another model's tokenizer?")  # fmt: skip
    return array
