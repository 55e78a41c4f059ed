"""The shape of a Starcoder2 model: field names and defaults are the keys and defaults of Hugging Face's config.json.

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

# Bounds: our choice, as those of GPTBigCode.
_WHOLE: Final = {
    "vocab_size": (1, 2**20),
    "hidden_size": (1, 2**16),
    "intermediate_size": (1, 2**18),
    "num_hidden_layers": (1, 1024),
    "num_attention_heads": (1, 1024),
    "num_key_value_heads": (1, 1024),
    "max_position_embeddings": (1, 2**20),
    "sliding_window": (1, 2**30),
}
_REAL: Final = {  # (at least, below)
    "rope_theta": (1.0, 1e12),
    "attention_dropout": (0.0, 1.0),
    "residual_dropout": (0.0, 1.0),
    "embedding_dropout": (0.0, 1.0),
    "norm_epsilon": (1e-30, 1.0),
    "initializer_range": (0.0, 10.0),
}
# Keys of which one value only means this model: the published config.json files name the first three.
_ONLY: Final[dict[str, tuple[object, ...]]] = {
    "mlp_type": ("default",),
    "norm_type": ("layer_norm",),
    "scale_attn_weights": (True,),
    "partial_rotary_factor": (1.0, 1, None),
}
# Keys that transformers does not look at for this family, and published files hold all the same: the activation's and the
# epsilon's names in GPTBigCode (`hidden_act` and `norm_epsilon` count), and switches for a softmax that is in float32 anyway.
# The rest is read apart, below.
_HARMLESS: Final = frozenset(
    (
        *("activation_function", "layer_norm_epsilon"),
        *("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"),
        *("rope_parameters", "rope_scaling", "head_dim"),
    )
)
_ROPE_KEYS: Final = ("rope_theta", "rope_type", "type", "partial_rotary_factor")


@dataclass(frozen=True, slots=True)
class Starcoder2Config:
    """One Starcoder2 architecture. Raises CheckpointError for a field that is out of bounds or of the wrong type."""

    model_type: ClassVar[str] = "starcoder2"
    embedding: ClassVar[str] = "model.embed_tokens.weight"  # whose tied copy is the head
    context_field: ClassVar[str] = "max_position_embeddings"

    vocab_size: int = 49152
    hidden_size: int = 3072
    intermediate_size: int = 12288
    num_hidden_layers: int = 30
    num_attention_heads: int = 24
    num_key_value_heads: int = 2
    hidden_act: Activation = "gelu_pytorch_tanh"
    max_position_embeddings: int = 4096
    sliding_window: int | None = None  # tokens that one attends to, itself among them; None: all before it
    rope_theta: float = 10_000.0
    use_bias: bool = True  # of the linear maps; norms have one in any case
    tie_word_embeddings: bool = True
    norm_epsilon: float = 1e-5
    initializer_range: float = 0.018042
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    embedding_dropout: float = 0.0
    bos_token_id: int | None = None  # transformers' default is GPT-2's 50256; ours is none
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Every field within its bounds, and all of them together; nothing is allocated."""
        checks.check_whole(self, _WHOLE, optional=("sliding_window",))
        checks.check_real(self, _REAL)
        checks.check_switches(self)
        checks.check_activation("hidden_act", self.hidden_act)
        heads = self.num_attention_heads
        if self.hidden_size % heads or self.head_size % 2:
            raise checks.refused("num_attention_heads", heads, "a divisor of hidden_size, which is "
                                 f"{self.hidden_size}, into heads of an even size, whose halves turn together")  # fmt: skip
        if heads % self.num_key_value_heads:
            wanted = f"a divisor of num_attention_heads, which is {heads}"
            raise checks.refused("num_key_value_heads", self.num_key_value_heads, wanted)
        checks.check_token_ids(self)
        checks.check_size(self, "hidden_size, num_hidden_layers and intermediate_size")

    @property
    def context(self) -> int:
        """The longest sequence that the model was made for."""
        return self.max_position_embeddings

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_heads(self) -> int:
        """Key/value heads, each shared by as many queries as the next."""
        return self.num_key_value_heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every parameter, as in the state dict; a tied lm_head is no parameter of its own."""
        width, inner = self.hidden_size, self.intermediate_size
        keys = self.kv_heads * self.head_size
        linears = {  # (out, in), as nn.Linear stores them
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, width),
            "mlp.c_fc": (inner, width),
            "mlp.c_proj": (width, inner),
        }
        shapes: dict[str, tuple[int, ...]] = {self.embedding: (self.vocab_size, width)}
        for layer in range(self.num_hidden_layers):
            block = f"model.layers.{layer}"
            for linear, (rows, columns) in linears.items():
                shapes[f"{block}.{linear}.weight"] = (rows, columns)
                if self.use_bias:
                    shapes[f"{block}.{linear}.bias"] = (rows,)
            for norm in ("input_layernorm", "post_attention_layernorm"):
                shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
        shapes |= {"model.norm.weight": (width,), "model.norm.bias": (width,)}
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, width)
        return shapes

    def parameter_count(self) -> int:
        """Exact number of parameters, a tied embedding counted once."""
        width, inner = self.hidden_size, self.intermediate_size
        keys = self.kv_heads * self.head_size
        biases = 3 * width + 2 * keys + inner if self.use_bias else 0
        layer = 4 * width + 2 * width * (width + keys + inner) + biases
        embeddings = self.vocab_size * (1 if self.tie_word_embeddings else 2) * width
        return embeddings + self.num_hidden_layers * layer + 2 * width

    def flops(self, context: int | None = None) -> FlopsPerToken:
        """Floating-point operations a token, by what computes them, on a context of that length (default
        max_position_embeddings); of a window no more than it holds."""
        return flops_per_token(
            width=self.hidden_size,
            layers=self.num_hidden_layers,
            keys=self.kv_heads * self.head_size,
            inner=self.intermediate_size,
            vocabulary=self.vocab_size,
            tokens=min(self.context if context is None else context, self.sliding_window or self.context),
        )

    def flops_per_token(self, context: int | None = None, *, training: bool = True) -> int:
        """Their sum; with `training` of the forward and the backward pass."""
        return self.flops(context).training() if training else self.flops(context).forward

    def to_json(self) -> dict[str, object]:
        """What config.json holds, in the order of the fields, so that transformers' AutoModelForCausalLM loads it.

        The base of the rotation is said twice: `rope_theta` as transformers 4 and others read it, `rope_parameters` as 5 does.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {name: float(fields[name]) for name in _REAL}  # transformers refuses a whole number for some
        if isinstance(self.eos_token_id, tuple):
            fields["eos_token_id"] = list(self.eos_token_id)
        fields["rope_parameters"] = {"rope_type": "default", "rope_theta": fields["rope_theta"]}
        return {
            "architectures": ["Starcoder2ForCausalLM"], "model_type": self.model_type, **fields, "use_cache": True
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, object], where: str = "config.json") -> Starcoder2Config:
        """The config that a parsed config.json describes. A key that could change the mathematics is an error.

        Raises CheckpointError naming `where`, the key, its value, and what to do.
        """
        checks.check_family(data, cls.model_type, where)
        known = [field.name for field in dataclasses.fields(cls)]
        values = checks.read_fields(known, data, where, aliases={}, only=_ONLY, harmless=_HARMLESS)
        thetas = _rope_thetas(data, where)
        first = next(iter(thetas.values()), None)
        if any(theta != first for theta in thetas.values()):
            said = ", ".join(f"{shown(theta)} in {key}" for key, theta in thetas.items())
            raise CheckpointError(f"{where}: rope_theta is given twice, {said}; keep one")
        if thetas:
            values["rope_theta"] = first
        try:
            config = cls(**values)
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from None
        size = data.get("head_dim")
        if size is not None and size != config.head_size:
            raise CheckpointError(f"{where}: head_dim is {shown(size)}, and starloom computes hidden_size / "
                                  f"num_attention_heads only, which is {config.head_size}; remove the key")  # fmt: skip
        return config


def _rope_thetas(data: Mapping[str, object], where: str) -> dict[str, object]:
    """Where the base of the rotation is given → what it is there. A rotation that is scaled, or partial, is an error."""
    found = {"rope_theta": data["rope_theta"]} if "rope_theta" in data else {}
    for name in ("rope_parameters", "rope_scaling"):
        rope = data.get(name)
        if rope is None:
            continue
        plain = (
            isinstance(rope, dict)
            and set(rope) <= set(_ROPE_KEYS)
            and all(rope.get(key, "default") == "default" for key in ("rope_type", "type"))
            and rope.get("partial_rotary_factor", 1.0) in (1.0, None)
        )
        if not plain:
            raise CheckpointError(f"{where}: {name} is {shown(rope)}, and starloom computes the plain rotation only; "
                                  "load a checkpoint without scaling")  # fmt: skip
        if isinstance(rope, dict) and "rope_theta" in rope:
            found[name] = rope["rope_theta"]
    return found
