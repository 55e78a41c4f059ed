"""Bytes that training takes on the fullest device: weights, gradients, optimizer state, activations. No torch.

What is covered: what lies in memory between kernels at the worst moment of a step. What is not: the library's own share
(a CUDA context is about 0.5 GB), work space of kernels and of communication, and fragmentation.
"""

# B sequences on the device at once, T tokens, D width, K width of the keys of all key/value heads, I inner width of the MLP,
# N query heads, V vocabulary, t tensor-parallel degree, d data-parallel degree

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Final, Literal

from starloom.errors import ConfigError
from starloom.models.config import GPTBigCodeConfig, ModelConfig

Recompute = Literal["none", "selective", "full"]  # activations computed again in the backward pass: none, scores, all
Shard = Literal["none", "optimizer", "full"]  # over data-parallel devices: nothing, ZeRO 1, ZeRO 3 (FSDP)
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What both families' configs say in words of their own."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_size: int
    dropout: bool  # on what a layer adds
    scores_dropout: bool


def dimensions(model: ModelConfig) -> Dimensions:
    """The sizes of a model of either family."""
    if isinstance(model, GPTBigCodeConfig):
        sizes = model.n_layer, model.n_embd, model.inner, model.n_head
        drops = model.resid_pdrop > 0, model.attn_pdrop > 0
    else:
        sizes = model.num_hidden_layers, model.hidden_size, model.intermediate_size, model.num_attention_heads
        drops = model.residual_dropout > 0, model.attention_dropout > 0
    return Dimensions(*sizes, model.kv_heads, model.head_size, *drops)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Bytes a parameter in each role, and of an element of an activation."""

    weights: int
    gradients: int
    master: int  # a copy of the weights in 32 bits, which the optimizer updates
    master_gradients: int  # one of the gradients, in the optimizer's hands only
    activations: int


# 16, 18 and 20 bytes a parameter with Adam's moments: docs/distrib_optimizer.md of Megatron-LM, by which BigCode trained.
# autocast: weights and gradients in 32 bits, matrix products in 16 (torch's). pure: everything in 16 bits, no master.
NUMBERS: Final[dict[str, Numbers]] = {
    "fp32": Numbers(4, 4, 0, 0, 4),
    "fp16": Numbers(2, 2, 4, 4, 2),
    "bf16": Numbers(2, 4, 4, 0, 2),
    "autocast": Numbers(4, 4, 0, 0, 2),
    "pure": Numbers(2, 2, 0, 0, 2),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a run lies on its devices."""

    devices: int = 1
    tensor: int = 1  # devices that share each layer's matrices
    pipeline: int = 1  # groups of layers one after another
    shard: Shard = "none"
    sequence: bool = False  # sequence parallelism: tensor-parallel devices share what lies between the matrices too
    micro_batch: int = 1  # sequences on a device at once
    numbers: str = "bf16"  # of NUMBERS
    recompute: Recompute = "none"
    scores_kept: bool = False  # attention that stores its scores; flash kernels and SDPA do not

    def __post_init__(self) -> None:
        for name in ("devices", "tensor", "pipeline", "micro_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; use 1 or more")
        if self.devices % (self.tensor * self.pipeline):
            raise ConfigError(
                f"{self.devices} devices are no multiple of tensor {self.tensor} × pipeline {self.pipeline}; "
                "change one of them"
            )
        if self.numbers not in NUMBERS:
            raise ConfigError(f"numbers are {', '.join(NUMBERS)}, not '{self.numbers}'")

    @property
    def data(self) -> int:
        """Copies of the model that each take their own sequences."""
        return self.devices // (self.tensor * self.pipeline)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the fullest device, by what takes them."""

    weights: float
    gradients: float
    optimizer: float  # its state, the master copies among it
    activations: float
    logits: float
    gathered: float  # layers whose shards are brought together to be computed with

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.gathered


