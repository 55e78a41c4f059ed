"""Plans against what torch counts and keeps, against the published formulas, and against themselves."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from starloom.errors import ConfigError
from starloom.models.config import GPTBigCodeConfig, ModelConfig, Starcoder2Config
from starloom.models.presets import PRESETS, SANTACODER, SANTACODER_MHA
from starloom.train import devices, plan
from starloom.train.budget import Minutes, Steps, Tokens
from starloom.train.formulas import FORMULAS
from starloom.train.memory import NUMBERS, Layout, elements, held, is_hidden, layer_activations, memory, optimizer_state
from starloom.train.optimizer import Optimizer
from starloom.train.plan import Plan, Run
from starloom.train.schedule import Schedule
from starloom.train.settings import Adafactor, AdamW, Muon

TOKENS = 24
SMALL: tuple[ModelConfig, ...] = (
    GPTBigCodeConfig(vocab_size=96, n_positions=32, n_embd=48, n_layer=2, n_head=4, n_inner=80),
    GPTBigCodeConfig(vocab_size=96, n_positions=32, n_embd=48, n_layer=3, n_head=4, multi_query=False),
    Starcoder2Config(vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
                     num_key_value_heads=2, max_position_embeddings=32, sliding_window=None),
)  # fmt: skip
SANTACODER_RUN = Run(SANTACODER, 2048, 192, 600_000, AdamW(lr=2e-4), Schedule("cosine", warmup=0.02), "fp16")


def transformers_model(config: ModelConfig, attention: str = "eager") -> Any:
    """transformers' own model; its eager attention multiplies plain matrices and keeps their scores."""
    transformers = pytest.importorskip("transformers")
    settings = {key: value for key, value in config.to_json().items() if key != "architectures"}
    family = transformers.GPTBigCodeConfig if isinstance(config, GPTBigCodeConfig) else transformers.Starcoder2Config
    return transformers.AutoModelForCausalLM.from_config(family(**settings, attn_implementation=attention))


Counts = dict[str, dict[str, int]]  # module → kernel → operations


def counted(model: Any, ids: torch.Tensor) -> tuple[Counts, Counts]:
    """What torch counts in a forward and in a backward pass."""
    with FlopCounterMode(display=False) as forward:
        logits = model(ids, use_cache=False).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    both = [
        {
            name: {str(kernel): flops for kernel, flops in kernels.items()}
            for name, kernels in one.get_flop_counts().items()
        }
        for one in (forward, backward)
    ]
    return both[0], both[1]


@pytest.mark.parametrize("config", SMALL, ids=["mqa", "mha", "gqa"])
def test_each_term_of_a_plan_is_what_torch_counts(config: ModelConfig) -> None:
    forward, backward = counted(transformers_model(config), torch.zeros(1, TOKENS, dtype=torch.long))

    def modules(*names: str) -> int:
        return sum(sum(kernels.values()) for module, kernels in forward.items() if module.endswith(names))

    terms = {name: TOKENS * each for name, each in FORMULAS["model"].terms(config, TOKENS).items()}
    projections = ("attn.c_attn", "attn.c_proj", "q_proj", "k_proj", "v_proj", "o_proj")
    assert terms["attention projections"] == 3 * modules(*projections)
    assert terms["mlp"] == 3 * modules("mlp.c_fc", "mlp.c_proj")
    assert terms["head"] == 3 * modules("lm_head")
    scores = forward["Global"]["aten.bmm"] + backward["Global"]["aten.bmm"]  # batched products: these and nothing else
    assert terms["attention scores"] == scores
    assert sum(terms.values()) == sum(forward["Global"].values()) + sum(backward["Global"].values())


@pytest.mark.parametrize("config", SMALL[:2], ids=["mqa", "mha"])
def test_recomputing_layers_costs_what_torch_counts(config: ModelConfig) -> None:
    model = transformers_model(config)
    for layer in model.transformer.h:
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)
    forward, backward = counted(model, torch.zeros(1, TOKENS, dtype=torch.long))
    total = sum(forward["Global"].values()) + sum(backward["Global"].values())
    assert TOKENS * sum(FORMULAS["full"].terms(config, TOKENS).values()) == total


@given(context=st.integers(1, 60), window=st.integers(1, 60))
def test_causal_scores_are_those_of_every_pair_that_may_look_at_each_other(context: int, window: int) -> None:
    config = dataclasses.replace(PRESETS["starcoder2-3b"], sliding_window=window)
    pairs = sum(1 for query in range(context) for key in range(context) if query - window < key <= query)
    each = FORMULAS["causal"].terms(config, context)["attention scores"] * context
    assert each == pytest.approx(12 * config.num_hidden_layers * config.hidden_size * pairs)


def test_santacoder_takes_what_the_facts_say_by_each_formula() -> None:
    totals = {name: f"{SANTACODER_RUN.total(name):.3g}" for name in FORMULAS}
    assert SANTACODER_RUN.tokens == 235_929_600_000
    assert totals["6ND"] == "1.59e+21"
    assert totals["model"] == "1.87e+21"
    assert totals["mha"] == "2.14e+21"
    assert totals["full"] == "2.45e+21"


