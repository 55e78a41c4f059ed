"""The shape of a GPTBigCode model: field names and defaults are the keys and defaults of Hugging Face's config.json.

A config that exists is valid: every field is bounded before anything is allocated. No torch here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from starloom.errors import CheckpointError
from starloom.models import config_checks as checks
from starloom.models.config_checks import Activation, shown
from starloom.models.flops import FlopsPerToken, flops_per_token

# Bounds: our choice, each several times the largest published value (StarCoderBase 15B), so that a damaged or hostile
# config is refused before it allocates.
_WHOLE: Final = {
    "vocab_size": (1, 2**20),
    "n_positions": (1, 2**20),
    "n_embd": (1, 2**16),
    "n_layer": (1, 1024),
    "n_head": (1, 1024),
    "n_inner": (1, 2**18),
}
_REAL: Final = {  # (at least, below)
    "resid_pdrop": (0.0, 1.0),
    "embd_pdrop": (0.0, 1.0),
    "attn_pdrop": (0.0, 1.0),
    "layer_norm_epsilon": (1e-30, 1.0),
    "initializer_range": (0.0, 10.0),
}
# transformers reads these spellings as the fields behind them (its `attribute_map`).
_ALIASES: Final = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}


@dataclass(frozen=True, slots=True)
class GPTBigCodeConfig:
    """One GPTBigCode architecture. Raises CheckpointError for a field that is out of bounds or of the wrong type.

    `attention_softmax_in_fp32` and `scale_attention_softmax_in_fp32` are kept and written back, and read as true: the
    softmax is never computed in less than float32 (nor does transformers 5 look at them).
    """

    model_type: ClassVar[str] = "gpt_bigcode"
    embedding: ClassVar[str] = "transformer.wte.weight"  # whose tied copy is the head
    context_field: ClassVar[str] = "n_positions"

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # None: 4 × n_embd
    activation_function: Activation = "gelu_pytorch_tanh"
    multi_query: bool = True
    tie_word_embeddings: bool = True
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    scale_attn_weights: bool = True
    attention_softmax_in_fp32: bool = True
    scale_attention_softmax_in_fp32: bool = True
    bos_token_id: int | None = None  # transformers' default is GPT-2's 50256; ours is none
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Every field within its bounds, and all of them together; nothing is allocated."""
        checks.check_whole(self, _WHOLE, optional=("n_inner",))
        checks.check_real(self, _REAL)
        checks.check_switches(self)
        checks.check_activation("activation_function", self.activation_function)
        if self.n_embd % self.n_head:
            raise checks.refused("n_head", self.n_head, f"a divisor of n_embd, which is {self.n_embd}")
        checks.check_token_ids(self)
        checks.check_size(self, "n_embd, n_layer and n_inner")

    @property
    def context(self) -> int:
        """The longest sequence that there are positions for."""
        return self.n_positions

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        """Key/value heads: one in multi-query attention."""
        return 1 if self.multi_query else self.n_head

    @property
    def inner(self) -> int:
        """Width of the MLP's hidden layer."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every parameter, as in the state dict; a tied lm_head is no parameter of its own."""
        width, inner = self.n_embd, self.inner
        linears = {  # (out, in), as nn.Linear stores them
            "attn.c_attn": (width + 2 * self.kv_heads * self.head_size, width),
            "attn.c_proj": (width, width),
            "mlp.c_fc": (inner, width),
            "mlp.c_proj": (width, inner),
        }
        shapes: dict[str, tuple[int, ...]] = {
            self.embedding: (self.vocab_size, width),
            "transformer.wpe.weight": (self.n_positions, width),
        }
        for layer in range(self.n_layer):
            block = f"transformer.h.{layer}"
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
            for linear, (rows, columns) in linears.items():
                shapes |= {f"{block}.{linear}.weight": (rows, columns), f"{block}.{linear}.bias": (rows,)}
        shapes |= {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, width)
        return shapes

    def parameter_count(self) -> int:
        """Exact number of parameters, a tied embedding counted once."""
        width, inner = self.n_embd, self.inner
        qkv = width + 2 * self.kv_heads * self.head_size
        layer = 4 * width + qkv * (width + 1) + width * (width + 1) + inner * (width + 1) + width * (inner + 1)
        embeddings = (self.vocab_size * (1 if self.tie_word_embeddings else 2) + self.n_positions) * width
        return embeddings + self.n_layer * layer + 2 * width

    def flops(self, context: int | None = None) -> FlopsPerToken:
        """Floating-point operations a token, by what computes them, on a context of that length (default n_positions)."""
        return flops_per_token(
            width=self.n_embd,
            layers=self.n_layer,
            keys=self.kv_heads * self.head_size,
            inner=self.inner,
            vocabulary=self.vocab_size,
            tokens=self.n_positions if context is None else context,
        )

    def flops_per_token(self, context: int | None = None, *, training: bool = True) -> int:
        """Their sum; with `training` of the forward and the backward pass: the usual 6·N + 12·L·T·D."""
        return self.flops(context).training() if training else self.flops(context).forward

    def to_json(self) -> dict[str, object]:
        """What config.json holds, in the order of the fields, so that transformers' AutoModelForCausalLM loads it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {name: float(fields[name]) for name in _REAL}  # transformers refuses a whole number for some
        if isinstance(self.eos_token_id, tuple):
            fields["eos_token_id"] = list(self.eos_token_id)
        return {"architectures": ["GPTBigCodeForCausalLM"], "model_type": self.model_type, **fields, "use_cache": True}

    @classmethod
    def from_json(cls, data: Mapping[str, object], where: str = "config.json") -> GPTBigCodeConfig:
        """The config that a parsed config.json describes. A key that could change the mathematics is an error.

        Raises CheckpointError naming `where`, the key, its value, and what to do.
        """
        checks.check_family(data, cls.model_type, where)
        known = [field.name for field in dataclasses.fields(cls)]
        harmless = frozenset({"num_key_value_heads"})  # compared below
        values = checks.read_fields(known, data, where, aliases=_ALIASES, only={}, harmless=harmless)
        try:
            config = cls(**values)
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from None
        heads = data.get("num_key_value_heads", config.kv_heads)
        if heads != config.kv_heads:
            raise CheckpointError(
                f"{where}: num_key_value_heads is {shown(heads)}, but multi_query is {config.multi_query}, which means "
                f"{config.kv_heads}; correct one of them"
            )
        return config
