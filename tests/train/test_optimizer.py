"""Muon against singular values, AdamW against its formula, and states that are whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom import flags
from starloom.errors import ConfigError, TrainingError
from starloom.train.muon import QUINTIC, orthogonalised, qkv_blocks
from starloom.train.optimizer import Optimizer
from starloom.train.settings import Adafactor, AdamW, Muon

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24))


@settings(max_examples=50, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 1000), iterations=st.integers(1, 6))
def test_newton_schulz_is_the_quintic_on_the_singular_values(shape, seed, iterations):
    g_GMN = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u, values, v = torch.linalg.svd(g_GMN, full_matrices=False)
    values = values / (values.norm(dim=-1, keepdim=True) + 1e-7)
    values = values / ((values**4).sum(-1, keepdim=True).sqrt() + 1e-7).sqrt()
    a, b, c = QUINTIC
    for _ in range(iterations):
        values = a * values + b * values**3 + c * values**5
    oracle = u @ torch.diag_embed(values) @ v
    assert torch.allclose(orthogonalised(g_GMN, iterations, torch.float64), oracle, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_four_iterations_bring_singular_values_a_hundred_times_apart_near_one(dtype):
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(4, 48, 192, generator=generator), full_matrices=False)
    g_GMN = u @ torch.diag(torch.linspace(0, -2, 48).exp2() ** 3.3) @ v
    values = torch.linalg.svdvals(orthogonalised(g_GMN, 4, dtype).float())
    assert values.min() > 0.6 and values.max() < 1.3


def test_a_gradient_of_zeros_moves_nothing():
    assert not orthogonalised(torch.zeros(1, 4, 8), 5, torch.float32).any()


def matrices(names, seed=0, rows=16, columns=8):
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.nn.Parameter(torch.randn(rows, columns, generator=generator)) for name in names}
    for tensor in made.values():
        tensor.grad = torch.randn(tensor.shape, generator=generator)
    return made


def test_muon_takes_hidden_matrices_and_leaves_embeddings_to_adamw():
    weights = matrices(["transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight", "transformer.wpe.weight"])
    state = Optimizer(weights, Muon()).tensors()
    assert [name for name in state if name.startswith("muon.")] == ["muon.momentum.transformer.h.0.mlp.c_fc.weight"]
    assert "adamw.exp_avg.transformer.wte.weight" in state and "adamw.exp_avg.transformer.wpe.weight" in state


def test_a_muon_update_has_a_size_that_only_the_learning_rate_sets():
    for loudness in (1e-4, 1.0, 1e4):
        weights = matrices(["transformer.h.0.mlp.c_fc.weight"])
        (weight,) = weights.values()
        before = weight.detach().clone()
        weight.grad *= loudness
        Optimizer(weights, Muon(lr=0.1)).step(0.5)
        moved = torch.linalg.svdvals(weight.detach() - before) / (0.1 * 0.5 * (16 / 8) ** 0.5)
        assert moved.min() > 0.6 and moved.max() < 1.3


@pytest.mark.parametrize("multi_query", [True, False])
def test_queries_keys_and_values_are_each_made_orthogonal_for_itself(multi_query):
    heads, width = 2, 8
    blocks = qkv_blocks(heads, width, multi_query)
    rows = width + 2 * width // heads if multi_query else 3 * width
    assert torch.cat([torch.arange(rows)[block] for block in blocks]).sort().values.tolist() == list(range(rows))
    weights = matrices(["transformer.h.0.attn.c_attn.weight"], rows=rows)
    (weight,) = weights.values()
    before, gradient = weight.detach().clone(), weight.grad.clone()
    Optimizer(weights, Muon(lr=1.0), blocks).step(1.0)
    for block in blocks:
        alone = orthogonalised(gradient[block][None], Muon().iterations, torch.float32)[0]
        assert torch.allclose(before[block] - weight.detach()[block], alone, atol=1e-5)


def test_multi_head_rows_of_c_attn_lie_head_by_head():
    q, k, v = qkv_blocks(heads=2, width=4, multi_query=False)
    assert (q.tolist(), k.tolist(), v.tolist()) == ([0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11])


def test_adamw_follows_its_formula_and_decays_matrices_only():
    chosen = AdamW(lr=0.1, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.5)
    weights = matrices(["wte.weight"]) | {"bias": torch.nn.Parameter(torch.ones(3))}
    weights["bias"].grad = torch.tensor([1.0, -2.0, 0.5])
    expected = {}
    for name, tensor in weights.items():
        decay = 1 - 0.1 * 0.7 * (0.5 if tensor.ndim == 2 else 0)
        first, second = 0.2 * tensor.grad / (1 - 0.8), 0.1 * tensor.grad**2 / (1 - 0.9)
        expected[name] = tensor.detach() * decay - 0.1 * 0.7 * first / (second.sqrt() + 1e-6)
    Optimizer(weights, chosen).step(0.7)
    for name, tensor in weights.items():
        assert torch.allclose(tensor.detach(), expected[name], atol=1e-6)


@pytest.mark.parametrize("chosen", [AdamW(), Muon(), Adafactor(beta1=0.9)])
def test_a_loaded_state_goes_on_as_the_saved_one_bit_for_bit(chosen):
    names = ["transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight"]
    straight, resumed = matrices(names), matrices(names)
    first, second = Optimizer(straight, chosen), Optimizer(resumed, chosen)
    first.step(1.0)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    with torch.no_grad():
        for name, tensor in resumed.items():
            tensor.copy_(straight[name])
    second.load(saved)
    for weights, optimizer in ((straight, first), (resumed, second)):
        optimizer.step(0.5)
        assert all(torch.equal(straight[name], weights[name]) for name in names)


def test_another_optimizers_state_is_refused():
    weights = matrices(["transformer.h.0.mlp.c_fc.weight"])
    with pytest.raises(TrainingError, match="does not fit this model and optimizer"):
        Optimizer(weights, AdamW()).load(Optimizer(weights, Muon()).tensors())


def theirs(weights, chosen):
    """transformers' Adafactor in two groups, as its Trainer makes them: vectors do not decay."""
    optimization = pytest.importorskip("transformers.optimization")
    groups = [
        {"params": [tensor for tensor in weights.values() if tensor.ndim >= 2], "weight_decay": chosen.weight_decay},
        {"params": [tensor for tensor in weights.values() if tensor.ndim < 2], "weight_decay": 0.0},
    ]
    same = {
        name: getattr(chosen, name)
        for name in ("lr", "clip_threshold", "decay_rate", "beta1", "scale_parameter", "relative_step", "warmup_init")
    }
    return optimization.Adafactor(groups, eps=(chosen.eps1, chosen.eps2), **same)