def test_counting_as_multi_head_is_the_multi_head_model() -> None:
    assert FORMULAS["mha"].terms(SANTACODER, 2048) == FORMULAS["model"].terms(SANTACODER_MHA, 2048)


@pytest.mark.parametrize("name", ["santacoder", "starcoderbase-7b"])
def test_narayanan_is_its_equation(name: str) -> None:
    config = PRESETS[name]
    assert isinstance(config, GPTBigCodeConfig)
    s, h, layers, v = config.n_positions, config.n_embd, config.n_layer, config.vocab_size
    equation = 72 * layers * h**2 * (1 + s / (6 * h) + v / (16 * layers * h))  # arXiv 2104.04473, eq. 3, 96 → 72
    assert sum(FORMULAS["narayanan"].terms(config, s).values()) == pytest.approx(equation)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_model_formula_is_that_of_the_config(name: str) -> None:
    config = PRESETS[name]
    assert sum(FORMULAS["model"].terms(config, 512).values()) == config.flops_per_token(512)


@pytest.mark.parametrize("settings", [AdamW(), Muon(), Adafactor()], ids=plan.optimizer_name)
@pytest.mark.parametrize("config", SMALL, ids=["mqa", "mha", "gqa"])
def test_optimizer_state_is_as_large_as_the_real_one(config: ModelConfig, settings: AdamW | Muon | Adafactor) -> None:
    parameters = {name: torch.zeros(shape, requires_grad=True) for name, shape in config.shapes().items()}
    real = Optimizer(parameters, settings).tensors().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in real if tensor.ndim)  # counts of steps aside
    assert optimizer_state(config.shapes(), plan.optimizer_name(settings)) == size


def test_hidden_matrices_are_the_ones_that_muon_takes() -> None:
    from starloom.train.muon import is_hidden as of_tensors

    for config in SMALL:
        for name, shape in config.shapes().items():
            assert is_hidden(name, shape) == of_tensors(name, torch.empty(shape, device="meta"))


@pytest.mark.parametrize(
    ("numbers", "shard", "per_parameter"),
    [  # docs/distrib_optimizer.md of Megatron-LM
        ("fp16", "none", 20.0), ("bf16", "none", 18.0), ("fp32", "none", 16.0),
        ("fp16", "optimizer", 4 + 16 / 8), ("bf16", "optimizer", 6 + 12 / 8), ("fp32", "optimizer", 8 + 8 / 8),
        ("fp32", "full", 16 / 8),
    ],
)  # fmt: skip
def test_bytes_a_parameter_are_megatrons(numbers: str, shard: Any, per_parameter: float) -> None:
    used = memory(SANTACODER, 2048, "adamw", Layout(8, numbers=numbers, shard=shard))
    states = used.weights + used.gradients + used.optimizer
    assert states == pytest.approx(per_parameter * SANTACODER.parameter_count())


@given(
    tensor=st.sampled_from([1, 2, 4, 8]),
    name=st.sampled_from(["santacoder-mha", "starcoderbase-15b", "starcoder2-15b"]),
)
def test_tensor_parallel_devices_hold_the_model_once_and_copies_of_the_small_rest(tensor: int, name: str) -> None:
    config = PRESETS[name]
    whole, part = config.shapes(), held(config, tensor)
    for key in whole:
        parts, all_of_it = tensor * elements({key: part[key]}), elements({key: whole[key]})
        assert parts >= all_of_it
        if (
            parts > all_of_it and len(whole[key]) == 2
        ):  # of matrices only positions, and keys and values, lie there twice
            assert key.endswith("wpe.weight") or any(linear in key for linear in ("c_attn", "k_proj", "v_proj"))
    matrices = sum(elements({key: shape}) for key, shape in part.items() if len(shape) == 2 and "wpe" not in key)
    assert matrices <= 1.03 * sum(elements({key: shape}) for key, shape in whole.items() if len(shape) == 2) / tensor