def held(model: ModelConfig, tensor: int = 1, pipeline: int = 1) -> Shapes:
    """Name → shape of the parameters on the fullest device.

    Matrices are split as Megatron-LM does: queries, heads, inner width and vocabulary by `tensor`, key/value heads too but
    at least one on each device; norms, positions and the biases of what is summed lie on all. The first stage holds the
    embedding, the last the head, of which it has its own copy where the two are tied.
    """
    sizes = dimensions(model)
    if sizes.inner % tensor or sizes.heads % tensor:
        raise ConfigError(
            f"{sizes.heads} heads and an inner width of {sizes.inner} cannot both be split {tensor} ways; "
            "make tensor a divisor of both"
        )
    if pipeline > sizes.layers:
        raise ConfigError(f"pipeline is {pipeline}, but there are {sizes.layers} layers; use {sizes.layers} or fewer")
    split = {name: _split(name, shape, model, tensor) for name, shape in model.shapes().items()}
    if pipeline == 1:
        return split
    layers = range(-(-sizes.layers // pipeline))  # the fullest stage
    body = {name: shape for name, shape in split.items() if any(f".{layer}." in name for layer in layers)}
    rest = {name: shape for name, shape in split.items() if not any(part.isdigit() for part in name.split("."))}
    last = {name: shape for name, shape in rest.items() if "norm" in name or "ln_f" in name or "lm_head" in name}
    first = {name: shape for name, shape in rest.items() if name not in last}
    if "lm_head.weight" not in last:
        last["lm_head.weight"] = split[model.embedding]
    return {**body, **(first if elements(first) >= elements(last) else last)}


def _split(name: str, shape: tuple[int, ...], model: ModelConfig, tensor: int) -> tuple[int, ...]:
    rows, *rest = shape
    sizes = dimensions(model)
    keys = max(1, sizes.kv_heads // tensor) * sizes.head_size
    parts = name.split(".")
    if len(parts) < 2 or tensor == 1:
        return shape
    linear = parts[-2]
    if linear == "c_attn":
        return (sizes.width // tensor + 2 * keys, *rest)
    if linear in ("k_proj", "v_proj"):
        return (keys, *rest)
    if linear in ("q_proj", "c_fc", "lm_head") or name == model.embedding:
        return (-(-rows // tensor), *rest)
    if linear in ("c_proj", "o_proj") and rest:
        return (rows, rest[0] // tensor)
    return shape


def elements(shapes: Shapes) -> int:
    """Numbers in all of them together."""
    return sum(map(prod, shapes.values()))


def optimizer_state(shapes: Shapes, optimizer: str) -> int:
    """Bytes of an optimizer's state in 32 bits, without copies of the weights: adamw, muon, adafactor.

    AdamW keeps two moments; Muon one for each matrix between the layers, and AdamW's for the rest; Adafactor, as
    transformers has it and without a first moment, a number for each row and each column of a matrix.
    """
    if optimizer == "adamw":
        return 8 * elements(shapes)
    if optimizer == "muon":
        return sum((4 if is_hidden(name, shape) else 8) * prod(shape) for name, shape in shapes.items())
    if optimizer == "adafactor":
        return sum(4 * (sum(shape) if len(shape) >= 2 else prod(shape)) for shape in shapes.values())
    raise ConfigError(f"no optimizer '{optimizer}'; memory is known of adamw, muon and adafactor")


def is_hidden(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is a matrix between the layers: Muon's (`train.optimizer` says the same of tensors)."""
    return len(shape) == 2 and any(layers in f".{name}" for layers in (".h.", ".layers."))


def layer_activations(model: ModelConfig, context: int, layout: Layout) -> float:
    """Bytes that the forward pass of one layer keeps for its backward pass (Korthikanti et al. 2022, arXiv 2205.05198,
    section 4.1; with 2-byte numbers, multi-head attention and dropout B·T·D·(34 + 5·N·T/D), its equation 1).
    """
    sizes, size, t = dimensions(model), NUMBERS[layout.numbers].activations, layout.tensor
    tokens, keys = layout.micro_batch * context, max(1, sizes.kv_heads // t) * sizes.head_size  # on each device
    between = 4 * size * sizes.width + 2 * sizes.width * sizes.dropout  # inputs of norms and linears; masks of one byte
    if layout.recompute == "full":
        return tokens * size * sizes.width / (t if layout.sequence else 1)  # the layer's input alone
    # queries, what attention gives, before and after the activation function; keys and values
    within = size * (2 * sizes.width + 2 * sizes.inner) / t + 2 * size * keys
    scores = 0.0
    if (
        layout.scores_kept and layout.recompute == "none"
    ):  # after the softmax, its dropout's mask, and after the dropout
        scores = sizes.heads / t * context * (2 * size + 1 if sizes.scores_dropout else size)
    return tokens * (between / (t if layout.sequence else 1) + within + scores)


def memory(model: ModelConfig, context: int, optimizer: str, layout: Layout) -> Memory:
    """What a run takes on its fullest device.

    Of a pipeline the first stage holds activations of as many micro-batches as there are stages (one forward, one
    backward): as many layers as without (section 4.2.3 there).
    """
    sizes = dimensions(model)
    numbers, shapes = NUMBERS[layout.numbers], held(model, layout.tensor, layout.pipeline)
    count, d = elements(shapes), layout.data
    thin = d if layout.shard != "none" else 1
    both = d if layout.shard == "full" else 1
    state = optimizer_state(shapes, optimizer) + (numbers.master + numbers.master_gradients) * count
    one = layer_activations(model, context, layout)
    at_hand = layer_activations(
        model, context, replace(layout, recompute="none")
    )  # of the layer that is computed again
    kept = (sizes.layers - 1) * one + at_hand
    tokens = layout.micro_batch * context
    ends = tokens * (2 * numbers.activations + sizes.dropout) * sizes.width  # the last norm, the head's input, one mask
    gathered = 0.0
    if layout.shard == "full":  # the layer at hand, the one that is fetched ahead, and what is in no layer
        layer = elements({name: shape for name, shape in shapes.items() if ".0." in name})
        outside = elements(
            {name: shape for name, shape in shapes.items() if not any(map(str.isdigit, name.split(".")))}
        )
        gathered = float(numbers.activations * (2 * layer + outside))
    return Memory(
        weights=numbers.weights * count / both,
        gradients=numbers.gradients * count / both,
        optimizer=state / thin,
        activations=kept + ends / (layout.tensor if layout.sequence else 1),
        logits=4.0 * tokens * model.vocab_size / layout.tensor,
        gathered=gathered,
    )