@pytest.mark.parametrize(
    "chosen",
    [
        Adafactor(lr=1e-2),
        Adafactor(lr=1e-2, weight_decay=0.1, clip_threshold=0.5, decay_rate=-0.5),
        Adafactor(lr=1e-2, beta1=0.9, scale_parameter=True, eps1=1e-3, eps2=0.5),
        Adafactor(lr=None, relative_step=True, scale_parameter=True),
        Adafactor(lr=None, relative_step=True, warmup_init=True, weight_decay=0.1),
    ],
)
def test_adafactor_takes_every_step_that_transformers_takes(chosen):
    names = ["transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight"]
    made = [matrices(names) | {"bias": torch.nn.Parameter(torch.ones(3))} for _ in range(2)]
    ours, other = Optimizer(made[0], chosen), theirs(made[1], chosen)
    for step in range(6):
        factor = 1.0 if chosen.relative_step else 1 - step / 10
        generator = torch.Generator().manual_seed(step)
        for name, tensor in made[0].items():
            tensor.grad = torch.randn(tensor.shape, generator=generator) * 10.0 ** (step % 3 - 2)
            made[1][name].grad = tensor.grad.clone()
        for group in other.param_groups:
            group["lr"] = None if chosen.lr is None else chosen.lr * factor
        ours.step(factor)
        other.step()
        for name, tensor in made[0].items():
            assert torch.allclose(tensor, made[1][name], rtol=1e-6, atol=1e-9), (step, name)


def test_adafactor_keeps_rows_and_columns_of_a_matrix_only():
    state = Optimizer(matrices(["transformer.wte.weight"], rows=1000, columns=50), Adafactor()).tensors()
    assert sum(tensor.numel() for tensor in state.values()) == 1 + 1000 + 50


@pytest.mark.parametrize("settings", [{"relative_step": True}, {"lr": None}, {"warmup_init": True}, {"beta1": 1.0}])
def test_adafactors_steps_come_from_one_place(settings):
    with pytest.raises(ConfigError, match="adafactor"):
        Adafactor(**settings)


def test_optimizers_are_chosen_by_name():
    assert flags.convert("adamw", Muon | AdamW, "pretrain.optimizer") == AdamW()
    assert flags.convert("adafactor", Muon | AdamW | Adafactor, "pretrain.optimizer") == Adafactor()
    assert flags.convert("Muon", Muon | AdamW, "pretrain.optimizer") == Muon()


@pytest.mark.slow
def test_weights_in_parts_take_the_steps_of_whole_ones():
    """Two processes, each with half of every matrix, against one; equal but for the order of sums."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here)}
    ran = subprocess.run(
        [*command, str(here / "two_optimizers.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    differences = json.loads(ran.stdout.strip().splitlines()[-1])
    assert set(differences) == {"adamw", "muon", "adafactor"} and max(differences.values()) < 1e-4