@pytest.mark.parametrize("pipeline", [1, 2, 3, 5])
def test_a_pipeline_stage_holds_its_layers_and_one_end(pipeline: int) -> None:
    config = PRESETS["starcoderbase-7b"]
    layer = elements({name: shape for name, shape in config.shapes().items() if ".0." in name})
    ends = config.parameter_count() - 42 * layer
    assert elements(held(config, 1, pipeline)) == -(-42 // pipeline) * layer + ends - (pipeline > 1) * 2 * 4096


@given(batch=st.integers(1, 4), tensor=st.sampled_from([1, 2, 4]), sequence=st.booleans(), scores=st.booleans())
def test_activations_of_a_multi_head_layer_are_korthikantis(
    batch: int, tensor: int, sequence: bool, scores: bool
) -> None:
    s, h, a = 2048, SANTACODER_MHA.n_embd, SANTACODER_MHA.n_head
    layout = Layout(tensor, tensor, micro_batch=batch, sequence=sequence, scores_kept=scores)
    t, quadratic = tensor, 5 * a * s / h if scores else 0.0
    factor = 34 / t if sequence else 10 + 24 / t  # arXiv 2205.05198, table 2; 34 alone is equation 1
    assert layer_activations(SANTACODER_MHA, s, layout) == pytest.approx(s * batch * h * (factor + quadratic / t))


def kept_bytes(model: Any, ids: torch.Tensor) -> int:
    """Bytes of the storages that a forward pass keeps for the backward pass, weights aside."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        last = model.transformer(ids, use_cache=False).last_hidden_state
    assert last.requires_grad
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    return sum(size for place, size in kept.items() if place not in own)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("multi_query", [True, False], ids=["mqa", "mha"])
def test_activations_are_about_what_a_real_model_keeps(multi_query: bool, attention: str) -> None:
    none = {
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }  # on a CPU masks have four bytes and SDPA keeps scores
    config = GPTBigCodeConfig(
        vocab_size=64, n_positions=128, n_embd=128, n_layer=4, n_head=4, multi_query=multi_query, **none
    )
    real = kept_bytes(transformers_model(config, attention).train(), torch.zeros(2, 128, dtype=torch.long))
    layout = Layout(micro_batch=2, numbers="fp32", scores_kept=attention == "eager")
    assert real == pytest.approx(memory(config, 128, "adamw", layout).activations, rel=0.08)


def test_recomputing_everything_keeps_each_layers_input() -> None:
    full = layer_activations(SANTACODER, 2048, Layout(recompute="full"))
    assert full == 2 * 2048 * 2048  # 2·s·b·h
    kept = memory(SANTACODER, 2048, "adamw", Layout(recompute="full")).activations
    assert kept < 0.15 * memory(SANTACODER, 2048, "adamw", Layout()).activations


def test_a_plan_and_its_implied_utilization_are_inverses() -> None:
    one = Plan(SANTACODER_RUN, devices.HARDWARE["a100-80gb"], Layout(32), 0.37)
    assert plan.utilization(one.flops, 32, one.peak, one.seconds) == pytest.approx(0.37)
    twice = dataclasses.replace(one, layout=Layout(64))
    assert twice.seconds == pytest.approx(one.seconds / 2)
    assert twice.tokens_per_second == pytest.approx(2 * one.tokens_per_second)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Layout(96, tensor=5), "96 devices"),
        (lambda: Layout(8, numbers="fp8"), "numbers"),
        (lambda: held(SANTACODER, 3), "16 heads"),
        (lambda: held(SANTACODER, 1, 25), "24 layers"),
        (lambda: Plan(SANTACODER_RUN, devices.HARDWARE["h200"], Layout(100)), "192 sequences"),
        (lambda: Plan(SANTACODER_RUN, devices.HARDWARE["h200"], Layout(), 0.0), "utilization"),
        (lambda: devices.parse("a100-80"), "did you mean"),
        (lambda: devices.parse("peak=fast,memory=1e9"), "positive number"),
        (lambda: devices.parse("peak=1e12"), "lacks memory"),
        (lambda: devices.parse("flops=1e12,memory=1e9"), "not 'flops'"),
        (lambda: SANTACODER_RUN.total("7ND"), "7ND"),
        (lambda: optimizer_state({}, "sgd"), "sgd"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_its_value(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_any_device_is_given_by_its_figures() -> None:
    one = devices.parse("peak=100e12,memory=24e9")
    assert (one.peak, one.fp32, one.memory) == (100e12, 100e12, 24e9)
    assert devices.parse("peak=100e12,memory=24e9,fp32=5e12").peak_at("fp32") == 5e12


def test_a_measured_product_is_its_operations_by_the_fastest_time() -> None:
    times = iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0])
    assert devices.measured_gemm(size=8, repeats=2, clock=lambda: next(times)) == 2 * 8**3 / 1.0


def test_a_run_in_brief_says_the_same_of_minutes_steps_and_tokens() -> None:
    config, gemm = PRESETS["quickstart"], 100e9
    by_minutes = plan.brief(config, 512, 2048, Minutes(10), "fp32", gemm)
    tokens = 600 * plan.STEP_SHARE["fp32"] * gemm / config.flops_per_token(512)
    assert by_minutes.startswith("3.61M parameters, about ") and by_minutes.endswith(" 10 min here")
    expected = by_minutes.replace("about ", "", 1).replace("10 min", "about 10 min")
    for budget in (Steps(round(tokens / 2048)), Tokens(round(tokens))):
        assert plan.brief(config, 512, 2048, budget, "fp32", gemm) == expected


def test_plans_need_no_torch() -> None:
    code = (
        "import sys; from starloom.cli import dispatch; dispatch(['plan', '--all']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("number", "text"), [(7, "7"), (999.6, "1K"), (1124886528, "1.12B"), (235.9e9, "236B"), (1.0486e12, "1.05T")]
)
def test_large_numbers_have_three_digits(number: float, text: str) -> None:
    assert plan.short(number) == text


def test_numbers_of_every_precision_keep_what_they_need() -> None:
    for name, numbers in NUMBERS.items():
        assert numbers.master == 4 or numbers.weights == 4 or name == "pure"
